# pyright: basic
"""GPU pools on a real API server and scheduler, with nodes that are only objects.

No kubelet runs them, so pods that are bound to them stay Pending; what counts is whether and where
the scheduler bound them. The node controller calls a node dead some 50 s after its last sign of
life, so each test has nodes of its own.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import pytest

from components.from_stack.gpu_pools import gpu_placement_args, gpu_pool_args, gpu_rules_args
from components.gpu_node_pool import GpuNodePool
from components.gpu_placement import gpu_resources, pod_fields, pod_labels
from components.gpu_rules import GpuRules
from local.cluster.kubectl import Kubectl
from models.errors import ToolError
from models.gpu_pool import GpuPool
from tests.cluster.definitions import KARPENTER, known
from tests.cluster.objects import Object, delete, eventually, objects_of
from tests.components.gpu_pools import AWS, DECLARED, pool

pytestmark = pytest.mark.cluster

RUN = secrets.token_hex(4)
"""Of its own for each run: nodes and priority classes belong to no namespace."""

NAMESPACE = f"gpu-{RUN}"
OTHER_NAMESPACE = f"gpu-{RUN}-other"
OBJECTS_NAMESPACE = f"gpu-{RUN}-objects"
RACK = {"provider": "existing", "nodeSelector": {"tests.modelramp.dev/rack": RUN}, "maxGpus": 4}
POOLS: dict[str, GpuPool] = {
    "rack": pool(RACK),
    "pay": pool(
        {
            "provider": "existing",
            "nodeSelector": {"tests.modelramp.dev/pay": RUN},
            "maxGpus": 4,
            "shareGroup": "payments",
        }
    ),
}
GROUP = "modelramp.dev/share-group"
SCHEDULED_SECONDS = 30


# --- the cluster


@pytest.fixture(scope="module")
def namespaces(kubectl: Kubectl) -> Generator[None]:
    for name in (NAMESPACE, OTHER_NAMESPACE, OBJECTS_NAMESPACE):
        kubectl.run("create", "namespace", name)
    for name in (NAMESPACE, OTHER_NAMESPACE):
        # Without it, no pod is let in.
        eventually(lambda name=name: kubectl.get("serviceaccount", "default", f"-n={name}"))
    yield
    for name in (NAMESPACE, OTHER_NAMESPACE, OBJECTS_NAMESPACE):
        kubectl.run("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def declared(kubectl: Kubectl, namespaces: None) -> Generator[None]:
    """The pools and the rules, in force."""
    made = pool_objects(POOLS, NAMESPACE)
    kubectl.apply(made)
    for name in POOLS:
        eventually(lambda name=name: quota(kubectl, name).get("hard"))
    eventually(lambda: "GPU pod" in (refusal(kubectl, broken(nodeSelector={})) or ""))
    yield
    delete(kubectl, made)


@pytest.fixture
def pods(kubectl: Kubectl, declared: None) -> Generator[None]:
    """There are none at first, and none at the end; all the GPUs are free again."""
    yield
    for name in (NAMESPACE, OTHER_NAMESPACE):
        # No kubelet would ever say that they have ended.
        force = ("--force", "--grace-period=0")
        kubectl.run("delete", "pods", "--all", f"-n={name}", *force, timeout_seconds=60)
    for name in POOLS:
        eventually(lambda name=name: set(quota(kubectl, name)["used"].values()) == {"0"})


@pytest.fixture
def node(kubectl: Kubectl, pods: None) -> Generator[Callable[..., str]]:
    """Makes a node with GPUs that is only an object."""
    made: list[Object] = []

    def make(labels: Object, *, gpus: int = 4, taints: Sequence[Object] = ()) -> str:
        name = f"gpu-{RUN}-{len(made)}-{secrets.token_hex(2)}"
        capacity = {"cpu": "32", "memory": "64Gi", "pods": "110", "nvidia.com/gpu": str(gpus)}
        made.append(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": {**labels, "kubernetes.io/hostname": name}},
                "spec": {"taints": list(taints)},
            }
        )
        kubectl.apply(made[-1:])
        status = {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [{"type": "Ready", "status": "True", "reason": "Test"}],
        }
        patch = json.dumps({"status": status})
        kubectl.run("patch", "node", name, "--subresource=status", "--type=merge", f"-p={patch}")
        # The API server puts a taint on every new node; the node controller takes it off.
        eventually(lambda: len(kubectl.get("node", name)["spec"].get("taints", [])) == len(taints))
        return name

    yield make
    delete(kubectl, made)


def pool_objects(pools: Mapping[str, GpuPool], namespace: str) -> list[Object]:
    """Returns all objects of pools for the API server, without AWS's."""

    def program() -> None:
        GpuRules("gpus", gpu_rules_args(pools, namespace))
        for name, it in pools.items():
            GpuNodePool(name, gpu_pool_args(it, namespace, AWS))

    return objects_of(program)


