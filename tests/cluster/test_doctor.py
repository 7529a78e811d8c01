# pyright: basic
"""doctor on the real cluster; what it makes lies in a namespace of its own."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from local.cluster.kubectl import Kubectl
from local.cluster.layout import ENDPOINTS
from tests.local.doctor.fakes import STACK
from tests.project import Project

pytestmark = pytest.mark.cluster

NAMESPACE = "doctor-tests"
# Every kind of object that doctor may find wrong in a namespace.
HARM = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
    {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "past-the-split", "namespace": NAMESPACE},
        "spec": {
            "parentRefs": [{"namespace": "gateway", "name": "models"}],
            "hostnames": ["past-the-split.example.com"],
            "rules": [{"backendRefs": [{"name": "biopsy-v2-0-0-predictor", "port": 80}]}],
        },
    },
    {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "BackendTrafficPolicy",
        "metadata": {"name": "on-a-route", "namespace": NAMESPACE},
        "spec": {
            "targetRefs": [
                {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "biopsy"}
            ],
            "timeout": {"http": {"requestTimeout": "5s"}},
        },
    },
]


def examined(project: Project, stack: str, expect: int) -> dict[str, dict[str, Any]]:
    done = project.run("doctor", "--stack", stack, "--json", expect=expect)
    answer = json.loads(done.stdout)
    assert answer["ok"] == (expect == 0)
    return {check["name"]: check for check in answer["checks"]}


@pytest.fixture
def ours(project: Project, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    return project


@pytest.fixture
def harmed(kubectl: Kubectl) -> Generator[None]:
    kubectl.apply(HARM)
    yield
    kubectl.run("delete", "namespace", NAMESPACE, "--wait=false")


def declare(project: Project, name: str, old: str, new: str) -> None:
    """Writes a stack file that differs from the cluster's own."""
    text = project.file.read_text()
    assert old in text
    project.file.with_name(f"Pulumi.{name}.yaml").write_text(text.replace(old, new))


def test_the_local_cluster_has_all_that_is_needed(ours: Project):
    found = examined(ours, "cluster", expect=0)
    needed = {name: check["saw"] for name, check in found.items() if check["needed"]}
    assert len(needed) >= 25
    assert {check["state"] for check in found.values() if check["needed"]} == {"ok"}
    assert found["counts per version"]["saw"] == "EnvoyProxy gateway/models has mergeBackends"
    assert found["scrape interval"]["saw"] == "every 1 s"
    assert found["local node"]["saw"].endswith("processes are up")


def test_a_namespace_without_anything_and_with_ways_past_the_split(ours: Project, harmed: None):
    text = STACK.replace("namespace: models", f"namespace: {NAMESPACE}")
    text = text.replace("http://prometheus", ENDPOINTS["prometheus"])
    ours.file.with_name("Pulumi.harmed.yaml").write_text(text)
    found = examined(ours, "harmed", expect=1)
    wrong = {name for name, check in found.items() if check["needed"] and check["state"] != "ok"}
    assert wrong == {"no bypass", "policies on routes", "artifact credentials"}
    assert found["no bypass"]["saw"] == "HTTPRoute past-the-split leads to biopsy-v2-0-0"
    assert "current one" in found["context"]["saw"]
    assert found["rules are loaded"]["saw"] == "not deployed yet: biopsy"


def test_another_context_is_never_taken(ours: Project):
    declare(ours, "elsewhere", "context: modelramp", "context: prod")
    found = examined(ours, "elsewhere", expect=1)
    assert found["context"]["state"] == "missing"
    assert found["API server"]["state"] == "could not be checked"


def test_a_gateway_and_a_prometheus_that_are_not_there(ours: Project):
    declare(ours, "lost", "gateway: gateway/models", "gateway: gateway/other")
    found = examined(ours, "lost", expect=1)
    assert found["Gateway"]["saw"] == "no Gateway gateway/other"
    declare(ours, "lost", ":30090", ":30099")
    found = examined(ours, "lost", expect=1)
    assert found["Prometheus"]["state"] == "missing"
