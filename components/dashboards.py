"""A Grafana dashboard of one model service: its versions side by side."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypedDict

import pulumi
import pulumi_kubernetes as kubernetes

from components.alert_rules import SloArgs
from components.arguments import refuse
from models.metric_sources import METRIC_SOURCES
from models.metric_sources.measures import SHOWN, Measure, ServiceSeries, told

SCHEMA_VERSION: Final = 41
"""Of Grafana's dashboard model: that of Grafana 12; older ones read what they know of it."""

_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS, _WIDTH, _HEIGHT = 3, 8, 8
_RATE_SECONDS: Final = 300  # of `RATE_WINDOW`
_CHANGE_WINDOW: Final = "2m"  # two evaluations of the recording rule


class DashboardsArgs(TypedDict):
    """Arguments of `Dashboards`."""

    namespace: str
    """Namespace of the InferenceServices, and of the ConfigMap."""

    owner: str
    """The team that answers for the service."""

    runtime: str
    """Kind of the runtime; decides what there is to show."""

    gpu: bool
    """Whether its pods have GPUs."""

    slo: SloArgs
    """What is promised; drawn as lines."""


class Dashboards(pulumi.ComponentResource):
    """One ConfigMap that Grafana's sidecar loads as a dashboard.

    It shows what `AlertRules` records, so that both speak of the same numbers.
    """

    def __init__(
        self, name: str, args: DashboardsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        if args["runtime"] not in METRIC_SOURCES:
            why = f"must be one of {', '.join(METRIC_SOURCES)}"
            refuse("Dashboards", [("runtime", why)])
        super().__init__("modelramp:index:Dashboards", name, dict(args), opts)
        kubernetes.core.v1.ConfigMap(
            f"{name}-dashboard",
            metadata={
                "name": f"{name}-dashboard",
                "namespace": args["namespace"],
                "labels": {"grafana_dashboard": "1"},
            },
            data={f"{args['namespace']}-{name}.json": json.dumps(dashboard(name, args), indent=2)},
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})


@dataclass(frozen=True)
class _Panel:
    """One graph: queries by legend, and a line where a promise ends."""

    title: str
    unit: str
    queries: dict[str, str]
    promise: float | None = None
    needs: Measure | None = None


def dashboard(name: str, args: DashboardsArgs) -> dict[str, Any]:
    """Returns Grafana's JSON model of a service's dashboard."""
    series = ServiceSeries(args["namespace"], name)
    shown = [
        panel
        for panel in _panels(series, args["slo"])
        if panel.needs is None or told(panel.needs, args["runtime"], gpu=args["gpu"])
    ]
    return {
        # Grafana takes no more than 40 characters.
        "uid": hashlib.sha256(f"{args['namespace']}/{name}".encode()).hexdigest()[:40],
        "title": f"Model {name}",
        "tags": ["modelramp", args["namespace"], args["owner"]],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "label": "Prometheus",
                    "type": "datasource",
                    "query": "prometheus",
                    "refresh": 1,
                }
            ]
        },
        "annotations": {
            "list": [
                {
                    "name": "Declared weights",
                    "datasource": _DATASOURCE,
                    "enable": True,
                    "iconColor": "blue",
                    "expr": series.changed_percent(_CHANGE_WINDOW),
                    "step": "60s",
                    "titleFormat": "{{version}}: declared weight changed",
                    "tagKeys": "version",
                }
            ]
        },
        "panels": [_graph(at, panel) for at, panel in enumerate(shown)],
    }


def _panels(series: ServiceSeries, slo: SloArgs) -> Iterator[_Panel]:
    def of(measure: Measure) -> str:
        return series.of(measure, SHOWN[measure])

    def by_version(measure: Measure) -> dict[str, str]:
        return {"{{version}}": of(measure)}

    yield _Panel(
        "Share of traffic: declared and measured",
        "percent",
        {
            "{{version}} declared": series.declared_percent(),
            "{{version}} measured": series.measured_percent(SHOWN["requests"]),
        },
    )
    yield _Panel("Requests", "reqps", {"{{version}}": f"{of('requests')} / {_RATE_SECONDS}"})
    yield _Panel("Failed requests", "percentunit", by_version("error_share"), slo["errorRate"])
    yield _Panel(
        "Response time",
        "ms",
        {"{{version}} p50": of("latency_p50_ms"), "{{version}} p99": of("latency_p99_ms")},
        slo["latencyThresholdMs"],
    )
    yield _Panel(
        "Accuracy",
        "percentunit",
        by_version("accuracy"),
        slo.get("accuracy"),
        needs="accuracy",
    )
    yield _Panel(
        "Predictions: distance from training",
        "percentunit",
        by_version("prediction_drift"),
        needs="prediction_drift",
    )
    yield _Panel(
        "Features: distance from training",
        "percentunit",
        {"{{version}} {{feature}}": of("feature_drift")},
        needs="feature_drift",
    )
    yield _Panel("Waiting requests per pod", "short", by_version("queue_per_pod"))
    yield _Panel("Ready pods", "short", by_version("ready_pods"))
    yield _Panel(
        "Generated tokens per second",
        "short",
        by_version("tokens_per_second"),
        needs="tokens_per_second",
    )
    yield _Panel(
        "GPU memory in use",
        "percentunit",
        by_version("gpu_memory_share"),
        needs="gpu_memory_share",
    )
    yield _Panel(
        "GPU utilisation",
        "percentunit",
        by_version("gpu_utilisation_share"),
        needs="gpu_utilisation_share",
    )


def _graph(at: int, panel: _Panel) -> dict[str, Any]:
    row, column = divmod(at, _COLUMNS)
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "custom": {"lineWidth": 1, "fillOpacity": 0, "showPoints": "never"},
    }
    if panel.promise is not None:
        defaults["custom"]["thresholdsStyle"] = {"mode": "dashed"}
        defaults["thresholds"] = {
            "mode": "absolute",
            "steps": [
                {"color": "transparent", "value": None},
                {"color": "red", "value": panel.promise},
            ],
        }
    return {
        "id": at + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": _DATASOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _DATASOURCE,
                "expr": expr,
                "legendFormat": legend,
                "range": True,
            }
            for index, (legend, expr) in enumerate(panel.queries.items())
        ],
    }
