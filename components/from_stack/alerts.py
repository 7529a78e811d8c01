"""A declared service becomes the arguments of what watches it."""

from components.alert_rules import AlertArgs, AlertRulesArgs
from models.base import format_duration
from models.service import Service
from models.stack import Cluster


def alert_rules_args(service: Service, cluster: Cluster) -> AlertRulesArgs:
    """Returns the arguments of a deployed service's `AlertRules`."""
    alerts: list[AlertArgs] = []
    for declared in service.alerts:
        alert: AlertArgs = {
            "metric": declared.metric,
            "duration": format_duration(declared.for_seconds),
            "severity": declared.severity,
        }
        if declared.below is not None:
            alert["below"] = declared.below
        if declared.above is not None:
            alert["above"] = declared.above
        alerts.append(alert)
    return {
        "namespace": cluster.namespace,
        "runtime": service.runtime.kind,
        "versions": list(service.served),
        "thresholdMs": service.slo.latency.threshold_ms,
        "alerts": alerts,
    }
