"""The rule of Argo Rollouts: a measurement per interval against a constant, failures counted.

Source: argoproj/argo-rollouts, analysis/analysis.go, utils/evaluate/evaluate.go, docs/features/
analysis.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from rollout.judge.series import Counts, Floats, Mask
from rollout.peers.reaction import Reaction, error_rates, first_interval, whichever_first

RETRY_SECONDS = 10.0
"""After an error, the measurement is repeated this much later."""


class Phase(StrEnum):
    """What a measurement, or a metric after several of them, is found to be."""

    RUNNING = "Running"
    SUCCESSFUL = "Successful"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    ERROR = "Error"


@dataclass(frozen=True)
class Limits:
    """A metric's configuration.

    Attributes:
        count: after how many measurements without error the metric is complete; None: never.
        failure: how many failed measurements are tolerated, in a row or not; -1: any number.
        inconclusive: how many inconclusive measurements are tolerated, in a row or not.
        consecutive_error: how many errors in a row are tolerated.
        consecutive_success: how many successes in a row complete the metric; 0: no number does.
    """

    count: int | None = None
    failure: int = 0
    inconclusive: int = 0
    consecutive_error: int = 4
    consecutive_success: int = 0


@dataclass(frozen=True)
class Tally:
    """A metric's measurements so far.

    Attributes:
        successful: successful measurements.
        failed: failed ones.
        inconclusive: inconclusive ones.
        consecutive_error: errors since the last measurement that was none.
        consecutive_success: successes since the last measurement that was none.
    """

    successful: int = 0
    failed: int = 0
    inconclusive: int = 0
    consecutive_error: int = 0
    consecutive_success: int = 0

    @property
    def count(self) -> int:
        """Measurements that count: errors are repeated instead."""
        return self.successful + self.failed + self.inconclusive

    def after(self, measurement: Phase) -> Tally:
        """Adds a measurement: SUCCESSFUL, FAILED, INCONCLUSIVE or ERROR."""
        if measurement is Phase.ERROR:
            return replace(
                self, consecutive_error=self.consecutive_error + 1, consecutive_success=0
            )
        success = measurement is Phase.SUCCESSFUL
        return Tally(
            successful=self.successful + success,
            failed=self.failed + (measurement is Phase.FAILED),
            inconclusive=self.inconclusive + (measurement is Phase.INCONCLUSIVE),
            consecutive_success=self.consecutive_success + 1 if success else 0,
        )


def assess(tally: Tally, limits: Limits) -> Phase:
    """Returns the phase of a metric with these measurements."""
    if tally.consecutive_error > limits.consecutive_error:
        return Phase.ERROR
    if tally.inconclusive > limits.inconclusive:
        return Phase.INCONCLUSIVE
    failures_limited = limits.failure >= 0
    if failures_limited and tally.failed > limits.failure:
        return Phase.FAILED
    if 0 < limits.consecutive_success <= tally.consecutive_success:
        return Phase.SUCCESSFUL
    if limits.count is None or tally.count < limits.count:
        return Phase.RUNNING
    if limits.consecutive_success == 0:
        return Phase.SUCCESSFUL
    return Phase.INCONCLUSIVE if failures_limited else Phase.FAILED


def run_metric(measurements: Iterable[Phase], limits: Limits) -> Phase:
    """Returns the phase of a metric after its measurements; none is taken once it is complete."""
    tally = Tally()
    for measurement in measurements:
        tally = tally.after(measurement)
        if (phase := assess(tally, limits)) is not Phase.RUNNING:
            return phase
    return Phase.RUNNING


def argo(
    candidate: Counts,
    ceiling: float,
    *,
    count: int,
    failure_limit: int = 0,
    empty: Phase = Phase.ERROR,
    undefined: Phase = Phase.FAILED,
    interval_seconds: float = 60.0,
) -> Reaction:
    """Runs an analysis with `successCondition: error rate <= ceiling` over many rollouts.

    A metric that fails or ends in error aborts the rollout. One that is inconclusive pauses it for
    a human, so that it neither reverts nor passes.

    Args:
        candidate: counts, shape (..., T): one measurement at the end of each interval.
        ceiling: share of bad requests, of 1, that is still a success.
        count: measurements without error that complete the analysis.
        failure_limit: how many failed measurements are tolerated, at least 0.
        empty: what a missing interval is. `result[0]` of an empty vector is an error. The
            measurement is then repeated every 10 seconds of the intervals that follow, until one of
            them is not missing.
        undefined: what an interval without requests is, whose rate is 0/0. NaN fails every
            success condition; it meets no failure condition either, so that a metric with only
            that one is successful, and one with both is inconclusive.
        interval_seconds: width of an interval.
    """
    limits = Limits(count=count, failure=failure_limit)
    missing = ~candidate.known
    rates = error_rates(candidate)
    without_requests = ~missing & np.isnan(rates)

    def measured(phase: Phase, told: Mask) -> Mask:
        return told | (missing & (empty is phase)) | (without_requests & (undefined is phase))

    none = np.zeros(rates.shape, dtype=bool)
    failed = measured(Phase.FAILED, rates > ceiling)
    inconclusive = measured(Phase.INCONCLUSIVE, none)
    error = measured(Phase.ERROR, none)
    aborted = (np.cumsum(failed, axis=-1) > limits.failure) | (
        _consecutive_errors(error, interval_seconds) > limits.consecutive_error
    )
    paused_at = first_interval(np.cumsum(inconclusive, axis=-1) > limits.inconclusive)
    reaction = whichever_first(
        first_interval(aborted), first_interval(np.cumsum(~error, axis=-1) >= count)
    )
    paused = paused_at <= np.minimum(reaction.reverted_at, reaction.passed_at)
    return Reaction(
        np.where(paused, np.inf, reaction.reverted_at),
        np.where(paused, np.inf, reaction.passed_at),
    )


def _consecutive_errors(error: Mask, interval_seconds: float) -> Floats:
    """Counts the errors in a row up to the end of each interval, repeated measurements included."""
    index = np.arange(error.shape[-1])
    last_other = np.maximum.accumulate(np.where(error, -1, index), axis=-1)
    intervals = index - last_other
    repeats = max(1, int(interval_seconds // RETRY_SECONDS))
    return np.where(error, 1.0 + (intervals - 1) * repeats, 0.0)
