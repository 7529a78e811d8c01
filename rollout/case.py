"""A rollout in one JSON file: what is declared and what was counted, for the judge alone.

The format is documented in `docs/judge.md`; `docs/judge-case.schema.json` is its JSON Schema.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AwareDatetime, ConfigDict, Field, ValidationError, model_validator

from models.base import Declared, DurationSeconds, Share, format_duration
from models.errors import ConfigError, Problem
from models.service import Deadline, Drift, ExtraTest, Judge, Margin, Move
from models.strategy import Canary
from rollout.judge.compare import PREDICTIONS
from rollout.judge.means import Direction
from rollout.judge.series import Arm, Buckets, Categories, Counts, Floats, Observations, Values
from rollout.judge.terms import ACCURACY, ERRORS, LATENCY, RateTerms, Terms, ValueTerms

Number = Annotated[float, Field(strict=True)] | Annotated[int, Field(strict=True)]
Series = list[Number | None]
Rows = list[list[Number | None] | None]

_VALUES = "values"
_MS_PER_SECOND = 1000
_ALTERNATIVES = ("int", "float", "str", "literal['+Inf']", "list[nullable[union[float,int]]]")
"""What pydantic adds to a key path where a value may be of several types: one problem, not two."""


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
    bake_seconds: DurationSeconds = Field(1800.0, alias="bake")
    settle_seconds: DurationSeconds = Field(120.0, alias="settle")
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
        metrics = {name: it for name, it in given.items() if name not in own}
        return {**{name: it for name, it in given.items() if name in own}, "metrics": metrics}

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
    """What one version did, a number an interval; null where a scrape is missing."""

    requests: Series | None = None
    errors: Series | None = None
    latency: LatencyCounts | None = None
    labelled: Series | None = None
    correct: Series | None = None
    values: ValueCounts | None = None
    histograms: dict[str, Histogram] = Field(default_factory=dict[str, Histogram])
    pods: dict[str, PodCounts] = Field(default_factory=dict[str, PodCounts])
    ready: Series | None = None


class ReferenceHistogram(Declared):
    """Shares, or counts, at training time: one number a bucket."""

    edges: list[Number | str]
    counts: list[Number]


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
    interval_seconds: Annotated[float, Field(gt=0)] = 60.0
    weights: Series | None = None
    stable: ArmCounts
    candidate: ArmCounts
    reference: Reference = Field(default_factory=lambda: Reference.model_validate({}))

    @property
    def begin(self) -> datetime:
        """Begin of the first interval."""
        return self.start or self.rollout.moves[0].at

    @property
    def intervals(self) -> int:
        """How many intervals there are."""
        lengths = [length for _, length in _lengths(self)]
        return max(lengths, default=0)

    @property
    def end(self) -> datetime:
        """When it is judged."""
        whole = timedelta(seconds=self.interval_seconds * self.intervals)
        return self.now or self.begin + whole


def load_case(path: Path) -> Case:
    """Reads a case file.

    Raises:
        ConfigError: the file can't be read or is not a case; all problems at once.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([Problem(str(path), error.strerror or "cannot be read")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem(str(path), "is no text in UTF-8")]) from None
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}:{error.colno}"
        raise ConfigError([Problem(where, f"is no JSON: {error.msg}")]) from None
    try:
        case = Case.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(list(_problems(path, error))) from None
    problems = [Problem(f"{path}: {key}", what) for key, what in _inconsistencies(case)]
    if problems:
        raise ConfigError(problems)
    return case


def terms_of(case: Case, moves: tuple[Move, ...] | None = None) -> Terms:
    """Returns what a case's rollout is held to.

    Args:
        case: as read.
        moves: those made so far, where not all of them are meant.
    """
    declared = case.rollout
    moves = declared.moves if moves is None else moves
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
    quantity = declared.metrics.get(_VALUES, MetricTerms.model_validate({}))
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
        values={_VALUES: ValueTerms(quantity.direction or "either", quantity.margin or 0.0)},
        drift=declared.drift,
        tolerances={
            name: terms.margin
            for name, terms in declared.metrics.items()
            if name not in (*rates, _VALUES) and terms.margin is not None
        },
        extra_tests=declared.extra_tests,
        latency_share=slo.latency and slo.latency.share,
    )


def observations_of(case: Case) -> Observations:
    """Returns what a case's rollout showed."""
    moves = case.rollout.moves
    weights = _floats(case.weights) if case.weights is not None else _weights(case)
    last = weights[-1] if len(weights) else math.nan
    return Observations(
        start=case.begin,
        interval_seconds=case.interval_seconds,
        weights=weights,
        declared_now=float(moves[-1].percent) if math.isnan(last) else float(last),
        stable=_arm("stable", case.stable, case),
        candidate=_arm("candidate", case.candidate, case),
    )


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
    routed = none if given.requests is None else _floats(given.requests)
    metrics: dict[str, Counts] = {}
    if given.requests is not None and given.errors is not None:
        metrics[ERRORS] = Counts(_floats(given.errors), routed)
    goal = case.rollout.slo.latency
    buckets = None
    if given.latency is not None:
        buckets = _buckets(given.latency, routed, goal and goal.threshold_ms)
        if goal is not None:
            metrics[LATENCY] = buckets.slower_than(goal.threshold_ms)
    if given.labelled is not None and given.correct is not None:
        labelled = _floats(given.labelled)
        metrics[ACCURACY] = Counts(labelled - _floats(given.correct), labelled)
    values: dict[str, Values] = {}
    if given.values is not None:
        values[_VALUES] = Values(
            _floats(given.values.sum),
            _floats(given.values.sum_squares),
            _floats(given.values.count),
        )
    pods = [Counts(_floats(it.errors), _floats(it.requests)) for it in given.pods.values()]
    return Arm(
        version,
        metrics,
        routed,
        values=values,
        categories={name: _categories(it) for name, it in given.histograms.items()},
        buckets=buckets,
        pods={ERRORS: _together(pods)} if pods else {},
        reference={
            name: np.array(it.counts, dtype=float) / sum(it.counts)
            for name, it in case.reference.histograms.items()
        },
        ready=None if given.ready is None else _floats(given.ready),
    )


