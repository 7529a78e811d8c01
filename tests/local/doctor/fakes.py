# pyright: basic
"""A cluster and a Prometheus that answer as the local ones did."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from local.doctor.findings import Finding, Unreadable
from models.stack import Stack, parse_stack
from tests.stacks import DIGEST, OTHER

DENIED = Unreadable("we may not look", "ask for the role")
STACK = f"""\
config:
  modelramp:cluster: {{target: cluster, namespace: models, gateway: gateway/models,
    prometheus: "http://prometheus", serverImage: "modelramp.local/server:dev"}}
  modelramp:services:
    biopsy:
      owner: pathology-ml
      runtime: {{kind: mlflow, cpu: 500m, memory: 768Mi}}
      versions:
        "2.0.0": {{uri: "s3://m/a", digest: "{DIGEST}", registry: "models:/biopsy/2"}}
        "3.0.0": {{uri: "s3://m/b", digest: "{OTHER}", registry: "models:/biopsy/3"}}
      strategy: {{kind: canary, steps: [5, 100]}}
      slo: {{latency: {{thresholdMs: 400, share: 0.99}}, accuracy: 0.9}}
      judge: {{interval: 2s}}
      rollout:
        stable: "2.0.0"
        candidate: "3.0.0"
        moves: [{{percent: 5, at: "2026-11-23T23:37:02Z"}}]
"""


def stack(old: str = "", new: str = "") -> Stack:
    assert old in STACK
    return parse_stack(STACK.replace(old, new) if old else STACK, "Pulumi.x.yaml")


class FakeCluster:
    """Holds objects; a test changes them before it asks."""

    def __init__(self) -> None:
        text = Path(__file__).with_name("recorded.yaml").read_text(encoding="utf-8")
        self.objects: list[dict[str, Any]] = list(yaml.safe_load_all(text))
        self.kinds = {
            *(it["kind"] for it in self.objects),
            *("InferenceService", "ServingRuntime", "PodMonitor"),
        }
        self.denied: set[str] = set()
        self.forbidden: set[tuple[str, str]] = set()
        self.server_version: str | Unreadable = "v1.34.4"
        self.asked: set[tuple[str, str, str]] = set()

    def one(self, kind: str, name: str | None = None) -> dict[str, Any]:
        return next(
            it
            for it in self.objects
            if it["kind"] == kind and name in {None, it["metadata"]["name"]}
        )

    def add(self, text: str) -> None:
        self.objects.append(yaml.safe_load(text))

    def remove(self, kind: str) -> None:
        self.objects = [it for it in self.objects if it["kind"] != kind]

    def version(self) -> str | Unreadable:
        return self.server_version

    def has(self, api_version: str, kind: str) -> bool | Unreadable:
        return DENIED if kind in self.denied else kind in self.kinds

    def get(self, api_version: str, kind: str, name: str, namespace: str = ""):
        found = self.list(api_version, kind, namespace)
        if isinstance(found, Unreadable):
            return found
        return next((it for it in found if it["metadata"]["name"] == name), None)

    def list(self, api_version: str, kind: str, namespace: str = "", labels: str = ""):
        if kind in self.denied:
            return DENIED
        return [
            it
            for it in self.objects
            if (it["kind"], it["apiVersion"]) == (kind, api_version)
            and namespace in {"", it["metadata"].get("namespace", "")}
            and _selected(it["metadata"].get("labels", {}), labels)
        ]

    def may(self, verb: str, group: str, resource: str, namespace: str) -> bool | Unreadable:
        self.asked.add((verb, group, resource))
        return DENIED if "review" in self.denied else (verb, resource) not in self.forbidden


def _selected(labels: dict[str, str], selector: str) -> bool:
    key, _, value = selector.partition("=")
    return not selector or (labels.get(key) == value if value else key in labels)


class FakeMetrics:
    """Answers by the beginning of the path and query."""

    url = "http://prometheus"

    def __init__(self, now: Callable[[], float]) -> None:
        envoy = {"instance": "10.244.0.7:19001", "envoy_cluster_name": "xds_cluster"}
        declared = [{"service": "biopsy", "version": version} for version in ("2.0.0", "3.0.0")]
        self.answers: dict[str, Any] = {
            "status/buildinfo": lambda: {"version": "3.16.0"},
            "time()": lambda: {"resultType": "scalar", "result": [now(), str(now())]},
            'envoy_cluster_upstream_rq_total{instance="10.244.0.7:19001",envoy_cluster_name="xds': (
                lambda: {"result": [{"values": [[100.0 + at, "7"] for at in range(20)]}]}
            ),
            "envoy_cluster_upstream_rq_total{envoy_cluster_name=": (
                lambda: {"result": [{"metric": envoy}]}
            ),
            "envoy_cluster_upstream_rq_total": lambda: {"result": [{"metric": envoy}]},
            'modelramp:declared_percent{namespace="models"}': (
                lambda: {"result": [{"metric": it} for it in declared]}
            ),
        }

    def ask(self, path: str, **parameters: str) -> Any:
        asked = parameters.get("query", path)
        beginning = next(it for it in self.answers if asked.startswith(it))
        answer = self.answers[beginning]
        return answer if isinstance(answer, Unreadable) else answer()


def by_name(findings: Iterable[Finding]) -> dict[str, Finding]:
    found = {finding.name: finding for finding in findings}
    assert all(finding.saw for finding in found.values())
    return found
