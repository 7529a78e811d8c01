# pyright: basic
"""Every alert in promtool: a case in which it fires, and one in which it almost does.

All cases are one run of promtool. Its rules are those of a service with 1.4.0 as stable and 1.5.0
as candidate at 5%, whose SLO allows 1% of failed and of slow requests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest

from components.alert_rules import rule_group
from models.alerting import AlertName
from tests.components.promtool import check_rules, promtool
from tests.components.watched import watched

pytestmark = pytest.mark.embedded

RULES = {
    "groups": [
        rule_group(
            "fraud",
            watched(
                gpu=True,
                alerts=[
                    {
                        "metric": "gpuUtilisation",
                        "below": 0.05,
                        "duration": "10m",
                        "severity": "info",
                    },
                    {
                        "metric": "gpuUtilisation",
                        "above": 0.95,
                        "duration": "10m",
                        "severity": "info",
                    },
                    {
                        "metric": "slowShare",
                        "above": 0.05,
                        "duration": "5m",
                        "severity": "warning",
                        "window": "10m",
                    },
                ],
            ),
        )
    ]
}
STABLE, CANDIDATE = "1.4.0", "1.5.0"
WHOLE = "x100"  # longer than most cases look


def envoy(name: str, version: str, **labels: str) -> str:
    cluster = f"service/models/fraud-v{version.replace('.', '-')}-predictor/80/http"
    more = "".join(f',{key}="{value}"' for key, value in labels.items())
    return f'envoy_cluster_{name}{{envoy_cluster_name="{cluster}"{more}}}'


def server(name: str, version: str = STABLE, **labels: str) -> str:
    more = "".join(f',{key}="{value}"' for key, value in labels.items())
    whose = f'namespace="models",model_service="fraud",model_version="{version}"{more}'
    return f"modelramp_{name}{{{whose}}}"


def weight(version: str) -> str:
    return f'modelramp:declared_percent{{namespace="models",service="fraud",version="{version}"}}'


def declared(stable: str = "95x100", candidate: str = "5x100") -> dict[str, str]:
    return {weight(STABLE): stable, weight(CANDIDATE): candidate}


def restarts(service: str) -> str:
    pod = f'namespace="models",pod="{service}-v1-4-0-predictor-6d9-x"'
    return f"kube_pod_container_status_restarts_total{{{pod}}}"


def requests(version: str, good: str, bad: str) -> dict[str, str]:
    return {
        envoy("upstream_rq_xx", version, envoy_response_code_class="2"): good,
        envoy("upstream_rq_xx", version, envoy_response_code_class="5"): bad,
    }


def latency(version: str, within_250: str, within_500: str, within_1000: str) -> dict[str, str]:
    def bucket(edge: str) -> str:
        return envoy("upstream_rq_time_bucket", version, le=edge)

    count = envoy("upstream_rq_time_count", version)
    return {
        bucket("250"): within_250,  # as Prometheus 2 writes it
        bucket("500.0"): within_500,  # as Prometheus 3 does
        bucket("1000.0"): within_1000,
        bucket("+Inf"): within_1000,
        count: within_1000,
    }


def gpu(name: str, value: str, prefix: str = "") -> dict[str, str]:
    pod = f'{prefix}namespace="models",{prefix}pod="fraud-v1-4-0-predictor-6d9-x"'
    return {f'DCGM_FI_DEV_{name}{{gpu="0",{pod}}}': value}


@dataclass(frozen=True)
class Fires:
    """An alert that fires: its labels beside the usual ones, and the value in its description."""

    alert: AlertName
    version: str
    severity: str
    value: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """What Prometheus has scraped, and what fires of the named alerts, at a time."""

    title: str
    series: Mapping[str, str]
    at: str
    of: tuple[AlertName, ...]
    fires: tuple[Fires, ...] = ()
    interval: str = "1m"


def burn(alert: AlertName, value: str, *windows: str) -> tuple[Fires, ...]:
    severity = {"1h": "critical", "6h": "critical", "1d": "warning", "3d": "warning"}
    return tuple(Fires(alert, STABLE, severity[it], value, {"window": it}) for it in windows)


ERRORS: AlertName = "ModelErrorBudgetBurn"
SLOW: AlertName = "ModelLatencyBudgetBurn"
DRIFTS: tuple[AlertName, ...] = ("ModelPredictionDrift", "ModelFeatureDrift")
ON_TRAFFIC: tuple[AlertName, ...] = tuple(
    name for name in get_args(AlertName) if name not in ("ModelMetricsAbsent", "ModelWeightAbsent")
)


def predictions(yes: str, no: str) -> dict[str, str]:
    """Half and half in training; the feature likewise."""
    counted = {"yes": yes, "no": no}
    return {
        **{server("predictions_total", bucket=it): values for it, values in counted.items()},
        **{
            server("reference_share", bucket=it, kind="prediction", feature=""): f"0.5{WHOLE}"
            for it in counted
        },
        **{
            server("feature_values_total", bucket=it, feature="amount"): values
            for it, values in counted.items()
        },
        **{
            server("reference_share", bucket=it, kind="feature", feature="amount"): f"0.5{WHOLE}"
            for it in counted
        },
    }


def pinned(metric: str, value: str) -> Fires:
    return Fires("ModelCandidateWorse", CANDIDATE, "warning", value, {"metric": metric})


CASES = (
    # Error budgets: each window by itself, by what it is slow to see.
    Case(
        "a fifth fails",
        requests(STABLE, "0+80x100", "0+20x100"),
        "65m",
        (ERRORS,),
        burn(ERRORS, "20%", "1h", "6h", "1d", "3d"),
    ),
    Case(
        "a tenth fails",
        requests(STABLE, "0+90x100", "0+10x100"),
        "65m",
        (ERRORS,),
        burn(ERRORS, "10%", "6h", "1d", "3d"),
    ),
    Case(
        "4% fail",
        requests(STABLE, "0+96x100", "0+4x100"),
        "65m",
        (ERRORS,),
        burn(ERRORS, "4%", "1d", "3d"),
    ),
    Case(
        "2% fail for three days",
        requests(STABLE, "0+980x500", "0+20x500"),
        "80h",
        (ERRORS, "ModelErrorRateHigh"),
        burn(ERRORS, "2%", "3d"),
        interval="10m",
    ),
    Case("as promised", requests(STABLE, "0+995x100", "0+5x100"), "65m", (ERRORS,)),
    Case(
        "it was bad for an hour, and has been good for three",
        requests(STABLE, "0+80x60 4880+100x180", "0+20x60 1200x180"),
        "240m",
        (ERRORS,),
        burn(ERRORS, "5.004%", "3d"),
    ),
    Case(
        "a fifth is slow",
        latency(STABLE, "0+80x100", "0+100x100", "0+100x100")
        | requests(STABLE, "0+100x100", "0x100"),
        "65m",
        (SLOW, "ModelLatencyP99High"),
        burn(SLOW, "20%", "1h", "6h", "1d", "3d"),
    ),
    Case(
        "1 in 200 is slow",
        latency(STABLE, "0+199x100", "0+200x100", "0+200x100")
        | requests(STABLE, "0+200x100", "0x100"),
        "65m",
        (SLOW, "ModelLatencyHigh"),
    ),
    # Bounds.
    Case(
        "2% fail for 15 minutes",
        requests(STABLE, "0+98x100", "0+2x100"),
        "21m",
        ("ModelErrorRateHigh",),
        (Fires("ModelErrorRateHigh", STABLE, "warning", "2%"),),
    ),
    Case(
        "2% fail for 14 minutes",
        requests(STABLE, "0+98x100", "0+2x100"),
        "15m",
        ("ModelErrorRateHigh",),
    ),
    Case(
        "a tenth is slow, a twentieth very",
        latency(STABLE, "0+90x100", "0+95x100", "0+100x100")
        | requests(STABLE, "0+100x100", "0x100"),
        "21m",
        ("ModelLatencyP99High", "ModelLatencyHigh"),
        (
            Fires("ModelLatencyP99High", STABLE, "warning", "900"),
            Fires("ModelLatencyHigh", STABLE, "warning", "10%"),
        ),
    ),
    Case(
        "3% are slow",
        latency(STABLE, "0+97x100", "0+100x100", "0+100x100")
        | requests(STABLE, "0+100x100", "0x100"),
        "21m",
        ("ModelLatencyP99High", "ModelLatencyHigh"),
    ),
    Case(
        "accuracy under 90% for 15 minutes",
        {
            server("labels_total", outcome="correct"): "0+17x100",
            server("labels_total", outcome="incorrect"): "0+3x100",
        },
        "25m",
        ("ModelAccuracyLow",),
        (Fires("ModelAccuracyLow", STABLE, "warning", "85%"),),
    ),
    Case(
        "1 wrong of 1",
        {
            server("labels_total", outcome="correct"): "0x100",
            server("labels_total", outcome="incorrect"): "0 1x100",
        },
        "40m",
        ("ModelAccuracyLow",),
    ),
    Case(
        "accuracy as promised",
        {
            server("labels_total", outcome="correct"): "0+19x100",
            server("labels_total", outcome="incorrect"): "0+1x100",
        },
        "40m",
        ("ModelAccuracyLow",),
    ),
    Case(
        "nine of ten are predicted yes, and half were",
        predictions("0+90x100", "0+10x100"),
        "50m",
        DRIFTS,
        (
            Fires("ModelPredictionDrift", STABLE, "warning", "40%"),
            Fires("ModelFeatureDrift", STABLE, "warning", "40%", {"feature": "amount"}),
        ),
    ),
    Case("55% are predicted yes", predictions("0+55x100", "0+45x100"), "50m", DRIFTS),
    Case("10 predictions, all yes", predictions("0 10x100", "0x100"), "50m", DRIFTS),
    Case(
        "25 wait for each of two pods",
        {
            envoy("upstream_rq_active", STABLE): "50x100",
            envoy("membership_healthy", STABLE): "2x100",
        },
        "15m",
        ("ModelQueueDeep",),
        (Fires("ModelQueueDeep", STABLE, "warning", "25"),),
    ),
    Case(
        "15 wait for each of two pods",
        {
            envoy("upstream_rq_active", STABLE): "30x100",
            envoy("membership_healthy", STABLE): "2x100",
        },
        "15m",
        ("ModelQueueDeep",),
    ),
    Case(
        "a restart every five minutes",
        {restarts("fraud"): "0x4 1x4 2x4 3x4 4x4 5x4 6x4 7x4"},
        "35m",
        ("ModelRestarting",),
        (Fires("ModelRestarting", STABLE, "critical", "6.207"),),
    ),
    Case(
        "two restarts, and those of another service",
        {
            restarts("fraud"): "0x10 1x10 2x20",
            restarts("churn"): "0+1x100",
        },
        "35m",
        ("ModelRestarting",),
    ),
    Case(
        "GPU memory is almost full, the GPU busy",
        gpu("FB_USED", "98x100") | gpu("FB_FREE", "2x100") | gpu("GPU_UTIL", "99x100"),
        "20m",
        ("ModelGpuMemoryHigh", "ModelGpuSaturated", "ModelGpuIdle"),
        (
            Fires("ModelGpuMemoryHigh", STABLE, "warning", "98%"),
            Fires("ModelGpuSaturated", STABLE, "info", "99%"),
        ),
    ),
    Case(
        "the same without honorLabels",
        gpu("FB_USED", "98x100", "exported_") | gpu("FB_FREE", "2x100", "exported_"),
        "20m",
        ("ModelGpuMemoryHigh",),
        (Fires("ModelGpuMemoryHigh", STABLE, "warning", "98%"),),
    ),
    Case(
        "the GPU does nothing",
        gpu("FB_USED", "50x100") | gpu("FB_FREE", "50x100") | gpu("GPU_UTIL", "1x100"),
        "20m",
        ("ModelGpuMemoryHigh", "ModelGpuSaturated", "ModelGpuIdle"),
        (Fires("ModelGpuIdle", STABLE, "info", "1%"),),
    ),
    # Nothing to see.
    Case(
        "stable is not counted",
        declared() | {envoy("upstream_rq_total", CANDIDATE): "0x100"},
        "11m",
        ("ModelMetricsAbsent", "ModelWeightAbsent"),
        (Fires("ModelMetricsAbsent", STABLE, "critical", "95"),),
    ),
    Case(
        "a version without a weight is not counted",
        declared("100x100", "0x100") | {envoy("upstream_rq_total", STABLE): "0x100"},
        "11m",
        ("ModelMetricsAbsent",),
    ),
    Case(
        "the weight of the candidate is not recorded",
        {weight(STABLE): "95x100"},
        "11m",
        ("ModelWeightAbsent",),
        (Fires("ModelWeightAbsent", CANDIDATE, "warning"),),
    ),
    # Rollouts.
    Case(
        "the candidate fails ten times as often",
        declared()
        | requests(STABLE, "0+99x100", "0+1x100")
        | requests(CANDIDATE, "0+18x100", "0+2x100"),
        "40m",
        ("ModelCandidateWorse",),
        (pinned("errorRate", "5.326%"),),
    ),
    Case(
        "the candidate is slow, and often wrong",
        declared()
        | requests(STABLE, "0+100x100", "0x100")
        | requests(CANDIDATE, "0+20x100", "0x100")
        | latency(STABLE, "0+99x100", "0+100x100", "0+100x100")
        | latency(CANDIDATE, "0+18x100", "0+20x100", "0+20x100")
        | {
            server("labels_total", version, outcome=outcome): values
            for version, outcome, values in (
                (STABLE, "correct", "0+95x100"),
                (STABLE, "incorrect", "0+5x100"),
                (CANDIDATE, "correct", "0+14x100"),
                (CANDIDATE, "incorrect", "0+6x100"),
            )
        },
        "40m",
        ("ModelCandidateWorse",),
        (pinned("latency", "5.326%"), pinned("accuracy", "19.39%")),
    ),
    Case(
        "the candidate failed twice in 120 requests, stable never",
        declared()
        | requests(STABLE, "0+100x100", "0x100")
        | requests(CANDIDATE, "0+4x100", "0 2x100"),
        "20m",
        ("ModelCandidateWorse",),
    ),
    Case(
        "the candidate was worse, and was taken back",
        declared("100x100", "0x100")
        | requests(STABLE, "0+99x100", "0+1x100")
        | requests(CANDIDATE, "0+18x100", "0+2x100"),
        "40m",
        ("ModelCandidateWorse",),
    ),
    Case(
        "both fail alike",
        declared()
        | requests(STABLE, "0+90x100", "0+10x100")
        | requests(CANDIDATE, "0+18x100", "0+2x100"),
        "40m",
        ("ModelCandidateWorse",),
    ),
    Case(
        "a step lasts longer than a day",
        declared("95x200", "5x200"),
        "25h",
        ("ModelRolloutStalled",),
        (Fires("ModelRolloutStalled", CANDIDATE, "warning", "5"),),
        interval="10m",
    ),
    Case(
        "a move two hours ago",
        declared("99x138 95x100", "1x138 5x100"),
        "25h",
        ("ModelRolloutStalled",),
        interval="10m",
    ),
    Case(
        "a step for twenty hours",
        declared("95x200", "5x200"),
        "20h",
        ("ModelRolloutStalled",),
        interval="10m",
    ),
    Case(
        "the candidate gets nothing",
        declared() | requests(STABLE, "0+95x100", "0x100"),
        "50m",
        ("ModelRolloutNoData",),
        (Fires("ModelRolloutNoData", CANDIDATE, "warning", "0"),),
    ),
    Case(
        "the candidate gets its share",
        declared()
        | requests(STABLE, "0+95x100", "0x100")
        | requests(CANDIDATE, "0+5x100", "0x100"),
        "50m",
        ("ModelRolloutNoData",),
    ),
    Case(
        "so little traffic that nothing is expected of the candidate",
        declared() | requests(STABLE, "0+10x100", "0x100"),
        "50m",
        ("ModelRolloutNoData",),
    ),
    # Everything at once.
    Case("nothing is scraped", {}, "90m", ON_TRAFFIC),
    Case(
        "no traffic: every rate is NaN",
        declared()
        | {key: f"0{WHOLE}" for it in (STABLE, CANDIDATE) for key in requests(it, "", "")}
        | {key: f"0{WHOLE}" for it in (STABLE, CANDIDATE) for key in latency(it, "", "", "")}
        | {server("labels_total", outcome=it): f"0{WHOLE}" for it in ("correct", "incorrect")}
        | {
            key: f"0{WHOLE}" if "_total" in key else values
            for key, values in predictions("", "").items()
        },
        "90m",
        ON_TRAFFIC,
    ),
    Case(
        "a new version: few requests, all of them fail, all are slow",
        declared()
        | requests(CANDIDATE, "0x100", "0 1 2 3 4 5 6 7 8 9x91")
        | latency(CANDIDATE, "0x100", "0x100", "0 1 2 3 4 5 6 7 8 9x91"),
        "15m",
        ON_TRAFFIC,
    ),
)


def test_every_alert_has_a_firing_and_a_quiet_case():
    fired = {fires.alert for case in CASES for fires in case.fires}
    quiet = {
        it for case in CASES for it in case.of if it not in {fires.alert for fires in case.fires}
    }
    assert fired == quiet == set(get_args(AlertName))


def test_promtool_agrees_with_every_case(tmp_path):
    check_rules(RULES, tmp_path)
    tests = [_test(case) for case in CASES]
    for interval in ("1m", "10m"):  # a file has one interval of evaluation
        chosen = [it for it in tests if it["interval"] == interval]
        file = {"rule_files": ["rules.json"], "evaluation_interval": interval, "tests": chosen}
        (tmp_path / f"tests-{interval}.json").write_text(json.dumps(file))
    promtool("test", "rules", "tests-1m.json", "tests-10m.json", folder=tmp_path)


def _test(case: Case) -> dict[str, Any]:
    return {
        "name": case.title,
        "interval": case.interval,
        "input_series": [{"series": key, "values": it} for key, it in case.series.items()],
        "alert_rule_test": [
            {
                "eval_time": case.at,
                "alertname": alert,
                "exp_alerts": [_expected(it) for it in case.fires if it.alert == alert],
            }
            for alert in case.of
        ],
    }


def _expected(fires: Fires) -> dict[str, Any]:
    labels = {"version": fires.version, "severity": fires.severity, **fires.labels}
    (rule,) = (
        rule
        for rule in RULES["groups"][0]["rules"]
        if rule.get("alert") == fires.alert
        and all(rule["labels"].get(key, it) == it for key, it in labels.items())
        and rule["labels"].get("window") == fires.labels.get("window")
        and rule["labels"].get("metric") == fires.labels.get("metric")
    )
    annotations = {
        key: _filled(text, fires.value, fires.labels) for key, text in rule["annotations"].items()
    }
    usual = {"namespace": "models", "service": "fraud", "owner": "payments-ml"}
    return {"exp_labels": {**usual, **labels}, "exp_annotations": annotations}


def _filled(text: str, value: str, labels: Mapping[str, str]) -> str:
    text = text.replace("{{ $labels.feature }}", labels.get("feature", ""))
    return re.sub(r"{{ \$value.*?}}", value, text)
