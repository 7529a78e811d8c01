# pyright: basic
from __future__ import annotations

import pytest

from components.alert_rules import AlertRules
from components.dashboards import Dashboards
from components.from_stack.alerts import alert_rules_args, dashboards_args, scraping_args
from components.from_stack.services import model_service_args
from components.model_service import ModelService
from components.scraping import Scraping
from components.serving_runtime import MlflowRuntime
from local.cluster.layout import ENDPOINTS
from local.doctor import kubernetes
from local.doctor.findings import Finding, State, Unreadable
from tests.components.conftest import record
from tests.local.doctor.fakes import DENIED, FakeCluster, by_name, stack

SERVER = "https://api.example.com"
RUNNING = {"processes": {"etcd": {"ready": True}, "kubelet": {"ready": True}}}


@pytest.fixture(autouse=True)
def node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes.machine, "status", lambda _: RUNNING)


def checked(
    cluster: FakeCluster, context: str | None = "prod", server: str | Unreadable = SERVER
) -> dict[str, Finding]:
    return by_name(kubernetes.checks(cluster, "models", context, server))


def test_all_is_well_on_the_local_cluster():
    found = checked(FakeCluster())
    assert {it.state for it in found.values()} == {State.OK}
    assert found["context"].saw == f"prod: {SERVER}"
    assert found["local node"].saw == "2 processes are up"


def test_a_context_that_the_stack_does_not_name_is_pointed_out():
    assert "name it in the stack" in checked(FakeCluster(), context=None)["context"].saw


def test_without_a_kubeconfig_context_and_server_are_not_there():
    found = checked(FakeCluster(), server=Unreadable("no context 'prod'", "set KUBECONFIG"))
    assert found["context"].state is State.MISSING
    assert "local env --cluster" in found["context"].remedy
    assert found["API server"].state is State.UNKNOWN


@pytest.mark.parametrize(
    ("server", "remedy"), [(SERVER, "try"), (ENDPOINTS["kubernetes"], "local up --cluster")]
)
def test_a_server_that_does_not_answer(server: str, remedy: str):
    cluster = FakeCluster()
    cluster.server_version = Unreadable("it does not answer", "try the VPN")
    found = checked(cluster, server=server)
    assert (found["API server"].state, found["API server"].saw) == (
        State.MISSING,
        "it does not answer",
    )
    assert remedy in found["API server"].remedy
    assert found["Kubernetes version"].state is State.UNKNOWN


def test_another_version_is_a_warning():
    cluster = FakeCluster()
    cluster.server_version = "v1.340.4"
    found = checked(cluster)["Kubernetes version"]
    assert found.state is State.WRONG
    assert found.is_warning
    assert not found.is_problem


def test_a_namespace_that_is_not_there_or_being_deleted():
    cluster = FakeCluster()
    cluster.one("Namespace")["status"]["phase"] = "Terminating"
    assert checked(cluster)["namespace"].state is State.WRONG
    cluster.remove("Namespace")
    found = checked(cluster)["namespace"]
    assert found.state is State.MISSING
    assert found.remedy == "kubectl create namespace models"
    cluster.denied = {"Namespace"}
    assert checked(cluster)["namespace"].saw == DENIED.why


def declared_kinds() -> set[tuple[str, str]]:
    """Returns the API groups and resources of all that a service is made of."""
    service, cluster = stack().services["biopsy"], stack().cluster
    made = record(
        lambda: (
            MlflowRuntime("mlflow", {"namespace": "models", "image": "x"}),
            ModelService("biopsy", model_service_args("biopsy", service, cluster)),
            AlertRules("biopsy-alerts", alert_rules_args(service, cluster)),
            Dashboards("biopsy-dashboards", dashboards_args(service, cluster)),
            Scraping("biopsy-scraping", scraping_args(service, cluster)),
        )
    )
    types = [it["type"].split(":") for it in made.values()]
    return {
        ("" if api == "core/v1" else api.split("/")[0], _plural(kind))
        for package, api, kind in types
        if package == "kubernetes"
    }


def _plural(kind: str) -> str:
    return f"{kind.lower().removesuffix('y')}{'ies' if kind.endswith('y') else 's'}"


def test_rights_are_asked_for_all_that_is_declared_and_denied_ones_named():
    cluster = FakeCluster()
    assert checked(cluster)["rights"].state is State.OK
    assert cluster.asked == {
        (verb, group, resource)
        for verb in ("create", "get", "list", "watch", "patch", "update", "delete")
        for group, resource in declared_kinds()
    }
    cluster.forbidden = {("patch", "httproutes"), ("delete", "httproutes")}
    found = checked(cluster)["rights"]
    assert (found.state, found.saw) == (State.MISSING, "not allowed: patch, delete httproutes")
    cluster.denied = {"review"}
    assert checked(cluster)["rights"].state is State.UNKNOWN


def test_the_local_nodes_processes(monkeypatch: pytest.MonkeyPatch):
    waiting = {"processes": {"etcd": {"ready": True}, "kubelet": {"ready": False}}}
    monkeypatch.setattr(kubernetes.machine, "status", lambda _: waiting)
    found = checked(FakeCluster())["local node"]
    assert (found.state, found.saw) == (State.WRONG, "not ready: kubelet")
    monkeypatch.setattr(kubernetes.machine, "status", lambda _: None)
    found = checked(FakeCluster())["local node"]
    assert found.state is State.UNKNOWN
    assert not found.is_problem


def test_another_cluster_has_no_local_node():
    cluster = FakeCluster()
    cluster.one("Node")["metadata"]["labels"] = {}
    assert "local node" not in checked(cluster)
