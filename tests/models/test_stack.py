# pyright: basic
from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.cluster.certificates import KeyPair, kubeconfig
from models.base import format_duration, parse_duration
from models.errors import ConfigError
from models.names import inference_service_name
from models.stack import load_stack, parse_stack
from tests.stacks import LOCAL


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_stack(text, "Pulumi.x.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_a_stack_is_read_whole():
    stack = parse_stack(LOCAL, "x")
    fraud = stack.services["fraud"]
    assert fraud.percents() == {"1.4.0": 95, "1.5.0": 5}
    assert fraud.strategy.next_percent(5) == 25
    evidence = [fraud.strategy.evidence_at(percent) for percent in (1, 5, 25, 100, 60)]
    assert evidence == ["bake", "bake", "margin", "bake", "margin"]
    assert fraud.judge.settle_seconds == 60
    assert stack.services["churn"].served == ()


def test_every_problem_is_named_at_once_with_its_line_and_key():
    text = LOCAL.replace("risk: high", "risk: huge").replace("bake: 10m", "bake: 10")
    text = text.replace("thresholdMs: 250", "thresholdMs: 251").replace("owner: growth", "own: me")
    found = problems(text)
    assert found[0].startswith("Pulumi.x.yaml:7: modelramp:services.fraud.risk: ")
    assert "'low', 'medium' or 'high' (got 'huge')" in found[0]
    assert any("services.fraud.strategy.bake: a duration needs a unit" in line for line in found)
    assert any("thresholdMs: must be an edge" in line and "200, 250, 300" in line for line in found)
    assert any("services.churn.own: no such key here" in line for line in found)
    assert any("services.churn.owner: Field required" in line for line in found)


def test_rules_are_checked_of_the_services_that_are_whole():
    text = LOCAL.replace("percent: 5,", "percent: 7,").replace("owner: growth", "own: me")
    found = problems(text)
    assert any("moves.1.percent: 7 is no step of strategy canary" in line for line in found)
    assert any(line.startswith("Pulumi.x.yaml:20: ") for line in found)
    assert any("services.churn.own: no such key here" in line for line in found)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[1, 5, 25, 100]", "[1, 5, 5, 100]", "steps must rise"),
        ("[1, 5, 25, 100]", "[1, 5]", "steps must end at 100"),
        (
            'candidate: "1.5.0"',
            'candidate: "1.6.0"',
            "rollout.candidate: 1.6.0 is not under versions; there are 1.4.0, 1.5.0",
        ),
        ('candidate: "1.5.0"', 'candidate: "1.4.0"', "the same version"),
        ("2026-11-23T09", "2026-11-23T07", "in order of time"),
        ("'1.5.0':", "'1.5':", "no semantic version"),
        ('"s3://m/a"', '"http://m/a"', "should match pattern"),
        ("fraud:", "Fraud:", "should match pattern"),
        ("target: embedded", "target: cluster", "prometheus is needed"),
        ("target: embedded", "target: embedded, context: prod", "context names a cluster"),
        ("fraud:", "a-name-of-forty-letters-but-far-too-long:", "longer than 63"),
    ],
)
def test_what_is_refused(old: str, new: str, says: str):
    assert any(says in line for line in problems(LOCAL.replace(old, new)))


def test_broken_yaml_names_the_line():
    assert problems("config: [1,\n")[0].startswith("Pulumi.x.yaml:2: not valid YAML")


def test_a_missing_file_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="no such stack file"):
        load_stack(tmp_path / "Pulumi.none.yaml")


def test_the_stack_that_ships_is_valid(request):
    stack = load_stack(request.config.rootpath / "stacks" / "Pulumi.local.yaml")
    assert stack.services["biopsy"].strategy.first_percent == 5


def test_the_local_clusters_stack_names_the_context_of_its_kubeconfig(request):
    stack = load_stack(request.config.rootpath / "stacks" / "Pulumi.cluster.yaml")
    made = json.loads(kubeconfig("https://any", "authority", KeyPair("key", "certificate")))
    assert [it["name"] for it in made["contexts"]] == [stack.cluster.context]


@given(st.integers(1, 10**7))
def test_durations_survive_a_round_trip(seconds: int):
    assert parse_duration(format_duration(seconds)) == seconds


def test_inference_service_names_are_what_kserve_takes():
    assert inference_service_name("fraud", "1.4.0-rc1") == "fraud-v1-4-0-rc1"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('at: "2026-11-23T08:00:00Z"', "at: 2026-11-23T08:00:00Z", "put the date in quotes"),
        ("{kind: mlflow}", "{kind: mlflow, env: {TOKEN: {secure: x}}}", "key of its own"),
        ("{kind: mlflow}", "{kind: mlflow, cpu_limit: '2'}", "no such key here"),
        ("bake: 10m", f"bake: {'9' * 400}d", "is no duration"),
        ("bake: 10m", "bake: 99999d", "longer than ten years"),
        ("risk: high", "batch: {b: {input: s3://m/x, output: s3://m/x/y}}", "lie in each other"),
        ("risk: high", "batch: {%s: {input: s3://m/x, output: s3://m/y}}" % ("b" * 39), "longer"),
        (
            "risk: high",
            'calendar: {windows: [{from: "09:00Z", to: "10:00", zone: UTC}]}',
            "a time of day is a quoted string",
        ),
        ("config:", "config:\n  modelramp:aws: {secure: x}", "key of its own"),
    ],
)
def test_what_else_is_refused(old: str, new: str, says: str):
    found = problems(LOCAL.replace(old, new, 1))
    assert any(says in line for line in found), found


def test_an_unknown_stack_is_told_with_the_known_ones(tmp_path):
    (tmp_path / "Pulumi.prod.yaml").touch()
    with pytest.raises(ConfigError, match=r"no such stack file; there are: Pulumi\.prod\.yaml"):
        load_stack(tmp_path / "Pulumi.dev.yaml")
    (tmp_path / "Pulumi.dev.yaml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_stack(tmp_path / "Pulumi.dev.yaml")


def test_stable_keeps_all_its_pods_when_it_is_also_called_previous():
    text = LOCAL.replace(
        'stable: "1.4.0"',
        'stable: "1.4.0"\n        previous: {version: "1.4.0", until: "2026-11-30T08:00:00Z"}',
    ).replace("risk: high", "risk: high\n      keepPrevious: {replicas: min}")
    assert parse_stack(text, "x").services["fraud"].capacity_percents()["1.4.0"] == 100
