# pyright: basic
from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from pulumi.errors import InputPropertiesError

from components.alert_rules import AlertRules, rule_group
from components.from_stack.alerts import alert_rules_args
from models.alerting import Alerting, AlertName
from models.metric_sources import METRIC_SOURCES
from models.stack import parse_stack
from tests.components.watched import FRAUD, STACK, watched
from tests.stacks import LOCAL

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"


def rules(**changed: object) -> list[dict]:
    return rule_group("fraud", watched(**changed))["rules"]


def alerts(**changed: object) -> list[dict]:
    return [rule for rule in rules(**changed) if "alert" in rule]


def test_alerts_follow_from_the_slo_alone(registered, golden):
    golden("alert_rules", registered(lambda: AlertRules("fraud", watched())))


def test_every_alert_can_be_routed_and_has_a_runbook():
    made = alerts(gpu=True)
    assert {(rule["labels"]["version"]) for rule in made} == {"1.4.0", "1.5.0"}
    for rule in made:
        labels, annotations = rule["labels"], rule["annotations"]
        assert {"severity", "service", "version", "owner", "namespace"} <= set(labels)
        assert labels["severity"] in ("critical", "warning", "info")
        assert set(annotations) == {"summary", "description", "runbook_url"}
        assert annotations["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"
    names = {rule["alert"] for rule in made}
    assert names == set(get_args(AlertName)) - {"ModelLatencyHigh", "ModelGpuIdle"}


def test_every_alert_has_a_page_of_its_own():
    assert {page.stem for page in RUNBOOKS.glob("Model*.md")} == set(get_args(AlertName))
    for page in RUNBOOKS.glob("Model*.md"):
        text = page.read_text()
        assert text.startswith(f"# {page.stem}\n")
        for part in ("## Meaning", "## Impact", "## Diagnosis", "## Mitigation"):
            assert f"\n{part}\n" in text, f"{page.name} has no {part}"
        assert "```sh" in text, f"{page.name} has no command"


def test_runbooks_may_lie_elsewhere():
    alerting = Alerting.model_validate(
        {
            "receivers": [{"name": "hook", "kind": "webhook", "urlSecret": "hookUrl"}],
            "default": "hook",
            "runbooks": "https://wiki.example.com/runbooks",
        }
    )
    group = rule_group("fraud", alert_rules_args(FRAUD, STACK.cluster, alerting))
    urls = {it["annotations"]["runbook_url"] for it in group["rules"] if "alert" in it}
    assert "https://wiki.example.com/runbooks/ModelErrorBudgetBurn.md" in urls


def test_what_an_alert_reads_is_recorded_before_it():
    seen = {"modelramp:declared_percent"}  # by components.model_service
    for rule in rules(gpu=True):
        if "record" in rule:
            seen.add(rule["record"])
        else:
            assert set(re.findall(r"modelramp:\w+(?::\w+)?", rule["expr"])) <= seen


def test_a_declared_alert_takes_the_place_of_the_default():
    text = LOCAL.replace(
        "      judge: {minRequests",
        "      alerts: [{metric: accuracy, below: 0.8, for: 15m, over: 30m, severity: critical},"
        " {metric: slowShare, above: 0.05, for: 5m}]\n"
        "      alertDefaults: {disable: [ModelQueueDeep], minLabels: 20}\n"
        "      judge: {minRequests",
    )
    stack = parse_stack(text, "x")
    args = alert_rules_args(stack.services["fraud"], stack.cluster)
    made = [it for it in rule_group("fraud", args)["rules"] if "alert" in it]
    accuracy = [rule for rule in made if rule["alert"] == "ModelAccuracyLow"]
    assert [(it["labels"]["severity"], it["for"]) for it in accuracy] == [("critical", "15m")] * 2
    assert (
        'modelramp:accuracy:30m{namespace="models",service="fraud",version="1.4.0"} < 0.8'
        in (accuracy[0]["expr"])
    )
    assert accuracy[0]["expr"].endswith(">= 20")
    names = {rule["alert"] for rule in made}
    assert "ModelLatencyHigh" in names
    assert "ModelQueueDeep" not in names


def test_a_burn_rate_that_cannot_be_reached_is_left_out():
    slo = {"errorRate": 0.1, "latencyThresholdMs": 250, "latencyShare": 0.99}
    burns = [rule for rule in alerts(slo=slo) if rule["alert"] == "ModelErrorBudgetBurn"]
    windows = {rule["labels"]["window"] for rule in burns}
    assert windows == {"6h", "1d", "3d"}  # 14.4 times 10% would be 144%


def test_a_bound_beyond_the_histogram_is_left_out():
    def bounds(threshold_ms: float) -> set[str]:
        slo = {"errorRate": 0.01, "latencyThresholdMs": threshold_ms, "latencyShare": 0.9}
        made = (rule for rule in alerts(slo=slo) if rule["alert"] == "ModelLatencyP99High")
        return {rule["expr"].split(" > ")[1].split(" ")[0] for rule in made}

    assert bounds(250) == {"500"}
    assert bounds(5000) == {"5000"}
    assert bounds(10000) == set()


@pytest.mark.parametrize("runtime", METRIC_SOURCES)
def test_every_runtime_has_the_alerts_of_the_gateway(runtime):
    names = {rule["alert"] for rule in alerts(runtime=runtime)}
    assert {"ModelErrorBudgetBurn", "ModelQueueDeep", "ModelMetricsAbsent"} <= names
    assert ("ModelAccuracyLow" in names) == (runtime == "mlflow")
    waiting = next(it["expr"] for it in rules(runtime=runtime) if "queue_per_pod" in str(it))
    own = {
        "triton": "nv_inference_pending_request_count",
        "onnx": "nv_inference_pending_request_count",
        "vllm": "vllm:num_requests_waiting",
        "huggingface": "vllm:num_requests_waiting",
    }
    assert own.get(runtime, "envoy_cluster_upstream_rq_active") in waiting


def test_at_rest_there_is_nothing_on_a_rollout():
    args = watched(versions=["1.4.0"])
    del args["candidate"]
    names = {it["alert"] for it in rule_group("fraud", args)["rules"] if "alert" in it}
    assert not names & {"ModelCandidateWorse", "ModelRolloutStalled", "ModelRolloutNoData"}


def test_champion_and_challenger_side_by_side_are_no_stalled_rollout():
    until = "kind: ab-test, percent: 5, until: forever"
    stack = parse_stack(re.sub(r"kind: canary, steps: \[.*?\]", until, LOCAL, count=1), "x")
    assert stack.services["fraud"].strategy.is_endless
    args = alert_rules_args(stack.services["fraud"], stack.cluster)
    names = {it["alert"] for it in rule_group("fraud", args)["rules"] if "alert" in it}
    assert "ModelCandidateWorse" in names
    assert "ModelRolloutStalled" not in names


def test_numbers_may_come_as_the_component_host_gives_them():
    assert rules(minRequests=100.0, minLabels=100.0, minPredictions=1000.0) == rules()


def test_all_wrong_arguments_are_named(registered):
    args = watched(
        runtime="rust",
        candidate="9.9.9",
        disable=["ModelMood"],
        alerts=[
            {"metric": "mood", "duration": "5m", "severity": "loud"},
            {"metric": "errorRate", "below": 0.1, "duration": "5m", "severity": "info"},
        ],
    )
    with pytest.raises(InputPropertiesError) as caught:
        registered(lambda: AlertRules("fraud", args))
    assert caught.value.errors is not None
    assert [error["property_path"] for error in caught.value.errors] == [
        "runtime",
        "candidate",
        "alerts[0].severity",
        "alerts[0]",
        "alerts[0].metric",
        "alerts[1].below",
        "disable[0]",
    ]
