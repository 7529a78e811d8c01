"""`modelramp doctor`: has the stack's target what it needs?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from local.doctor.examination import examine
from local.doctor.findings import Finding, State
from local.home import Home
from rollout.stack_file import stack_path
from scripts.screen import CONSOLE, working

NOT_ALL_THERE = 1

_MARKS = {
    State.OK: "[green]ok[/]",
    State.MISSING: "[red]missing[/]",
    State.WRONG: "[red]wrong[/]",
    State.UNKNOWN: "[red]unknown[/]",
}


def doctor(
    stack: Annotated[str, typer.Option(help="The stack: stacks/Pulumi.<stack>.yaml.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check that a stack's target has what it needs.

    Says what is missing or wrong, why it matters and how to get it; all
    problems at once. Looks at this machine; with target cluster also at
    Kubernetes (the stack's context, else the kubeconfig's current one),
    KServe, the Gateway, Prometheus and the namespace of the models. Reads
    only. What each check is about: docs/clusters.md.

    Exit code 0 if all that is needed is there, 1 otherwise: also if it could
    not be checked. Warnings do not count.
    """
    home = Home.find()
    file = stack_path(home.root, stack)
    if as_json:
        findings = list(examine(home, file))
        typer.echo(json.dumps(_as_json(stack, findings), indent=2))
    else:
        with working("Looking at what is there"):
            findings = list(examine(home, file))
        _show(findings)
    if any(finding.is_problem for finding in findings):
        raise typer.Exit(NOT_ALL_THERE)


def _as_json(stack: str, findings: Sequence[Finding]) -> dict[str, object]:
    return {
        "stack": stack,
        "ok": not any(finding.is_problem for finding in findings),
        "checks": [asdict(finding) for finding in findings],
    }


def _show(findings: Sequence[Finding]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "about", "check", "what is there"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        mark = "[yellow]warning[/]" if finding.is_warning else _MARKS[finding.state]
        table.add_row(mark, finding.subject, finding.name, escape(finding.saw))
    CONSOLE.print(table)
    warnings = [finding for finding in findings if finding.is_warning]
    problems = [finding for finding in findings if finding.is_problem]
    _show_in_full("warning", "yellow", warnings)
    _show_in_full("problem", "red", problems)
    if not problems:
        CONSOLE.print("\n[green]All that is needed is there.[/]")


def _show_in_full(word: str, colour: str, findings: Iterable[Finding]) -> None:
    """Shows each finding; together those that could not be checked and have one remedy."""
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        key = (
            (finding.remedy,) if finding.state is State.UNKNOWN else (finding.remedy, finding.name)
        )
        groups.setdefault(key, []).append(finding)
    for same in groups.values():
        names = ", ".join(finding.name for finding in same)
        lines = [
            f"\n[{colour}]{word}[/] [bold]{escape(names)}[/]: {same[0].state}",
            f"  seen:   {escape('; '.join(dict.fromkeys(it.saw for it in same)))}",
            *([f"  why:    {escape(same[0].why)}"] if len(same) == 1 else []),
            f"  remedy: {escape(same[0].remedy)}",
        ]
        for line in lines:
            CONSOLE.print(line, highlight=False, soft_wrap=True)
