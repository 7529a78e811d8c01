# pyright: basic
from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np

from models.stack import parse_stack
from rollout import report
from rollout.drift_check import drift_check
from rollout.evidence import evidence
from rollout.grid import even_grid
from tests.rollout.test_collect import FIRST_MOVE, Recorded
from tests.rollout.test_drift_check import NOW, Harmful
from tests.stacks import LOCAL

FRAUD = parse_stack(LOCAL, "x").services["fraud"]


def outcome_of(tmp_path: Path):
    file = tmp_path / "Pulumi.local.yaml"
    file.write_text(LOCAL)
    return next(drift_check(file, "local", Harmful(), dry_run=True, clock=lambda: NOW))


def timeline_until(end):
    return report.read_timeline(
        "fraud",
        FRAUD,
        ["1.4.0", "1.5.0"],
        "models",
        Recorded(),
        start=FIRST_MOVE,
        grid=even_grid(FIRST_MOVE, end, 2),
    )


def test_a_timeline_has_shares_of_each_version():
    end = FIRST_MOVE + timedelta(seconds=240)
    timeline = timeline_until(end)
    assert set(timeline.percent) == {"1.4.0", "1.5.0"}
    np.testing.assert_allclose(timeline.shares["latency"]["1.4.0"][0], 1 / 990)
    np.testing.assert_allclose(timeline.predictions["1.5.0"]["yes"], 0.2)


def test_evidence_says_what_a_verdict_stood_on(tmp_path: Path):
    rows = {row["name"]: row for row in evidence(outcome_of(tmp_path))}
    assert rows["errorRate"]["says"] == "harm"
    assert rows["errorRate"]["move"] == "1.5.0: 5% to 0%, revert"
    assert (
        rows["accuracy"]["stable"] == "0 of 115,410 (0.00%)"
    )  # labels count also while a move settles


def test_the_report_escapes_what_it_did_not_write(tmp_path: Path):
    outcome = outcome_of(tmp_path)
    end = FIRST_MOVE + timedelta(seconds=240)
    timeline = timeline_until(end)
    move = {
        "time": "2026-11-23T10:00:00",
        "candidate": "1.5.0",
        "from": 5,
        "to": 0,
        "verdict": "revert",
        "reason": "<script>alert(1)</script>",
    }
    page = report.page(
        "report.html.j2",
        service="fraud",
        versions=["1.4.0", "1.5.0"],
        summary="what happened",
        sent=1000,
        lost=0,
        failed=3,
        alpha=0.01,
        beta=0.05,
        moves=[move],
        evidence=evidence(outcome),
        next=[],
        plot=report.svg(report.figure(timeline, [(NOW, outcome)], FRAUD, FIRST_MOVE)),
    )
    assert "<svg" in page
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
