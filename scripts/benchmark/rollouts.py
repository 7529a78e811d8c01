"""Whole rollouts: three metrics, steps up to 100%, margin evidence at the last comparative step."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from rollout.judge.e_process import margin_evidence
from rollout.judge.series import Counts, Floats
from rollout.peers.reaction import first_interval
from rollout.simulate import Scenario, Streams, simulate
from scripts.benchmark.cells import CHUNK_VALUES, SEED, SLO_SHARE, STEPS
from scripts.benchmark.judges import SHARE, Setting, harm_reverted_at

BETA = 0.05
BAKE_INTERVALS = 10
LABELLED = 0.1
"""The share of requests whose true answer becomes known."""

SETTING = Setting(SHARE, margin=True, dispersion=True, late=True)


@dataclass(frozen=True)
class Metric:
    """One of the metrics of a rollout.

    Attributes:
        rate: stable's share of bad answers.
        margin: by how much the candidate may be worse.
        counted: the share of requests that count.
    """

    rate: float
    margin: float
    counted: float = 1.0


METRICS = {
    "errors": Metric(0.01, 0.002),
    "latency": Metric(0.01, 0.002),
    "accuracy": Metric(0.2, 0.02, counted=LABELLED),
}


@dataclass(frozen=True)
class Plan:
    """Whole rollouts with one kind of candidate.

    Attributes:
        requests: of both arms together, per interval.
        bake_intervals: of each step.
        horizon: intervals after which it is given up.
        worse: name of the metric in which the candidate is worse; empty if healthy.
        margins: by how many margins it is worse.
    """

    requests: int
    bake_intervals: int
    horizon: int
    worse: str = ""
    margins: float = 0.0

    @property
    def beyond(self) -> bool:
        """Whether the candidate is worse by at least the margin, so that it should not pass."""
        return self.margins >= 1


@dataclass(frozen=True)
class Outcome:
    """How whole rollouts ended; those neither passed nor reverted were still held.

    Attributes:
        plan: what was tried.
        rollouts: how many.
        passed: how many reached 100%.
        reverted: how many were reverted.
        median: intervals to 100%, over all; None where less than half got there.
    """

    plan: Plan
    rollouts: int
    passed: int
    reverted: int
    median: float | None


def plans() -> list[Plan]:
    """Returns what is tried."""
    candidates = (
        ("", 0.0),
        ("errors", 0.5),
        ("errors", 1.0),
        ("errors", 1.5),
        ("errors", 2.0),
        ("accuracy", 1.0),
        ("accuracy", 1.5),
    )
    return [
        Plan(requests, BAKE_INTERVALS, horizon, worse, margins)
        for requests, horizon in ((500, 480), (5000, 240))
        for worse, margins in candidates
    ]


def run_plan(work: tuple[Plan, int]) -> Outcome:
    """Draws and judges whole rollouts."""
    plan, rollouts = work
    size = CHUNK_VALUES // plan.horizon
    chunks = [
        _run_chunk(plan, min(size, rollouts - done), done) for done in range(0, rollouts, size)
    ]
    passed_at, reverted_at = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    passed = passed_at < reverted_at
    median = float(np.median(np.where(passed, passed_at + 1, np.inf)))
    return Outcome(
        plan=plan,
        rollouts=rollouts,
        passed=int(passed.sum()),
        reverted=int((np.isfinite(reverted_at) & ~passed).sum()),
        median=median if np.isfinite(median) else None,
    )


def _run_chunk(plan: Plan, rollouts: int, chunk: int) -> tuple[Floats, Floats]:
    """Returns when each rollout would pass and when it would be reverted."""
    reverted_at = np.full(rollouts, np.inf)
    ruled_out_at = np.zeros(rollouts)
    last = plan.bake_intervals * (len(STEPS) - 1)
    for name, metric in METRICS.items():
        streams = _streams(plan, name, rollouts, chunk)
        stable, candidate, guess = streams.stable, streams.candidate, SLO_SHARE * metric.rate
        harm = harm_reverted_at(stable, candidate, metric.margin, guess, SETTING)
        reverted_at = np.minimum(reverted_at, harm)
        evidence = margin_evidence(
            _since(stable, last), _since(candidate, last), metric.margin, guess
        )
        ruled_out_at = np.maximum(ruled_out_at, last + first_interval(evidence >= -np.log(BETA)))
    return np.maximum(ruled_out_at, last + plan.bake_intervals - 1), reverted_at


def _streams(plan: Plan, name: str, rollouts: int, chunk: int) -> Streams:
    metric = METRICS[name]
    worse = plan.margins * metric.margin if name == plan.worse else 0.0
    scenario = Scenario(
        rate=metric.rate,
        requests=round(plan.requests * metric.counted),
        looks=plan.horizon,
        percents=STEPS,
        bake_intervals=plan.bake_intervals,
        harm=1 + worse / metric.rate,
    )
    seed = (SEED, zlib.crc32(f"{plan}, {name}".encode()), chunk)
    return simulate(scenario, rollouts, seed, harmful=True)


def _since(counts: Counts, begin: int) -> Counts:
    """Keeps the intervals of the last comparative step."""
    return Counts(counts.bad[:, begin:], counts.total[:, begin:])
