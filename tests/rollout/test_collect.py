# pyright: basic
from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from prometheus_api_client.prometheus_connect import PrometheusConnect

from models.errors import MetricsError
from models.runtime import Runtime
from models.service import Service
from models.stack import parse_stack
from models.strategy import BlueGreen
from rollout.collect import Series, collect, counts, effective_weights, total
from rollout.judge import Observations
from rollout.prometheus import Prometheus
from tests.stacks import LOCAL

NAN = float("nan")
FIRST_MOVE = datetime(2026, 11, 23, 8, tzinfo=UTC)


def labels(**values: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(values.items()))


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

    candidate_errors = 0
    """An interval."""

    def __init__(self) -> None:
        self.queries: list[str] = []

    def samples(self, query: str, start: datetime, end: datetime, step_seconds: float) -> Series:
        self.queries.append(query)
        edges = round((end - start).total_seconds() / step_seconds) + 1
        at = np.arange(edges)
        growth = at.astype(float)
        percent = np.where(at < 60, 1.0, 5.0)
        if query.startswith("modelramp:declared_percent"):
            each = {"1.4.0": 100 - percent, "1.5.0": percent}
            return {
                labels(service="fraud", version=it, namespace="models"): row
                for it, row in each.items()
            }
        if query.startswith("kube_") or "mirror" in query:
            return {}
        candidate = np.where(at[:-1] < 60, 10, 50)
        answers: dict[tuple[tuple[str, str], ...], np.ndarray] = {}
        for version, each in (("1.4.0", 1000 - candidate), ("1.5.0", candidate)):
            name = f"fraud-v{version.replace('.', '-')}-predictor"
            envoy = {"envoy_cluster_name": f"service/models/{name}/80/http"}
            ours = {"model_service": "fraud", "model_version": version, "namespace": "models"}
            if 'code_class="5"' in query:
                if version == "1.5.0" and self.candidate_errors:
                    answers[labels(**envoy)] = growth * self.candidate_errors
            elif "predictions" in query:
                answers[labels(**ours, bucket="yes")] = growth * 2
                answers[labels(**ours, bucket="no")] = growth * 8
            else:
                mine = {**(ours if query.startswith("modelramp_") else envoy)}
                if "_bucket" in query:
                    mine["le"] = "250.0"
                slow = 1 if "_bucket" in query and version == "1.4.0" else 0
                answers[labels(**mine)] = np.concatenate([[0.0], np.cumsum(each - slow)])
        return answers


def collected(metrics, service: Service, at: datetime) -> Observations:
    seen = collect({"fraud": service}, "models", metrics, at)["fraud"]
    assert isinstance(seen, Observations)
    return seen


def test_a_runtime_without_our_server_tells_no_labels_and_no_distributions():
    metrics = Recorded()
    service = parse_stack(LOCAL, "x").services["fraud"]
    runtime = Runtime.model_validate({"kind": "sklearn"})
    service = service.model_copy(update={"runtime": runtime})
    seen = collected(metrics, service, FIRST_MOVE + timedelta(hours=2))
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
    seen = collected(metrics, service, now)
    assert seen.start == FIRST_MOVE
    assert len(seen.weights) == 120
    assert seen.declared_now == 5
    assert seen.stable.metrics["errorRate"].total.tolist() == [990] * 60 + [950] * 60
    assert seen.candidate.metrics["errorRate"].bad.tolist() == [0] * 120
    assert seen.stable.metrics["latency"].bad.tolist() == [1] * 120
    assert seen.candidate.categories["predictions"].counts.tolist() == [[8, 2]] * 120
    assert seen.present_step().sum() == 59
    assert len(metrics.queries) == 14
    assert seen.budget_share == 0.8


def test_weights_recorded_twice_are_refused():
    class Twice(Recorded):
        def samples(self, query, start, end, step_seconds):
            series = super().samples(query, start, end, step_seconds)
            if query.startswith("modelramp:declared_percent"):
                twice = {(*labels, ("pod", "x")): row for labels, row in series.items()}
                return {**series, **twice}
            return series

    service = parse_stack(LOCAL, "x").services["fraud"]
    seen = collect({"fraud": service}, "models", Twice(), FIRST_MOVE + timedelta(hours=2))
    assert isinstance(seen["fraud"], MetricsError)
    assert "of fraud 1.5.0 is recorded twice" in str(seen["fraud"])


def test_a_long_range_is_asked_for_in_parts(monkeypatch):
    asked = []

    def answer(self, query, start_time, end_time, step, params):
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


def test_the_number_of_queries_does_not_depend_on_the_number_of_services():
    service = parse_stack(LOCAL, "x").services["fraud"]
    names = [f"fraud-{at}" for at in range(20)]
    metrics = Recorded()
    found = collect(
        {"fraud": service, **dict.fromkeys(names, service)},
        "models",
        metrics,
        FIRST_MOVE + timedelta(hours=2),
    )
    assert len(metrics.queries) == 14
    assert len(found) == 21
    other = found["fraud-7"]
    assert isinstance(other, Observations)
    assert np.isnan(other.weights).all()
    assert np.isnan(other.candidate.routed).all()


