"""`modelramp status`: how each service stands, redrawn while one waits."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from local.home import Home
from models.errors import ModelrampError
from models.stack import load_stack
from rollout.drift_check import drift_check
from rollout.judge.sentences import STILL_NEEDED, span
from rollout.stack_file import stack_path
from rollout.status import Status, as_json, statuses
from scripts.endpoints import prometheus_url
from scripts.screen import CONSOLE, verdict_table

BAR_CELLS = 20


def status(
    stack: Annotated[str, typer.Option(help="The stack: stacks/Pulumi.<stack>.yaml.")],
    service: Annotated[str | None, typer.Option(help="Only this service.")] = None,
    watch: Annotated[
        float | None,
        typer.Option(min=1, metavar="SECONDS", help="Redraw so often, until interrupted."),
    ] = None,
    json_wanted: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every service: versions, weights, step, verdict, evidence, what it waits for.

    The verdict is that of a dry run of drift-check: nothing is written. Without Prometheus it is
    no-data, and the rest is shown all the same. Services in a rollout come first, a service at
    rest is one line.
    """
    home = Home.find()
    file = stack_path(home.root, stack)
    if watch is None:
        found = read(home, file, stack, service)
        if json_wanted:
            typer.echo(json.dumps([as_json(it) for it in found], indent=2))
        else:
            CONSOLE.print(drawing(found))
        return
    if json_wanted:
        raise typer.BadParameter("--watch draws, and --json is for machines: give one of them")
    try:
        with Live(console=CONSOLE, auto_refresh=False) as live:
            while True:
                live.update(_now(home, file, stack, service), refresh=True)
                time.sleep(watch)
    except KeyboardInterrupt:
        return


def read(home: Home, file: Path, stack: str, only: str | None) -> list[Status]:
    """Returns how the services of a stack stand now.

    Args:
        home: the project.
        file: the stack file.
        stack: its name.
        only: this service alone; all if None.

    Raises:
        ConfigError: the stack file is wrong, or declares no service `only`.
    """
    from rollout.prometheus import Prometheus  # noqa: PLC0415  its client imports pandas

    declared = load_stack(file)
    metrics = Prometheus(prometheus_url(home, declared.cluster), declared.cluster.prometheus_access)
    outcomes = drift_check(file, stack, metrics, only=only, dry_run=True)
    return statuses(declared, outcomes, datetime.now(UTC))


def drawing(found: Sequence[Status]) -> RenderableType:
    """Returns what the screen shows."""
    at_rest = Table(box=None, pad_edge=False, show_header=False, expand=True)
    at_rest.add_column(no_wrap=True)
    at_rest.add_column(no_wrap=True)
    at_rest.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    blocks: list[RenderableType] = []
    for one in found:
        if one.is_in_rollout:
            blocks += [_block(one), ""]
        else:
            at_rest.add_row(f"[bold]{escape(one.name)}[/bold]", _weights(one), escape(_rest(one)))
    return Group(*blocks, *([at_rest] if at_rest.row_count else []))


def bar(percent: int) -> Text:
    """Returns a bar of weights; any traffic at all is one cell at least."""
    cells = round(BAR_CELLS * percent / 100)
    if 0 < percent < 100:
        cells = min(max(cells, 1), BAR_CELLS - 1)
    return Text.assemble(("█" * (BAR_CELLS - cells), "blue"), ("▒" * cells, "yellow"))


def _now(home: Home, file: Path, stack: str, only: str | None) -> RenderableType:
    """Returns what `--watch` draws; a file that is wrong for a moment does not end it."""
    at = Text(f"{stack} at {datetime.now(UTC):%F %T %Z}", style="dim")
    try:
        return Group(at, drawing(read(home, file, stack, only)))
    except ModelrampError as error:
        return Group(at, Text(str(error), style="red"))


def _weights(one: Status) -> Text:
    rollout = one.service.rollout
    if rollout is None:
        return Text("no version yet", style="dim")
    percent = rollout.percent
    shown = Text.assemble(f"{rollout.stable} {100 - percent}% ", bar(percent))
    if rollout.candidate:
        shown.append(f" {percent}% {rollout.candidate}")
    return shown


def _block(one: Status) -> RenderableType:
    rollout, outcome = one.service.rollout, one.outcome
    verdict = outcome.verdict
    step, steps = one.step
    lines = Table(box=None, pad_edge=False, show_header=False)
    lines.add_column(style="dim")
    lines.add_column(overflow="fold")
    where = f"step {step} of {steps}, " if steps else ""
    lasted = span(one.seconds_at_step or 0)
    lines.add_row(one.service.strategy.kind, f"{where}{outcome.from_percent}% for {lasted}")
    if verdict:
        # What is still needed is what it waits for, below.
        reason = verdict.reason.partition(STILL_NEEDED)[0]
        lines.add_row("verdict", f"[bold]{verdict.kind}[/bold]: {escape(reason)}")
    if outcome.edit:
        lines.add_row("next", escape(f"drift-check: {_next(one)}"))
    for number, waits in enumerate(one.waits):
        lines.add_row("" if number else "waits for", escape(waits))
    if one.seconds_left:
        lines.add_row("left", f"about {span(one.seconds_left)} at today's traffic, at this step")
    if rollout and rollout.previous:
        previous = rollout.previous
        lines.add_row("previous", f"{previous.version} until {previous.until:%F %H:%M %Z}")
    for number, it in enumerate(rollout.rejected if rollout else ()):
        what = f"{it.digest[:19]} at {it.at:%F %H:%M %Z}: {it.why}"
        lines.add_row("" if number else "rejected", escape(what))
    title = Text.assemble((one.name, "bold"), "  ", _weights(one))
    evidence = [verdict_table(verdict)] if verdict and verdict.metrics else []
    return Group(title, Padding(Group(lines, *evidence), (0, 0, 0, 2)))


def _next(one: Status) -> str:
    outcome = one.outcome
    if outcome.to_percent != outcome.from_percent:
        return f"{outcome.from_percent}% to {outcome.to_percent}%"
    return type(outcome.edit).__name__.lower()


def _rest(one: Status) -> str:
    """Returns what there is to say of a service without a rollout."""
    rollout = one.service.rollout
    if rollout is None:
        return ""
    said = ["at rest"] if rollout.candidate is None else []
    if rollout.paused:
        said.append(f"paused: {rollout.paused}")
    if rollout.previous:
        until = f"{rollout.previous.until:%F %H:%M %Z}"
        said.append(f"previous {rollout.previous.version} until {until}")
    if rollout.rejected and not rollout.candidate:
        said.append(f"{len(rollout.rejected)} rejected")
    if rollout.candidate:
        said.append(
            f"{rollout.candidate} was taken back: {rollout.moves[-1].why or 'no reason given'}"
        )
    return ", ".join(said)
