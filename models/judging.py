"""What is promised of a model service, and how sure the judge must be."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from models.base import Declared, DurationSeconds, Share, WaitSeconds
from models.metric_sources import METRIC_SOURCES


def _bucket_edge(threshold_ms: float) -> float:
    edges = METRIC_SOURCES["mlflow"].latency_edges_ms
    if threshold_ms not in edges:
        allowed = ", ".join(f"{edge:g}" for edge in edges)
        raise ValueError(f"must be an edge of the latency histogram, one of {allowed}")
    return threshold_ms


class LatencySlo(Declared):
    """At least `share` of requests are answered within `threshold_ms`.

    Attributes:
        threshold_ms: a request that takes longer is slow; an edge of the latency histogram.
        share: of requests that are not slow.
    """

    threshold_ms: Annotated[float, AfterValidator(_bucket_edge)]
    share: Share


class Slo(Declared):
    """What is promised; both arms in breach means a shared cause, not a bad candidate.

    Attributes:
        error_rate: share of requests that may fail.
        latency: how many are how fast.
        accuracy: share of labelled predictions that are right, at least.
    """

    error_rate: Share = 0.01
    latency: LatencySlo
    accuracy: Share | None = None


class Margin(Declared):
    """By how much a candidate may be worse than stable, in shares of requests or labels.

    Attributes:
        error_rate: more failed requests.
        latency: more slow requests.
        accuracy: more wrong predictions.
    """

    error_rate: Share = 0.002
    latency: Share = 0.01
    accuracy: Share = 0.01


class Deadline(Declared):
    """What is done with a step that stays undecided: policy, not evidence.

    Attributes:
        after_seconds: at one step.
        then: `hold` alerts, `revert` takes the candidate back.
    """

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
    """The same of predictions; a better model predicts differently, so `revert` is a choice.

    Attributes:
        tolerance: total variation distance, 0 to 1.
        then: `hold` keeps the percentage and alerts, `alert` only alerts, `revert` takes it back.
    """

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
