"""What a version must show before its rollout, and what is kept of it: gates, card, log."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from models.base import Declared, DurationSeconds, Name

Text = Annotated[str, Field(min_length=1)]
Url = Annotated[str, Field(pattern=r"^https?://\S+$")]


class ModelCard(Declared):
    """What people must know of a model before they use it.

    Source: Mitchell et al. 2019, "Model Cards for Model Reporting".

    Attributes:
        purpose: what it is for.
        data: what it was trained and evaluated on.
        limits: what it is not for, and where it fails.
        contact: whom to ask.
        considerations: ethics, fairness, privacy.
        license: of the model.
        links: documents by name.
    """

    purpose: Text
    data: Text
    limits: Text
    contact: Text
    considerations: Text | None = None
    license: Text | None = None
    links: dict[str, Url] = Field(default_factory=dict)


class BetterThanStable(Declared):
    """A paired test on the evaluation that both versions logged, not a comparison of two numbers.

    Attributes:
        metric: name of the logged metric, one value an example.
        margin: by how much it may be worse.
        alpha: highest probability that a version that is worse by more than the margin passes.
    """

    metric: Text
    margin: Annotated[float, Field(ge=0)] = 0.0
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05


class FairnessBound(Declared):
    """A logged fairness metric must lie between bounds.

    Attributes:
        metric: name of the logged metric.
        min: least value.
        max: greatest value.
    """

    metric: Text
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> FairnessBound:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self


class Staging(Declared):
    """The same version has passed another stack.

    Attributes:
        stack: name of that stack.
        bake_seconds: how long it was stable there.
        rollback_drill: whether a rollback must have been tried there.
    """

    stack: Name
    bake_seconds: DurationSeconds = Field(86400.0, alias="bake")
    rollback_drill: bool = True


class Gates(Declared):
    """Conditions before a rollout starts; `deploy` checks them.

    Attributes:
        better_than_stable: by a paired test on logged evaluations.
        latency_p99_ms: bound of the logged load test, milliseconds.
        fairness: bounds of logged fairness metrics.
        staging: another stack that it has passed.
        model_card: whether the card must be complete.
        reference_profile: whether the version must have one, for drift.
        allow_force: whether `deploy --force` may pass a failed gate; only where `risk` is not high
            if absent.
    """

    better_than_stable: BetterThanStable | None = None
    latency_p99_ms: Annotated[float, Field(gt=0)] | None = Field(None, alias="latencyP99Ms")
    fairness: tuple[FairnessBound, ...] = ()
    staging: Staging | None = None
    model_card: bool = True
    reference_profile: bool = True
    allow_force: bool | None = None


class PredictionLog(Declared):
    """Where requests and answers are sent, as CloudEvents, by KServe's logger.

    Attributes:
        url: who takes them.
        mode: what is sent.
    """

    url: Url
    mode: Literal["all", "request", "response"] = "all"


class Retention(Declared):
    """How long a version that serves no more is kept in the registry before it is archived.

    Attributes:
        archive_after_seconds: since it was last declared in a stack.
    """

    archive_after_seconds: DurationSeconds = Field(30 * 86400.0, alias="archiveAfter")
