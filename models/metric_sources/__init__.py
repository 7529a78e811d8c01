"""Where each runtime's numbers come from, as data: one YAML file a runtime, over `base.yaml`.

Every entry that is not said to be a gauge is a PromQL selector of a cumulative counter, so that
counts can be had exactly, as differences of samples; `$namespace`, `$service`, `$version` and
`$predictor` are replaced, and `$edge` by a regular expression that matches one bucket's edge.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Final

from pydantic import BaseModel, ConfigDict
from ruamel.yaml import YAML

from models.metric_sources.batch import Batch, Key
from models.names import predictor_name


class MetricSource(BaseModel):
    """PromQL selectors of one runtime; None where it does not tell.

    Attributes:
        declared_percent: the share of traffic that is really declared; a gauge.
        requests: answered requests, however they ended.
        routed: requests sent to the version, answered or not; exists from the start.
        errors: answered requests that failed through its fault (HTTP 5xx, time-outs).
        latency_count: answered requests whose response time was measured.
        latency_bucket: those of them that took at most `$edge` milliseconds.
        latency_edges_ms: the edges of that histogram, milliseconds.
        labelled: predictions whose true label has arrived.
        correct: those of them that were right.
        predictions: predictions by label `bucket`.
        features: feature values by labels `feature` and `bucket`.
        reference: shares at training time by labels `kind`, `feature` and `bucket`; a gauge.
        mirrored_requests: `requests` of the copies that a candidate gets; counted apart.
        mirrored_routed: `routed` of them.
        mirrored_errors: `errors` of them.
        mirrored_latency_count: `latency_count` of them.
        mirrored_latency_bucket: `latency_bucket` of them.
        ready: endpoints that can take requests, as each gateway pod sees them; a gauge.
        available: pods that are Ready, as Kubernetes says, also without a route; a gauge.
        scraped: whether a pod's server answers Prometheus; a gauge.
        in_flight: requests sent and not answered yet; a gauge.
        queue: requests that wait for the model, by pod; a gauge.
        tokens: generated tokens.
        restarts: restarts of containers.
        gpu_memory_used: MiB by GPU; a gauge, and an expression rather than a selector.
        gpu_memory_free: the same.
        gpu_utilisation_percent: by GPU; a gauge, and an expression.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    declared_percent: str
    requests: str
    routed: str
    errors: str
    latency_count: str
    latency_bucket: str
    latency_edges_ms: tuple[float, ...]
    labelled: str | None = None
    correct: str | None = None
    predictions: str | None = None
    features: str | None = None
    reference: str | None = None
    mirrored_requests: str
    mirrored_routed: str
    mirrored_errors: str
    mirrored_latency_count: str
    mirrored_latency_bucket: str
    ready: str
    available: str
    scraped: str
    in_flight: str
    queue: str | None = None
    tokens: str | None = None
    restarts: str
    gpu_memory_used: str
    gpu_memory_free: str
    gpu_utilisation_percent: str

    def has(self, *counters: str) -> bool:
        """Says whether the runtime tells all of these."""
        return all(getattr(self, counter) is not None for counter in counters)

    def selector(
        self,
        counter: str,
        *,
        namespace: str,
        service: str,
        version: str,
        edge_ms: float | None = None,
    ) -> str:
        """Returns the selector of one counter for one version; `edge_ms` picks a bucket.

        The names are validated where they are declared (`models.base`), so none of them can
        change the query.
        """
        return Template(getattr(self, counter)).substitute(
            namespace=namespace,
            service=service,
            version=version,
            predictor=predictor_name(service, version),
            # Prometheus 3 writes 250 as 250.0.
            edge=".+" if edge_ms is None else f"{edge_ms:g}([.]0)?",
        )

    def batch(self, counter: str, namespace: str, edges_ms: Mapping[Key, float]) -> Batch:
        """Returns the selector of one counter for many versions at once.

        Args:
            counter: that the runtime tells.
            namespace: of their InferenceServices.
            edges_ms: the bucket of each version that is wanted; by service and version.
        """
        names = {
            (service, version): {
                "namespace": namespace,
                "service": service,
                "version": version,
                "predictor": predictor_name(service, version),
                "edge": f"{edge_ms:g}",
            }
            for (service, version), edge_ms in edges_ms.items()
        }
        # Prometheus 3 writes 250 as 250.0.
        return Batch(getattr(self, counter).replace("$edge", "$edge([.]0)?"), names)


def _read(path: Path) -> dict[str, object]:
    return YAML(typ="safe").load(path)


def _load() -> dict[str, MetricSource]:
    files = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}
    shared = _read(files.pop("base"))
    return {
        kind: MetricSource.model_validate({**shared, **_read(path)}) for kind, path in files.items()
    }


METRIC_SOURCES: Final = _load()
"""Metric sources by runtime kind."""
