# pyright: basic
from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pulumi.errors import InputPropertiesError

from components.alert_rules import rule_group
from components.dashboards import Dashboards, dashboard
from components.from_stack.alerts import dashboards_args
from models.metric_sources import METRIC_SOURCES
from tests.components.promtool import check_expressions
from tests.components.watched import FRAUD, STACK, watched


def args(**changed: object) -> Any:
    return {**dashboards_args(FRAUD, STACK.cluster), **changed}


def expressions(model: dict) -> list[str]:
    queries = [target["expr"] for panel in model["panels"] for target in panel["targets"]]
    return [*queries, *(it["expr"] for it in model["annotations"]["list"])]


def test_grafana_gets_a_dashboard(registered, golden):
    made = registered(lambda: Dashboards("fraud", args()))
    config_map = made["fraud-dashboard"]["inputs"]
    assert config_map["metadata"]["labels"] == {"grafana_dashboard": "1"}
    ((file, text),) = config_map["data"].items()
    assert file == "models-fraud.json"
    assert json.loads(text) == dashboard("fraud", args())
    golden("dashboard", json.loads(text))


def test_what_is_shown_is_what_is_recorded_for_alerts():
    for runtime in METRIC_SOURCES:
        for gpu in (True, False):
            rules = rule_group("fraud", watched(runtime=runtime, gpu=gpu, alerts=[]))["rules"]
            recorded = {rule["record"] for rule in rules if "record" in rule}
            shown = set(
                re.findall(
                    r"modelramp:\w+(?::\w+)?",
                    " ".join(expressions(dashboard("fraud", args(runtime=runtime, gpu=gpu)))),
                )
            )
            assert shown <= recorded | {"modelramp:declared_percent"}, runtime


def test_only_what_the_runtime_tells_is_shown():
    def titles(**changed: object) -> set[str]:
        return {panel["title"] for panel in dashboard("fraud", args(**changed))["panels"]}

    ours, theirs = titles(), titles(runtime="vllm", gpu=True)
    assert theirs - ours == {
        "Generated tokens per second",
        "GPU memory in use",
        "GPU utilisation",
    }
    assert ours - theirs == {
        "Accuracy",
        "Predictions: distance from training",
        "Features: distance from training",
    }


def test_panels_do_not_overlap_and_grafana_takes_the_uid():
    model = dashboard("fraud", args(gpu=True))
    taken = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in model["panels"]]
    assert len(set(taken)) == len(taken)
    assert all(x + 8 <= 24 for x, _ in taken)
    assert len({panel["id"] for panel in model["panels"]}) == len(taken)
    assert len(model["uid"]) <= 40
    assert model["uid"] != dashboard("churn", args())["uid"]


def test_an_unknown_runtime_is_named(registered):
    with pytest.raises(InputPropertiesError) as caught:
        registered(lambda: Dashboards("fraud", args(runtime="rust")))
    assert caught.value.errors is not None
    assert [error["property_path"] for error in caught.value.errors] == ["runtime"]


@pytest.mark.embedded
def test_prometheus_can_read_every_query(tmp_path):
    shown = [
        expression
        for runtime in METRIC_SOURCES
        for expression in expressions(dashboard("fraud", args(runtime=runtime, gpu=True)))
    ]
    check_expressions(shown, tmp_path)
