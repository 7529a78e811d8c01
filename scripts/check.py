"""`modelramp check` (`drift-check`): judge every rollout, edit the stack file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from local.home import Home
from rollout.drift_check import Outcome, outcome_json
from rollout.stack_file import stack_path
from scripts.rounds import PullRequests, Rounds
from scripts.running import run
from scripts.screen import CONSOLE, ERRORS, outcome_line, outcome_table
from scripts.signals import terminable

EXIT_CODES = {"revert": 13, "advance": 10, "promote": 10, "no-data": 12, "hold": 11}
"""With --detailed-exitcode; where services differ, the first of these wins."""


def check(
    stack: Annotated[str, typer.Option(help="The stack: stacks/Pulumi.<stack>.yaml.")],
    service: Annotated[str | None, typer.Option(help="Only this service.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide, but edit nothing.")] = False,
    commit: Annotated[
        bool, typer.Option("--commit", help="A git commit for each edit, of its files alone.")
    ] = False,
    up: Annotated[
        bool, typer.Option("--up", help="Run `pulumi up` for the stack after an edit.")
    ] = False,
    pull_request: Annotated[
        bool,
        typer.Option("--pull-request", help="A branch and a pull request for each move instead."),
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(help="Branch that these go to.", show_default="the remote's default branch"),
    ] = None,
    push_reverts: Annotated[
        bool,
        typer.Option(
            "--push-reverts",
            envvar="MODELRAMP_PUSH_REVERTS",
            help="Push a revert straight to that branch.",
        ),
    ] = False,
    plots: Annotated[
        Path | None, typer.Option(help="Write a page with plots of what was decided on.")
    ] = None,
    evidence_url: Annotated[
        str | None, typer.Option(help="Where that page is, for the text of a pull request.")
    ] = None,
    watch: Annotated[
        float | None,
        typer.Option(min=1, metavar="SECONDS", help="Again and again, until interrupted."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; with --watch a line a round.")
    ] = False,
    detailed_exitcode: Annotated[
        bool,
        typer.Option(
            "--detailed-exitcode",
            help="0 nothing to do, 10 advanced or promoted, 11 hold, 12 no data, 13 reverted.",
        ),
    ] = False,
) -> None:
    """Decide on every rollout of a stack, from what the versions really did.

    Reads requests, errors, latency and accuracy of both versions from Prometheus, tests the
    candidate against the stable version beside it, and edits the stack file: the next step, back
    to 0, or nothing. The next `pulumi up` makes it so. Each move is logged in stacks/history/.

    With --commit each edit is a commit. With --up the edits are applied; a stack file that lacks
    what is merged on the remote's default branch is refused. With --watch a round follows another,
    what is wrong with one is told, and SIGINT or SIGTERM ends it after the round.

    With --pull-request nothing is edited here. The file of the freshly fetched base branch is
    decided on; each service that moves gets the branch modelramp/<stack>/<service>, base and one
    commit, and one open request with the evidence, written anew while the move stands and closed
    when it does not. GITHUB_TOKEN or GITLAB_TOKEN has to be set.

    Exit code 0 for every normal outcome, 1 if something is wrong with the use, the stack file, git
    or `pulumi up`.
    """
    if dry_run and (commit or up or pull_request):
        raise typer.BadParameter("--dry-run does nothing for --commit, --up or --pull-request")
    if pull_request and (commit or up):
        raise typer.BadParameter("--pull-request edits nothing here for --commit or --up")
    if (base or push_reverts or evidence_url) and not pull_request:
        what = "--base, --push-reverts and --evidence-url are about a --pull-request"
        raise typer.BadParameter(what)
    if watch is not None and detailed_exitcode:
        raise typer.BadParameter("--watch has many outcomes and one exit code: leave one out")
    home = Home.find()
    rounds = Rounds(
        home=home,
        stack=stack,
        file=stack_path(home.root, stack),
        only=service,
        dry_run=dry_run,
        commit=commit,
        up=up,
        pull_requests=PullRequests(base, push_reverts, evidence_url) if pull_request else None,
        plots=plots,
    )
    if watch is not None:
        rounds.repeat(watch, *((_json_line, _json_error) if as_json else (_lines, _error)))
        return
    kinds: set[str] = set()

    def show(outcomes: Sequence[Outcome]) -> None:
        kinds.update(outcome.verdict.kind for outcome in outcomes if outcome.verdict)
        if as_json:
            typer.echo(json.dumps([outcome_json(outcome) for outcome in outcomes], indent=2))
        else:
            CONSOLE.print(outcome_table(outcomes))

    with terminable():
        rounds.run(show)
    if detailed_exitcode:
        raise typer.Exit(next((code for kind, code in EXIT_CODES.items() if kind in kinds), 0))


def _lines(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.verdict or outcome.edit:
            line = f"[dim]{datetime.now(UTC):%T}[/dim] {outcome_line(outcome)}"
            CONSOLE.print(line, highlight=False, soft_wrap=True)


def _error(what: str) -> None:
    line = f"[dim]{datetime.now(UTC):%T}[/dim] [red]error[/red] {escape(what)}"
    ERRORS.print(line, highlight=False, soft_wrap=True)


def _json_line(outcomes: Sequence[Outcome]) -> None:
    typer.echo(json.dumps({**_at(), "outcomes": [outcome_json(it) for it in outcomes]}))


def _json_error(what: str) -> None:
    typer.echo(json.dumps({**_at(), "error": what}))


def _at() -> dict[str, str]:
    return {"at": datetime.now(UTC).isoformat(timespec="seconds")}


def drift_check() -> None:
    """Runs `drift-check`, without importing all other commands."""
    single = typer.Typer(pretty_exceptions_show_locals=False)
    single.command()(check)
    run(single)
