"""A declared service becomes the arguments of what watches it."""

from collections.abc import Mapping

import pulumi

from components.alert_routing import AlertRoutingArgs, ReceiverArgs
from components.alert_rules import AlertArgs, AlertRulesArgs, SloArgs
from components.dashboards import DashboardsArgs
from components.scraping import ScrapingArgs
from models.alerting import Alert, Alerting, AlertName, EmailReceiver, Receiver, SlackReceiver
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
    defaults = service.alert_defaults
    args: AlertRulesArgs = {
        "namespace": cluster.namespace,
        "owner": service.owner,
        "runtime": service.runtime.kind,
        "gpu": service.runtime.gpu is not None,
        "versions": list(service.served),
        "stable": service.rollout.stable,
        "slo": _slo_args(service),
        "margin": {
            "errorRate": service.margin.error_rate,
            "latency": service.margin.latency,
            "accuracy": service.margin.accuracy,
        },
        "driftTolerance": service.drift.reference.tolerance,
        "stalledAfter": format_duration(service.judge.deadline.after_seconds),
        "alerts": [_alert_args(alert) for alert in service.alerts],
        "disable": [*defaults.disable, *_beside_the_point(service)],
        "minRequests": defaults.min_requests,
        "minLabels": defaults.min_labels,
        "minPredictions": defaults.min_predictions,
    }
    if service.rollout.candidate:
        args["candidate"] = service.rollout.candidate
    if alerting and alerting.runbooks:
        args["runbooks"] = alerting.runbooks
    return args


def _beside_the_point(service: Service) -> tuple[AlertName, ...]:
    # Champion and challenger stay side by side on purpose.
    return ("ModelRolloutStalled",) if service.strategy.is_endless else ()


def dashboards_args(service: Service, cluster: Cluster) -> DashboardsArgs:
    """Returns the arguments of a service's `Dashboards`."""
    return {
        "namespace": cluster.namespace,
        "owner": service.owner,
        "runtime": service.runtime.kind,
        "gpu": service.runtime.gpu is not None,
        "slo": _slo_args(service),
    }


def scraping_args(service: Service, cluster: Cluster, *, operator: bool = True) -> ScrapingArgs:
    """Returns the arguments of a service's `Scraping`.

    Args:
        service: as declared.
        cluster: where it runs.
        operator: whether prometheus-operator runs Prometheus there.
    """
    return {
        "namespace": cluster.namespace,
        "port": service.runtime.server.metrics_port,
        "path": "/metrics",
        "operator": operator,
    }


def _slo_args(service: Service) -> SloArgs:
    slo: SloArgs = {
        "errorRate": service.slo.error_rate,
        "latencyThresholdMs": service.slo.latency.threshold_ms,
        "latencyShare": service.slo.latency.share,
    }
    if service.slo.accuracy is not None:
        slo["accuracy"] = service.slo.accuracy
    return slo


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


def alert_routing_args(
    alerting: Alerting, cluster: Cluster, secrets: Mapping[str, pulumi.Input[str]]
) -> AlertRoutingArgs:
    """Returns the arguments of a stack's `AlertRouting`.

    Args:
        alerting: as declared.
        cluster: where it runs.
        secrets: the config's secret values, by the keys that `alerting.secret_keys` names.
    """
    return {
        "namespace": cluster.namespace,
        "receivers": [_receiver_args(receiver) for receiver in alerting.receivers],
        "defaultReceiver": alerting.default,
        "routes": [
            {
                "receiver": route.receiver,
                "severities": list(route.severity),
                "owners": list(route.owner),
            }
            for route in alerting.routes
        ],
        "groupWait": format_duration(alerting.group_wait_seconds),
        "groupInterval": format_duration(alerting.group_interval_seconds),
        "repeatInterval": format_duration(alerting.repeat_interval_seconds),
        "secrets": {key: secrets[key] for key in alerting.secret_keys},
    }


def _receiver_args(declared: Receiver) -> ReceiverArgs:
    receiver: ReceiverArgs = {
        "name": declared.name,
        "kind": declared.kind,
        "sendResolved": declared.send_resolved,
    }
    if declared.secret_key is not None:
        receiver["secret"] = declared.secret_key
    if isinstance(declared, SlackReceiver):
        receiver["channel"] = declared.channel
    if isinstance(declared, EmailReceiver):
        receiver["to"] = declared.to
        receiver["sender"] = declared.sender
        receiver["smarthost"] = declared.smarthost
        if declared.username is not None:
            receiver["username"] = declared.username
    return receiver
