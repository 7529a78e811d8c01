"""Prometheus alert rules of one model service."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NotRequired, TypedDict, get_args

import pulumi
import pulumi_kubernetes as kubernetes

from components.arguments import refuse
from models.alerting import BURN_WINDOWS, METRICS, AlertName, Metric, Severity
from models.base import format_duration
from models.metric_sources import METRIC_SOURCES
from models.metric_sources.measures import (
    MOMENTARY,
    SHOWN,
    Measure,
    ServiceSeries,
    VersionMetrics,
    recorded,
    told,
)

EVALUATED: Final = "1m"
"""How often all of it is evaluated: windows of days are not cheap."""

RUNBOOKS: Final = "docs/runbooks"
"""Where the runbooks are, unless a URL is given: in this repository."""

COMPARED: Final = "30m"
"""The time over which candidate and stable are compared, and routed requests are looked for."""

BEYOND_CHANCE: Final = 3
"""Standard errors by which a candidate must be worse before somebody is told."""

_SHOWN_AS: Final = {
    "share": "{{ $value | humanizePercentage }}",
    "ms": '{{ $value | printf "%.0f" }} ms',
    "count": "{{ $value | humanize }}",
}
_SAME_SERVICE: Final = "on (namespace, service)"
_SAME_VERSION: Final = "on (namespace, service, version)"


class AlertArgs(TypedDict):
    """One alert: a metric below or above a bound, for a time."""

    metric: str
    """errorRate, slowShare, latencyP99Ms, accuracy, predictionDrift, featureDrift, queuePerPod,
    restarts, gpuMemory or gpuUtilisation."""

    below: NotRequired[float]
    """Fires under this value."""

    above: NotRequired[float]
    """Fires over this value."""

    duration: str
    """How long it must hold, as a Prometheus duration."""

    window: NotRequired[str]
    """The time the metric is taken over, as a Prometheus duration."""

    severity: str
    """critical, warning or info."""


class SloArgs(TypedDict):
    """What is promised of a model service."""

    errorRate: float
    """At most this share of requests fails."""

    latencyThresholdMs: float
    """A request slower than this is slow; an edge of the latency histogram."""

    latencyShare: float
    """At least this share of requests is not slow."""

    accuracy: NotRequired[float]
    """At least this share of labelled predictions is right."""


class MarginArgs(TypedDict):
    """By how much a candidate may be worse than stable, in shares of requests or labels."""

    errorRate: float
    """Of failed requests."""

    latency: float
    """Of slow requests."""

    accuracy: float
    """Of wrong predictions."""


class AlertRulesArgs(TypedDict):
    """Arguments of `AlertRules`."""

    namespace: str
    """Namespace of the InferenceServices."""

    owner: str
    """The team that answers for the service; alerts carry it for routing."""

    runtime: str
    """Kind of the runtime; decides which metrics are read."""

    gpu: bool
    """Whether its pods have GPUs."""

    versions: list[str]
    """The versions that run."""

    stable: str
    """The version that is the yardstick."""

    candidate: NotRequired[str]
    """The version under test."""

    slo: SloArgs
    """What is promised."""

    margin: MarginArgs
    """What a candidate is allowed."""

    driftTolerance: float
    """Total variation distance from the training data that is no reason to alert, 0 to 1."""

    stalledAfter: str
    """How long a step may stay undecided, as a Prometheus duration."""

    alerts: list[AlertArgs]
    """The service's own alerts, each made for every version, instead of the default of its name."""

    disable: list[str]
    """Names of default alerts that are left out."""

    minRequests: int
    """With fewer requests in its window, no alert on a rate or a latency fires."""

    minLabels: int
    """With fewer labels in its window, no alert on accuracy fires."""

    minPredictions: int
    """With fewer predictions in its window, no alert on drift fires."""

    runbooks: NotRequired[str]
    """URL of the folder of runbooks."""


class AlertRules(pulumi.ComponentResource):
    """One PrometheusRule: what is recorded of every version of a service, and all its alerts.

    Error budgets burn in several windows (`models/burn_windows.yaml`); a burn rate that even
    nothing but bad requests would not reach is left out.
    """

    def __init__(
        self, name: str, args: AlertRulesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        _validate(args)
        super().__init__("modelramp:index:AlertRules", name, dict(args), opts)
        kubernetes.apiextensions.CustomResource(
            f"{name}-alerts",
            api_version="monitoring.coreos.com/v1",
            kind="PrometheusRule",
            metadata={"name": f"{name}-alerts", "namespace": args["namespace"]},
            spec={"groups": [rule_group(name, args)]},
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})


