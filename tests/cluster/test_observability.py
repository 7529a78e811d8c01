# pyright: basic
"""What watches a model service, on a real API server, operator and Prometheus.

One pod stands for a version's. It is a Prometheus too, without an operator: it finds itself by the
file that `Scraping` makes for such, and the cluster's own finds it by the PodMonitor.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Generator
from typing import Any
from urllib.parse import quote

import pytest

from components.alert_routing import AlertRouting
from components.alert_rules import AlertRules
from components.dashboards import Dashboards
from components.from_stack.alerts import (
    alert_routing_args,
    alert_rules_args,
    dashboards_args,
    scraping_args,
)
from components.pods import CONTAINER
from components.scraping import Scraping
from local.cluster.kubectl import Kubectl
from models.stack import Cluster
from tests.components.conftest import record
from tests.components.test_alert_routing import ALERTING, SECRETS
from tests.components.watched import FRAUD, STACK

pytestmark = pytest.mark.cluster

NAMESPACE = f"watched-{secrets.token_hex(4)}"
CLUSTER: Cluster = STACK.cluster.model_copy(update={"namespace": NAMESPACE})
PORT = 9090
PATIENCE_SECONDS = 120  # kubelet, operator and config reloader each look once in a while
MAIN = {"scrape_config_files": ["/scrape/*.yaml"], "global": {"scrape_interval": "1s"}}


@pytest.fixture(scope="module")
def made(kubectl: Kubectl) -> Generator[dict[str, dict[str, Any]]]:
    """What the components register, applied; by kind and name."""
    kubectl.run("create", "namespace", NAMESPACE)
    rules = alert_rules_args(FRAUD, CLUSTER, ALERTING)
    scraping = {**scraping_args(FRAUD, CLUSTER), "port": PORT}
    programs = (
        lambda: AlertRules("fraud", {**rules, "gpu": True}),
        lambda: AlertRouting("modelramp", alert_routing_args(ALERTING, CLUSTER, SECRETS)),
        lambda: Dashboards("fraud", dashboards_args(FRAUD, CLUSTER)),
        lambda: Scraping("fraud", scraping),  # pyright: ignore[reportArgumentType]
        lambda: Scraping("fraud", {**scraping, "operator": False}),  # pyright: ignore[reportArgumentType]
    )
    objects = [
        plain(it["inputs"])
        for program in programs
        for it in record(program).values()
        if it["type"].startswith("kubernetes:")
    ]
    kubectl.apply(objects)
    yield {f"{it['kind']}/{it['metadata']['name']}": it for it in objects}
    kubectl.run("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="module")
def pod(kubectl: Kubectl, made: dict[str, dict[str, Any]]) -> str:
    """A pod of the version 1.4.0, whose container declares no port."""
    (server,) = kubectl.get("pods", "-n=monitoring", "-l=prometheus=main")["items"]
    image = next(it["image"] for it in server["spec"]["containers"] if it["name"] == "prometheus")
    rights = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
    metadata = {"name": "pods", "namespace": NAMESPACE}
    group = "rbac.authorization.k8s.io"
    kubectl.apply(
        [
            {
                "apiVersion": f"{group}/v1",
                "kind": "Role",
                "metadata": metadata,
                "rules": [rights],
            },
            {
                "apiVersion": f"{group}/v1",
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": group, "kind": "Role", "name": "pods"},
                "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": NAMESPACE}],
            },
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "main", "namespace": NAMESPACE},
                "data": {"prometheus.yml": json.dumps(MAIN)},
            },
        ]
    )
    eventually(lambda: kubectl.get("serviceaccounts", f"-n={NAMESPACE}")["items"])
    labels = {"model-service": "fraud", "model-version": "1.4.0"}
    container = {
        "name": CONTAINER,
        "image": image,
        "args": ["--config.file=/main/prometheus.yml", "--storage.tsdb.path=/data"],
        "volumeMounts": [
            {"name": name, "mountPath": f"/{name}"} for name in ("main", "scrape", "data")
        ],
    }
    volumes = [
        {"name": "main", "configMap": {"name": "main"}},
        {"name": "scrape", "configMap": {"name": "fraud-scrape-config"}},
        {"name": "data", "emptyDir": {}},
    ]
    spec = {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 0}
    metadata = {"name": "fraud-v1-4-0-predictor-x", "namespace": NAMESPACE, "labels": labels}
    kubectl.apply([{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}])
    return metadata["name"]


def plain(value: Any) -> Any:
    """Returns an object as Pulumi's provider sends it: whole numbers as such, secrets in clear."""
    if isinstance(value, dict) and "4dabf18193072939515e22adb298388d" in value:
        return plain(value["value"])
    if isinstance(value, dict):
        return {key: plain(child) for key, child in value.items()}
    if isinstance(value, list):
        return [plain(child) for child in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def eventually(look: Callable[[], Any]) -> Any:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not (seen := look()):
        assert time.monotonic() < give_up_at, f"not seen in {PATIENCE_SECONDS} s"
        time.sleep(1)
    return seen


def ask(kubectl: Kubectl, path: str, server: str = "monitoring/services/prometheus:web") -> Any:
    namespace, rest = server.split("/", 1)
    answer = kubectl.run("get", f"--raw=/api/v1/namespaces/{namespace}/{rest}/proxy/api/v1/{path}")
    return json.loads(answer)["data"]


def test_the_api_server_takes_all_of_it(kubectl: Kubectl, made: dict[str, dict[str, Any]]):
    assert sorted(made) == [
        "AlertmanagerConfig/modelramp",
        "ConfigMap/fraud-dashboard",
        "ConfigMap/fraud-scrape-config",
        "PodMonitor/fraud",
        "PrometheusRule/fraud-alerts",
        "Secret/modelramp-receivers",
    ]
    for name, sent in made.items():
        kept = kubectl.get(name, f"-n={NAMESPACE}")
        if "spec" in sent:
            assert kept["spec"] == sent["spec"], f"{name}: a field is not of the definition"


def test_prometheus_loads_every_rule(kubectl: Kubectl, made: dict[str, dict[str, Any]]):
    ((group,),) = [made["PrometheusRule/fraud-alerts"]["spec"]["groups"]]

    def loaded() -> list[dict[str, Any]]:
        groups = ask(kubectl, "rules")["groups"]
        ours = [it for it in groups if NAMESPACE in it["file"]]
        rules = [rule for it in ours for rule in it["rules"]]
        return rules if rules and all(rule["health"] != "unknown" for rule in rules) else []

    rules = eventually(loaded)
    assert len(rules) == len(group["rules"])
    assert {rule["health"] for rule in rules} == {"ok"}, [it.get("lastError") for it in rules]
    # There is no such service: nothing fires but that it is not there.
    firing = {it["name"] for it in rules if it["type"] == "alerting" and it["alerts"]}
    assert firing == {"ModelWeightAbsent"}


def test_the_pod_monitor_has_pods_scraped_as_versions(kubectl: Kubectl, pod: str):
    query = quote(f'up{{namespace="{NAMESPACE}"}} == 1')
    (found,) = eventually(lambda: ask(kubectl, f"query?query={query}")["result"])
    labels = found["metric"]
    assert (labels["model_service"], labels["model_version"]) == ("fraud", "1.4.0")
    assert labels["pod"] == pod
    assert labels["instance"].endswith(f":{PORT}")


def test_a_prometheus_without_the_operator_scrapes_the_same(kubectl: Kubectl, pod: str):
    eventually(
        lambda: (
            "True"
            in kubectl.run(
                "get",
                "pod",
                pod,
                f"-n={NAMESPACE}",
                "--output=jsonpath={.status.conditions[?(@.type=='Ready')].status}",
            )
        )
    )
    server = f"{NAMESPACE}/pods/{pod}:{PORT}"
    (found,) = eventually(lambda: ask(kubectl, "query?query=up==1", server)["result"])
    labels = found["metric"]
    assert (labels["model_service"], labels["model_version"]) == ("fraud", "1.4.0")
    assert (labels["namespace"], labels["pod"]) == (NAMESPACE, pod)
