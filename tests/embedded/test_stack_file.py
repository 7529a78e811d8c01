# pyright: basic
"""Edits of stack files under what the world does to them: odd layouts, kills, two at once."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from models.errors import StackFileError
from models.stack import load_stack
from rollout.declare import apply_edit, start_rollout
from rollout.edits import AddMove, Approve, Drop, Pause, Promote, Retry
from tests.stacks import DIGEST, LOCAL, OTHER

pytestmark = pytest.mark.embedded

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
EDITS = [
    AddMove(25, 'fine: it\'s "good" #1'),
    AddMove(0, "harm", reject=True),
    Promote("better"),
    Pause("I am looking"),
    Approve(25, "ann@example.org", "yes"),
    Drop("candidate", "over"),
    Drop("candidate", "never Ready", reject=True),
    Retry(DIGEST, "again"),
    "deploy",
]
words = st.sampled_from(["", "who owns this?", "a 'quoted' \"one\"", "ünïcode ✓", "key: value # x"])
comments = words.map(lambda it: f"# {it}" if it else "")
QUOTES = ["'", '"', ""]


@st.composite
def files(draw):
    """A stack file in pieces: before, versions, between, rollout, behind."""
    comment = lambda: draw(comments)  # noqa: E731
    quote = lambda text: (q := draw(st.sampled_from(QUOTES))) + text + q  # noqa: E731
    pad = lambda: " " * draw(st.integers(1, 4))  # noqa: E731

    def line(column: int, text: str) -> str:
        said = comment()
        after = f"{pad()}{said}" if said else ""
        return " " * column + text + after + "\n"

    def noise(column: int) -> str:
        kind = draw(st.sampled_from(["", "blank", "comment", "column 0"]))
        return {
            "": "",
            "blank": "\n",
            "comment": f"{' ' * column}# {draw(words)}\n",
            "column 0": "# at the margin\n",
        }[kind]

    wide = draw(st.booleans())  # dashes as far in as their key, or further
    a = draw(st.sampled_from([2, 4]))
    s, k, v = a * 2, a * 3, a * 4  # columns of a service, its keys, and theirs
    pre = noise(0) + f"config:\n{noise(a)}"
    pre += " " * a + "modelramp:cluster:   {target: embedded, namespace: models, gateway: a/b}\n"
    if draw(st.booleans()):
        pre += " " * a + "other:token:\n" + " " * s + "secure: AAABANs+/x==:v1\n"
    pre += line(a, "modelramp:services:") + noise(s)
    pre += line(s, "fraud:") + line(k, f"owner:{pad()}{quote('payments-ml')}")
    anchored = draw(st.booleans())
    slo = "{latency: {thresholdMs: 250, share: 0.990}}"
    pre += line(k, f"slo: {'&promise ' if anchored else ''}{slo}")
    pre += line(k, "strategy: {kind: canary, steps: [1,5 , 25, 100], bake: 10m}")
    folded = draw(st.booleans())
    said = ">-\n" + " " * (v + 2) + "it is\n\n" + " " * (v + 2) + "for: payments # no comment\n"
    card = "card:\n" + " " * v + f"purpose: {said if folded else 'p'}"
    card = (
        card.rstrip("\n")
        + "\n"
        + "".join(f"{' ' * v}{it}: x\n" for it in ("data", "limits", "contact"))
    )
    pre += " " * k + card + noise(k)
    versions = line(k, "versions:")
    for version, digest in (("1.4.0", DIGEST), ("1.5.0", OTHER)):
        uri = f"{{uri: 's3://m/{version}', digest: \"{digest}\", registry: models:/fraud/1}}"
        versions += line(v, f"'{version}': {uri}")
    between = noise(k) + line(k, "runtime: {kind: mlflow}") + noise(k)
    dash = v + (a if wide else 0)
    rollout = line(k, "rollout:") + line(v, 'stable: "1.4.0"') + line(v, "candidate: '1.5.0'")
    rollout += line(v, "moves:") + line(dash, '- {percent: 1, at: "2026-11-23T08:00:00Z"}')
    rollout += line(dash, "- { percent: 5,  at: '2026-11-23T09:00:00Z', why: x }")
    behind = noise(v)
    if draw(st.booleans()):
        behind += line(k, "risk: high") + noise(s)
    if draw(st.booleans()):
        behind += line(k, "alerts:")
        behind += line(
            k + draw(st.sampled_from([0, 2])), "- {metric: errorRate, above: 0.05, for: 5m}"
        )
    if draw(st.booleans()):
        behind += line(s, "churn:") + line(k, "owner: growth") + line(k, "runtime: {kind: mlflow}")
        behind += line(k, "strategy: {kind: linear}")
        behind += line(k, f"slo: {'*promise' if anchored else slo}")
    behind += "encryptionsalt: v1:abc\n" + noise(0)
    pieces = (pre, versions, between, rollout, behind)
    if draw(st.booleans()):
        pieces = tuple(piece.replace("\n", "\r\n") for piece in pieces)
    return pieces


@settings(
    max_examples=200,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(pieces=files(), edit=st.sampled_from(EDITS))
def test_only_the_keys_that_an_edit_changes_differ(tmp_path: Path, pieces, edit):
    pre, versions, between, rollout, behind = pieces
    path = tmp_path / "Pulumi.x.yaml"
    path.write_bytes("".join(pieces).encode())
    if edit == "deploy":
        entry: dict[str, Any] = {
            "uri": "s3://m/c",
            "digest": "sha256:" + "2" * 64,
            "registry": "models:/fraud/3",
        }
        entry["inputs"] = {"amount": "double"}
        apply_edit(path, "fraud", load_stack(path), AddMove(0, "harm", reject=True), NOW)
        start_rollout(path, "fraud", "1.6.0", entry, now=NOW, why="new")
    else:
        apply_edit(path, "fraud", load_stack(path), edit, NOW)
    edited = path.read_bytes().decode()
    assert edited.startswith(pre)
    assert edited.endswith(behind)
    inner = edited[len(pre) : len(edited) - len(behind)]
    assert between in inner
    before, after = inner.split(between, 1)
    if edit != "deploy" and not isinstance(edit, Drop):
        assert before == versions
    if isinstance(edit, AddMove | Pause | Approve | Retry):
        as_it_was = rollout.splitlines(keepends=True)
        lines = after.splitlines(keepends=True)
        assert [line for line in lines if line in as_it_was] == as_it_was
    assert ("\r\n" in pre) == ("\r\n" in after)
    assert load_stack(path).services["fraud"].rollout


def test_what_is_new_comes_behind_a_sequence_at_the_column_of_its_key(tmp_path: Path):
    path = tmp_path / "Pulumi.x.yaml"
    begin, end = LOCAL.index("      versions:"), LOCAL.index("      strategy:")
    rest = LOCAL[LOCAL.index("    churn:") :]
    last = "      alerts:\n      - {metric: errorRate, above: 0.05, for: 5m}\n"
    text = LOCAL[:begin] + LOCAL[end : LOCAL.index("      rollout:")] + last + rest
    path.write_text(text)
    entry: dict[str, Any] = {"uri": "s3://m/c", "digest": DIGEST, "registry": "models:/fraud/3"}
    start_rollout(path, "fraud", "1.0.0", entry, now=NOW, why="first")
    edited = path.read_text()
    assert edited.startswith(text[: text.index(rest)] + "      versions:\n")
    assert edited.endswith(rest)


def child(work):
    """Runs work in a forked process, which begins at once."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def test_a_kill_at_any_moment_leaves_one_of_the_two_states(tmp_path: Path):
    path = tmp_path / "Pulumi.x.yaml"
    path.write_text(LOCAL)
    seen = load_stack(path)

    def editing() -> int:
        path.write_text(LOCAL)
        pid = os.fork()
        if pid == 0:
            try:
                apply_edit(path, "fraud", seen, AddMove(25, "fine"), NOW)
            finally:
                os._exit(0)
        return pid

    def seconds() -> float:
        began = time.monotonic()
        os.waitpid(editing(), 0)
        return time.monotonic() - began

    takes = statistics.median(seconds() for _ in range(9))
    after = path.read_text()
    assert after != LOCAL
    written = 0
    dice = random.Random(7)  # noqa: S311
    for _ in range(1000):
        pid = editing()
        # Most of the kills where the file is written, at the end.
        time.sleep(takes * dice.choice([dice.random(), dice.uniform(0.8, 1.2)]))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        text = path.read_text()
        assert text in (LOCAL, after)
        written += text == after
    assert 50 < written < 950, f"the kills did not hit both sides of the write: {written}"
    path.write_text(LOCAL)
    apply_edit(path, "fraud", seen, AddMove(25, "fine"), NOW)
    assert not list(tmp_path.glob("*.tmp"))


def test_of_two_at_once_one_writes_and_a_person_in_between_wins(tmp_path: Path):
    path = tmp_path / "Pulumi.x.yaml"
    for turn in range(20):
        path.write_text(LOCAL)
        seen = load_stack(path)
        at = NOW + timedelta(seconds=turn)

        def advance(seen=seen, at=at):
            try:
                apply_edit(path, "fraud", seen, AddMove(25, "fine"), at)
            except StackFileError:
                os._exit(3)
            os._exit(0)

        two = [child(advance), child(advance)]
        for process in two:
            process.join(30)
        assert {process.exitcode for process in two} == {0, 3}
        rollout = load_stack(path).services["fraud"].rollout
        assert rollout
        assert [it.percent for it in rollout.moves] == [1, 5, 25]
        # Both have decided on the file as it was; a person's edit comes before they write.
        path.write_text(LOCAL.replace("percent: 5,", "percent: 1,"))
        by_hand = path.read_text()
        two = [child(advance), child(advance)]
        for process in two:
            process.join(30)
        assert [process.exitcode for process in two] == [3, 3]
        assert path.read_text() == by_hand
