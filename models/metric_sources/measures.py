"""What is recorded of every version, once, for alerts and dashboards alike: the PromQL of it.

A measure has one value a version; `feature_drift` has one a feature. Those of a window are recorded
as `modelramp:<measure>:<window>`, those of the present moment as `modelramp:<measure>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from models.metric_sources import METRIC_SOURCES
from models.names import DECLARED_PERCENT

Measure = Literal[
    "requests",
    "error_share",
    "slow_share",
    "latency_p50_ms",
    "latency_p99_ms",
    "labels",
    "accuracy",
    "predictions",
    "prediction_drift",
    "feature_drift",
    "tokens_per_second",
    "restarts",
    "queue_per_pod",
    "ready_pods",
    "gpu_memory_share",
    "gpu_utilisation_share",
]
MOMENTARY: Final[frozenset[Measure]] = frozenset(
    {"queue_per_pod", "ready_pods", "gpu_memory_share", "gpu_utilisation_share"}
)
"""Measures of the present moment; all others have a window."""

RATE_WINDOW: Final = "5m"
"""What dashboards show rates over; shorter ones make noise at low traffic."""

QUALITY_WINDOW: Final = "1h"
"""The same of labels and distributions, of which there must be many to say something."""

SHOWN: Final[Mapping[Measure, str]] = {
    "requests": RATE_WINDOW,
    "error_share": RATE_WINDOW,
    "latency_p50_ms": RATE_WINDOW,
    "latency_p99_ms": RATE_WINDOW,
    "tokens_per_second": RATE_WINDOW,
    "accuracy": QUALITY_WINDOW,
    "prediction_drift": QUALITY_WINDOW,
    "feature_drift": QUALITY_WINDOW,
    "queue_per_pod": "",
    "ready_pods": "",
    "gpu_memory_share": "",
    "gpu_utilisation_share": "",
}
"""What dashboards show, with its window: it is recorded whatever alerts there are."""

GPU: Final[frozenset[Measure]] = frozenset({"gpu_memory_share", "gpu_utilisation_share"})

_NEEDS: Final[Mapping[Measure, tuple[str, ...]]] = {
    "labels": ("labelled",),
    "accuracy": ("labelled", "correct"),
    "predictions": ("predictions",),
    "prediction_drift": ("predictions", "reference"),
    "feature_drift": ("features", "reference"),
    "tokens_per_second": ("tokens",),
}


def told(measure: Measure, runtime: str, *, gpu: bool) -> bool:
    """Says whether a kind of runtime, with or without GPUs, tells what a measure needs."""
    return (gpu or measure not in GPU) and METRIC_SOURCES[runtime].has(*_NEEDS.get(measure, ()))


def recorded(measure: Measure, window: str = "") -> str:
    """Returns the name of the series that a measure is recorded as.

    Args:
        measure: of `Measure`.
        window: the time it is taken over, as a Prometheus duration; none of a momentary one.
    """
    return f"modelramp:{measure}" if measure in MOMENTARY else f"modelramp:{measure}:{window}"


@dataclass(frozen=True)
class ServiceSeries:
    """The recorded series of a model service, or of one of its versions.

    Attributes:
        namespace: of its InferenceServices.
        service: its name.
        version: one version; all of them if none is given.
    """

    namespace: str
    service: str
    version: str | None = None

    def of(self, measure: Measure, window: str = "") -> str:
        """Returns the selector of a recorded measure."""
        return recorded(measure, window) + self._matchers()

    def declared_percent(self) -> str:
        """Returns the selector of the declared share of traffic, in percent."""
        return DECLARED_PERCENT + self._matchers()

    def measured_percent(self, window: str) -> str:
        """Returns the query of the share of requests that each version got, in percent."""
        requests = self.of("requests", window)
        whole = ServiceSeries(self.namespace, self.service).of("requests", window)
        together = f"sum by (namespace, service) ({whole})"
        return f"100 * {requests} / on (namespace, service) group_left () {together}"

    def changed_percent(self, window: str) -> str:
        """Returns the query of the declared shares that changed within a window."""
        declared = self.declared_percent()
        return f"{declared} and changes({declared}[{window}]) > 0"

    def _matchers(self) -> str:
        version = "" if self.version is None else f',version="{self.version}"'
        return f'{{namespace="{self.namespace}",service="{self.service}"{version}}}'


@dataclass(frozen=True)
class VersionMetrics:
    """The queries that a version's measures are recorded by.

    Attributes:
        runtime: kind of the runtime.
        namespace: of the InferenceService.
        service: the model service.
        version: the version.
        threshold_ms: a request slower than this is slow; an edge of the latency histogram.
    """

    runtime: str
    namespace: str
    service: str
    version: str
    threshold_ms: float

    def selector(self, counter: str, *, edge_ms: float | None = None) -> str:
        """Returns the selector of one of the runtime's own counters."""
        return METRIC_SOURCES[self.runtime].selector(
            counter,
            namespace=self.namespace,
            service=self.service,
            version=self.version,
            edge_ms=edge_ms,
        )

    def query(self, measure: Measure, window: str = "") -> str:  # noqa: PLR0912  a case a measure
        """Returns the PromQL of a measure; no traffic gives NaN or nothing, never 0 or 1.

        Args:
            measure: one that the runtime tells.
            window: the time it is taken over; none of a momentary one.
        """
        match measure:
            case "requests" | "labels" | "predictions":
                counter = "labelled" if measure == "labels" else measure
                return self._total(counter, window)
            case "error_share":
                # The series of errors does not exist before the first error.
                errors = f"({self._total('errors', window)} or vector(0))"
                return f"{errors} / {self._total('requests', window)}"
            case "slow_share":
                fast = self._total("latency_bucket", window, edge_ms=self.threshold_ms)
                return f"1 - {fast} / {self._total('latency_count', window)}"
            case "latency_p50_ms":
                return self._latency(0.5, window)
            case "latency_p99_ms":
                return self._latency(0.99, window)
            case "accuracy":
                return f"{self._total('correct', window)} / {self._total('labelled', window)}"
            case "prediction_drift":
                return self._drift("predictions", "prediction", window)
            case "feature_drift":
                return self._drift("features", "feature", window)
            case "tokens_per_second":
                return f"sum(rate({self.selector('tokens')}[{window}]))"
            case "restarts":
                return self._total("restarts", window)
            case "ready_pods":
                return f"max({self.selector('ready')})"
            case "queue_per_pod":
                told_queue = METRIC_SOURCES[self.runtime].has("queue")
                waiting = self.selector("queue" if told_queue else "in_flight")
                return f"sum({waiting}) / max({self.selector('ready')})"
            case "gpu_memory_share":
                used, free = self.selector("gpu_memory_used"), self.selector("gpu_memory_free")
                return f"max({used} / ({used} + {free}))"
            case "gpu_utilisation_share":
                return f"avg({self.selector('gpu_utilisation_percent')}) / 100"

    def _total(self, counter: str, window: str, *, edge_ms: float | None = None) -> str:
        return f"sum(increase({self.selector(counter, edge_ms=edge_ms)}[{window}]))"

    def _latency(self, quantile: float, window: str) -> str:
        rates = f"sum by (le) (rate({self.selector('latency_bucket')}[{window}]))"
        return f"histogram_quantile({quantile:g}, {rates})"

    def _drift(self, counter: str, kind: str, window: str) -> str:
        """Total variation distance between what was counted and the reference, by feature."""
        by, within = ("bucket", "") if kind == "prediction" else ("feature, bucket", "feature")
        increase = f"increase({self.selector(counter)}[{window}])"
        counted = f"sum by ({by}) ({increase})"
        whole = f"sum by ({within}) ({increase})"
        reference = self.selector("reference").removesuffix("}") + f',kind="{kind}"}}'
        shares = f"{counted} / on ({within}) group_left () {whole}"
        trained = f"max by ({by}) ({reference})"
        return f"0.5 * sum by ({within}) (abs({shares} - on ({by}) {trained}))"
