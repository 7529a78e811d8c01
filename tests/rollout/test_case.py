# pyright: basic
from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from models.errors import ConfigError
from rollout import history
from rollout.case import load_case, observations_of, schema, terms_of
from rollout.judge import Verdict, judge

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/judge/canary.json"


@pytest.fixture
def raw() -> dict:
    return json.loads(EXAMPLE.read_text())


def written(tmp_path: Path, raw: dict) -> Path:
    path = tmp_path / "case.json"
    path.write_text(json.dumps(raw))
    return path


def decide(path: Path) -> Verdict:
    case = load_case(path)
    return judge(terms_of(case), observations_of(case), case.end)


def problems(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_case(path)
    return [str(problem) for problem in caught.value.problems]


def test_the_example_is_reverted_with_its_numbers():
    verdict = decide(EXAMPLE)
    assert verdict.kind == "revert"
    assert "candidate fails 4.61% of requests" in verdict.reason
    errors = verdict.metrics[0]
    # Two settle intervals, a missing one, and the interval of the second move do not count.
    assert errors.stable.total == sum([948, 951, 947, 955, 748, 751, 743, 756, 749])
    assert errors.alpha == pytest.approx(0.01 * 0.8 / 2)


def test_the_answer_has_the_documented_keys():
    answer = history.as_json(decide(EXAMPLE))
    assert {"verdict", "reason", "metrics", "split", "needed"} <= set(answer)
    names = {"name", "stable", "candidate", "difference", "lower", "upper", "eValue", "alpha"}
    assert names | {"harmful"} <= set(answer["metrics"][0])
    json.dumps(answer, allow_nan=False)


def test_weights_follow_from_moves_and_settle_time(raw, tmp_path):
    weights = observations_of(load_case(written(tmp_path, raw))).weights
    expected = [np.nan, 5, 5, 5, 5, np.nan, 25, 25, 25, 25, 25, 25]
    np.testing.assert_array_equal(weights, expected)
    raw["weights"] = [5] * 5 + [None] + [25] * 6
    given = observations_of(load_case(written(tmp_path, raw))).weights
    assert given[0] == 5
    assert np.isnan(given[5])


def test_edges_in_seconds_are_those_of_the_threshold(raw, tmp_path):
    for arm in ("stable", "candidate"):
        raw[arm]["latency"]["le"] = [0.1, 0.25, "+Inf"]
    in_seconds = decide(written(tmp_path, raw))
    assert in_seconds.metrics == decide(EXAMPLE).metrics
    assert in_seconds.quantiles[0].upper_ms is None or in_seconds.quantiles[0].upper_ms >= 100


def test_without_an_infinite_edge_the_rest_is_taken_from_requests(raw, tmp_path):
    for arm in ("stable", "candidate"):
        latency = raw[arm]["latency"]
        latency["le"] = latency["le"][:-1]
        latency["counts"] = [row and row[:-1] for row in latency["counts"]]
    assert decide(written(tmp_path, raw)).metrics == decide(EXAMPLE).metrics


@pytest.mark.parametrize(("series", "kind"), [("errors", "advance"), ("latency", "revert")])
def test_any_series_may_be_left_out(raw, tmp_path, series, kind):
    for arm in ("stable", "candidate"):
        del raw[arm][series]
    verdict = decide(written(tmp_path, raw))
    assert verdict.kind == kind
    assert len(verdict.metrics) == 1


def test_a_quantity_and_a_histogram_are_held_to_what_stands_under_their_names(raw, tmp_path):
    rng = np.random.default_rng(1)
    raw["rollout"] |= {
        "margin": {"errorRate": 0.2},
        "slo": {},
        "values": {"direction": "decrease", "margin": 0.5},
        "age": {"margin": 0.3},
    }
    for arm, mean, shares in (("stable", 10, [0.5, 0.5]), ("candidate", 8, [0.9, 0.1])):
        values = [rng.normal(mean, 2, 200) for _ in range(12)]
        raw[arm] = {
            "requests": raw[arm]["requests"],
            "values": {
                "sum": [float(it.sum()) for it in values],
                "sumSquares": [float((it**2).sum()) for it in values],
                "count": [200] * 12,
            },
            "histograms": {
                "age": {
                    "edges": ["young", "old"],
                    "counts": [[int(200 * share) for share in shares]] * 12,
                }
            },
        }
    verdict = decide(written(tmp_path, raw))
    assert verdict.kind == "revert"
    assert "has a mean of 8" in verdict.reason
    (drift,) = verdict.drift
    assert (drift.name, drift.tolerance, drift.drifted) == ("age", 0.3, True)
    assert drift.distance == pytest.approx(0.4)


def test_a_reference_raises_an_alert_only(raw, tmp_path):
    for arm in ("stable", "candidate"):
        raw[arm]["errors"] = [None if it is None else it // 100 for it in raw[arm]["requests"]]
        raw[arm]["histograms"] = {"age": {"edges": ["a", "b"], "counts": [[150, 50]] * 12}}
    raw["reference"] = {"histograms": {"age": {"edges": ["a", "b"], "counts": [1, 1]}}}
    verdict = decide(written(tmp_path, raw))
    assert any("train again" in alert for alert in verdict.alerts)
    assert verdict.kind == "advance"


def test_every_problem_is_named_with_its_key_at_once(raw, tmp_path):
    wrong = copy.deepcopy(raw)
    wrong["stable"]["errors"][3] = "many"
    wrong["rollout"]["alpha"] = 2
    wrong["candidate"]["bogus"] = 1
    del wrong["rollout"]["moves"]
    found = problems(written(tmp_path, wrong))
    for key in ("stable.errors.3", "rollout.alpha", "candidate.bogus", "rollout.moves"):
        assert any(f"case.json: {key}:" in it for it in found)


def test_what_does_not_fit_together_is_named_too(raw, tmp_path):
    raw["stable"]["errors"].pop()
    raw["rollout"]["speed"] = {"margin": 1}
    raw["rollout"]["accuracy"] = {"direction": "increase"}
    raw["rollout"]["slo"]["latency"]["thresholdMs"] = 300
    raw["candidate"]["latency"]["counts"][1] = [1]
    raw["candidate"]["labelled"] = [1] * 12
    raw["weights"] = [120] * 12
    found = "\n".join(problems(written(tmp_path, raw)))
    for said in (
        "stable.errors: 11 intervals, but the longest series has 12",
        "rollout.speed: is neither a key of a rollout nor a metric",
        "rollout.accuracy.direction: can only be decrease",
        "300 must be an edge of stable.latency.le (ms, or s): 100, 250, inf",
        "candidate.latency.counts.1: 1 numbers for 3 edges",
        "candidate: labelled and correct come together",
        "weights: 120 is no percentage",
    ):
        assert said in found


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", '{"rollout": 1}', "\xff"])
def test_no_case_at_all_is_a_clear_error(tmp_path, text):
    path = tmp_path / "case.json"
    path.write_bytes(text.encode("latin-1"))
    assert problems(path)


def test_the_published_schema_is_current_and_its_example_valid():
    published = json.loads((ROOT / "docs/judge-case.schema.json").read_text())
    assert published == schema()


@pytest.mark.parametrize("series", ["requests", "errors"])
def test_missing_everything_is_no_data(raw, tmp_path, series):
    raw["candidate"][series] = [None] * 12
    assert decide(written(tmp_path, raw)).kind == "no-data"


def test_requests_that_hang_are_extreme_harm_at_once(raw, tmp_path):
    """Sent but never answered: no error is counted, and the split looks wrong by its answers."""
    raw["rollout"]["moves"] = raw["rollout"]["moves"][1:]
    raw["candidate"] = {"routed": [250] * 2, "requests": [0] * 2, "errors": [0] * 2}
    raw["stable"] = {"requests": [750] * 2, "errors": [7] * 2}
    raw["weights"] = [25] * 2
    raw |= {"start": "2026-11-23T08:06:00Z", "now": "2026-11-23T08:08:00Z"}
    verdict = decide(written(tmp_path, raw))
    assert verdict.kind == "revert"
    assert "extreme harm" in verdict.reason
