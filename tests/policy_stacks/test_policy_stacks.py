# pyright: basic
"""No bad stack goes through the policies of production, and no good one is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.policy_stacks.bad import BAD
from tests.policy_stacks.declare import PYTHON, findings
from tests.policy_stacks.good import GOOD, REVERTS, REVERTS_AMONG_OTHERS, write_history

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="make policies/.venv/.installed")

Findings = list[dict[str, Any]]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Findings]:
    """What the policies say of every stack, all in one process."""
    history = tmp_path_factory.mktemp("history")
    write_history(history)
    programs = {
        **{f"bad: {name}": program for name, (_, program) in BAD.items()},
        **{f"good: {name}": program for name, program in GOOD.items()},
        **{f"revert: {name}": program for name, program in REVERTS.items()},
        **{f"revert: {name}": program for name, program in REVERTS_AMONG_OTHERS.items()},
    }
    return findings({name: program() for name, program in programs.items()}, history)


def violations(found: Findings) -> list[str]:
    return [f"{it['policy']}: {it['message']}" for it in found if not it["advice"]]


def test_there_are_enough_of_them():
    assert len(BAD) >= 40
    assert len(GOOD) >= 20


@pytest.mark.parametrize("name", BAD)
def test_no_bad_stack_goes_through(name, judged):
    expected, _ = BAD[name]
    found = violations(judged[f"bad: {name}"])
    assert any(it.startswith(f"{expected}: ") for it in found), found


@pytest.mark.parametrize("name", GOOD)
def test_no_good_stack_is_refused(name, judged):
    assert not violations(judged[f"good: {name}"])


@pytest.mark.parametrize("name", REVERTS)
def test_a_revert_passes_every_rule(name, judged):
    assert not violations(judged[f"revert: {name}"])


@pytest.mark.parametrize("name", REVERTS_AMONG_OTHERS)
def test_a_revert_does_not_wait_for_others(name, judged):
    refused_by = {it["policy"] for it in judged[f"revert: {name}"] if not it["advice"]}
    assert "one-rollout-a-group" not in refused_by
