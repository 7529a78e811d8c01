from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.biopsy.traffic import Answer, Tally, due_seconds, picks, quantile


def test_requests_are_due_evenly_and_without_drift() -> None:
    due = list(islice(due_seconds(200.0), 2001))
    assert due[:3] == [0.0, 0.005, 0.01]
    assert due[-1] == 10.0


def test_the_same_seed_sends_the_same_rows() -> None:
    one, same, other = (list(islice(picks(50, seed), 1000)) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert set(one) == set(range(50))


@given(st.lists(st.floats(0, 10), min_size=1), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_leaves_no_more_than_its_share_above(values: list[float], share: float) -> None:
    found = quantile(sorted(values), share)
    assert found in values
    assert sum(value > found for value in values) <= (1 - share) * len(values) + 1e-9
    assert sum(value < found for value in values) < share * len(values)


def test_a_line_counts_by_version_and_gateway_failures_apart() -> None:
    tally = Tally(
        sent=6,
        answers=[
            Answer("1.0.0", 200, 0.01),
            Answer("1.0.0", 400, 0.02),
            Answer("2.0.0", 500, 0.03),
            Answer("2.0.0", 504, 0.04),
            Answer("", 503, 0.001),
            Answer("", 0, 10.0),
        ],
        labels=1,
    )
    line = tally.line(datetime(2026, 11, 23, tzinfo=UTC), summary=True)
    assert line == {
        "time": "2026-11-23T00:00:00.000+00:00",
        "sent": 6,
        "gateway_failures": 2,
        "gateway_statuses": {"503": 1, "0": 1},
        "labels": 1,
        "labels_failed": 0,
        "versions": {
            "1.0.0": {
                "ok": 1,
                "client_error": 1,
                "http_error": 0,
                "p50_ms": 10.0,
                "p95_ms": 20.0,
                "p99_ms": 20.0,
            },
            "2.0.0": {
                "ok": 0,
                "client_error": 0,
                "http_error": 2,
                "p50_ms": 30.0,
                "p95_ms": 40.0,
                "p99_ms": 40.0,
            },
        },
        "summary": True,
    }


def test_an_empty_second_is_a_line_too() -> None:
    assert Tally().line(datetime(2026, 11, 23, tzinfo=UTC))["versions"] == pytest.approx({})
