"""Cases in which users of other tools reported a wrong verdict, given to the judge.

Where the numbers prove harm it reverts; where they are too few it holds. None of them passes.
"""

# pyright: basic
from __future__ import annotations

import json
from pathlib import Path

import pytest

from rollout.case import load_case, observations_of, terms_of
from rollout.judge import Verdict, judge

SPARSE = [0, 1, 0, 0, 0, 4, 0, 0, 0, 0, 2, 0, 0, 0, 0, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0]
REQUESTS = 100


def decide(tmp_path: Path, arms: dict[str, dict], intervals: int, **rollout: object) -> Verdict:
    case = {
        "rollout": {
            "strategy": {"kind": "canary", "steps": [50, 100], "bake": "1m"},
            "minRequests": 1,
            "settle": "1s",
            "moves": [{"percent": 50, "at": "2026-11-23T08:00:00Z"}],
            **rollout,
        },
        "intervalSeconds": 60,
        "weights": [50] * intervals,
        **arms,
    }
    path = tmp_path / "case.json"
    path.write_text(json.dumps(case))
    read = load_case(path)
    return judge(terms_of(read), observations_of(read), read.end)


def errors(counts: list[int]) -> dict:
    return {"errors": counts, "requests": [REQUESTS] * len(counts)}


def gauge(values: list[float]) -> dict:
    return {"sum": values, "sumSquares": [v * v for v in values], "count": [1] * len(values)}


@pytest.mark.parametrize(
    ("canary", "kind"),
    [
        pytest.param([0, 1, 2, 1, 0, 0], "hold", id="kayenta#426: 4 errors against none"),
        pytest.param([1, 4, 2, 3, 1], "revert", id="kayenta#799: its test"),
        pytest.param(SPARSE, "revert", id="kayenta#799: errors in 5 of 25 slots"),
        pytest.param([0, 5, 0, 18, 9, 0, 10, 4, 0, 0], "revert", id="spinnaker#5622: 0 before"),
    ],
)
def test_sparse_errors_against_none_do_not_pass(tmp_path, canary, kind):
    baseline = errors([0] * len(canary))
    # A merged label would show the same requests in both; one more makes them two versions.
    baseline["requests"] = [REQUESTS + 1, *baseline["requests"][1:]]
    arms = {"stable": baseline, "candidate": errors(canary)}
    # Kayenta knows no margin.
    verdict = decide(tmp_path, arms, len(canary), margin={"errorRate": 0})
    assert verdict.kind == kind


@pytest.mark.parametrize(("alpha", "kind"), [(0.05, "revert"), (0.01, "hold")])
def test_a_gauge_that_jumps_in_most_intervals_does_not_pass(tmp_path, alpha, kind):
    """kayenta#780: 100 seven times of ten, where the baseline is always 1; Kayenta passed it."""
    arms = {
        "stable": {"values": gauge([1.0] * 10)},
        "candidate": {"values": gauge([100.0] * 7 + [1.0] * 3)},
    }
    verdict = decide(
        tmp_path, arms, 10, alpha=alpha, values={"direction": "increase", "margin": 0.0}
    )
    assert verdict.kind == kind


def test_one_transient_error_on_little_traffic_reverts_nothing(tmp_path):
    """kortix-ai/suna PR 3403: one 5xx among a few requests is a huge percentage."""
    arms = {
        "stable": {"errors": [0] * 6, "requests": [9, 11, 10, 12, 8, 9]},
        "candidate": {"errors": [0, 0, 1, 0, 0, 0], "requests": [10, 9, 8, 12, 11, 10]},
    }
    assert decide(tmp_path, arms, 6).kind == "hold"


def test_a_blip_in_one_interval_reverts_nothing(tmp_path):
    """argo-rollouts#4792: one bad measurement aborted a good rollout."""
    arms = {
        "stable": {"errors": [10] * 12, "requests": [1000] * 12},
        "candidate": {"errors": [10] * 5 + [60] + [10] * 6, "requests": [1001] * 12},
    }
    assert decide(tmp_path, arms, 12).kind == "hold"


def test_a_shared_outage_takes_no_good_candidate_back(tmp_path):
    """A dependency fails for both: thresholds revert a good candidate, a comparison does not."""
    arms = {
        "stable": {"errors": [10] * 9 + [600] * 3, "requests": [2000] * 12},
        "candidate": {"errors": [5] * 9 + [310] * 3, "requests": [1001] * 12},
    }
    verdict = decide(tmp_path, arms, 12, slo={"errorRate": 0.01})
    assert verdict.kind == "hold"


def test_traffic_that_stops_advances_nothing(tmp_path):
    """flagger#1011: traffic stopped half way and the rollout went on."""
    arms = {
        "stable": errors([1] * 6 + [0] * 6) | {"requests": [500] * 6 + [0] * 6},
        "candidate": errors([1] * 6 + [0] * 6) | {"requests": [501] * 6 + [0] * 6},
    }
    assert decide(tmp_path, arms, 12, minRequests=5000).kind == "hold"
