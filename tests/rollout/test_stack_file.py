# pyright: basic
from __future__ import annotations

import difflib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.errors import ConfigError, StackFileError
from models.rollout import Rollout
from models.stack import load_stack
from rollout.declare import apply_edit, reset_service, start_rollout
from rollout.edits import AddMove, Promote
from rollout.stack_file import stack_path
from tests.stacks import DIGEST, LOCAL, OTHER

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "Pulumi.local.yaml"
    path.write_text(LOCAL)
    return path


def rollout_of(file: Path) -> Rollout:
    rollout = load_stack(file).services["fraud"].rollout
    assert rollout is not None
    return rollout


def changed(file: Path) -> list[str]:
    lines = difflib.unified_diff(LOCAL.splitlines(), file.read_text().splitlines(), n=0)
    return [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]


def test_an_advance_adds_one_line_and_changes_no_other(file: Path):
    apply_edit(file, "fraud", load_stack(file), AddMove(25, 'it "works": yes'), NOW)
    assert changed(file) == [
        '+          - {percent: 25, at: "2026-11-23T10:00:00Z", why: "it \\"works\\": yes"}'
    ]
    assert rollout_of(file).percent == 25


def test_a_revert_rejects_the_digest(file: Path):
    apply_edit(file, "fraud", load_stack(file), AddMove(0, "harm", reject=True), NOW)
    assert rollout_of(file).percent == 0
    assert rollout_of(file).rejected[0].digest == "sha256:" + "1" * 64
    assert not [line for line in changed(file) if line.startswith("-")]


def test_a_promotion_makes_the_candidate_stable_and_keeps_the_old_one(file: Path):
    apply_edit(file, "fraud", load_stack(file), Promote("good"), NOW)
    rollout = rollout_of(file)
    assert (rollout.stable, rollout.candidate, rollout.moves) == ("1.5.0", None, ())
    assert rollout.previous is not None
    assert rollout.previous.version == "1.4.0"
    assert rollout.previous.until == datetime(2026, 11, 24, 10, tzinfo=UTC)


def test_a_human_edit_wins(file: Path):
    seen = load_stack(file)
    file.write_text(LOCAL.replace("percent: 5,", "percent: 1,"))
    before = file.read_text()
    with pytest.raises(StackFileError, match="changed meanwhile"):
        apply_edit(file, "fraud", seen, AddMove(25, "fine"), NOW)
    assert file.read_text() == before


def test_an_edit_that_would_not_be_valid_is_not_written(file: Path):
    with pytest.raises(ConfigError, match="less than or equal to 100"):
        apply_edit(file, "fraud", load_stack(file), AddMove(101, "fine"), NOW)
    assert file.read_text() == LOCAL


def test_a_last_move_in_the_future_does_not_stop_a_revert(file: Path):
    early = datetime(2026, 11, 23, 1, tzinfo=UTC)
    apply_edit(file, "fraud", load_stack(file), AddMove(0, "harm", reject=True), early)
    assert rollout_of(file).percent == 0
    assert rollout_of(file).moves[-1].at == datetime(2026, 11, 23, 9, tzinfo=UTC)


def test_a_digest_that_was_taken_back_is_not_tried_again(file: Path):
    apply_edit(file, "fraud", load_stack(file), AddMove(0, "harm", reject=True), NOW)
    entry = {"uri": "s3://m/b", "digest": OTHER, "registry": "models:/fraud/16"}
    with pytest.raises(StackFileError, match="taken back before"):
        start_rollout(file, "fraud", "1.6.0", entry, now=NOW, why="again")
    changed_content = {**entry, "digest": DIGEST}
    with pytest.raises(StackFileError, match="another digest"):
        start_rollout(file, "fraud", "1.5.0", changed_content, now=NOW, why="again")


def test_an_odd_layout_elsewhere_stays_as_it_is(file: Path):
    odd = LOCAL.replace("    fraud:", "    fraud:   ").replace(
        "owner: payments", "owner:   payments"
    )
    file.write_text(odd)
    apply_edit(file, "fraud", load_stack(file), AddMove(25, "fine"), NOW)
    assert [line for line in file.read_text().splitlines() if line not in odd.splitlines()] == [
        '          - {percent: 25, at: "2026-11-23T10:00:00Z", why: "fine"}'
    ]


def test_a_service_without_lines_of_its_own_is_refused(file: Path):
    text = LOCAL[: LOCAL.index("    churn:")] + (
        "    churn: {owner: growth, runtime: {kind: mlflow}, strategy: {kind: canary, steps: [100]}"
        ", slo: {latency: {thresholdMs: 100, share: 0.95}}}\n"
    )
    file.write_text(text)
    entry = {"uri": "s3://m/c", "digest": DIGEST, "registry": "models:/churn/1"}
    with pytest.raises(StackFileError, match="in lines of their own"):
        start_rollout(file, "churn", "1.0.0", entry, now=NOW, why="first")
    assert file.read_text() == text


def test_the_first_version_is_stable_and_the_next_a_candidate(file: Path):
    entry = {"uri": "s3://m/c", "digest": DIGEST, "registry": "models:/churn/1"}
    start_rollout(file, "churn", "1.0.0", entry, now=NOW, why="first")
    stack = start_rollout(file, "churn", "1.1.0", entry, now=NOW, why="better")
    assert stack.services["churn"].percents() == {"1.0.0": 90, "1.1.0": 10}
    with pytest.raises(StackFileError, match="is being rolled out"):
        start_rollout(file, "churn", "1.2.0", entry, now=NOW, why="third")
    reset_service(file, "churn")
    assert file.read_text() == LOCAL


def test_the_file_is_found_by_stack_config_dir(tmp_path: Path):
    (tmp_path / "Pulumi.yaml").write_text("name: x\nstackConfigDir: stacks\n")
    assert stack_path(tmp_path, "prod") == tmp_path / "stacks" / "Pulumi.prod.yaml"


def test_a_pause_that_comes_meanwhile_keeps_all_but_a_revert_away(file: Path):
    seen = load_stack(file)
    file.write_text(LOCAL.replace('stable: "1.4.0"', 'stable: "1.4.0"\n        paused: incident'))
    with pytest.raises(StackFileError, match="changed meanwhile"):
        apply_edit(file, "fraud", seen, AddMove(25, "fine"), NOW)
    apply_edit(file, "fraud", seen, AddMove(0, "harm", reject=True), NOW)
    assert rollout_of(file).percent == 0
    assert rollout_of(file).paused == "incident"


def test_approvals_end_with_their_rollout(file: Path):
    approval = 'approvals: [{percent: 25, by: ann, at: "2026-11-23T09:30:00Z"}]'
    text = LOCAL.replace('stable: "1.4.0"', f'stable: "1.4.0"\n        {approval}')
    file.write_text(text)
    apply_edit(file, "fraud", load_stack(file), Promote("better"), NOW)
    assert rollout_of(file).approvals == ()


def test_a_candidate_that_waits_at_0_is_not_replaced(file: Path):
    file.write_text(LOCAL.replace("percent: 5,", "percent: 0,"))
    entry = {"uri": "s3://m/c", "digest": "sha256:" + "2" * 64, "registry": "models:/fraud/16"}
    with pytest.raises(StackFileError, match="is being rolled out"):
        start_rollout(file, "fraud", "1.6.0", entry, now=NOW, why="new")