def quota(kubectl: Kubectl, in_pool: str) -> Object:
    return kubectl.get("resourcequota", f"gpu-pool-{in_pool}", f"-n={NAMESPACE}").get("status", {})


# --- pods


def pod(name: str, group: str, in_pool: str = "rack", gpus: int = 1) -> Object:
    """A pod as ModelService makes it."""
    placement = gpu_placement_args(NAMESPACE, in_pool, POOLS[in_pool], group, gpus)
    limits = {"resources": {"limits": gpu_resources(placement)}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": pod_labels(placement)},
        "spec": {
            **pod_fields(placement),
            "containers": [{"name": "model", "image": "no/image:1", **limits}],
        },
    }


def outsider(name: str, selector: Object) -> Object:
    """A pod of another namespace, without rules, that tolerates GPU nodes as EKS lets it."""
    it = pod(name, "other")
    it["metadata"] = {"name": name, "namespace": OTHER_NAMESPACE}
    del it["spec"]["affinity"], it["spec"]["priorityClassName"]
    it["spec"]["nodeSelector"] = selector
    return it


def broken(**spec: Any) -> Object:
    it = pod("broken", "fraud")
    it["spec"].update(spec)
    return it


def create(kubectl: Kubectl, *pods: Object) -> None:
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(pods)})
    kubectl.run("create", "--filename=-", given=given)


def refusal(kubectl: Kubectl, it: Object) -> str | None:
    """Returns why the API server would not have it; None if it would."""
    try:
        kubectl.run("create", "--dry-run=server", "--filename=-", given=json.dumps(it))
    except ToolError as error:
        return str(error)
    return None


def placed(kubectl: Kubectl, namespace: str = NAMESPACE) -> dict[str, str]:
    """Returns each pod's node, or the scheduler's reason; waits until it has decided on all."""

    def decided() -> dict[str, str] | None:
        found = {}
        for it in kubectl.get("pods", f"-n={namespace}")["items"]:
            conditions = {one["type"]: one for one in it.get("status", {}).get("conditions", [])}
            if "PodScheduled" not in conditions:
                return None
            reason = conditions["PodScheduled"].get("message", "")
            found[it["metadata"]["name"]] = it["spec"].get("nodeName") or reason
        return found

    return eventually(decided, SCHEDULED_SECONDS)


# --- objects


@pytest.fixture(scope="module")
def karpenter_is_known(kubectl: Kubectl) -> Generator[None]:
    with known(kubectl, KARPENTER, "karpenter.sh_nodepools", "karpenter.k8s.aws_ec2nodeclasses"):
        yield


@pytest.mark.parametrize("name", DECLARED)
def test_every_object_of_a_pool_is_accepted(name, kubectl, namespaces, karpenter_is_known):
    text = DECLARED[name]
    if "sharing" in text:
        there = {"devicePluginNamespace": OBJECTS_NAMESPACE}
        text = {**text, "sharing": {**text["sharing"], **there}}
    made = pool_objects({name: pool(text)}, OBJECTS_NAMESPACE)
    kinds = {it["kind"] for it in made}
    assert {"PriorityClass", "ResourceQuota", "ValidatingAdmissionPolicy"} < kinds
    assert ("NodePool" in kinds, "EC2NodeClass" in kinds) == (name == "karpenter",) * 2
    assert ("ConfigMap" in kinds) == ("sharing" in text)
    try:
        kubectl.apply(made)
        # The API server has then looked at the types of every expression.
        checked = eventually(
            lambda: kubectl.get(
                "validatingadmissionpolicy", f"modelramp-{OBJECTS_NAMESPACE}-gpu-pods"
            )["status"]
        )
        assert checked["typeChecking"] == {}
    finally:
        delete(kubectl, made)


