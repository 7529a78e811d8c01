# pyright: basic
"""The main job as a newcomer runs it, and what happens when things die in the middle of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from datetime import UTC, datetime
from typing import get_args

import httpx
import psutil
import pytest
from scipy.stats import binomtest

from local.processes import marked_processes
from models.alerting import AlertName
from models.stack import load_stack
from rollout.declare import start_rollout
from tests.project import Project, moves_of

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def told(project: Project) -> dict[str, object]:
    """The quickstart, interrupted once, tried twice at once, then run to its end."""
    first = project.start("quickstart")
    give_up_at = time.monotonic() + 120
    while not (project.home.path / "quickstart.lock").exists():
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
    time.sleep(8)
    second = project.run("quickstart", expect=1)
    assert "another quickstart is running" in second.stderr
    os.kill(first.pid, signal.SIGTERM)
    first.wait(timeout=60)
    assert not list(marked_processes(project.home.path))

    project.run("quickstart", "--keep", timeout_seconds=800)
    return json.loads((project.home.path / "quickstart.json").read_text())


def test_the_good_version_walks_to_100_percent(told):
    assert moves_of(told, "2.0.0") == [
        (0, 5, "start"),
        (5, 25, "advance"),
        (25, 50, "advance"),
        (50, 100, "advance"),
        (100, 100, "promote"),
    ]


def test_the_broken_version_is_taken_back(told):
    assert moves_of(told, "3.0.0") == [(0, 5, "start"), (5, 0, "revert")]


def test_no_request_was_lost_by_a_move(told):
    requests = told["requests"]
    assert requests["lost"] == 0
    assert requests["sent"] > 10_000
    assert requests["byVersion"]["1.0.0"]["http_error"] == 0
    assert requests["byVersion"]["2.0.0"]["http_error"] == 0


def test_the_last_rollout_can_be_judged_again_from_the_record(told, project: Project):
    done = project.run("backtest", "--stack", "local", "--service", "biopsy", "--json")
    answer = json.loads(done.stdout)
    assert "revert" in {look["verdict"] for look in answer["looks"]}
    assert {peer["rule"].split(",")[0] for peer in answer["peers"]} == {
        "Flagger",
        "Argo Rollouts",
        "Kayenta",
    }


def test_every_decision_is_in_the_log_with_its_evidence(told, project: Project):
    log = project.root / "stacks" / "history" / "local" / "biopsy.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    decided = [move["verdict"] for move in told["moves"]]
    assert [line["verdict"] for line in lines][-len(decided) :] == decided
    at_50 = next(line for line in lines if line["from"] == 50)
    assert all(metric["ruledOut"] for metric in at_50["metrics"])


def test_the_split_was_as_declared_at_each_step(told, project: Project):
    log = project.root / "stacks" / "history" / "local" / "biopsy.jsonl"
    for line in map(json.loads, log.read_text().splitlines()):
        split = line.get("split")
        if split:
            reached = round(split["observed"] * split["requests"])
            test = binomtest(reached, split["requests"], split["declared"])
            assert test.pvalue > 1e-4, line


def test_the_report_shows_what_the_decisions_stood_on(told, project: Project):
    page = (project.home.path / "report.html").read_text()
    assert "<svg" in page
    assert "e-value of harm" in page
    for move in told["moves"]:
        assert move["candidate"] in page


# From here on the same project is in mid-canary: a twin of version 2 is rolled out.


def pulumi_up(project: Project, *, wait_expects: int = 0, wait_seconds: int = 60) -> str:
    project.up()
    waited = project.run(
        "local", "wait", "--timeout-seconds", str(wait_seconds), expect=wait_expects
    )
    return waited.stderr


@pytest.fixture(scope="module")
def canary(told, project: Project):
    """Version 2.1.0 at 5% under traffic."""
    twin = next(it for it in told["versions"] if it["version"] == "2.0.0")
    entry = {key: twin[key] for key in ("uri", "digest", "registry")}
    start_rollout(project.file, "biopsy", "2.1.0", entry, now=datetime.now(UTC), why="a twin")
    pulumi_up(project)
    with project.traffic(50):
        yield project


WEIGHTS = {"models/biopsy": {"biopsy-v2-0-0-predictor": 95, "biopsy-v2-1-0-predictor": 5}}


def until_judged(project: Project) -> dict[str, object]:
    """Checks without editing until there are data again."""
    give_up_at = time.monotonic() + 60
    while time.monotonic() < give_up_at:
        done = project.run("check", "--stack", "local", "--json", "--dry-run")
        (outcome,) = json.loads(done.stdout)
        if outcome["verdict"] != "no-data":
            return outcome
        time.sleep(2)
    raise AssertionError("no data for a minute")


def test_one_url_is_answered_by_every_version(canary: Project):
    rows = json.loads((canary.home.path / "rows.json").read_text())
    status = canary.status()
    url = f"{status['endpoints']['gateway']}/v1/models/biopsy:predict"
    body = {"instances": [rows["rows"][0]]}
    for version in ("1.0.0", "2.0.0", "2.1.0"):
        answer = httpx.post(url, json=body, headers={"x-model-version": version}, timeout=10)
        assert (answer.status_code, answer.headers["x-model-version"]) == (200, version)
    seen = {httpx.post(url, json=body, timeout=10).headers["x-model-version"] for _ in range(300)}
    assert seen == {"2.0.0", "2.1.0"}
    assert status["weights"] == WEIGHTS


def test_every_rule_is_loaded_and_evaluates(canary: Project):
    url = canary.status()["endpoints"]["prometheus"]
    groups = httpx.get(f"{url}/api/v1/rules", timeout=10).json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    alerts = {rule["name"] for rule in rules if rule["type"] == "alerting"}
    # The declared ones, and those that every service has.
    assert {"ModelAccuracyLow", "ModelLatencyHigh", "ModelErrorBudgetBurn"} <= alerts
    assert alerts <= set(get_args(AlertName))
    assert "modelramp:declared_percent" in {rule["name"] for rule in rules}
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    assert len([rule for rule in rules if rule["name"] == "ModelAccuracyLow"]) == 3


def test_nothing_listens_beyond_loopback(canary: Project):
    listening = [
        connection.laddr.ip
        for process in marked_processes(canary.home.path)
        for connection in process.connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 8
    assert set(listening) == {"127.0.0.1"}


def test_prometheus_stopped_holds_and_started_again_goes_on(canary: Project):
    assert until_judged(canary)["verdict"] in ("hold", "advance")
    (prometheus,) = [it for it in marked_processes(canary.home.path) if it.name() == "prometheus"]
    prometheus.suspend()
    try:
        outcome = canary.check(expect=12)
        assert outcome["verdict"] == "no-data"
        assert "did not answer" in outcome["reason"]
        assert (outcome["from"], outcome["to"]) == (5, 5)
    finally:
        prometheus.resume()
    assert until_judged(canary)["verdict"] in ("hold", "advance")


def test_everything_killed_and_started_again_has_the_same_percentage(canary: Project):
    for process in marked_processes(canary.home.path):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    assert canary.status() is None
    assert canary.check(expect=12)["verdict"] == "no-data"
    canary.run("local", "up")
    canary.run("local", "wait")
    assert canary.status()["weights"] == WEIGHTS
    assert until_judged(canary)["verdict"] in ("hold", "advance")


def test_rollback_takes_the_candidate_and_the_promotion_before_it_back(canary: Project):
    text = canary.file.read_text()
    back = ("rollback", "biopsy", "--stack", "local", "--json")
    told = json.loads(canary.run(*back).stdout)
    assert (told["edit"], told["weightsBack"]) == ("AddMove", True)
    canary.run("local", "wait")
    assert set(canary.status()["weights"]["models/biopsy"].items()) == {
        ("biopsy-v2-0-0-predictor", 100),
        ("biopsy-v2-1-0-predictor", 0),
    }
    assert json.loads(canary.run(*back).stdout)["edit"] is None
    told = json.loads(canary.run(*back, "--promotion").stdout)
    assert (told["edit"], told["stable"], told["weightsBack"]) == ("Restore", "1.0.0", True)
    canary.run("local", "wait")
    weights = canary.status()["weights"]["models/biopsy"]
    assert weights["biopsy-v1-0-0-predictor"] == 100
    assert "nothing to take back" in canary.run(*back, "--promotion", expect=1).stderr
    canary.file.write_text(text)
    pulumi_up(canary)
    assert canary.status()["weights"] == WEIGHTS


def test_a_version_that_never_becomes_ready_gets_no_traffic(canary: Project):
    file = canary.file
    text = file.read_text()
    declared = load_stack(file).services["biopsy"].versions["2.1.0"]
    # The artifact is not what the registry said: the server refuses it.
    file.write_text(
        text.replace('"2.1.0": {', '"2.2.0": {')
        .replace('candidate: "2.1.0"', 'candidate: "2.2.0"')
        .replace(
            f'"2.2.0": {{uri: "{declared.uri}", digest: "{declared.digest}"',
            f'"2.2.0": {{uri: "{declared.uri}", digest: "sha256:{"0" * 64}"',
        )
    )
    assert "digest" in pulumi_up(canary, wait_expects=1, wait_seconds=25)
    assert canary.status()["weights"] == WEIGHTS
    file.write_text(text)
    pulumi_up(canary)
    assert canary.status()["weights"] == WEIGHTS


def test_down_leaves_nothing(canary: Project):
    gateway = canary.status()["endpoints"]["gateway"]
    canary.run("local", "down")
    assert not list(marked_processes(canary.home.path))
    with pytest.raises(httpx.ConnectError):
        httpx.get(gateway, timeout=2)
    assert "nothing was running" in canary.run("local", "down").stdout
