# pyright: basic
"""What a rollback takes back; the rest of it runs on the local targets."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import ConfigError
from models.stack import parse_stack
from rollout.edits import AddMove, Drop, Restore
from scripts.rollback import edit_of
from tests.stacks import DIGEST, LOCAL, OTHER

FILE = Path("stacks/Pulumi.local.yaml")
AFTER = 'stable: "1.5.0"\n        previous: {version: "1.4.0", until: "2026-11-25T09:00:00Z"}\n'


def at_rest(rollout: str) -> str:
    head, _, tail = LOCAL.partition('stable: "1.4.0"\n')
    return head + rollout + tail[tail.index("    churn:") :]


def test_a_candidate_goes_to_0_and_is_rejected():
    stack = parse_stack(LOCAL, "x")
    edit = AddMove(0, "tickets", reject=True)
    assert edit_of("fraud", stack, FILE, "tickets") == edit
    assert edit_of("fraud", stack, FILE, "tickets", knows=lambda version: True) == edit


def test_a_candidate_that_the_route_does_not_know_leaves_the_file():
    edit = edit_of("fraud", parse_stack(LOCAL, "x"), FILE, "x", knows={"1.4.0"}.__contains__)
    assert edit == Drop("candidate", "x", reject=True)


def test_after_a_promotion_the_version_before_it_serves_again():
    assert edit_of("fraud", parse_stack(at_rest(AFTER), "x"), FILE, "x") == Restore("x")


def test_without_either_there_is_nothing_to_take_back():
    stack = parse_stack(at_rest('stable: "1.4.0"\n'), "x")
    with pytest.raises(ConfigError, match=r"Pulumi\.local\.yaml.*nothing to take back"):
        edit_of("fraud", stack, FILE, "x")


def test_typed_twice_it_takes_nothing_more_back_unless_asked_to():
    taken_back = (
        'stable: "1.4.0"\n        candidate: "1.5.0"\n'
        '        previous: {version: "1.3.0", until: "2026-11-25T09:00:00Z"}\n'
        '        moves: [{percent: 5, at: "2026-11-23T08:00:00Z"},'
        ' {percent: 0, at: "2026-11-23T09:00:00Z"}]\n'
        f'        rejected: [{{digest: "{OTHER}", at: "2026-11-23T09:00:00Z", why: x}}]\n'
    )
    third = f'"1.3.0": {{uri: "s3://m/c", digest: "{DIGEST[:-1]}2", registry: "models:/fraud/1"}}'
    text = at_rest(taken_back).replace('        "1.4.0"', f'        {third}\n        "1.4.0"')
    stack = parse_stack(text, "x")
    assert edit_of("fraud", stack, FILE, "x") is None
    assert edit_of("fraud", stack, FILE, "x", promotion=True) == Restore("x")
