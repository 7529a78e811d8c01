"""`modelramp judge`: the judge alone, on a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from rollout import history
from rollout.case import load_case, observations_of, schema, terms_of
from rollout.judge import Verdict
from rollout.judge import judge as decide
from scripts.screen import CONSOLE, verdict_table


def judge(
    case: Annotated[
        Path | None, typer.Option("--case", help="JSON file: a rollout and its counts.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    show_schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of a case and stop.")
    ] = False,
) -> None:
    """Decide on a rollout from a file, without a stack, a cluster or Prometheus.

    The file holds what is declared (moves, margins, SLO, alpha) and, per interval, what both
    versions did (requests, errors, latency buckets, labels, values, histograms). docs/judge.md
    describes it; examples/judge/ has cases to start from.

    Exit code 0 whatever the verdict, 1 if the file is wrong: every problem with its key.
    """
    if show_schema:
        typer.echo(json.dumps(schema(), indent=2))
        return
    if case is None:
        raise typer.BadParameter("give a file, or --schema", param_hint="--case")
    read = load_case(case)
    verdict = decide(terms_of(read), observations_of(read), read.end)
    if as_json:
        typer.echo(json.dumps(history.as_json(verdict), indent=2, allow_nan=False))
    else:
        _show(verdict)


def _show(verdict: Verdict) -> None:
    CONSOLE.print(f"[bold]{verdict.kind}[/bold]: {escape(verdict.reason)}")
    CONSOLE.print(verdict_table(verdict))
    for alert in verdict.alerts:
        CONSOLE.print(f"[yellow]alert[/yellow] {escape(alert)}")
