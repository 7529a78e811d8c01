"""A declared service becomes the arguments of what watches it."""

from components.alert_rules import AlertArgs, AlertRulesArgs, SloArgs
from models.alerting import Alert, Alerting
from models.base import format_duration
from models.service import Service
from models.stack import Cluster


def alert_rules_args(
    service: Service, cluster: Cluster, alerting: Alerting | None = None
) -> AlertRulesArgs:
    """Returns the arguments of a deployed service's `AlertRules`.

    Args:
        service: a service with a rollout.
        cluster: where it runs.
        alerting: who hears of alerts, if declared.
    """
    assert service.rollout is not None  # noqa: S101  the caller skips services never deployed
    slo: SloArgs = {
        "errorRate": service.slo.error_rate,
        "latencyThresholdMs": service.slo.latency.threshold_ms,
        "latencyShare": service.slo.latency.share,
    }
    if service.slo.accuracy is not None:
        slo["accuracy"] = service.slo.accuracy
    defaults = service.alert_defaults
    args: AlertRulesArgs = {
        "namespace": cluster.namespace,
        "owner": service.owner,
        "runtime": service.runtime.kind,
        "gpu": service.runtime.gpu is not None,
        "versions": list(service.served),
        "stable": service.rollout.stable,
        "slo": slo,
        "margin": {
            "errorRate": service.margin.error_rate,
            "latency": service.margin.latency,
            "accuracy": service.margin.accuracy,
        },
        "driftTolerance": service.drift.reference.tolerance,
        "stalledAfter": format_duration(service.judge.deadline.after_seconds),
        "alerts": [_alert_args(alert) for alert in service.alerts],
        "disable": list(defaults.disable),
        "minRequests": defaults.min_requests,
        "minLabels": defaults.min_labels,
        "minPredictions": defaults.min_predictions,
    }
    if service.rollout.candidate:
        args["candidate"] = service.rollout.candidate
    if alerting and alerting.runbooks:
        args["runbooks"] = alerting.runbooks
    return args


def _alert_args(declared: Alert) -> AlertArgs:
    alert: AlertArgs = {
        "metric": declared.metric,
        "duration": format_duration(declared.for_seconds),
        "severity": declared.severity,
    }
    if declared.below is not None:
        alert["below"] = declared.below
    if declared.above is not None:
        alert["above"] = declared.above
    if declared.over_seconds is not None:
        alert["window"] = format_duration(declared.over_seconds)
    return alert
