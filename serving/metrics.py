"""The server's Prometheus metrics.

None carries the service's or the version's name: the scrape adds both from the pod's labels. All
label values known beforehand start at 0, so the first increase is seen as one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from prometheus_client import Counter as PrometheusCounter
from prometheus_client import Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from models.metric_sources import METRIC_SOURCES
from models.reference_profile import (
    OTHER,
    CategoricalDistribution,
    Distribution,
    FeatureIndex,
    NumericDistribution,
    ReferenceProfile,
    category,
)
from serving.errors import OUTCOMES, Outcome
from serving.feedback import LABEL_OUTCOMES, LabelOutcome

PROTOCOLS: Final = ("v1", "v2")
MAX_UNPROFILED_CLASSES: Final = 50
"""Without a profile, predictions of further classes are counted together, as `other`."""

# What a latency is measured of: requests that came as far as the model.
_TIMED: Final[frozenset[Outcome]] = frozenset({"ok", "error", "timeout"})


class ServerMetrics:
    """Counts requests, latencies, predictions, feature values and labels."""

    def __init__(
        self, registry: CollectorRegistry, profile: ReferenceProfile | None, columns: Sequence[str]
    ) -> None:
        """Registers all metrics.

        Args:
            registry: where.
            profile: the model's reference profile, if it has one.
            columns: the names of the columns of the rows that `count_rows` will get.
        """
        requests = PrometheusCounter(
            "modelramp_requests", "Requests by outcome.", ["outcome", "protocol"], registry=registry
        )
        self._requests = {
            (outcome, protocol): requests.labels(outcome, protocol)
            for outcome in OUTCOMES
            for protocol in PROTOCOLS
        }
        self._seconds = Histogram(
            "modelramp_request_seconds",
            "Seconds from a request's first byte to its answer's last; of those only that came as"
            " far as the model: ok, error, timeout.",
            buckets=[edge / 1000 for edge in METRIC_SOURCES["mlflow"].latency_edges_ms],
            registry=registry,
        )
        labels = PrometheusCounter(
            "modelramp_labels", "True labels by what was predicted.", ["outcome"], registry=registry
        )
        self._labels = {outcome: labels.labels(outcome) for outcome in LABEL_OUTCOMES}
        Gauge(
            "modelramp_reference_profile",
            "1 if the model's artifact folder holds a reference profile.",
            registry=registry,
        ).set(profile is not None)
        self._distributions = (
            _ProfiledDistributions(profile, columns) if profile else _PredictedClasses()
        )
        registry.register(self._distributions)
        if profile:
            _publish_reference(profile, registry)

    def count_request(self, outcome: Outcome, protocol: str, seconds: float) -> None:
        """Counts an answered request; `seconds` from its arrival to the end of its answer."""
        self._requests[outcome, protocol].inc()
        if outcome in _TIMED:
            self._seconds.observe(seconds)

    def count_labels(self, outcomes: Mapping[LabelOutcome, int]) -> None:
        """Counts labels that arrived."""
        for outcome, count in outcomes.items():
            self._labels[outcome].inc(count)

    def count_rows(self, rows: Sequence[Sequence[Any]]) -> None:
        """Counts the feature values of rows, each of one value a column."""
        self._distributions.count_rows(rows)

    def count_predictions(self, predictions: Sequence[Any]) -> None:
        """Counts predictions, one a row; those of several values have no bucket."""
        self._distributions.count_predictions(
            [item for item in predictions if not isinstance(item, list | dict)]
        )


class _PredictedClasses(Collector):
    """Without a reference profile: predictions by class; a number with a fraction is `other`."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def count_rows(self, rows: Sequence[Sequence[Any]]) -> None:
        """Does nothing: there are no buckets."""

    def count_predictions(self, predictions: Sequence[Any]) -> None:
        for prediction in predictions:
            known = not isinstance(prediction, float) or prediction.is_integer()
            name = category(prediction) if known else OTHER
            if name not in self._counts and len(self._counts) >= MAX_UNPROFILED_CLASSES:
                name = OTHER
            self._counts[name] += 1

    def collect(self) -> Iterator[Metric]:
        family = _predictions_family()
        for name, count in self._counts.items():
            family.add_metric([name], count)
        yield family


