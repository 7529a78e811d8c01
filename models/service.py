"""A model service: its versions, what is promised of it, and the state of its rollout."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from models.alerting import AlertDefaults, Alerts
from models.base import Declared, Name, SemanticVersion
from models.batch import BatchPrediction
from models.calendar import Calendar
from models.governance import Gates, ModelCard, PredictionLog, Retention
from models.judging import Drift, ExtraTest, Judge, Margin, Slo
from models.rollout import KeepPrevious, Rollout
from models.runtime import Runtime
from models.strategy import Strategy
from models.version import Version


class Service(Declared):
    """One served model.

    Attributes:
        owner: the team that answers for it.
        risk: decides which policies are mandatory.
        group: services of a group are rolled out one at a time; a revert never waits.
        share_group: services of a group may share GPUs; with nobody where absent.
        runtime: what serves the model.
        versions: every version that may run, by semantic version.
        strategy: how traffic moves to a candidate.
        slo: what is promised.
        margin: by how much a candidate may be worse than stable.
        judge: how sure the judge must be.
        drift: which differences of distributions matter.
        extra_tests: tests by name, beside the judge's own.
        alerts: beside those that follow from the SLO, or instead of the default of that name.
        alert_defaults: what becomes of the alerts that every service has.
        gates: conditions before a rollout starts; `deploy` checks them.
        calendar: when traffic may move, beside the stack's own calendar.
        card: what people must know of the model.
        prediction_log: where requests and answers are sent.
        batch: predictions on whole files, by name.
        keep_previous: how long the last stable version is kept after a promotion.
        retention: how long versions are kept in the registry before they are archived there.
        rollout: which versions are served, and at what share; absent until the first deployment.
    """

    owner: str = Field(min_length=1)
    risk: Literal["low", "medium", "high"] = "medium"
    group: Name | None = None
    share_group: Name | None = None
    runtime: Runtime
    versions: dict[SemanticVersion, Version] = Field(default_factory=dict)
    strategy: Strategy
    slo: Slo
    margin: Margin = Field(default_factory=lambda: Margin.model_validate({}))
    judge: Judge = Field(default_factory=lambda: Judge.model_validate({}))
    drift: Drift = Field(default_factory=lambda: Drift.model_validate({}))
    extra_tests: tuple[ExtraTest, ...] = ()
    alerts: Alerts = ()
    alert_defaults: AlertDefaults = Field(default_factory=lambda: AlertDefaults.model_validate({}))
    gates: Gates = Field(default_factory=lambda: Gates.model_validate({}))
    calendar: Calendar = Field(default_factory=lambda: Calendar.model_validate({}))
    card: ModelCard | None = None
    prediction_log: PredictionLog | None = None
    batch: dict[Name, BatchPrediction] = Field(default_factory=dict)
    keep_previous: KeepPrevious = Field(default_factory=lambda: KeepPrevious.model_validate({}))
    retention: Retention = Field(default_factory=lambda: Retention.model_validate({}))
    rollout: Rollout | None = None

    @property
    def served(self) -> tuple[SemanticVersion, ...]:
        """The versions that run now: stable, candidate, previous."""
        if self.rollout is None:
            return ()
        previous = self.rollout.previous and self.rollout.previous.version
        named = (self.rollout.stable, self.rollout.candidate, previous)
        return tuple(dict.fromkeys(version for version in named if version))

    def percents(self) -> dict[SemanticVersion, int]:
        """Returns the declared share of traffic of each served version, in percent."""
        if self.rollout is None:
            return {}
        percents = dict.fromkeys(self.served, 0)
        percents[self.rollout.stable] = 100 - self.rollout.percent
        if self.rollout.candidate:
            percents[self.rollout.candidate] = self.rollout.percent
        return percents

    @property
    def is_taken_back(self) -> bool:
        """Whether the candidate was taken back for good: at 0, and its digest rejected."""
        rollout = self.rollout
        if rollout is None or rollout.candidate is None or rollout.percent > 0:
            return False
        digest = self.versions[rollout.candidate].digest
        return any(it.digest == digest for it in rollout.rejected)

    def capacity_percents(self) -> dict[SemanticVersion, int]:
        """Returns each served version's pods as a share of `runtime.replicas`, in percent.

        The candidate has enough for the next step before it is taken, and after a move back still
        enough for the step before, as its pods go before or with the weights. Stable keeps all
        its pods, so that taking a candidate back needs none.
        """
        if self.rollout is None:
            return {}
        capacity = dict.fromkeys(self.served, 100)
        rollout, strategy = self.rollout, self.strategy
        if rollout.candidate:
            step = strategy.step_at(rollout.percent)
            declared = step.capacity_percent if step else None
            following = strategy.next_percent(rollout.percent) or rollout.percent
            mirrored = getattr(strategy, "mirror_percent", 0)
            least = max(rollout.percent, rollout.before_percent, mirrored)
            capacity[rollout.candidate] = max(declared or following, least)
        previous = rollout.previous and rollout.previous.version
        others = (rollout.stable, rollout.candidate)
        if previous and previous not in others and self.keep_previous.replicas == "min":
            capacity[previous] = 0
        return capacity

    def least_pods(self) -> dict[SemanticVersion, int]:
        """Returns how many pods each served version has, however little traffic there is."""
        if self.runtime.scaling and self.runtime.scaling.zero:
            return dict.fromkeys(self.served, 0)
        replicas = self.runtime.replicas
        return {
            version: max(1, math.ceil(replicas * percent / 100))
            for version, percent in self.capacity_percents().items()
        }
