"""What a rollout is held to: the part of a declaration that the judge reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from models.judging import Drift, ExtraTest, Judge
from models.service import Service
from rollout.judge.means import Direction

ERRORS = "errorRate"
LATENCY = "latency"
ACCURACY = "accuracy"

_LEAST_GUESS = 1e-4


@dataclass(frozen=True)
class RateTerms:
    """What a share of bad answers is held to.

    Attributes:
        margin: by how much the candidate's may exceed stable's.
        ceiling: the most that the SLO allows, None without one.
    """

    margin: float
    ceiling: float | None = None

    @property
    def guess(self) -> float:
        """Stable's expected rate before it is seen: what the SLO allows."""
        return max(self.ceiling if self.ceiling is not None else 0.01, _LEAST_GUESS)


@dataclass(frozen=True)
class ValueTerms:
    """What the mean of a measured quantity is held to.

    Attributes:
        direction: which change is harmful.
        margin: by how much the candidate's may be worse, in the unit of the values.
    """

    direction: Direction
    margin: float


@dataclass(frozen=True)
class Terms:
    """What a rollout is held to now.

    Attributes:
        percent: the candidate's declared percentage.
        moved_at: when the last move was decided.
        bake_seconds: least time at this percentage.
        evidence: what must be shown here, see `models.strategy.Step`.
        judge: levels, settle time, deadlines.
        rates: by metric name: errorRate, latency, accuracy.
        values: by name.
        drift: tolerances of distributions.
        tolerances: of single distributions, by name, where they have their own.
        extra_tests: by name, beside the judge's own.
        latency_share: share of requests that the latency SLO speaks of, None without one.
        copies_percent: share of stable's requests that a candidate at 0% gets a copy of.
    """

    percent: int
    moved_at: datetime | None
    bake_seconds: float
    evidence: Literal["bake", "margin"]
    judge: Judge
    rates: Mapping[str, RateTerms]
    values: Mapping[str, ValueTerms] = field(default_factory=dict[str, ValueTerms])
    drift: Drift = field(default_factory=lambda: Drift.model_validate({}))
    tolerances: Mapping[str, float] = field(default_factory=dict[str, float])
    extra_tests: tuple[ExtraTest, ...] = ()
    latency_share: float | None = None
    copies_percent: int = 0

    @property
    def sent_percent(self) -> float:
        """The candidate's share of all that is sent to both versions, copies among it."""
        if self.percent:
            return self.percent
        return 100 * self.copies_percent / (100 + self.copies_percent)

    def spending(self, share: float) -> Terms:
        """Returns the same terms with a part of alpha and beta, above 0 and at most 1."""
        levels = {"alpha": self.judge.alpha * share, "beta": self.judge.beta * share}
        return replace(self, judge=self.judge.model_copy(update=levels))

    @property
    def promised(self) -> tuple[str, ...]:
        """The rates that the SLO speaks of."""
        return tuple(name for name, rate in self.rates.items() if rate.ceiling is not None)

    @classmethod
    def of(cls, service: Service) -> Terms:
        """Returns the terms of a service in a rollout.

        Raises:
            ValueError: it is in none.
        """
        rollout = service.rollout
        if rollout is None or rollout.candidate is None:
            raise ValueError("the judge needs a service in a rollout")
        slo, margin = service.slo, service.margin
        rates = {
            ERRORS: RateTerms(margin.error_rate, slo.error_rate),
            LATENCY: RateTerms(margin.latency, 1 - slo.latency.share),
        }
        strategy, percent = service.strategy, rollout.percent
        copies = 0 if percent else strategy.copies_percent
        # Labels are for answers that somebody got; those to copies are thrown away.
        if slo.accuracy and not copies:
            rates[ACCURACY] = RateTerms(margin.accuracy, 1 - slo.accuracy)
        return cls(
            percent=percent,
            moved_at=rollout.moves[-1].at if rollout.moves else None,
            bake_seconds=strategy.bake_at(percent),
            evidence=strategy.evidence_at(percent),
            judge=service.judge,
            rates=rates,
            drift=service.drift,
            extra_tests=service.extra_tests,
            latency_share=slo.latency.share,
            copies_percent=copies,
        )
