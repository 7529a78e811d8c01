"""`modelramp promote`, `pause`, `resume`, `approve`, `retry`: a person decides, by one edit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from difflib import unified_diff
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.text import Text

from local.home import Home
from models.service import Service
from models.stack import Stack, find_service, load_stack
from rollout import by_hand, history
from rollout.declare import write_edit
from rollout.drift_check import outcome_of
from rollout.edits import (
    AddMove,
    Approve,
    Edit,
    Pause,
    Promote,
    Restart,
    Resume,
    Retry,
    to_percent,
)
from rollout.stack_file import stack_path
from scripts.notify import tell
from scripts.registry import follow_move
from scripts.screen import CONSOLE

ServiceName = Annotated[str, typer.Argument(help="The model service.")]
StackName = Annotated[str, typer.Option(help="The stack: stacks/Pulumi.<stack>.yaml.")]
Why = Annotated[str, typer.Option(help="For the log and the file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def promote(
    service: ServiceName,
    stack: StackName,
    why: Why = "a person promoted it",
    full: Annotated[bool, typer.Option("--full", help="Straight to the last step.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also in a pause, a freeze, or before its group.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take a candidate to its next step, as a person's decision in place of the judge's.

    At the last step the candidate becomes stable. A candidate that a person set to 0 goes to the
    first step. Where a pause, the calendar or another rollout of its group keeps it, --force is
    needed; an approval that a step asks for is not given by this: see `modelramp approve`.

    Exit code 0 if it was written, 1 if it was refused.
    """

    def decide(declared: Stack, now: datetime) -> Edit:
        return by_hand.promote(service, declared, now, why, full=full, force=force)

    _write(service, stack, decide, as_json)


def pause(
    service: ServiceName,
    stack: StackName,
    why: Why = "a person paused it",
    as_json: AsJson = False,
) -> None:
    """Keep a rollout where it is; the judge still takes a harmful candidate back."""
    _write(service, stack, lambda declared, _: by_hand.pause(service, declared, why), as_json)


def resume(
    service: ServiceName,
    stack: StackName,
    why: Why = "a person resumed it",
    as_json: AsJson = False,
) -> None:
    """End a pause: drift-check moves the rollout on."""
    _write(service, stack, lambda declared, _: by_hand.resume(service, declared, why), as_json)


def approve(
    service: ServiceName,
    stack: StackName,
    percent: Annotated[
        int | None,
        typer.Argument(help="The step that is meant, to be sure; the next one if absent."),
    ] = None,
    why: Why = "a person approved it",
    as_json: AsJson = False,
) -> None:
    """Say yes to the next step, where it asks for a person's approval. A bot is refused.

    Drift-check takes the step once the evidence is there. Who may approve is up to the repository:
    the line counts because a code owner reviewed it, or an environment is protected.
    """

    def decide(declared: Stack, _: datetime) -> Edit:
        return by_hand.approve(service, declared, percent, why, by=history.who())

    _write(service, stack, decide, as_json)


def retry(
    service: ServiceName,
    stack: StackName,
    which: Annotated[
        str | None,
        typer.Argument(metavar="VERSION|DIGEST", help="What was taken back; see `status`."),
    ] = None,
    why: Why = "a person wants it tried again",
    as_json: AsJson = False,
) -> None:
    """Let a version that was taken back be tried again.

    A candidate that still stands in the file begins anew at the first step, without the evidence
    against it. Any other may be deployed again: the next command is then `modelramp deploy`.
    """
    log = history.lines(history.history_path(_file(stack), stack, service))

    def decide(declared: Stack, now: datetime) -> Edit:
        return by_hand.retry(service, declared, which, now, why, log)

    _write(service, stack, decide, as_json)


def told(name: str, service: Service, edit: Edit) -> str:
    """Says an edit in one line; `service` is as it was before."""
    rollout = service.rollout
    assert rollout is not None  # noqa: S101  no edit was made without one
    what = f"{name} {rollout.candidate}"
    match edit:
        case AddMove() | Restart():
            return f"{what}: {rollout.percent}% to {edit.percent}%, {edit.why}"
        case Promote():
            return f"{what} becomes stable, {rollout.stable} previous: {edit.why}"
        case Pause():
            return f"{name} is paused: {edit.why}"
        case Resume():
            return f"{name} is no longer paused: {edit.why}"
        case Approve():
            return f"{what}: {edit.percent}% is approved by {edit.by}: {edit.why}"
        case Retry():
            return f"{name}: {edit.digest} may be deployed again: {edit.why}"
        case _:
            raise AssertionError(edit)


def next_command(name: str, stack: str, edit: Edit) -> str | None:
    """Returns the command that follows once the edit is reviewed and committed, if any does."""
    match edit:
        case AddMove() | Promote() | Restart():
            return f"pulumi up --stack {stack}"
        case Resume() | Approve():
            return f"drift-check --stack {stack} --service {name}"
        case Retry():
            return f"modelramp deploy {name} VERSION --stack {stack}"
        case _:
            return None


def _file(stack: str) -> Path:
    return stack_path(Home.find().root, stack)


def _write(name: str, stack: str, decide: Callable[[Stack, datetime], Edit], as_json: bool) -> None:
    home, now = Home.find(), datetime.now(UTC)
    file = stack_path(home.root, stack)
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    seen = load_stack(file)
    service = find_service(seen, name, file)
    edit, by = decide(seen, now), history.who()
    write_edit(file, stack, name, seen, edit, now, by=by)
    if isinstance(edit, AddMove | Promote | Restart):
        follow_move(home, file, stack)
        tell(home, stack, seen, [outcome_of(name, seen, None, edit)], by=by)
    shown = str(file.relative_to(home.root))
    after = file.read_text(encoding="utf-8")
    diff = [*unified_diff(before.splitlines(), after.splitlines(), shown, shown, n=1, lineterm="")]
    following = next_command(name, stack, edit)
    if as_json:
        percent = service.rollout.percent if service.rollout else 0
        done = {
            "service": name,
            "edit": {"kind": type(edit).__name__, **asdict(edit)},
            "from": percent,
            "to": to_percent(edit, percent),
            "by": by,
            "file": shown,
            "diff": diff,
            "next": following,
        }
        typer.echo(json.dumps(done, indent=2))
        return
    CONSOLE.print(escape(told(name, service, edit)), highlight=False, soft_wrap=True)
    for line in diff:
        CONSOLE.print(Text(line, style=_DIFF_STYLES.get(line[0], "")), soft_wrap=True)
    then = f", then: {following}" if following else ""
    CONSOLE.print(escape(f"review and commit it{then}"), highlight=False, soft_wrap=True)
