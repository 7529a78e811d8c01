# pyright: basic
"""The workflows: what they may do, what they pin, and that each step runs elsewhere too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.actions import FOLDER, value, workflow

FILES = sorted(FOLDER.rglob("*.yml"))
WORKFLOWS = sorted(it.stem for it in (FOLDER / "workflows").glob("*.yml"))
OURS = re.compile(
    r"(?:sudo )?make [a-z-]+|\.venv/bin/(?:modelramp|drift-check) .*|"
    r'echo "\w+=\$\(\.venv/bin/modelramp [^|;&]*\)" >> "\$GITHUB_OUTPUT"'
)


def steps(document: dict[str, Any]) -> list[dict[str, Any]]:
    if "runs" in document:
        return document["runs"]["steps"]
    return [step for job in document["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("file", FILES, ids=lambda it: it.stem)
def test_every_action_is_pinned_by_its_commit_and_names_its_version(file: Path):
    used = re.findall(r"uses: (\S+)(.*)", file.read_text())
    assert used
    for action, comment in used:
        assert action.startswith("./") or re.search(r"@[0-9a-f]{40}$", action), action
        assert action.startswith("./") or re.search(r"# v\d+\.\d+\.\d+", comment), action


def test_an_action_has_the_same_pin_everywhere():
    pins = {it for file in FILES for it in re.findall(r"uses: ([^.\s]\S+)", file.read_text())}
    assert len(pins) == len({it.partition("@")[0] for it in pins})


@pytest.mark.parametrize("file", FILES, ids=lambda it: it.stem)
def test_every_step_is_a_command_of_ours(file: Path):
    run = [step["run"] for step in steps(YAML(typ="safe", pure=True).load(file)) if "run" in step]
    assert run
    for command in run:
        assert OURS.fullmatch(command), command


@pytest.mark.parametrize("name", WORKFLOWS)
def test_jobs_have_time_outs_and_no_more_rights_than_they_name(name: str):
    document = workflow(name)
    rights = document["permissions"]
    assert rights in ({}, {"contents": "read"})
    for job in document["jobs"].values():
        assert job["timeout-minutes"] <= 90
        assert rights or "permissions" in job


@pytest.mark.parametrize("name", WORKFLOWS)
def test_nothing_that_people_type_is_part_of_a_script(name: str):
    for step in steps(workflow(name)):
        assert "${{" not in step.get("run", "")


def test_production_waits_for_its_environment_and_one_after_the_other():
    up = workflow("up")["jobs"]["up"]
    assert up["environment"] == "${{ matrix.stack }}"
    assert up["concurrency"] == {"group": "up-${{ matrix.stack }}", "cancel-in-progress": False}


def test_a_fork_gets_no_role():
    jobs = workflow("preview")["jobs"]
    assert "head.repo.full_name == github.repository" in jobs["preview"]["if"]
    assert jobs["stacks"]["permissions"] == {"contents": "read"}
    # `on` is a key to YAML 1.2.
    assert set(workflow("preview")["on"]) == {"pull_request"}


def test_expressions_that_are_not_understood_are_refused():
    assert value("vars.STACKS || 'dev prod'", {}) == "dev prod"
    assert value("vars.STACKS || 'dev prod'", {"vars.STACKS": "local"}) == "local"
    with pytest.raises(KeyError):
        value("github.unheard_of", {})
