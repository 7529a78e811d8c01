"""What the command line shows: progress bars, spinners, tables."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from rollout.drift_check import Outcome
from rollout.evidence import rows
from rollout.judge import Verdict

CONSOLE = Console()
ERRORS = Console(stderr=True)

_COLOURS = {"advance": "green", "promote": "green", "revert": "red", "no-data": "yellow"}


class ToolProgress:
    """Shows what `local.tools` does: a bar, and how long is left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def start(self, description: str, total: float | None, unit: str) -> None:
        """See `local.tools.Progress`."""
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%" if total else f"{unit}"),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task(escape(description), total=total)
        if not self._console.is_terminal:
            self._console.print(escape(description), highlight=False)
        self._bar.start()

    def advance(self, amount: float) -> None:
        """See `local.tools.Progress`."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, amount)

    def done(self) -> None:
        """See `local.tools.Progress`."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = None

    def note(self, message: str) -> None:
        """See `local.tools.Progress`."""
        self._console.print(f"[dim]{escape(message)}[/dim]", highlight=False, soft_wrap=True)


@contextmanager
def working(what: str) -> Generator[None]:
    """Shows a spinner with the elapsed time while something goes on."""
    if not CONSOLE.is_terminal:
        CONSOLE.print(escape(what), highlight=False)
        yield
        return
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=CONSOLE,
        transient=True,
    )
    bar.add_task(escape(what), total=None)
    with bar:
        yield


def outcome_table(outcomes: Iterable[Outcome]) -> Table:
    """Returns what drift-check decided, a row per service."""
    table = Table(box=None, pad_edge=False)
    for heading in ("service", "stable", "candidate", "percent", "verdict", "why"):
        table.add_column(heading, overflow="fold")
    for outcome in outcomes:
        verdict = outcome.verdict
        kind = verdict.kind if verdict else "at rest"
        percent = f"{outcome.from_percent}%"
        if outcome.to_percent != outcome.from_percent:
            percent += f" to {outcome.to_percent}%"
        table.add_row(
            outcome.service,
            outcome.stable or "-",
            outcome.candidate or "-",
            percent,
            f"[{_COLOURS.get(kind, 'white')}]{kind}[/]",
            escape(verdict.reason) if verdict else "no rollout is going on",
        )
    return table


def outcome_line(outcome: Outcome) -> str:
    """Returns the same of one service in a line, as rich's markup."""
    verdict = outcome.verdict
    kind = verdict.kind if verdict else "at rest"
    percent = f"{outcome.from_percent}%"
    if outcome.to_percent != outcome.from_percent:
        percent += f" to {outcome.to_percent}%"
    why = verdict.reason if verdict else outcome.edit.why if outcome.edit else ""
    version = f" {outcome.candidate}" if outcome.candidate else ""
    colour = _COLOURS.get(kind, "white")
    return f"{outcome.service}{version} {percent} [{colour}]{kind}[/]: {escape(why)}"


def evidence_table(outcome: Outcome) -> Table:
    """Returns what a verdict stands on, a row per metric."""
    verdict = outcome.verdict
    percent = f"{outcome.candidate} at {outcome.from_percent}%"
    table = verdict_table(verdict) if verdict else Table(box=None)
    table.title, table.title_justify = f"{outcome.service}: {percent}", "left"
    if verdict:
        table.caption = f"{verdict.kind}: {escape(verdict.reason)}"
    return table


def verdict_table(verdict: Verdict) -> Table:
    """Returns what a verdict stands on, a row per metric."""
    table = Table(box=None, pad_edge=False)
    for heading in ("metric", "stable", "candidate", "difference", "bounds", "harm", "margin"):
        table.add_column(heading)
    for row in rows(verdict):
        table.add_row(
            row["name"],
            row["stable"],
            row["candidate"],
            row["difference"],
            row["bounds"],
            row["harm"],
            row["says"],
        )
    return table