class _ProfiledDistributions(Collector):
    """Counts by the reference profile's buckets.

    Plain arrays, not one Prometheus counter each: a request adds to some thirty of them, and that
    takes some twenty microseconds this way.
    """

    def __init__(self, profile: ReferenceProfile, columns: Sequence[str]) -> None:
        positions = {name: position for position, name in enumerate(columns)}
        features = [feature for feature in profile.features if feature.name in positions]
        self._numeric = [item for item in features if isinstance(item, NumericDistribution)]
        self._categorical = [item for item in features if isinstance(item, CategoricalDistribution)]
        self._numeric_positions = [positions[item.name] for item in self._numeric]
        self._categorical_positions = [positions[item.name] for item in self._categorical]
        self._in_order = self._numeric_positions == list(range(len(columns)))
        self._index = FeatureIndex(self._numeric)
        widest = max((len(item.labels) for item in self._numeric), default=0)
        self._numeric_counts = np.zeros((len(self._numeric), widest), dtype=np.int64)
        self._numeric_rows = np.arange(len(self._numeric))
        self._categorical_counts = [_zeros(item) for item in self._categorical]
        self._predictions = profile.predictions
        self._prediction_counts = _zeros(profile.predictions)

    def count_rows(self, rows: Sequence[Sequence[Any]]) -> None:
        if self._numeric:
            positions = self._numeric_positions
            picked = rows if self._in_order else [[row[at] for at in positions] for row in rows]
            buckets = self._index.buckets(np.array(picked, dtype=np.float64))
            np.add.at(self._numeric_counts, (self._numeric_rows, buckets), 1)
        for item, at, counts in zip(
            self._categorical, self._categorical_positions, self._categorical_counts, strict=True
        ):
            np.add.at(counts, item.index(_objects([row[at] for row in rows])), 1)

    def count_predictions(self, predictions: Sequence[Any]) -> None:
        np.add.at(self._prediction_counts, self._predictions.index(_objects(predictions)), 1)

    def collect(self) -> Iterator[Metric]:
        predictions = _predictions_family()
        for bucket, count in zip(self._predictions.labels, self._prediction_counts, strict=True):
            predictions.add_metric([bucket], int(count))
        yield predictions
        features = CounterMetricFamily(
            "modelramp_feature_values",
            "Feature values by the reference profile's buckets.",
            labels=["feature", "bucket"],
        )
        for item, counts in (
            *zip(self._numeric, self._numeric_counts, strict=True),
            *zip(self._categorical, self._categorical_counts, strict=True),
        ):
            for bucket, count in zip(item.labels, counts, strict=False):
                features.add_metric([item.name, bucket], int(count))
        yield features


def _publish_reference(profile: ReferenceProfile, registry: CollectorRegistry) -> None:
    shares = Gauge(
        "modelramp_reference_share",
        "Share of training rows in a bucket; kind is feature or prediction.",
        ["kind", "feature", "bucket"],
        registry=registry,
    )
    described = [("prediction", "", profile.predictions)]
    described += [("feature", item.name, item) for item in profile.features]
    for kind, name, item in described:
        for bucket, share in zip(item.labels, item.shares, strict=True):
            shares.labels(kind, name, bucket).set(share)


def _predictions_family() -> CounterMetricFamily:
    return CounterMetricFamily("modelramp_predictions", "Predictions by bucket.", labels=["bucket"])


def _zeros(item: Distribution) -> np.ndarray:
    return np.zeros(len(item.labels), dtype=np.int64)


def _objects(values: Sequence[Any]) -> np.ndarray:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
