# pyright: basic
from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from models.alerting import BURN_WINDOWS, METRICS, Alert, AlertDefaults, Alerting, Alerts
from models.metric_sources import METRIC_SOURCES
from models.metric_sources.measures import Measure, VersionMetrics, told
from models.runtime import SERVERS

SLACK = {"name": "ml", "kind": "slack", "channel": "#ml", "urlSecret": "slackUrl"}


def refused(model, value) -> str:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(model).validate_python(value)
    return "; ".join(error["msg"].removeprefix("Value error, ") for error in caught.value.errors())


def test_an_alert_is_named_after_its_metric_and_side():
    alert = Alert.model_validate({"metric": "gpuUtilisation", "below": 0.05, "for": "6h"})
    assert alert.name == "ModelGpuIdle"
    assert alert.severity == "warning"


@pytest.mark.parametrize(
    ("alert", "said"),
    [
        ({"metric": "errorRate"}, "give exactly one of below and above"),
        (
            {"metric": "errorRate", "below": 0.1, "above": 0.2},
            "give exactly one of below and above",
        ),
        ({"metric": "accuracy", "above": 0.9}, "accuracy takes below"),
        ({"metric": "gpuMemory", "above": 95}, "gpuMemory is a share, from 0 to 1, got 95"),
        (
            {"metric": "latencyP99Ms", "above": 10000},
            "latencyP99Ms is measured up to 10000 ms, got 10000",
        ),
        (
            {"metric": "queuePerPod", "below": 3, "over": "5m"},
            "queuePerPod takes above; queuePerPod is of the moment and takes no over",
        ),
    ],
)
def test_a_wrong_alert_says_what_is_allowed(alert, said):
    assert refused(Alert, {**alert, "for": "5m"}) == said


def test_one_alert_of_a_name_and_severity():
    alert = {"metric": "errorRate", "above": 0.02, "for": "5m"}
    assert refused(Alerts, (alert, alert)) == (
        "declared twice: ModelErrorRateHigh with severity warning"
    )
    two = (alert, {**alert, "above": 0.05, "severity": "critical"})
    assert len(TypeAdapter(Alerts).validate_python(two)) == 2


def test_only_known_alerts_can_be_disabled():
    assert "ModelQueueDeep" in refused(AlertDefaults, {"disable": ["QueueDeep"]})


def test_burn_rates_are_those_of_the_workbook():
    rates = [
        (it.severity, it.long, it.short, round(BURN_WINDOWS.burn_rate(it), 3))
        for it in BURN_WINDOWS.windows
    ]
    assert rates == [
        ("critical", "1h", "5m", 14.4),
        ("critical", "6h", "30m", 6),
        ("warning", "1d", "2h", 3),
        ("warning", "3d", "6h", 1),
    ]


def test_receivers_routes_and_secrets():
    alerting = Alerting.model_validate(
        {
            "receivers": [
                SLACK,
                {**SLACK, "name": "ml-2", "channel": "#ml-2"},
                {"name": "pager", "kind": "pagerduty", "routingKeySecret": "pagerdutyKey"},
                {
                    "name": "mail",
                    "kind": "email",
                    "to": "a@b.c",
                    "from": "d@e.f",
                    "smarthost": "mail:25",
                },
            ],
            "default": "ml",
            "routes": [{"receiver": "pager", "severity": ["critical"]}],
            "groupWait": "10s",
        }
    )
    assert alerting.secret_keys == ("slackUrl", "pagerdutyKey")
    assert alerting.group_wait_seconds == 10


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"receivers": [SLACK, SLACK], "default": "pager"},
            "two receivers are named ml; default names pager, and there are only ml",
        ),
        ({"routes": [{"receiver": "ml"}]}, "give severity, owner or both"),
        (
            {"routes": [{"receiver": "pager", "owner": ["growth"]}]},
            "routes[0] names pager, and there are only ml",
        ),
        ({"receivers": [{**SLACK, "urlSecret": "https://hooks"}]}, "should match pattern"),
        (
            {
                "receivers": [
                    {
                        "name": "ml",
                        "kind": "email",
                        "to": "a@b.c",
                        "from": "d@e.f",
                        "smarthost": "mail:25",
                        "username": "me",
                    }
                ]
            },
            "username and passwordSecret come together: one is missing",
        ),
        (
            {"receivers": [{"name": "ml", "kind": "fax"}]},
            "'slack', 'pagerduty', 'email', 'webhook'",
        ),
    ],
)
def test_wrong_alerting_says_what_is_allowed(changed, said):
    assert said in refused(Alerting, {"receivers": [SLACK], "default": "ml", **changed})


def test_every_runtime_has_a_metric_source():
    assert set(METRIC_SOURCES) == set(SERVERS)


@pytest.mark.parametrize("runtime", METRIC_SOURCES)
def test_what_a_runtime_tells_can_be_asked(runtime):
    metrics = VersionMetrics(runtime, "models", "fraud", "1.4.0", 250)
    for measure in Measure.__args__:
        if told(measure, runtime, gpu=True):
            query = metrics.query(measure, "5m")
            assert "$" not in query
            assert query.count("(") == query.count(")")


def test_what_a_metric_counts_is_told_wherever_the_metric_is():
    for watched in METRICS.values():
        for runtime in METRIC_SOURCES:
            if watched.least_of and told(watched.measure, runtime, gpu=True):
                assert told(watched.least_of, runtime, gpu=True)