def rule_group(name: str, args: AlertRulesArgs) -> dict[str, Any]:
    """Returns the rules of a service.

    One group, because its rules are evaluated in turn at one time: an alert sees what was recorded
    just before it, however old Prometheus lets samples become.
    """
    service = _Service(name, args)
    alerts = [alert for alert in service.alerts() if alert.name not in args["disable"]]
    return {
        "name": f"modelramp-{name}-alerts",
        "interval": EVALUATED,
        "rules": [*service.recordings(alerts), *map(service.rule, alerts)],
    }


@dataclass(frozen=True)
class _Alert:
    """An alert of one version.

    Attributes:
        uses: measures it reads, with their windows, of each version.
    """

    name: AlertName
    version: str
    severity: str
    expr: str
    summary: str
    description: str
    duration: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    uses: tuple[tuple[Measure, str], ...] = ()


@dataclass(frozen=True)
class _Threshold:
    """A metric's bound, whether declared or by default."""

    metric: Metric
    above: bool
    bound: float
    duration: str
    severity: str
    window: str | None = None

    @property
    def name(self) -> AlertName:
        watched = METRICS[self.metric]
        name = watched.above if self.above else watched.below
        assert name is not None  # noqa: S101  validated
        return name


@dataclass(frozen=True)
class _Service:
    """Makes the rules of one model service."""

    name: str
    args: AlertRulesArgs

    def recordings(self, alerts: list[_Alert]) -> list[dict[str, Any]]:
        """What the dashboard shows and what alerts read, of each version."""
        wanted = {*SHOWN.items(), *(use for alert in alerts for use in alert.uses)}
        runtime, gpu = self.args["runtime"], self.args["gpu"]
        used = sorted(use for use in wanted if told(use[0], runtime, gpu=gpu))
        return [
            {
                "record": recorded(measure, window),
                "expr": self._metrics(version).query(measure, window),
                "labels": self._identity(version),
            }
            for version in self.args["versions"]
            for measure, window in used
        ]

    def alerts(self) -> Iterator[_Alert]:
        for version in self.args["versions"]:
            yield from self._burn(version)
            for threshold in self._thresholds():
                yield self._threshold(version, threshold)
            yield from self._absent(version)
        candidate = self.args.get("candidate")
        if candidate is not None:
            yield from self._worse(candidate)
            yield self._stalled(candidate)
            yield self._without_data(candidate)

    def rule(self, alert: _Alert) -> dict[str, Any]:
        rule: dict[str, Any] = {
            "alert": alert.name,
            "expr": alert.expr,
            "labels": {
                **self._identity(alert.version),
                "owner": self.args["owner"],
                "severity": alert.severity,
                **alert.labels,
            },
            "annotations": {
                "summary": f"{self.name} {alert.version}: {alert.summary}",
                "description": alert.description,
                "runbook_url": f"{self.args.get('runbooks', RUNBOOKS)}/{alert.name}.md",
            },
        }
        if alert.duration is not None:
            rule["for"] = alert.duration
        return rule

    def _identity(self, version: str) -> dict[str, str]:
        return {"namespace": self.args["namespace"], "service": self.name, "version": version}

    def _series(self, version: str) -> ServiceSeries:
        return ServiceSeries(self.args["namespace"], self.name, version)

    def _metrics(self, version: str) -> VersionMetrics:
        threshold_ms = self.args["slo"]["latencyThresholdMs"]
        namespace, runtime = self.args["namespace"], self.args["runtime"]
        return VersionMetrics(runtime, namespace, self.name, version, threshold_ms)

    def _enough(self, version: str, measure: Measure, window: str) -> str:
        least = {
            "requests": self.args["minRequests"],
            "labels": self.args["minLabels"],
            "predictions": self.args["minPredictions"],
        }[measure]
        return f"{_SAME_VERSION} {self._series(version).of(measure, window)} >= {int(least)}"

    # --- error budgets

    def _burn(self, version: str) -> Iterator[_Alert]:
        slo = self.args["slo"]
        budgets: tuple[tuple[AlertName, Measure, str, float], ...] = (
            ("ModelErrorBudgetBurn", "error_share", "failed", slo["errorRate"]),
            ("ModelLatencyBudgetBurn", "slow_share", "were slow", 1 - slo["latencyShare"]),
        )
        period = format_duration(BURN_WINDOWS.period_seconds)
        for name, measure, what, budget in budgets:
            for window in BURN_WINDOWS.windows:
                rate = BURN_WINDOWS.burn_rate(window)
                limit = f"{rate * budget:.6g}"
                if float(limit) >= 1:
                    continue
                series = self._series(version)
                long, short = series.of(measure, window.long), series.of(measure, window.short)
                yield _Alert(
                    name,
                    version,
                    window.severity,
                    f"{long} > {limit} and {short} > {limit}"
                    f" and {self._enough(version, 'requests', window.long)}",
                    f"spends its error budget {rate:g} times as fast as the SLO allows",
                    f"{_SHOWN_AS['share']} of the requests to {self.name} {version} {what} over"
                    f" {window.long}, and it goes on; the SLO allows {budget:.6g} over {period}."
                    f" At {limit} it is {rate:g} times as much.",
                    labels={"window": window.long},
                    uses=(
                        (measure, window.long),
                        (measure, window.short),
                        ("requests", window.long),
                    ),
                )

    # --- bounds

    def _thresholds(self) -> list[_Threshold]:
        own = [
            _Threshold(
                metric=alert["metric"],  # pyright: ignore[reportArgumentType]  validated
                above="above" in alert,
                bound=alert["above"] if "above" in alert else alert.get("below", 0.0),
                duration=alert["duration"],
                severity=alert["severity"],
                window=alert.get("window"),
            )
            for alert in self.args["alerts"]
        ]
        replaced = {threshold.name for threshold in own}
        defaults = (it for it in self._defaults() if it.name not in replaced)
        runtime, gpu = self.args["runtime"], self.args["gpu"]
        return [
            threshold
            for threshold in (*own, *defaults)
            if told(METRICS[threshold.metric].measure, runtime, gpu=gpu)
        ]

    def _defaults(self) -> Iterator[_Threshold]:
        slo, drift = self.args["slo"], self.args["driftTolerance"]
        yield _Threshold("errorRate", True, slo["errorRate"], "15m", "warning")
        # The histogram tells nothing beyond its last edge.
        highest = METRIC_SOURCES[self.args["runtime"]].latency_edges_ms[-1]
        for bound in (2 * slo["latencyThresholdMs"], slo["latencyThresholdMs"]):
            if bound < highest:
                yield _Threshold("latencyP99Ms", True, bound, "15m", "warning")
                break
        if "accuracy" in slo:
            yield _Threshold("accuracy", False, slo["accuracy"], "15m", "warning")
        yield _Threshold("predictionDrift", True, drift, "30m", "warning")
        yield _Threshold("featureDrift", True, drift, "30m", "warning")
        yield _Threshold("queuePerPod", True, 20, "10m", "warning")
        yield _Threshold("restarts", True, 3, "1m", "critical")
        yield _Threshold("gpuMemory", True, 0.95, "15m", "warning")
        yield _Threshold("gpuUtilisation", True, 0.95, "30m", "info")

    def _threshold(self, version: str, threshold: _Threshold) -> _Alert:
        watched = METRICS[threshold.metric]
        window = threshold.window or format_duration(watched.window_seconds)
        if watched.measure in MOMENTARY:
            window = ""
        comparison = ">" if threshold.above else "<"
        series = self._series(version)
        expr = f"{series.of(watched.measure, window)} {comparison} {threshold.bound:g}"
        uses: list[tuple[Measure, str]] = [(watched.measure, window)]
        if watched.least_of is not None:
            expr += f" and {self._enough(version, watched.least_of, window)}"
            uses.append((watched.least_of, window))
        of = " ({{ $labels.feature }})" if watched.measure == "feature_drift" else ""
        return _Alert(
            threshold.name,
            version,
            threshold.severity,
            expr,
            f"{watched.title}{of} {comparison} {threshold.bound:g}",
            f"The {watched.title}{of} of {self.name} {version} is {_SHOWN_AS[watched.unit]},"
            f" {comparison} {threshold.bound:g} for {threshold.duration}.",
            duration=threshold.duration,
            uses=tuple(uses),
        )

    # --- nothing to see

    def _absent(self, version: str) -> Iterator[_Alert]:
        declared = self._series(version).declared_percent()
        yield _Alert(
            "ModelMetricsAbsent",
            version,
            "critical",
            f"{declared} > 0 unless on () {self._metrics(version).selector('routed')}",
            "its requests are not counted",
            f"{self.name} {version} has {{{{ $value }}}}% of the traffic, and Prometheus has no"
            " count of its requests: no other alert on them can fire.",
            duration="10m",
        )
        yield _Alert(
            "ModelWeightAbsent",
            version,
            "warning",
            f"absent({declared})",
            "its declared weight is not recorded",
            f"Prometheus does not record which share of traffic {self.name} {version} has:"
            " rollouts are held for lack of data.",
            duration="10m",
        )

    # --- rollouts

    def _worse(self, candidate: str) -> Iterator[_Alert]:
        margin, declared = self.args["margin"], self._series(candidate).declared_percent()
        compared: tuple[tuple[str, str, Measure, Measure, float], ...] = (
            ("errorRate", "failed requests", "error_share", "requests", margin["errorRate"]),
            ("latency", "slow requests", "slow_share", "requests", margin["latency"]),
            ("accuracy", "wrong predictions", "accuracy", "labels", margin["accuracy"]),
        )
        runtime, gpu = self.args["runtime"], self.args["gpu"]
        for metric, what, measure, of, allowed in compared:
            if not told(measure, runtime, gpu=gpu):
                continue

            ours = self._series(candidate).of(measure, COMPARED)
            stable = self._series(self.args["stable"]).of(measure, COMPARED)
            count = self._series(candidate).of(of, COMPARED)
            error = f"{BEYOND_CHANCE} * sqrt({ours} * (1 - {ours}) / {count})"
            # Of accuracy, less is worse.
            worse, better = (stable, ours) if measure == "accuracy" else (ours, stable)
            yield _Alert(
                "ModelCandidateWorse",
                candidate,
                "warning",
                f"({worse} - {_SAME_SERVICE} {better}) - {_SAME_SERVICE} {error} > {allowed:g}"
                f" and {_SAME_SERVICE} {count} >= {self._least(of)}"
                f" and {_SAME_SERVICE} {declared} > 0",
                f"more {what} than stable {self.args['stable']}",
                f"The share of {what} of the candidate {candidate} of {self.name} is above that of"
                f" stable by at least {_SHOWN_AS['share']} over {COMPARED}, beyond chance; the"
                f" margin is {allowed:g}.",
                duration="5m",
                labels={"metric": metric},
                uses=((measure, COMPARED), (of, COMPARED)),
            )

    def _least(self, of: Measure) -> int:
        return int(self.args["minLabels" if of == "labels" else "minRequests"])

    def _stalled(self, candidate: str) -> _Alert:
        declared, after = self._series(candidate).declared_percent(), self.args["stalledAfter"]
        return _Alert(
            "ModelRolloutStalled",
            candidate,
            "warning",
            f"{declared} > 0 and {declared} < 100 and {declared} == {declared} offset {after}"
            f" and changes({declared}[{after}]) == 0",
            f"no move for {after}",
            f"The candidate {candidate} of {self.name} has stayed at {{{{ $value }}}}% for {after}:"
            " the step is neither over nor taken back.",
        )

    def _without_data(self, candidate: str) -> _Alert:
        stable, series = self._series(self.args["stable"]), self._series(candidate)
        seen = stable.of("requests", COMPARED)
        got = f"({series.of('requests', COMPARED)} or {_SAME_SERVICE} 0 * {seen})"
        ratio = f"{series.declared_percent()} / {_SAME_SERVICE} {stable.declared_percent()}"
        expected = f"({seen} * {_SAME_SERVICE} ({ratio}))"
        return _Alert(
            "ModelRolloutNoData",
            candidate,
            "warning",
            f"{got} < {_SAME_SERVICE} 0.1 * {expected}"
            f" and {_SAME_SERVICE} {expected} >= {self._least('requests')}",
            "gets far fewer requests than declared",
            f"The candidate {candidate} of {self.name} got {{{{ $value | humanize }}}} requests"
            f" over {COMPARED}, less than a tenth of its declared share.",
            duration="15m",
            uses=(("requests", COMPARED),),
        )