def test_services_of_other_ages_get_their_own_part_of_one_answer():
    older = parse_stack(LOCAL, "x").services["fraud"]
    assert older.rollout is not None
    (first, second) = older.rollout.moves
    moves = (first.model_copy(update={"at": FIRST_MOVE - timedelta(hours=3)}), second)
    rollout = older.rollout.model_copy(update={"moves": moves})
    services = {"fraud": older, "churn": older.model_copy(update={"rollout": rollout})}
    found = collect(services, "models", Recorded(), FIRST_MOVE + timedelta(hours=2))
    fraud, churn = found["fraud"], found["churn"]
    assert isinstance(fraud, Observations)
    assert isinstance(churn, Observations)
    assert (len(fraud.weights), len(churn.weights)) == (120, 300)
    # The answer began three hours earlier: its edges 180 to 300 are fraud's own.
    assert fraud.candidate.routed.tolist() == [50] * 120


def shadowed(percent: int) -> Service:
    service = parse_stack(LOCAL, "x").services["fraud"]
    assert service.rollout is not None
    moves = tuple(it.model_copy(update={"percent": percent}) for it in service.rollout.moves)
    strategy = BlueGreen.model_validate({"kind": "blue-green", "mirror": 25})
    rollout = service.rollout.model_copy(update={"moves": moves})
    return service.model_copy(update={"rollout": rollout, "strategy": strategy})


class Mirrored(Recorded):
    """A candidate at 0% that gets copies of a quarter of stable's 1,000 requests an interval."""

    def samples(self, query, start, end, step_seconds):
        series = super().samples(query, start, end, step_seconds)
        growth = np.arange(round((end - start).total_seconds() / step_seconds) + 1.0)
        if query.startswith("modelramp:declared_percent"):
            return {key: row * 0 for key, row in series.items()}
        if "mirror" in query:
            copies = {"envoy_cluster_name": "httproute/models/fraud/rule/2-mirror-0"}
            if 'code_class="5"' in query:
                return {labels(**copies): growth * 3}
            edge = {"le": "250.0"} if "_bucket" in query else {}
            return {labels(**copies, **edge): growth * (240 if edge else 250)}
        return series


def test_copies_are_the_requests_of_a_candidate_at_0():
    metrics = Mirrored()
    seen = collected(metrics, shadowed(0), FIRST_MOVE + timedelta(hours=2))
    assert len(metrics.queries) == 19
    assert np.isnan(seen.weights[:1]).all()
    assert set(seen.weights[1:]) == {20.0}
    assert seen.declared_now == 20
    assert set(seen.candidate.routed[1:]) == {250}
    errors, latency = seen.candidate.metrics["errorRate"], seen.candidate.metrics["latency"]
    assert (set(errors.bad[1:]), set(errors.total[1:])) == ({3}, {250})
    assert (set(latency.bad[1:]), set(latency.total[1:])) == ({10}, {250})
    assert seen.stable.metrics["errorRate"].bad.sum() == 0
    assert seen.present_step().sum() == 119


def test_a_candidate_with_traffic_of_its_own_is_not_counted_by_copies():
    seen = collected(Recorded(), shadowed(5), FIRST_MOVE + timedelta(hours=2))
    assert seen.declared_now == 5
    assert set(seen.candidate.routed) == {10, 50}


def test_kubernetes_says_whether_a_version_is_ready_where_the_gateway_is_silent():
    class Unrouted(Recorded):
        def samples(self, query, start, end, step_seconds):
            edges = round((end - start).total_seconds() / step_seconds) + 1
            at = np.arange(edges)
            if query.startswith("kube_deployment"):
                name = {"namespace": "models", "deployment": "fraud-v1-5-0-predictor"}
                return {labels(**name): np.where(at < 30, 0.0, 1.0)}
            if "membership_healthy" in query:
                name = {"envoy_cluster_name": "service/models/fraud-v1-5-0-predictor/80/http"}
                return {labels(**name): np.where(at < 60, NAN, 0.0)}
            return super().samples(query, start, end, step_seconds)

    service = parse_stack(LOCAL, "x").services["fraud"]
    seen = collected(Unrouted(), service, FIRST_MOVE + timedelta(hours=2))
    assert seen.stable.ready is None
    assert seen.candidate.ready is not None
    assert seen.candidate.ready.tolist() == [0] * 29 + [1] * 30 + [0] * 61


@pytest.mark.parametrize(
    ("stable_answers", "expected"), [(1.0, [0] * 30 + [1] * 90), (0.0, [NAN] * 120)]
)
def test_a_server_that_does_not_answer_prometheus_is_not_ready_where_stable_s_does(
    stable_answers: float, expected: list[float]
):
    class Scraped(Recorded):
        def samples(self, query, start, end, step_seconds):
            if "membership_healthy" in query:
                return {}
            if not query.startswith("up{"):
                return super().samples(query, start, end, step_seconds)
            at = np.arange(round((end - start).total_seconds() / step_seconds) + 1)
            pod = {"namespace": "models", "model_service": "fraud"}
            return {
                labels(**pod, model_version="1.4.0"): np.full(len(at), stable_answers),
                labels(**pod, model_version="1.5.0"): np.where(at <= 30, 0.0, 1.0),
            }

    service = parse_stack(LOCAL, "x").services["fraud"]
    seen = collected(Scraped(), service, FIRST_MOVE + timedelta(hours=2))
    np.testing.assert_array_equal(seen.candidate.ready, expected)
    assert seen.stable.ready is None
