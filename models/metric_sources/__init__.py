"""Where each runtime's numbers come from, as data: one YAML file a runtime.

Every entry but the last two is a PromQL selector of a cumulative counter, so that counts can be had
exactly, as differences of samples; `$namespace`, `$service`, `$version` and `$predictor` are
replaced, and `$edge` by a regular expression that matches one bucket's edge.
"""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Final

from pydantic import BaseModel, ConfigDict
from ruamel.yaml import YAML

from models.names import predictor_name


class MetricSource(BaseModel):
    """PromQL selectors of one runtime.

    Attributes:
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
        ready: above 0 where the version can take requests; a gauge.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: str
    routed: str
    errors: str
    latency_count: str
    latency_bucket: str
    latency_edges_ms: tuple[float, ...]
    labelled: str
    correct: str
    predictions: str
    features: str
    reference: str
    ready: str

    def selector(
        self, counter: str, *, namespace: str, service: str, version: str, edge_ms: float = 0
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
            edge=f"{edge_ms:g}([.]0)?",
        )


def _load(path: Path) -> MetricSource:
    return MetricSource.model_validate(YAML(typ="safe").load(path))


METRIC_SOURCES: Final = {path.stem: _load(path) for path in Path(__file__).parent.glob("*.yaml")}
"""Metric sources by runtime kind."""
