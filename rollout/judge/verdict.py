"""What the judge says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rollout.judge.extra_tests import ExtraVerdict
from rollout.judge.series import Counts

Kind = Literal["advance", "hold", "revert", "promote", "no-data"]


@dataclass(frozen=True)
class Shown:
    """What one version showed of one metric.

    Attributes:
        rate: share of bad answers, or mean of a quantity; None of nothing.
        total: requests, labels or values.
        bad: how many of them were bad; None of a quantity.
    """

    rate: float | None
    total: int
    bad: int | None = None

    @classmethod
    def of(cls, counts: Counts) -> Shown:
        """Adds up counts of shape (T,)."""
        bad, total = counts.sum()
        return cls(bad / total if total else None, total, bad)

    def minus(self, other: Shown) -> float | None:
        """Returns the difference of the rates, None of nothing."""
        return None if self.rate is None or other.rate is None else self.rate - other.rate


@dataclass(frozen=True)
class MetricVerdict:
    """What one metric says.

    Rates are shares of bad answers, so a difference above 0 is worse; quantities are in their unit.

    Attributes:
        name: errorRate, latency, accuracy, or that of a quantity.
        stable: over the rollout.
        candidate: over the rollout.
        difference: candidate's rate minus stable's, over the rollout; None of nothing.
        lower: anytime-valid bound of the difference at level `alpha`; None where unbounded.
        upper: the same, from above.
        e_value: against "worse by at most the margin", the highest over the rollout; None where
            no stable is beside the candidate.
        margin: as declared.
        margin_e_value: against "worse by at least the margin", the highest at the present step.
        alpha: this metric's part of the budget.
        dispersion: how much wider the arms differ from interval to interval than independent
            requests would; 1 where not suspected.
        harmful: worse by more than the margin is proved.
        ruled_out: worse by the margin or more is ruled out at level beta.
        step_total: the fewer of both versions' requests, labels or values at the present step.
    """

    name: str
    stable: Shown
    candidate: Shown
    difference: float | None
    lower: float | None
    upper: float | None
    e_value: float | None
    margin: float
    margin_e_value: float | None
    alpha: float
    dispersion: float
    harmful: bool
    ruled_out: bool
    step_total: int


@dataclass(frozen=True)
class SplitVerdict:
    """Whether requests were split as declared, at the present step.

    Attributes:
        declared: the share that should have reached the candidate.
        observed: the share that did.
        requests: how many requests that is.
        e_value: against "split as declared".
        wrong: the split is refuted.
        looks: what it looks like instead, if anything: swapped or merged labels.
    """

    declared: float
    observed: float
    requests: int
    e_value: float
    wrong: bool
    looks: str | None = None


@dataclass(frozen=True)
class DriftVerdict:
    """Whether two distributions are further apart than is tolerated.

    Attributes:
        name: predictions, or a feature.
        version: whose distribution.
        against: stable or reference.
        distance: total variation, over the rollout.
        lower: anytime-valid bound of it.
        upper: the same, from above.
        tolerance: as declared.
        e_value: against "at most the tolerance".
        alpha: this comparison's part of the budget of false holds.
        drifted: more than the tolerance is proved.
        then: hold, alert or revert.
    """

    name: str
    version: str
    against: str
    distance: float
    lower: float
    upper: float
    tolerance: float
    e_value: float
    alpha: float
    drifted: bool
    then: str


@dataclass(frozen=True)
class Quantile:
    """Between which edges of the histogram a quantile of the latency lies, milliseconds.

    Attributes:
        version: whose.
        share: which quantile, such as 0.99.
        lower_ms: bound at level alpha.
        upper_ms: the same, from above; None above the last edge.
    """

    version: str
    share: float
    lower_ms: float
    upper_ms: float | None


@dataclass(frozen=True)
class Needed:
    """What an advance still takes.

    Attributes:
        requests: of the candidate, at today's rates; None where no number would do, or another rule
            decided before it was asked.
        seconds: at today's traffic; None likewise.
        reasons: each as a phrase.
    """

    requests: int | None = None
    seconds: float | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What to do, why, and from which numbers.

    Attributes:
        kind: advance, hold, revert, promote or no-data.
        reason: one sentence a person understands.
        metrics: per metric; empty where there are no data.
        split: None where only one version gets traffic.
        needed: what an advance still takes.
        drift: distributions that were compared.
        extra: tests by name.
        quantiles: of the latency, where its histogram is read.
        alerts: what a person should look at, whatever the verdict.
        step_requests: the candidate's requests at the present step.
        step_seconds: how long the present step has held, settled.
        never_served: with revert, no request was ever sent to the candidate.
    """

    kind: Kind
    reason: str
    metrics: tuple[MetricVerdict, ...] = ()
    split: SplitVerdict | None = None
    needed: Needed = field(default_factory=Needed)
    drift: tuple[DriftVerdict, ...] = ()
    extra: tuple[ExtraVerdict, ...] = ()
    quantiles: tuple[Quantile, ...] = ()
    alerts: tuple[str, ...] = ()
    step_requests: int = 0
    step_seconds: float = 0.0
    never_served: bool = False
