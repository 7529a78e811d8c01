# pyright: basic
"""Every kind of runtime and strategy on a real API server, with KServe's own controller.

The images of KServe's runtimes are not there, so their pods never start; what counts is what KServe
makes of each declaration.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator
from functools import partial
from typing import Any

import pytest

from components.model_service import ModelService
from components.pods import CONTAINER, scratch_mount
from local.cluster.kubectl import Kubectl
from models.gpu_pool import pool_object_name
from tests.cluster.definitions import KEDA, known
from tests.cluster.objects import Object, delete, eventually, objects_of
from tests.components.test_model_service import RUNTIMES, STRATEGIES, args_of, stack_with

pytestmark = pytest.mark.cluster

NAME = "fraud-v1-5-0"
LITTLE = {"cpu": "10m", "memory": "16Mi"}
"""Nothing of this ever runs, but it is to be scheduled."""


@pytest.fixture(scope="module")
def cluster(kubectl: Kubectl) -> Generator[Kubectl]:
    """The cluster, with what GPU services and scaling by KEDA need."""
    priority: Object = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": pool_object_name("models", "rack")},
        "value": 0,
    }
    with known(kubectl, KEDA, "keda.sh_scaledobjects"):
        kubectl.apply([priority])
        yield kubectl
        delete(kubectl, [priority])


@pytest.fixture(scope="module")
def namespaces(cluster: Kubectl) -> Generator[dict[str, str]]:
    """A namespace for each runtime, all declared at once, as KServe takes a while for each."""
    made = {case: f"declared-{secrets.token_hex(4)}" for case in RUNTIMES}
    for case, name in made.items():
        cluster.run("create", "namespace", name)
        cluster.run("create", "serviceaccount", "fraud", f"-n={name}")
        cluster.apply(declared(name, case))
    yield made
    for name in made.values():
        cluster.run("delete", "namespace", name, "--wait=false")


def runtime(name: str, model_format: str, namespace: str) -> Object:
    """A runtime that KServe's chart has not."""
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "supportedModelFormats": [{"name": model_format, "version": "1"}],
            "protocolVersions": ["v1", "v2", "grpc-v2"],
            "containers": [{"name": "kserve-container", "image": "none/none:none"}],
        },
    }


def declared(namespace: str, case: str, strategy: str = "canary") -> list[Object]:
    how, percent = STRATEGIES[strategy]
    args = args_of(stack_with(runtime=RUNTIMES[case], strategy=how, percent=percent))
    args["namespace"] = namespace
    args["runtime"] = {**args["runtime"], "requests": LITTLE, "limits": LITTLE}
    runtimes = {"mlflow": "modelramp-mlflow", "openvino": "kserve-openvino"}
    own = [runtime(runtimes[case], case, namespace)] if case in runtimes else []
    return own + objects_of(lambda: ModelService("fraud", args))


def made_of(kubectl: Kubectl, namespace: str, kind: str) -> Any:
    return eventually(lambda: kubectl.get(kind, f"{NAME}-predictor", f"-n={namespace}"))


def pod_of(kubectl: Kubectl, namespace: str) -> Object:
    """Returns a pod of the candidate, with all that KServe adds when it is created."""
    selector = f"-l=serving.kserve.io/inferenceservice={NAME}"
    return eventually(lambda: kubectl.get("pods", f"-n={namespace}", selector)["items"])[0]


def of_kind(objects: list[Object], kind: str, name: str = NAME) -> Object:
    return next(it for it in objects if (it["kind"], it["metadata"]["name"]) == (kind, name))