def _buckets(given: LatencyCounts, requests: Floats, threshold_ms: float | None) -> Buckets:
    edges = [math.inf if edge == "+Inf" else float(edge) for edge in given.le]
    counts = _matrix(given.counts, len(edges))
    if edges[-1] != math.inf:
        edges.append(math.inf)
        counts = np.column_stack([counts, requests])
    in_seconds = (
        threshold_ms is not None
        and threshold_ms not in edges
        and threshold_ms / _MS_PER_SECOND in edges
    )
    scale = _MS_PER_SECOND if in_seconds else 1
    return Buckets(tuple(edge * scale for edge in edges), counts)


def _categories(given: Histogram) -> Categories:
    width = max((len(row) for row in given.counts if row is not None), default=0)
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


def _lengths(case: Case) -> Iterator[tuple[str, int]]:
    """Yields the key and the length of every series."""
    if case.weights is not None:
        yield "weights", len(case.weights)
    for name, arm in (("stable", case.stable), ("candidate", case.candidate)):
        for key in ("requests", "errors", "labelled", "correct", "ready"):
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


def _inconsistencies(case: Case) -> Iterator[tuple[str, str]]:
    """Yields key path and problem of all that does not fit together."""
    intervals = case.intervals
    if not intervals:
        yield "stable", "no series at all; give at least requests and errors of both versions"
    for key, length in _lengths(case):
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
    for key, it in case.reference.histograms.items():
        if len(it.counts) != len(it.edges) or sum(it.counts) <= 0 or min(it.counts) < 0:
            yield (
                f"reference.histograms.{key}",
                "counts must be one number a bucket of edges, 0 or more, not all of them 0",
            )


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
    edges = [math.inf if edge == "+Inf" else float(edge) for edge in arm.latency.le]
    if any(low >= high for low, high in pairwise(edges)):
        yield f"{key}.le", "edges must rise"
    if edges[-1] != math.inf and arm.requests is None:
        yield f"{key}.le", 'needs "+Inf" as its last edge, or requests beside it'
    for index, row in enumerate(arm.latency.counts):
        if row is not None and len(row) != len(edges):
            yield f"{key}.counts.{index}", f"{len(row)} numbers for {len(edges)} edges"
    if goal and not {goal.threshold_ms, goal.threshold_ms / _MS_PER_SECOND} & set(edges):
        allowed = ", ".join(f"{edge:g}" for edge in edges)
        yield (
            "rollout.slo.latency.thresholdMs",
            f"{goal.threshold_ms:g} must be an edge of {key}.le (ms, or s): {allowed}",
        )


def _histogram_problems(key: str, it: Histogram) -> Iterator[tuple[str, str]]:
    widths = {len(row) for row in it.counts if row is not None}
    if len(widths) > 1:
        yield f"{key}.counts", f"rows of different lengths: {sorted(widths)}"
    elif widths and abs(widths.pop() - len(it.edges)) > 1:
        yield f"{key}.counts", f"rows must have a number for each bucket of {len(it.edges)} edges"


def _metric_problems(case: Case) -> Iterator[tuple[str, str]]:
    histograms = {*case.stable.histograms, *case.candidate.histograms}
    known = {ERRORS, LATENCY, ACCURACY, _VALUES, PREDICTIONS, *histograms}
    harmful = {ERRORS: "increase", LATENCY: "increase", ACCURACY: "decrease"}
    for name, terms in case.rollout.metrics.items():
        if name not in known:
            own = sorted(known)
            yield f"rollout.{name}", f"is neither a key of a rollout nor a metric: {', '.join(own)}"
        if name in harmful and terms.direction not in (None, harmful[name]):
            yield f"rollout.{name}.direction", f"can only be {harmful[name]}"


def _problems(path: Path, error: ValidationError) -> Iterator[Problem]:
    seen: set[str] = set()
    for detail in error.errors():
        # The alternatives of one number are one problem.
        loc = [
            str(part) for part in detail["loc"] if part not in ("int", "float", "list[nullable]")
        ]
        where = f"{path}: {'.'.join(loc) or 'whole'}"
        if where not in seen:
            seen.add(where)
            yield Problem(where, detail["msg"].removeprefix("Value error, "))


def schema() -> Mapping[str, Any]:
    """Returns the JSON Schema of a case."""
    return Case.model_json_schema(by_alias=True)
