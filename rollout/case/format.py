"""The format of a case: a rollout in one JSON file, what is declared and what was counted.

`docs/judge.md` describes it; `docs/judge-case.schema.json` is its JSON Schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, ConfigDict, Field, model_validator

from models.base import Declared, DurationSeconds, Share, WaitSeconds
from models.judging import Deadline, Drift, ExtraTest, Margin
from models.rollout import Move
from models.strategy import Canary
from rollout.judge.means import Direction

Number = (
    Annotated[float, Field(strict=True, allow_inf_nan=False, le=1e15, ge=-1e15)]
    | Annotated[int, Field(strict=True, le=10**15, ge=-(10**15))]
)
Series = list[Number | None]
Rows = list[list[Number | None] | None]

VALUES = "values"
LONGEST_SECONDS = 10 * 365 * 86400.0
MS_PER_SECOND = 1000


class LatencyGoal(Declared):
    """At least `share` of requests are answered within `threshold_ms`."""

    threshold_ms: Annotated[float, Field(gt=0)]
    share: Share


class Goals(Declared):
    """The SLO; what is absent is not promised."""

    error_rate: Share | None = None
    latency: LatencyGoal | None = None
    accuracy: Share | None = None


class MetricTerms(Declared):
    """What one metric, quantity or histogram is held to, under its own name.

    Attributes:
        direction: which change is harmful; of a quantity.
        margin: by how much it may be worse: a share, the unit of a quantity, or for a histogram
            the total variation distance that is tolerated.
    """

    direction: Direction | None = None
    margin: Annotated[float, Field(ge=0)] | None = None


class CaseRollout(Declared):
    """A rollout as the stack file declares it; any other key is the name of a metric.

    Attributes:
        bake_seconds: least time at each step; the strategy's own where it has one.
        moves: changes of the candidate's percentage; the last one is what is declared now.
        metrics: terms by metric, from the keys that are not among the others.
    """

    strategy: Canary | None = None
    slo: Goals = Field(default_factory=lambda: Goals.model_validate({}))
    margin: Margin = Field(default_factory=lambda: Margin.model_validate({}))
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    beta: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    min_requests: Annotated[int, Field(ge=1)] = 500
    bake_seconds: WaitSeconds = Field(1800.0, alias="bake")
    settle_seconds: WaitSeconds = Field(120.0, alias="settle", le=LONGEST_SECONDS)
    ready_deadline_seconds: DurationSeconds = Field(600.0, alias="readyDeadline")
    deadline: Deadline = Field(default_factory=lambda: Deadline.model_validate({}))
    drift: Drift = Field(default_factory=lambda: Drift.model_validate({}))
    extra_tests: tuple[ExtraTest, ...] = ()
    moves: Annotated[tuple[Move, ...], Field(min_length=1)]
    metrics: dict[str, MetricTerms] = Field(default_factory=dict[str, MetricTerms])

    @model_validator(mode="before")
    @classmethod
    def _metrics_by_name(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "metrics" in value:
            return value  # pyright: ignore[reportUnknownVariableType]
        given: dict[str, Any] = dict(value)  # pyright: ignore[reportUnknownArgumentType]
        own = {field.alias or name for name, field in cls.model_fields.items()}
        metrics = {
            name: it for name, it in given.items() if name not in own and isinstance(it, dict)
        }
        return {
            **{name: it for name, it in given.items() if name not in metrics},
            "metrics": metrics,
        }

    @model_validator(mode="after")
    def _in_order(self) -> CaseRollout:
        if any(earlier.at > later.at for earlier, later in pairwise(self.moves)):
            raise ValueError("moves must be in order of time")
        return self


class LatencyCounts(Declared):
    """Cumulative buckets.

    Attributes:
        le: upper edges, rising, in milliseconds, or in seconds as Prometheus's client libraries
            have them: whichever the SLO's threshold is one of. The last one may be "+Inf"; without
            it the rest is taken from `requests`.
        counts: one row an interval, one number an edge.
    """

    le: Annotated[list[Number | Literal["+Inf"]], Field(min_length=1)]
    counts: Rows

    @property
    def edges(self) -> list[float]:
        """The edges as numbers, in the unit they were given in."""
        return [float("inf") if edge == "+Inf" else float(edge) for edge in self.le]


class ValueCounts(Declared):
    """A measured quantity per interval."""

    sum: Series
    sum_squares: Series
    count: Series


class Histogram(Declared):
    """Counts of predictions (under the name `predictions`) or of a feature.

    Attributes:
        edges: names of the buckets, or their edges.
        counts: one row an interval, one number a bucket.
    """

    edges: list[Number | str]
    counts: Rows


class PodCounts(Declared):
    """Requests and errors of one pod."""

    requests: Series
    errors: Series


class ArmCounts(Declared):
    """What one version did, a number an interval; null where a scrape is missing.

    Attributes:
        requests: answered.
        routed: sent to it, answered or not; as many as `requests` where absent.
        ready: 1 where it was Ready, 0 where not.
    """

    requests: Series | None = None
    routed: Series | None = None
    errors: Series | None = None
    latency: LatencyCounts | None = None
    labelled: Series | None = None
    correct: Series | None = None
    values: ValueCounts | None = None
    histograms: dict[str, Histogram] = Field(default_factory=dict[str, Histogram])
    pods: dict[str, PodCounts] = Field(default_factory=dict[str, PodCounts])
    ready: Series | None = None


class ReferenceHistogram(Declared):
    """Shares, or counts, at training time: one number a bucket, or rows that are added up."""

    edges: list[Number | str]
    counts: list[Number] | Rows

    @property
    def whole(self) -> list[float]:
        """One number a bucket."""
        rows = [row if isinstance(row, list) else None for row in self.counts]
        if any(rows):
            return [sum(filter(None, column)) for column in zip(*filter(None, rows), strict=True)]
        return [float(it) for it in self.counts if isinstance(it, int | float)]


class Reference(Declared):
    """What the model saw at training time."""

    histograms: dict[str, ReferenceHistogram] = Field(default_factory=dict[str, ReferenceHistogram])


class Case(Declared):
    """A rollout and what was counted of it.

    Attributes:
        now: when it is judged; the end of the series where absent.
        start: begin of the first interval; the first move where absent.
        interval_seconds: width of an interval.
        weights: the candidate's percentage that held in each interval, null where it was changing;
            where absent it follows from the moves and the settle time.
    """

    model_config = ConfigDict(title="A rollout for modelramp's judge")

    rollout: CaseRollout
    now: AwareDatetime | None = None
    start: AwareDatetime | None = None
    interval_seconds: Annotated[float, Field(gt=0, le=LONGEST_SECONDS)] = 60.0
    weights: Series | None = None
    stable: ArmCounts
    candidate: ArmCounts
    reference: Reference | None = None

    @property
    def begin(self) -> datetime:
        """Begin of the first interval."""
        return self.start or self.rollout.moves[0].at

    @property
    def intervals(self) -> int:
        """How many intervals there are."""
        return max((length for _, length in lengths(self)), default=0)

    @property
    def end(self) -> datetime:
        """When it is judged."""
        whole = timedelta(seconds=self.interval_seconds * self.intervals)
        return self.now or self.begin + whole


def schema() -> Mapping[str, Any]:
    """Returns the JSON Schema of a case."""
    return Case.model_json_schema(by_alias=True)


def lengths(case: Case) -> Iterator[tuple[str, int]]:
    """Yields the key and the length of every series."""
    if case.weights is not None:
        yield "weights", len(case.weights)
    for name, arm in (("stable", case.stable), ("candidate", case.candidate)):
        for key in ("requests", "routed", "errors", "labelled", "correct", "ready"):
            series: Series | None = getattr(arm, key)
            if series is not None:
                yield f"{name}.{key}", len(series)
        if arm.latency is not None:
            yield f"{name}.latency.counts", len(arm.latency.counts)
        if arm.values is not None:
            for key in ("sum", "sum_squares", "count"):
                yield f"{name}.values.{key}", len(getattr(arm.values, key))
        for key, histogram in arm.histograms.items():
            yield f"{name}.histograms.{key}.counts", len(histogram.counts)
        for key, pod in arm.pods.items():
            yield f"{name}.pods.{key}.requests", len(pod.requests)
            yield f"{name}.pods.{key}.errors", len(pod.errors)
