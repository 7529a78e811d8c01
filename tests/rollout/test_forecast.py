# pyright: basic
from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from models.stack import parse_stack
from rollout.forecast import Traffic, read_traffic, rollout_seconds
from rollout.judge.needed import requests_to_rule_out
from tests.stacks import LOCAL

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SERVICE = parse_stack(LOCAL, "x").services["fraud"]
TRAFFIC = Traffic(
    100.0,
    {"errorRate": 0.001, "latency": 0.001, "accuracy": 0.05},
    {"errorRate": 1.0, "latency": 1.0, "accuracy": 0.1},
)


def test_a_step_takes_its_bake_or_as_long_as_its_requests_take():
    # Steps 1, 5, 25, 100; bake 10 min, settle 1 min, 100 requests; the last asks for the margins.
    labels = requests_to_rule_out((0.05, 0.05), 0.01, 0.25, 0.05)
    assert labels is not None
    last = max(600.0, labels / 0.1 / 25)
    assert last > 600
    assert rollout_seconds(SERVICE, TRAFFIC) == pytest.approx(660 + 660 + last + 60)


def test_slow_traffic_takes_longer():
    slow = replace(TRAFFIC, requests_per_second=1.0)
    labels = requests_to_rule_out((0.05, 0.05), 0.01, 0.25, 0.05)
    assert labels is not None
    expected = (100 / 0.01 + 60) + (100 / 0.05 + 60) + (labels / 0.1 / 0.25 + 60)
    assert rollout_seconds(SERVICE, slow) == pytest.approx(expected)


def test_without_labels_a_margin_of_accuracy_is_never_ruled_out():
    rates = {it: rate for it, rate in TRAFFIC.rates.items() if it != "accuracy"}
    assert rollout_seconds(SERVICE, replace(TRAFFIC, rates=rates)) is None


CLUSTER = "service/models/fraud-v1-4-0-predictor/80/http"


class Counters:
    """For the last quarter of an hour nine good answers a second, and one bad one."""

    def samples(self, query: str, start: datetime, end: datetime, step_seconds: float):
        edges = np.arange(round((end - start).total_seconds() / step_seconds) + 1) * step_seconds
        running = np.where(edges >= edges[-1] - 900, edges - edges[-1] + 900, np.nan)
        if not query.startswith("envoy_cluster_upstream_rq_xx") or "mirror/" in query:
            return {}
        rates = {"5": 1.0} if "envoy_response_code_class" in query else {"2": 9.0, "5": 1.0}
        return {
            (("envoy_cluster_name", CLUSTER), ("envoy_response_code_class", code)): running * rate
            for code, rate in rates.items()
        }


def test_traffic_is_that_of_the_time_that_was_counted():
    traffic = read_traffic(Counters(), "fraud", SERVICE, "models", NOW)
    assert traffic == Traffic(10.0, {"errorRate": 0.1}, {"errorRate": 1.0})


def test_nothing_is_known_of_a_service_without_traffic():
    class Nothing:
        def samples(self, query: str, start: datetime, end: datetime, step_seconds: float):
            return {}

    assert read_traffic(Nothing(), "fraud", SERVICE, "models", NOW) is None