@pytest.mark.parametrize("case", [it for it in RUNTIMES if it != "zero"])
def test_kserve_makes_of_each_runtime_what_is_declared(case, cluster, namespaces):
    namespace = namespaces[case]
    wanted = of_kind(declared(namespace, case), "InferenceService")["spec"]["predictor"]
    container_wanted = wanted.get("model") or wanted["containers"][0]
    pod = pod_of(cluster, namespace)
    container = next(it for it in pod["spec"]["containers"] if it["name"] == CONTAINER)
    given = container_wanted.get("args", [])
    assert not given or container["args"][-len(given) :] == given
    assert container["securityContext"].items() >= container_wanted["securityContext"].items()
    assert pod["metadata"]["labels"].items() >= wanted["labels"].items()
    assert pod["spec"]["serviceAccountName"] == "fraud"
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert len(pod["spec"]["topologySpreadConstraints"]) == 2
    assert scratch_mount() in container["volumeMounts"]
    if case != "mlflow":  # whose runtime is a stand-in here
        assert container["readinessProbe"]["httpGet"]["port"] == 8080
        assert container["ports"][0]["containerPort"] == 8080
    env = {it["name"]: it.get("value") for it in container.get("env", [])}
    for it in container_wanted.get("env", []):
        if it["name"] != "STORAGE_URI":  # KServe takes it away again
            assert env[it["name"]] == it["value"]
    # Whatever kind it is, the artifact is fetched before it starts.
    (fetch,) = pod["spec"]["initContainers"]
    assert fetch["args"] == ["s3://m/b", "/mnt/models"]
    assert 80 in {it["port"] for it in made_of(cluster, namespace, "service")["spec"]["ports"]}
    agents = {it["name"] for it in pod["spec"]["containers"]} - {CONTAINER}
    assert agents == ({"agent"} if "batcher" in wanted else set())


def test_scaling_by_cpu_is_kubernetes_own(cluster, namespaces):
    spec = made_of(cluster, namespaces["sklearn-autoscaled"], "hpa")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 8)
    assert spec["metrics"][0]["resource"]["target"]["averageUtilization"] == 60


@pytest.mark.parametrize(
    ("case", "least", "most", "threshold", "counter"),
    [
        ("triton-queue", 1, 6, "4", "nv_inference_pending_request_count"),
        ("zero", 0, 3, "10", "envoy_cluster_upstream_rq_total"),
    ],
)
def test_scaling_by_load_is_kedas(case, least, most, threshold, counter, cluster, namespaces):
    spec = made_of(cluster, namespaces[case], "scaledobject")["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (least, most)
    (trigger,) = spec["triggers"]
    assert trigger["type"] == "prometheus"
    assert trigger["metadata"]["threshold"] == threshold
    assert counter in trigger["metadata"]["query"]


def test_grpc_has_a_port_and_a_route(cluster, namespaces):
    namespace = namespaces["onnx-grpc"]
    ports = {it["port"]: it for it in made_of(cluster, namespace, "service")["spec"]["ports"]}
    assert ports[9000]["appProtocol"] == "kubernetes.io/h2c"
    route = eventually(lambda: taken(cluster, namespace, "grpcroute", "fraud"))
    assert route["spec"]["hostnames"] == ["fraud.example.com"]


def test_the_gateway_takes_the_route_of_each_strategy(cluster, namespaces):
    namespace = namespaces["mlflow"]
    routes = []
    for strategy in STRATEGIES:
        route = of_kind(declared(namespace, "mlflow", strategy), "HTTPRoute", "fraud")
        routes.append({**route, "metadata": {"name": strategy, "namespace": namespace}})
    cluster.apply(routes)
    for strategy, route in zip(STRATEGIES, routes, strict=True):
        found = eventually(partial(taken, cluster, namespace, "httproute", strategy))
        assert len(found["spec"]["rules"]) == len(route["spec"]["rules"])


def taken(kubectl: Kubectl, namespace: str, kind: str, name: str) -> Object | None:
    """Returns the route once the gateway has taken it, with all that it refers to."""
    route = kubectl.get(kind, name, f"-n={namespace}")
    parents = route.get("status", {}).get("parents", [])
    found = {it["type"]: it["status"] for parent in parents for it in parent["conditions"]}
    return route if (found.get("Accepted"), found.get("ResolvedRefs")) == ("True", "True") else None