def test_karpenters_definitions_refuse_what_karpenter_does_not_know(kubectl, karpenter_is_known):
    made = pool_objects({"karpenter": pool(DECLARED["karpenter"])}, OBJECTS_NAMESPACE)
    (node_pool,) = (it for it in made if it["kind"] == "NodePool")
    assert refusal(kubectl, node_pool) is None
    node_pool["spec"]["template"]["spec"]["expireAfter"] = "14d"
    assert "expireAfter" in (refusal(kubectl, node_pool) or "")


# --- the cap


def test_pods_over_the_gpus_of_the_nodes_wait_and_say_why(node, kubectl):
    name = node(RACK["nodeSelector"], gpus=2)
    create(kubectl, *(pod(f"fraud-{number}", "fraud") for number in range(3)))
    found = placed(kubectl)
    bound = [it for it in found.values() if it == name]
    (reason,) = (it for it in found.values() if it != name)
    assert len(bound) == 2
    assert "Insufficient nvidia.com/gpu" in reason


def test_pods_over_the_cap_are_refused_and_the_quota_is_named(pods, kubectl):
    create(kubectl, *(pod(f"fraud-{number}", "fraud") for number in range(4)))
    said = refusal(kubectl, pod("one-more", "fraud")) or ""
    assert "exceeded quota: gpu-pool-rack" in said
    assert "requested: requests.nvidia.com/gpu=1" in said
    assert "limited: requests.nvidia.com/gpu=4" in said
    # Another pool has a cap of its own.
    assert refusal(kubectl, pod("elsewhere", "payments", "pay")) is None


# --- what is let in


def test_pods_that_keep_to_the_rules_are_let_in(declared, kubectl):
    assert refusal(kubectl, pod("good", "fraud")) is None
    assert refusal(kubectl, pod("good", "payments", "pay")) is None
    without = pod("no-gpu", "fraud")
    without["metadata"]["labels"] = {}
    without["spec"] = {"containers": [{"name": "a", "image": "no/image:1"}]}
    assert refusal(kubectl, without) is None


ANYWHERE = [{"operator": "Exists"}]
TERM = pod("a", "fraud")["spec"]["affinity"]["podAntiAffinity"][
    "requiredDuringSchedulingIgnoredDuringExecution"
][0]


def apart(**changed: Any) -> Object:
    term = {key: it for key, it in {**TERM, **changed}.items() if it is not None}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def asking(resource: str) -> list[Object]:
    return [{"name": "a", "image": "no/image:1", "resources": {"limits": {resource: "1"}}}]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"nodeSelector": {}}, f"labels of the nodes of the pool: tests.modelramp.dev/rack={RUN}"),
        ({"containers": asking("nvidia.com/gpu.shared")}, "the pool has only nvidia.com/gpu"),
        ({"tolerations": ANYWHERE}, "it tolerates nodes dedicated to other share groups"),
        (
            {"tolerations": [{"key": GROUP, "operator": "Equal", "value": "payments"}]},
            "it tolerates nodes dedicated to other share groups",
        ),
        ({"affinity": {}}, "a required podAntiAffinity on kubernetes.io/hostname is missing"),
        ({"affinity": apart(topologyKey="topology.kubernetes.io/zone")}, "podAntiAffinity"),
        ({"affinity": apart(namespaceSelector=None)}, "podAntiAffinity"),
        (
            {"affinity": apart(namespaceSelector={"matchLabels": {"team": "a"}})},
            "podAntiAffinity",
        ),
        (
            {"affinity": apart(labelSelector={"matchLabels": {GROUP: "payments"}})},
            "podAntiAffinity",
        ),
        (
            {
                "affinity": apart(
                    labelSelector={
                        "matchExpressions": [{"key": GROUP, "operator": "NotIn", "values": ["x"]}]
                    }
                )
            },
            "podAntiAffinity",
        ),
        ({"nodeName": "somewhere"}, "nodeName is set"),
        (
            {"initContainers": [{**asking("nvidia.com/mig-1g.5gb")[0], "name": "b"}]},
            "the pool has only nvidia.com/gpu",
        ),
    ],
)
def test_a_gpu_pod_that_breaks_a_rule_is_refused_and_told_which(spec, said, declared, kubectl):
    found = refusal(kubectl, broken(**spec)) or ""
    assert f"modelramp-{NAMESPACE}-gpu-pods" in found
    assert said in found


