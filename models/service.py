"""A model service: its versions, what is promised of it, and the state of its rollout."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from models.alerting import Alert
from models.base import (
    Declared,
    Digest,
    DurationSeconds,
    Percent,
    SemanticVersion,
    Share,
    WaitSeconds,
)
from models.metric_sources import METRIC_SOURCES
from models.names import inference_service_name
from models.strategy import Canary


class Runtime(Declared):
    """What serves the model.

    Attributes:
        kind: `mlflow`, our model server (`serving/`), loads any MLflow model.
        replicas: pods per version.
        timeout_seconds: longest time for one prediction.
        cpu: CPU request of a pod, Kubernetes quantity.
        cpu_limit: what a pod may use while others leave it free; the same as `cpu` if absent.
        memory: memory request and limit of a pod, Kubernetes quantity.
    """

    kind: Literal["mlflow"]
    replicas: int = Field(1, ge=1)
    timeout_seconds: DurationSeconds = Field(30.0, alias="timeout")
    cpu: str = "1"
    cpu_limit: str | None = Field(None, alias="cpuLimit")
    memory: str = "1Gi"


class Version(Declared):
    """One version's artifact: where it lies, what it is, where it comes from."""

    uri: str = Field(pattern=r"^s3://[^/]+/.+")
    digest: Digest
    registry: str = Field(pattern=r"^models:/[^/]+/[^/]+$")


def _bucket_edge(threshold_ms: float) -> float:
    edges = METRIC_SOURCES["mlflow"].latency_edges_ms
    if threshold_ms not in edges:
        allowed = ", ".join(f"{edge:g}" for edge in edges)
        raise ValueError(f"must be an edge of the latency histogram, one of {allowed}")
    return threshold_ms


class LatencySlo(Declared):
    """At least `share` of requests are answered within `threshold_ms`."""

    threshold_ms: Annotated[float, AfterValidator(_bucket_edge)]
    share: Share


class Slo(Declared):
    """What is promised; both arms in breach means a shared cause, not a bad candidate."""

    error_rate: Share = 0.01
    latency: LatencySlo
    accuracy: Share | None = None


class Margin(Declared):
    """By how much a candidate may be worse than stable, in shares of requests or labels."""

    error_rate: Share = 0.002
    latency: Share = 0.01
    accuracy: Share = 0.01


class Deadline(Declared):
    """What is done with a step that stays undecided: policy, not evidence."""

    after_seconds: DurationSeconds = Field(86400.0, alias="after")
    then: Literal["hold", "revert"] = "hold"


class Judge(Declared):
    """How sure the judge must be.

    Attributes:
        alpha: highest probability that a healthy rollout is ever reverted.
        beta: highest probability that a candidate worse than the margin reaches 100%.
        min_requests: the candidate's least requests at a step, for advance only.
        settle_seconds: time after a move of which no metric counts.
        interval_seconds: width of one interval of counts.
        ready_deadline_seconds: a candidate that is not Ready for so long is taken back.
        deadline: for how long a step may stay undecided.
    """

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    beta: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    min_requests: int = Field(500, ge=1)
    settle_seconds: WaitSeconds = Field(120.0, alias="settle")
    interval_seconds: DurationSeconds = Field(60.0, alias="interval")
    ready_deadline_seconds: DurationSeconds = Field(600.0, alias="readyDeadline")
    deadline: Deadline = Field(default_factory=lambda: Deadline.model_validate({}))


class Tolerance(Declared):
    """How far two distributions may be apart, and what follows where they are further.

    Attributes:
        tolerance: total variation distance, 0 to 1: the share that would have to change place.
        then: `hold` keeps the percentage and alerts, `alert` only alerts.
    """

    tolerance: Share
    then: Literal["hold", "alert"] = "hold"


class PredictionTolerance(Declared):
    """The same of predictions; a better model predicts differently, so `revert` is a choice."""

    tolerance: Share = 0.1
    then: Literal["hold", "alert", "revert"] = "hold"


class Drift(Declared):
    """Which differences of distributions matter.

    Attributes:
        predictions: of the candidate against stable.
        features: of what the candidate was asked against what stable was asked; a difference
            means a broken split, or skew.
        reference: of either version against its training data; a reason to train again.
    """

    predictions: PredictionTolerance = Field(
        default_factory=lambda: PredictionTolerance.model_validate({})
    )
    features: Tolerance = Field(
        default_factory=lambda: Tolerance.model_validate({"tolerance": 0.05})
    )
    reference: Tolerance = Field(
        default_factory=lambda: Tolerance.model_validate({"tolerance": 0.1, "then": "alert"})
    )


