"""A case as the judge takes it: terms and observations."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np

from models.base import format_duration
from models.judging import Judge
from models.rollout import Move
from models.strategy import Canary
from rollout.case.format import (
    MS_PER_SECOND,
    VALUES,
    ArmCounts,
    Case,
    CaseRollout,
    Histogram,
    LatencyCounts,
    Number,
    Rows,
    Series,
)
from rollout.judge.series import Arm, Buckets, Categories, Counts, Floats, Observations, Values
from rollout.judge.terms import ACCURACY, ERRORS, LATENCY, RateTerms, Terms, ValueTerms


def terms_of(case: Case, moves: tuple[Move, ...] | None = None) -> Terms:
    """Returns what a case's rollout is held to.

    Args:
        case: as read.
        moves: those made so far, where not all of them are meant.
    """
    declared = case.rollout
    moves = moves_until(case) if moves is None else moves
    percent = moves[-1].percent
    strategy = _strategy(declared)
    slo = declared.slo
    margins = declared.margin
    rates = {
        ERRORS: RateTerms(margins.error_rate, slo.error_rate),
        LATENCY: RateTerms(margins.latency, slo.latency and 1 - slo.latency.share),
        ACCURACY: RateTerms(margins.accuracy, slo.accuracy and 1 - slo.accuracy),
    }
    for name, terms in declared.metrics.items():
        if name in rates and terms.margin is not None:
            rates[name] = RateTerms(terms.margin, rates[name].ceiling)
    quantity = declared.metrics.get(VALUES)
    return Terms(
        percent=percent,
        moved_at=moves[-1].at,
        bake_seconds=strategy.bake_at(percent),
        evidence=strategy.evidence_at(percent),
        judge=Judge.model_validate(
            {
                "alpha": declared.alpha,
                "beta": declared.beta,
                "min_requests": declared.min_requests,
                "ready_deadline_seconds": format_duration(declared.ready_deadline_seconds),
                "deadline": declared.deadline,
            }
        ),
        rates=rates,
        values={VALUES: ValueTerms(quantity.direction or "either", quantity.margin or 0.0)}
        if quantity
        else {},
        drift=declared.drift,
        tolerances={
            name: terms.margin
            for name, terms in declared.metrics.items()
            if name not in (*rates, VALUES) and terms.margin is not None
        },
        extra_tests=declared.extra_tests,
        latency_share=slo.latency and slo.latency.share,
    )


def observations_of(case: Case) -> Observations:
    """Returns what a case's rollout had shown when it was judged."""
    moves = moves_until(case)
    weights = _floats(case.weights) if case.weights is not None else _weights(case)
    known = min(
        max(int((case.end - case.begin).total_seconds() // case.interval_seconds), 0),
        case.intervals,
    )
    last = weights[known - 1] if known else math.nan
    declared_now = float(moves[-1].percent) if math.isnan(last) else float(last)
    whole = Observations(
        start=case.begin,
        interval_seconds=case.interval_seconds,
        weights=weights,
        declared_now=declared_now,
        stable=_arm("stable", case.stable, case),
        candidate=_arm("candidate", case.candidate, case),
    )
    return whole.until(known, declared_now)


def moves_until(case: Case) -> tuple[Move, ...]:
    """Returns the moves that had been made when it was judged."""
    return tuple(move for move in case.rollout.moves if move.at <= case.end)


def _strategy(declared: CaseRollout) -> Canary:
    bake = format_duration(declared.bake_seconds)
    if declared.strategy is None:
        return Canary.model_validate(
            {"kind": "canary", "steps": [1, 5, 25, 50, 100], "bake_seconds": bake}
        )
    if "bake_seconds" in declared.strategy.model_fields_set:
        return declared.strategy
    return declared.strategy.model_copy(update={"bake_seconds": declared.bake_seconds})


def _weights(case: Case) -> Floats:
    """Returns the percentage that held in each interval, NaN where it changed or settled."""
    settle = timedelta(seconds=case.rollout.settle_seconds)
    weights = np.full(case.intervals, np.nan)
    for index in range(case.intervals):
        begin = case.begin + timedelta(seconds=case.interval_seconds * index)
        end = begin + timedelta(seconds=case.interval_seconds)
        made = [move for move in case.rollout.moves if move.at < end]
        if made and made[-1].at + settle <= begin:
            weights[index] = made[-1].percent
    return weights


def _arm(version: str, given: ArmCounts, case: Case) -> Arm:
    none = np.full(case.intervals, np.nan)
    requests = none if given.requests is None else _floats(given.requests)
    metrics: dict[str, Counts] = {}
    if given.requests is not None and given.errors is not None:
        metrics[ERRORS] = Counts(_floats(given.errors), requests)
    goal = case.rollout.slo.latency
    buckets = None
    if given.latency is not None:
        buckets = _buckets(given.latency, requests, goal and goal.threshold_ms)
        if goal is not None:
            metrics[LATENCY] = buckets.slower_than(goal.threshold_ms)
    if given.labelled is not None and given.correct is not None:
        labelled = _floats(given.labelled)
        metrics[ACCURACY] = Counts(labelled - _floats(given.correct), labelled)
    values: dict[str, Values] = {}
    if given.values is not None:
        values[VALUES] = Values(
            _floats(given.values.sum),
            _floats(given.values.sum_squares),
            _floats(given.values.count),
        )
    pods = [Counts(_floats(it.errors), _floats(it.requests)) for it in given.pods.values()]
    return Arm(
        version,
        metrics,
        requests if given.routed is None else _floats(given.routed),
        values=values,
        categories={name: _categories(it) for name, it in given.histograms.items()},
        buckets=buckets,
        pods={ERRORS: _together(pods)} if pods else {},
        reference={
            name: np.array(it.whole) / sum(it.whole)
            for name, it in (case.reference.histograms if case.reference else {}).items()
        },
        ready=None if given.ready is None else _floats(given.ready),
    )


def _buckets(given: LatencyCounts, requests: Floats, threshold_ms: float | None) -> Buckets:
    edges = given.edges
    counts = _matrix(given.counts, len(edges))
    if edges[-1] != math.inf:
        edges.append(math.inf)
        counts = np.column_stack([counts, requests])
    in_seconds = (
        threshold_ms is not None
        and threshold_ms not in edges
        and threshold_ms / MS_PER_SECOND in edges
    )
    scale = MS_PER_SECOND if in_seconds else 1
    return Buckets(tuple(edge * scale for edge in edges), counts)


def _categories(given: Histogram) -> Categories:
    width = max((len(row) for row in given.counts if row is not None), default=len(given.edges))
    edges = [str(edge) for edge in given.edges]
    names = edges if len(edges) == width else [f"bucket {k}" for k in range(width)]
    return Categories(tuple(names), _matrix(given.counts, width))


def _together(pods: list[Counts]) -> Counts:
    return Counts(np.array([it.bad for it in pods]), np.array([it.total for it in pods]))


def _floats(series: Series) -> Floats:
    return np.array([math.nan if it is None else float(it) for it in series], dtype=float)


def _matrix(rows: Rows, width: int) -> Floats:
    missing: list[Number | None] = [None] * width
    return np.array([_floats(missing if row is None else row) for row in rows]).reshape(-1, width)
