"""Prometheus alert rules of one model service."""

from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi.errors import InputPropertiesError, InputPropertyErrorDetails

from models.metric_sources import METRIC_SOURCES, MetricSource

WINDOW = "5m"
"""The time over which a share is taken; shorter ones make noise at low traffic."""

_TITLES = {
    "errorRate": ("ErrorRate", "share of failed requests"),
    "slowShare": ("Latency", "share of slow requests"),
    "accuracy": ("Accuracy", "accuracy on labelled requests"),
}


class AlertArgs(TypedDict):
    """One alert: a metric below or above a share, for a time."""

    metric: str
    """errorRate, slowShare or accuracy."""

    below: NotRequired[float]
    """Fires under this share."""

    above: NotRequired[float]
    """Fires over this share."""

    duration: str
    """How long it must hold, as a Prometheus duration."""

    severity: str
    """critical, warning or info."""


class AlertRulesArgs(TypedDict):
    """Arguments of `AlertRules`."""

    namespace: str
    """Namespace of the InferenceServices."""

    runtime: str
    """Kind of the runtime; decides which metrics are read."""

    versions: list[str]
    """The versions that run."""

    thresholdMs: float
    """A request slower than this is slow; an edge of the latency histogram."""

    alerts: list[AlertArgs]
    """The alerts, each made for every version."""


class AlertRules(pulumi.ComponentResource):
    """One PrometheusRule with every alert of a model service, for each of its versions."""

    def __init__(
        self, name: str, args: AlertRulesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        _validate(args)
        super().__init__("modelramp:index:AlertRules", name, dict(args), opts)
        rules = [
            _rule(name, version, alert, args)
            for version in args["versions"]
            for alert in args["alerts"]
        ]
        kubernetes.apiextensions.CustomResource(
            f"{name}-alerts",
            api_version="monitoring.coreos.com/v1",
            kind="PrometheusRule",
            metadata={"name": f"{name}-alerts", "namespace": args["namespace"]},
            spec={"groups": [{"name": f"modelramp-{name}-alerts", "rules": rules}]},
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})


def _validate(args: AlertRulesArgs) -> None:
    """Raises `InputPropertiesError` with everything that is wrong."""
    found: list[tuple[str, str]] = []
    if args["runtime"] not in METRIC_SOURCES:
        found.append(("runtime", f"must be one of {', '.join(METRIC_SOURCES)}"))
    for index, alert in enumerate(args["alerts"]):
        if alert["metric"] not in _TITLES:
            found.append((f"alerts[{index}].metric", f"must be one of {', '.join(_TITLES)}"))
        if ("below" in alert) == ("above" in alert):
            found.append((f"alerts[{index}]", "give exactly one of below and above"))
    if found:
        raise InputPropertiesError(
            "AlertRules arguments are wrong",
            [InputPropertyErrorDetails(property_path=path, reason=why) for path, why in found],
        )


def _rule(name: str, version: str, alert: AlertArgs, args: AlertRulesArgs) -> dict[str, Any]:
    source = METRIC_SOURCES[args["runtime"]]
    share = _share(source, alert["metric"], name, version, args)
    title, what = _TITLES[alert["metric"]]
    side, comparison, bound = (
        ("Low", "<", alert["below"]) if "below" in alert else ("High", ">", alert.get("above"))
    )
    return {
        "alert": f"Model{title}{side}",
        "expr": f"{share} {comparison} {bound:g}",
        "for": alert["duration"],
        "labels": {"severity": alert["severity"], "service": name, "version": version},
        "annotations": {
            "summary": f"{name} {version}: {what} {comparison} {bound:g}",
            "description": (
                f"The {what} of {name} {version} is {{{{ $value | humanizePercentage }}}} "
                f"over {WINDOW}, {comparison} {bound:g} for {alert['duration']}."
            ),
        },
    }


def _share(source: MetricSource, metric: str, name: str, version: str, args: AlertRulesArgs) -> str:
    def total(counter: str) -> str:
        selector = source.selector(
            counter,
            namespace=args["namespace"],
            service=name,
            version=version,
            edge_ms=args["thresholdMs"],
        )
        return f"sum(increase({selector}[{WINDOW}]))"

    if metric == "errorRate":
        # The series of errors does not exist before the first error.
        return f"({total('errors')} or vector(0)) / {total('requests')}"
    if metric == "accuracy":
        return f"{total('correct')} / {total('labelled')}"
    return f"1 - {total('latency_bucket')} / {total('latency_count')}"