class ExtraTest(Declared):
    """A test by name, beside the judge's own: it may hold or alert, never revert.

    Attributes:
        test: `ks`, `chi-squared` and `mann-whitney` compare distributions, at level `limit` over
            all looks together; `psi` compares them with the index `limit`; `sustained` asks
            whether a rate was above `limit` without a break.
        of: name of a distribution (`predictions` or a feature), or of a metric for `sustained`.
        against: what the candidate's distribution is compared with.
        limit: level, index or rate.
        for_seconds: for how long, with `sustained`.
        then: `hold` keeps the percentage and alerts, `alert` only alerts.
    """

    test: Literal["ks", "chi-squared", "mann-whitney", "psi", "sustained"]
    of: str
    against: Literal["stable", "reference"] = "stable"
    limit: Annotated[float, Field(gt=0)]
    for_seconds: DurationSeconds = Field(900.0, alias="for")
    then: Literal["hold", "alert"] = "alert"


class Move(Declared):
    """One change of the candidate's percentage."""

    percent: Percent
    at: AwareDatetime
    why: str | None = None


class Rejected(Declared):
    """A digest that was reverted; it is not tried again."""

    digest: Digest
    at: AwareDatetime
    why: str


class Previous(Declared):
    """The last stable version, kept at least until then."""

    version: SemanticVersion
    until: AwareDatetime


class KeepPrevious(Declared):
    """How long, at least, the last stable version goes on running after a promotion."""

    for_seconds: DurationSeconds = Field(86400.0, alias="for")


class Rollout(Declared):
    """What is declared now. Written by drift-check; a person may edit it, and then wins."""

    stable: SemanticVersion
    candidate: SemanticVersion | None = None
    moves: tuple[Move, ...] = ()
    previous: Previous | None = None
    rejected: tuple[Rejected, ...] = ()

    @property
    def percent(self) -> int:
        """The candidate's percentage that is declared now."""
        return self.moves[-1].percent if self.moves else 0

    @property
    def started_at(self) -> datetime | None:
        """When the first move was decided."""
        return self.moves[0].at if self.moves else None

    @model_validator(mode="after")
    def _consistent(self) -> Rollout:
        if self.candidate == self.stable:
            raise ValueError("candidate and stable are the same version")
        if bool(self.moves) != bool(self.candidate):
            raise ValueError("candidate and moves come together: one is missing")
        if any(earlier.at > later.at for earlier, later in pairwise(self.moves)):
            raise ValueError("moves must be in order of time")
        return self


class Service(Declared):
    """One served model.

    Attributes:
        owner: the team that answers for it.
        risk: decides which policies are mandatory.
        versions: every version that may run, by semantic version.
        drift: which differences of distributions matter.
        extra_tests: tests by name, beside the judge's own.
        rollout: which of them are served, and at what share; absent until the first deployment.
        keep_previous: how long the last stable version is kept after a promotion.
    """

    owner: str = Field(min_length=1)
    risk: Literal["low", "medium", "high"] = "medium"
    runtime: Runtime
    versions: dict[SemanticVersion, Version] = Field(default_factory=dict)
    strategy: Canary
    slo: Slo
    margin: Margin = Field(default_factory=lambda: Margin.model_validate({}))
    judge: Judge = Field(default_factory=lambda: Judge.model_validate({}))
    drift: Drift = Field(default_factory=lambda: Drift.model_validate({}))
    extra_tests: tuple[ExtraTest, ...] = ()
    alerts: tuple[Alert, ...] = ()
    keep_previous: KeepPrevious = Field(default_factory=lambda: KeepPrevious.model_validate({}))
    rollout: Rollout | None = None

    @model_validator(mode="after")
    def _versions_declared(self) -> Service:
        if self.rollout is None:
            return self
        named = {
            "stable": self.rollout.stable,
            "candidate": self.rollout.candidate,
            "previous": self.rollout.previous and self.rollout.previous.version,
        }
        missing = [f"{role} {it}" for role, it in named.items() if it and it not in self.versions]
        if missing:
            raise ValueError(f"not under versions: {', '.join(missing)}")
        names = [inference_service_name("s", version) for version in self.versions]
        if len(set(names)) < len(names):
            raise ValueError("two versions give the same InferenceService name")
        return self

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
