# pyright: basic
from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from prometheus_api_client.prometheus_connect import PrometheusConnect

from models.errors import MetricsError
from models.runtime import Runtime
from models.stack import parse_stack
from rollout.collect import Series, collect, counts, effective_weights, total
from rollout.prometheus import Prometheus
from tests.stacks import LOCAL

NAN = float("nan")
FIRST_MOVE = datetime(2026, 11, 23, 8, tzinfo=UTC)


def key(name: str) -> tuple[tuple[str, str], ...]:
    return (("code", name),)


def test_counts_are_whole_and_survive_a_reset():
    assert counts(np.array([5.0, 8.0, 8.0, 2.0, 3.0])).tolist() == [3, 0, 2, 1]


def test_a_series_that_begins_late_counts_from_zero_where_the_scrape_worked():
    series = {key("2"): np.array([10.0, 20, 30]), key("5"): np.array([NAN, NAN, 4])}
    assert total(series, 2).tolist() == [10, 14]


def test_a_missing_scrape_is_unknown_not_zero():
    got = total({key("2"): np.array([10.0, NAN, 30, 40])}, 3)
    assert np.isnan(got[:2]).all()
    assert got[2] == 10
    assert np.isnan(total({}, 3)).all()


def test_the_first_failures_count_though_their_series_begins_with_them():
    errors = {key("5"): np.array([NAN, NAN, 18.0, 20, 25])}
    routed = {key(""): np.array([0.0, 40, 80, 120, 160])}
    assert total(errors, 4, beside=routed).tolist() == [0, 18, 2, 5]
    assert total({}, 4, beside=routed).tolist() == [0, 0, 0, 0]


def test_weights_count_only_once_they_have_settled():
    recorded = np.array([NAN, 5, 5, 5, 5, 5, 25, 25, 25, 25])
    got = effective_weights(recorded, settle_seconds=10, step_seconds=10)
    # Unknown, then one interval to settle; the interval of the change, one before and one after.
    np.testing.assert_array_equal(got, [NAN, NAN, 5, 5, NAN, NAN, NAN, 25, 25])


class Recorded:
    """Answers as a Prometheus that scraped two healthy arms would."""

    def __init__(self) -> None:
        self.queries: list[str] = []

    def samples(self, query: str, start: datetime, end: datetime, step_seconds: float) -> Series:
        self.queries.append(query)
        edges = round((end - start).total_seconds() / step_seconds) + 1
        growth = np.arange(edges, dtype=float)
        if query.startswith("modelramp:declared_percent"):
            return {key(""): np.where(np.arange(edges) < 60, 1.0, 5.0)}
        if 'code_class="5"' in query:
            return {}
        if "predictions" in query:
            return {(("bucket", name),): growth * n for name, n in (("yes", 2), ("no", 8))}
        candidate = np.where(np.arange(edges - 1) < 60, 10, 50)
        each = 1000 - candidate if "1-4-0" in query or '"1.4.0"' in query else candidate
        slow = 1 if "_bucket" in query and "1-4-0" in query else 0
        return {key("2"): np.concatenate([[0.0], np.cumsum(each - slow)])}


def test_a_runtime_without_our_server_tells_no_labels_and_no_distributions():
    metrics = Recorded()
    service = parse_stack(LOCAL, "x").services["fraud"]
    runtime = Runtime.model_validate({"kind": "sklearn"})
    service = service.model_copy(update={"runtime": runtime})
    seen = collect({"fraud": service}, "models", metrics, FIRST_MOVE + timedelta(hours=2))["fraud"]
    assert not any("modelramp_" in query for query in metrics.queries)
    for arm in (seen.stable, seen.candidate):
        assert np.isnan(arm.metrics["accuracy"].total).all()
        assert not arm.categories
        assert not arm.reference
        assert not np.isnan(arm.metrics["errorRate"].total).any()


def test_both_arms_are_read_on_one_grid_from_the_first_move():
    metrics = Recorded()
    service = parse_stack(LOCAL, "x").services["fraud"]
    now = FIRST_MOVE + timedelta(hours=2)
    seen = collect({"fraud": service}, "models", metrics, now)["fraud"]
    assert seen.start == FIRST_MOVE
    assert len(seen.weights) == 120
    assert seen.declared_now == 5
    assert seen.stable.metrics["errorRate"].total.tolist() == [990] * 60 + [950] * 60
    assert seen.candidate.metrics["errorRate"].bad.tolist() == [0] * 120
    assert seen.stable.metrics["latency"].bad.tolist() == [1] * 120
    assert seen.candidate.categories["predictions"].counts.tolist() == [[8, 2]] * 120
    assert seen.present_step().sum() == 59
    assert any("service/models/fraud-v1-5-0-predictor/80/http" in it for it in metrics.queries)
    assert any('le=~"250([.]0)?"' in query for query in metrics.queries)


def test_weights_recorded_twice_are_refused():
    class Twice(Recorded):
        def samples(self, query, start, end, step_seconds):
            series = super().samples(query, start, end, step_seconds)
            if query.startswith("modelramp:declared_percent"):
                return {**series, key("other"): next(iter(series.values()))}
            return series

    service = parse_stack(LOCAL, "x").services["fraud"]
    with pytest.raises(MetricsError, match="recorded twice"):
        collect("fraud", service, "models", Twice(), FIRST_MOVE + timedelta(hours=2))


def test_a_long_range_is_asked_for_in_parts(monkeypatch):
    asked = []

    def answer(self, query, start_time, end_time, step):
        asked.append((start_time, end_time))
        at = [start_time.timestamp(), end_time.timestamp()]
        return [{"metric": {}, "values": [[time, str(time)] for time in at]}]

    monkeypatch.setattr(PrometheusConnect, "custom_query_range", answer)
    end = FIRST_MOVE + timedelta(seconds=15_000)
    (values,) = Prometheus("http://127.0.0.1:9").samples("up", FIRST_MOVE, end, 1).values()
    assert len(asked) == 2
    known = np.flatnonzero(~np.isnan(values))
    assert known.tolist() == [0, 9_999, 10_000, 15_000]
    assert values[known[2]] == FIRST_MOVE.timestamp() + 10_000


def test_no_prometheus_is_a_metrics_error():
    with pytest.raises(MetricsError, match="did not answer"):
        Prometheus("http://127.0.0.1:9").samples("up", FIRST_MOVE, FIRST_MOVE, 1)
