"""`modelramp check` (`drift-check`): judge every rollout, edit the stack file."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from local.embedded import control
from local.home import Home
from models.stack import Cluster, load_stack
from rollout.drift_check import drift_check, outcome_json
from rollout.stack_file import stack_path
from scripts.notify import tell
from scripts.screen import CONSOLE, outcome_table

EXIT_CODES = {"revert": 13, "advance": 10, "promote": 10, "no-data": 12, "hold": 11}
"""With --detailed-exitcode; where services differ, the first of these wins."""


def check(
    stack: Annotated[str, typer.Option(help="The stack: stacks/Pulumi.<stack>.yaml.")],
    service: Annotated[str | None, typer.Option(help="Only this service.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide, but edit nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
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

    Exit code 0 for every normal outcome, 1 if something is wrong with the use or the stack file.
    """
    from rollout.prometheus import Prometheus  # noqa: PLC0415  its client imports pandas

    home = Home.find()
    file = stack_path(home.root, stack)
    declared = load_stack(file)
    cluster = declared.cluster
    metrics = Prometheus(prometheus_url(home, cluster), cluster.prometheus_access)
    gateway = gateway_url(home, cluster)
    outcomes = list(
        drift_check(file, stack, metrics, only=service, dry_run=dry_run, gateway_url=gateway)
    )
    if as_json:
        typer.echo(json.dumps([outcome_json(outcome) for outcome in outcomes], indent=2))
    else:
        CONSOLE.print(outcome_table(outcomes))
    if not dry_run:
        tell(home, stack, declared, outcomes)
    if detailed_exitcode:
        kinds = {outcome.verdict.kind for outcome in outcomes if outcome.verdict}
        raise typer.Exit(next((code for kind, code in EXIT_CODES.items() if kind in kinds), 0))


def prometheus_url(home: Home, cluster: Cluster) -> str:
    """Returns where metrics are; an embedded target that is down has none, which means no data."""
    if cluster.prometheus:
        return cluster.prometheus
    now = control.status(home)
    return now["endpoints"]["prometheus"] if now else "http://127.0.0.1:9"


def gateway_url(home: Home, cluster: Cluster) -> str | None:
    """Returns where smoke tests are sent, or None where nothing takes them."""
    if cluster.gateway_url:
        return cluster.gateway_url
    now = control.status(home) if cluster.target == "embedded" else None
    return now["endpoints"]["gateway"] if now else None
