# pyright: basic
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from local.doctor import examination, machine
from local.doctor.findings import Finding, Requirement, Unreadable
from local.home import Home
from scripts import doctor
from scripts.main import _app
from tests.local.doctor.fakes import STACK

NEEDED = Requirement("kserve", "controller", "it makes pods", "install it")
OTHER = Requirement("kserve", "version", "old ones differ", "update it")
WISHED = Requirement("gateway", "retries", "connections break", "attach a policy", needed=False)
DENIED = Unreadable("we may not look", "ask for rights")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    def ran(findings: list[Finding], *options: str) -> tuple[int, str]:
        monkeypatch.setattr(doctor, "examine", lambda home, file: iter(findings))
        monkeypatch.setenv("COLUMNS", "200")
        done = CliRunner().invoke(_app, ["doctor", "--stack", "x", *options])
        return done.exit_code, done.output

    return ran


def test_nothing_lacks(run: Callable[..., tuple[int, str]]):
    code, said = run([NEEDED.ok("it is there"), WISHED.ok("two")])
    assert code == 0
    assert said.rstrip().endswith("All that is needed is there.")


def test_a_warning_is_shown_and_does_not_count(run: Callable[..., tuple[int, str]]):
    code, said = run([NEEDED.ok("it is there"), WISHED.missing("none")])
    assert code == 0
    assert "warning retries: missing" in said
    assert "remedy: attach a policy" in said


@pytest.mark.parametrize(
    "finding", [NEEDED.missing("[none]"), NEEDED.wrong("[none]"), NEEDED.unknown("[none]")]
)
def test_what_is_needed_and_not_known_to_be_there_counts(
    run: Callable[..., tuple[int, str]], finding: Finding
):
    code, said = run([WISHED.missing("none"), finding])
    assert code == 1
    assert "All that is needed" not in said
    last = said.strip().splitlines()[-4:]
    assert last == [
        f"problem controller: {finding.state}",
        "  seen:   [none]",
        "  why:    it makes pods",
        "  remedy: install it",
    ]


def test_a_requirement_may_be_relaxed_for_once(run: Callable[..., tuple[int, str]]):
    code, said = run([NEEDED.unknown("not yet", remedy="later", needed=False)])
    assert code == 0
    assert "remedy: later" in said


def test_what_has_one_cause_is_told_once(run: Callable[..., tuple[int, str]]):
    code, said = run([NEEDED.unreadable(DENIED), OTHER.unreadable(DENIED)])
    assert code == 1
    assert said.count("ask for rights") == 1
    assert "problem controller, version: could not be checked\n  seen:   we may not look\n" in said


def test_for_machines(run: Callable[..., tuple[int, str]]):
    code, said = run([NEEDED.ok("it is there"), WISHED.missing("none")], "--json")
    assert code == 0
    told = json.loads(said)
    assert (told["stack"], told["ok"]) == ("x", True)
    assert told["checks"][1] == {
        "subject": "gateway",
        "name": "retries",
        "state": "missing",
        "saw": "none",
        "why": "connections break",
        "remedy": "attach a policy",
        "needed": False,
    }
    code, said = run([NEEDED.wrong("old")], "--json")
    assert (code, json.loads(said)["ok"]) == (1, False)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setattr(machine, "program", lambda requirement, _: requirement.ok("here"))
    return tmp_path


def examined(project: Path, text: str) -> dict[str, Finding]:
    file = project / "Pulumi.x.yaml"
    file.write_text(text)
    return {it.name: it for it in examination.examine(Home(project), file)}


def test_a_stack_file_that_is_wrong_is_told_with_all_its_problems(project: Path):
    text = STACK.replace("percent: 5", "percent: 500").replace("namespace: models", "namespace: M")
    found = examined(project, text)
    assert found.keys() == {"stack file", "Pulumi CLI", "Kubernetes plugin"}
    assert found["stack file"].is_problem
    assert len(found["stack file"].saw.splitlines()) == 2


def test_a_stack_for_this_machine_asks_no_cluster(project: Path):
    text = STACK.replace("target: cluster", "target: embedded")
    found = examined(project, text.replace('prometheus: "http://prometheus", ', ""))
    assert {it.subject for it in found.values()} == {"machine"}
    assert "loopback ports" in found
    assert not found["stack file"].is_problem


def test_a_context_that_is_not_there_is_told_once_and_explains_the_rest(
    project: Path, monkeypatch: pytest.MonkeyPatch
):
    silent = Unreadable("it does not answer", "")
    monkeypatch.setattr(
        examination.PrometheusMetrics, "ask", lambda self, path, **parameters: silent
    )
    found = examined(project, STACK.replace("namespace:", "context: prod, namespace:"))
    assert found["context"].saw == "the kubeconfig has no context 'prod' (it has none)"
    for name in ("API server", "rights", "KServe definitions", "Gateway", "artifact credentials"):
        assert found[name].saw == found["context"].saw
        assert found[name].is_problem