def test_a_gpu_pod_that_knows_no_rule_is_told_all_of_them(declared, kubectl):
    it = pod("wild", "fraud")
    it["metadata"].pop("labels")
    it["spec"] = {"containers": it["spec"]["containers"]}
    found = refusal(kubectl, it) or ""
    pools = ", ".join(f"modelramp-{NAMESPACE}-{name}" for name in POOLS)
    assert f'one of {pools}; it is ""' in found
    assert f"label {GROUP} is missing" in found


def test_a_pod_of_another_group_has_no_place_in_a_dedicated_pool(declared, kubectl):
    found = refusal(kubectl, pod("intruder", "fraud", "pay")) or ""
    assert 'the pool is dedicated to share group "payments", the pod is of "fraud"' in found
    untolerant = pod("untolerant", "payments", "pay")
    untolerant["spec"]["tolerations"] = []
    assert f"a toleration of {GROUP}=payments is missing" in (refusal(kubectl, untolerant) or "")


def test_a_pod_cannot_change_its_group_later(pods, kubectl):
    create(kubectl, pod("turncoat", "fraud"))
    label = ("label", "pod", "turncoat", f"-n={NAMESPACE}", "--overwrite")
    with pytest.raises(ToolError, match=f"label {GROUP} must not change"):
        kubectl.run(*label, f"{GROUP}=payments")
    kubectl.run(*label, "colour=red")


# --- share groups


def test_unrelated_services_never_share_a_node_and_those_of_a_group_do(node, kubectl):
    first = node(RACK["nodeSelector"])
    create(kubectl, pod("payments-1", "payments"))
    assert placed(kubectl) == {"payments-1": first}
    create(kubectl, pod("payments-2", "payments"), pod("fraud-1", "fraud"))
    found = placed(kubectl)
    assert found["payments-2"] == first
    assert "didn't satisfy existing pods anti-affinity rules" in found["fraud-1"] or (
        "didn't match pod anti-affinity rules" in found["fraud-1"]
    )
    second = node(RACK["nodeSelector"])
    eventually(lambda: placed(kubectl)["fraud-1"] == second)


def test_whatever_the_order_no_node_has_two_groups(node, kubectl):
    names = [node(RACK["nodeSelector"]) for _ in range(3)]
    groups = ("payments", "fraud", "churn", "fraud")
    create(kubectl, *(pod(f"{it}-{number}", it) for number, it in enumerate(groups)))
    found = placed(kubectl)
    assert set(found.values()) <= {*names} | {it for it in found.values() if "anti-affinity" in it}
    held = {name: {it.rpartition("-")[0] for it in found if found[it] == name} for name in names}
    assert all(len(it) == 1 for it in held.values()), held


def test_nodes_of_a_group_take_no_pod_from_outside(node, kubectl):
    selector = {"tests.modelramp.dev/pay": RUN}
    taints = [{"key": GROUP, "value": "payments", "effect": "NoSchedule"}]
    name = node(selector, taints=taints)
    create(kubectl, outsider("outsider", selector))
    assert "1 node(s) had untolerated taint(s)" in placed(kubectl, OTHER_NAMESPACE)["outsider"]
    create(kubectl, pod("payments-1", "payments", "pay"))
    assert placed(kubectl) == {"payments-1": name}


def test_a_group_is_kept_apart_from_those_of_other_namespaces(node, kubectl):
    node(RACK["nodeSelector"])
    stranger = outsider("stranger", RACK["nodeSelector"])
    stranger["metadata"]["labels"] = {GROUP: "stranger"}
    create(kubectl, stranger)
    assert len(placed(kubectl, OTHER_NAMESPACE)) == 1
    create(kubectl, pod("fraud-1", "fraud"))
    found = placed(kubectl)
    assert "anti-affinity rules" in found["fraud-1"]
