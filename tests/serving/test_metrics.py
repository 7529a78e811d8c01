from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from models.reference_profile import ReferenceProfile, build_profile
from serving.metrics import MAX_UNPROFILED_CLASSES, ServerMetrics

PROFILE = build_profile(
    {
        "size": np.array([1.0, 2, 3, 4]),
        "colour": np.array(["red", "red", "red", "blue"]),
        "age": np.array([10.0, 20, 30, 40]),
    },
    np.array([0, 1, 1, 1]),
    data_hash="sha256:" + "0" * 64,
    created_at=datetime(2026, 11, 23, tzinfo=UTC),
    classification=True,
    buckets=2,
)


LABELS = ("kind", "feature", "bucket", "outcome", "protocol", "le")


def values(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels[label] for label in LABELS if label in sample.labels): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
        if sample.name == name
    }


def test_counters_exist_from_the_start() -> None:
    registry = CollectorRegistry()
    ServerMetrics(registry, PROFILE, ("size", "colour", "age"))
    assert values(registry, "modelramp_requests_total") == {
        (outcome, protocol): 0
        for outcome in ("ok", "client_error", "error", "timeout", "overload")
        for protocol in ("v1", "v2")
    }
    assert set(values(registry, "modelramp_labels_total").values()) == {0}
    assert len(values(registry, "modelramp_labels_total")) == 4
    assert values(registry, "modelramp_predictions_total") == dict.fromkeys(
        [("1",), ("0",), ("other",), ("missing",)], 0
    )
    assert len(values(registry, "modelramp_feature_values_total")) == 3 + 4 + 3
    assert values(registry, "modelramp_reference_profile") == {(): 1}


def test_feature_values_fall_into_the_profiles_buckets_whatever_the_columns_order() -> None:
    registry = CollectorRegistry()
    metrics = ServerMetrics(registry, PROFILE, ("age", "unprofiled", "colour", "size"))
    metrics.count_rows([[25.0, "x", "red", 1.0], [99.0, "x", "green", None]])
    metrics.count_rows([[25, "x", None, 3]])
    counted = values(registry, "modelramp_feature_values_total")
    assert {key: count for key, count in counted.items() if count} == {
        ("size", "(-Inf,3]"): 2,
        ("size", "missing"): 1,
        ("age", "(-Inf,30]"): 2,
        ("age", "(30,+Inf]"): 1,
        ("colour", "red"): 1,
        ("colour", "other"): 1,
        ("colour", "missing"): 1,
    }


def test_reference_shares_are_published() -> None:
    registry = CollectorRegistry()
    ServerMetrics(registry, PROFILE, ("size", "colour", "age"))
    shares = values(registry, "modelramp_reference_share")
    assert shares["prediction", "", "1"] == 0.75
    assert shares["feature", "colour", "blue"] == 0.25
    assert shares["feature", "size", "(-Inf,3]"] == 0.75


def test_latency_is_that_of_requests_which_reached_the_model() -> None:
    registry = CollectorRegistry()
    metrics = ServerMetrics(registry, None, ())
    for outcome in ("ok", "error", "timeout", "client_error", "overload"):
        metrics.count_request(outcome, "v1", 0.02)
    assert values(registry, "modelramp_request_seconds_count") == {(): 3}
    buckets = values(registry, "modelramp_request_seconds_bucket")
    assert buckets["0.015",] == 0
    assert buckets["0.02",] == 3


def test_without_a_profile_classes_are_counted_but_not_without_end() -> None:
    registry = CollectorRegistry()
    metrics = ServerMetrics(registry, None, ())
    metrics.count_rows([[1.0]])
    metrics.count_predictions([1, 1.0, "cat", 0.5])
    assert values(registry, "modelramp_reference_profile") == {(): 0}
    assert values(registry, "modelramp_predictions_total") == {
        ("1",): 2,
        ("cat",): 1,
        ("other",): 1,
    }
    metrics.count_predictions([f"class {number}" for number in range(1000)])
    counted = values(registry, "modelramp_predictions_total")
    assert len(counted) == MAX_UNPROFILED_CLASSES
    assert sum(counted.values()) == 1004


@pytest.mark.parametrize("profile", [PROFILE, None])
def test_predictions_of_several_values_are_not_counted(profile: ReferenceProfile | None) -> None:
    registry = CollectorRegistry()
    ServerMetrics(registry, profile, ()).count_predictions([[0.1, 0.9], {"a": 1}, 1])
    counted = values(registry, "modelramp_predictions_total")
    assert {key: count for key, count in counted.items() if count} == {("1",): 1}