def _validate(args: AlertRulesArgs) -> None:
    """Raises `InputPropertiesError` with everything that is wrong."""
    found: list[tuple[str, str]] = []
    if args["runtime"] not in METRIC_SOURCES:
        found.append(("runtime", f"must be one of {', '.join(METRIC_SOURCES)}"))
    for role in ("stable", "candidate"):
        version = args.get(role)
        if version is not None and version not in args["versions"]:
            found.append((role, f"{version} is not among versions {', '.join(args['versions'])}"))
    for index, alert in enumerate(args["alerts"]):
        found += [(f"alerts[{index}]{path}", why) for path, why in _wrong(alert)]
    names = get_args(AlertName)
    found += [
        (f"disable[{index}]", f"{name} must be one of {', '.join(names)}")
        for index, name in enumerate(args["disable"])
        if name not in names
    ]
    refuse("AlertRules", found)


def _wrong(alert: AlertArgs) -> Iterator[tuple[str, str]]:
    """Yields path and reason of each mistake in an alert."""
    if alert["severity"] not in get_args(Severity):
        yield ".severity", f"must be one of {', '.join(get_args(Severity))}"
    if ("below" in alert) == ("above" in alert):
        yield "", "give exactly one of below and above"
    watched = {str(metric): it for metric, it in METRICS.items()}.get(alert["metric"])
    if watched is None:
        yield ".metric", f"must be one of {', '.join(METRICS)}"
    else:
        for side, name in (("above", watched.above), ("below", watched.below)):
            if side in alert and name is None:
                yield f".{side}", f"{alert['metric']} has no such alert"
