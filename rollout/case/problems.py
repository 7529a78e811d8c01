"""What does not fit together in a case that is well formed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from rollout.case.format import (
    MS_PER_SECOND,
    VALUES,
    ArmCounts,
    Case,
    Histogram,
    LatencyGoal,
    lengths,
)
from rollout.judge.compare import PREDICTIONS
from rollout.judge.terms import ACCURACY, ERRORS, LATENCY


def inconsistencies(case: Case) -> Iterator[tuple[str, str]]:
    """Yields key path and problem of all that does not fit together."""
    intervals = case.intervals
    if not intervals:
        yield "stable", "no series at all; give at least requests and errors of both versions"
    for key, length in lengths(case):
        if length != intervals:
            yield key, f"{length} intervals, but the longest series has {intervals}"
    for name, arm in (("stable", case.stable), ("candidate", case.candidate)):
        yield from _pairs(name, arm)
        yield from _latency_problems(name, arm, case.rollout.slo.latency)
        for key, it in arm.histograms.items():
            yield from _histogram_problems(f"{name}.histograms.{key}", it)
    for key in {*case.stable.histograms} & {*case.candidate.histograms}:
        if case.stable.histograms[key].edges != case.candidate.histograms[key].edges:
            yield f"candidate.histograms.{key}.edges", "must be the same as stable's"
    yield from _metric_problems(case)
    for weight in case.weights or ():
        if weight is not None and not 0 <= weight <= 100:
            yield "weights", f"{weight:g} is no percentage from 0 to 100"
    for key, it in (case.reference.histograms if case.reference else {}).items():
        whole = it.whole
        if abs(len(whole) - len(it.edges)) > 1 or sum(whole) <= 0 or min(whole) < 0:
            yield (
                f"reference.histograms.{key}",
                "counts must be one number a bucket of edges, 0 or more, not all of them 0",
            )
    if not any(move.at <= case.end for move in case.rollout.moves):
        yield "rollout.moves", f"none was made before {case.end.isoformat()}, when it is judged"


def _pairs(name: str, arm: ArmCounts) -> Iterator[tuple[str, str]]:
    if arm.errors is not None and arm.requests is None:
        yield f"{name}.errors", "needs requests beside it"
    if (arm.labelled is None) != (arm.correct is None):
        yield name, "labelled and correct come together: one is missing"


def _latency_problems(
    name: str, arm: ArmCounts, goal: LatencyGoal | None
) -> Iterator[tuple[str, str]]:
    if arm.latency is None:
        return
    key = f"{name}.latency"
    edges = arm.latency.edges
    if any(low >= high for low, high in pairwise(edges)):
        yield f"{key}.le", "edges must rise"
    if edges[-1] != math.inf and arm.requests is None:
        yield f"{key}.le", 'needs "+Inf" as its last edge, or requests beside it'
    rows = [(index, row) for index, row in enumerate(arm.latency.counts) if row is not None]
    odd = [(index, row) for index, row in rows if len(row) != len(edges)]
    for index, row in odd[:1]:
        more = f", and {len(odd) - 1} more rows" if len(odd) > 1 else ""
        yield f"{key}.counts.{index}", f"{len(row)} numbers for {len(edges)} edges{more}"
    for index, row in rows:
        known = [count for count in row if count is not None]
        if any(low > high for low, high in pairwise(known)):
            yield f"{key}.counts.{index}", "must not fall from edge to edge: buckets are cumulative"
            break
    if goal and not {goal.threshold_ms, goal.threshold_ms / MS_PER_SECOND} & set(edges):
        allowed = ", ".join(f"{edge:g}" for edge in edges)
        yield (
            "rollout.slo.latency.thresholdMs",
            f"{goal.threshold_ms:g} must be an edge of {key}.le (ms, or s): {allowed}",
        )


def _histogram_problems(key: str, it: Histogram) -> Iterator[tuple[str, str]]:
    if any(count is not None and count < 0 for row in it.counts for count in row or ()):
        yield f"{key}.counts", "must be 0 or more"
    widths = {len(row) for row in it.counts if row is not None}
    if len(widths) > 1:
        yield f"{key}.counts", f"rows of different lengths: {sorted(widths)}"
    elif widths and abs(widths.pop() - len(it.edges)) > 1:
        yield f"{key}.counts", f"rows must have a number for each bucket of {len(it.edges)} edges"


def _metric_problems(case: Case) -> Iterator[tuple[str, str]]:
    histograms = {*case.stable.histograms, *case.candidate.histograms}
    known = {ERRORS, LATENCY, ACCURACY, VALUES, PREDICTIONS, *histograms}
    harmful = {ERRORS: "increase", LATENCY: "increase", ACCURACY: "decrease"}
    for name, terms in case.rollout.metrics.items():
        if name not in known:
            own = sorted(known)
            yield f"rollout.{name}", f"is neither a key of a rollout nor a metric: {', '.join(own)}"
        if name in harmful and terms.direction not in (None, harmful[name]):
            yield f"rollout.{name}.direction", f"can only be {harmful[name]}"
        if name in histograms and terms.direction is not None:
            yield f"rollout.{name}.direction", "is for quantities; a histogram has none"
        if name != VALUES and terms.margin is not None and terms.margin > 1:
            yield f"rollout.{name}.margin", f"{terms.margin:g} is no share from 0 to 1"
    for index, test in enumerate(case.rollout.extra_tests):
        if test.test not in ("psi", "sustained") and test.limit >= 1:
            yield f"rollout.extraTests.{index}.limit", f"{test.limit:g} is no level below 1"
