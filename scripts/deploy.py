"""`modelramp deploy`: a registered version becomes the candidate, once it has passed its gates."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from local.home import Home
from models.errors import MetricsError
from models.stack import load_stack
from rollout.deploy import Deployment, entry_of, evidence_of, prepare, start
from rollout.deploy_request import request_deployment
from rollout.forecast import read_traffic, rollout_seconds
from rollout.judge.sentences import span
from rollout.requests import Put
from rollout.stack_file import stack_path
from scripts.endpoints import prometheus_url
from scripts.registry import follow_move, registry_of, warn
from scripts.rounds import requests_of
from scripts.screen import CONSOLE

REFUSED = 1

_COLOURS = {"passed": "green", "failed": "red", "forced": "yellow", "not declared": "dim"}


def deploy(
    service: Annotated[str, typer.Argument(help="The model service.")],
    version: Annotated[str, typer.Argument(help="Its new version, such as 1.5.0.")],
    stack: Annotated[str, typer.Option(help="The stack: stacks/Pulumi.<stack>.yaml.")],
    model: Annotated[
        str | None,
        typer.Option(help="The registered model, if it is not named like the service."),
    ] = None,
    force: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Pass failed gates, where policy allows; logged."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all, write nothing.")] = False,
    pull_request: Annotated[
        bool,
        typer.Option(
            "--pull-request", help="Open a pull request with the edit, edit nothing here."
        ),
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(help="Branch that it goes to.", show_default="the remote's default branch"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a registered model version the candidate of a service, if it passes all its gates.

    Finds the version in MLflow by its tag `modelramp.version`, computes the digest of its files
    anew, reads its lineage and signature, and checks the gates that the service declares against
    what training logged (docs/registry.md). Only then the stack file is edited: the version, and
    the first step of the strategy. The next `pulumi up` makes it so, `drift-check` takes it on.

    --force passes failed gates and is logged with its reason. It needs `gates.allowForce`, which
    is on unless `risk: high`. A digest that differs from what was registered, a digest that was
    taken back before, and the rule of semantic versions cannot be forced.

    With --pull-request the file of the freshly fetched base branch is taken, and the edit goes into
    the branch modelramp-deploy/<stack>/<service>, with lineage and gates in the text of its
    request. GITHUB_TOKEN or GITLAB_TOKEN has to be set.

    Exit code 0 if it was written (or would be), 1 if a gate failed or the use is wrong.

    Example: modelramp deploy fraud 1.5.0 --stack staging --dry-run
    """
    if base and not pull_request:
        raise typer.BadParameter("--base is about a --pull-request")
    if dry_run and pull_request:
        raise typer.BadParameter("--dry-run opens no --pull-request")
    home, now = Home.find(), datetime.now(UTC)
    file = stack_path(home.root, stack)

    def prepared(file: Path) -> Deployment:
        return prepare(
            file,
            stack,
            service,
            version,
            tracking_uri=registry_of(home, load_stack(file).cluster),
            model=model or service,
            now=now,
            reason=force,
        )

    put: Put | None = None
    if pull_request:
        requests = requests_of(file, base)
        with requests.checkout() as checkout:
            deployment = prepared(checkout.path(file))
            if deployment.is_allowed:
                put = request_deployment(deployment, checkout, requests, now)
    else:
        deployment = prepared(file)
        if deployment.is_allowed and not dry_run:
            start(deployment, now)
            follow_move(home, file, stack)
    seconds, is_written = _seconds(home, deployment, now), deployment.is_allowed and not dry_run
    if as_json:
        told = {**_as_json(deployment, seconds), "written": is_written, "url": put and put.url}
        typer.echo(json.dumps(told, indent=2))
    else:
        _show(deployment, seconds, _next(deployment, put, is_written=is_written))
        if force and not deployment.is_allowed:
            warn("--force does not pass what is failed here; see modelramp deploy --help")
    if not deployment.is_allowed:
        raise typer.Exit(REFUSED)


def _seconds(home: Home, deployment: Deployment, now: datetime) -> float | None:
    """Returns how long the rollout will take; no deployment fails because that is not known."""
    from rollout.prometheus import Prometheus  # noqa: PLC0415  its client imports pandas

    before, name = deployment.before, deployment.service
    cluster = before.cluster
    metrics = Prometheus(prometheus_url(home, cluster), cluster.prometheus_access)
    try:
        service = before.services[name]
        traffic = read_traffic(metrics, name, service, before.cluster.namespace, now)
    except MetricsError:
        return None
    return rollout_seconds(service, traffic) if traffic else None


def _show(deployment: Deployment, seconds: float | None, following: str) -> None:
    registered = deployment.registered
    known = Table(box=None, pad_edge=False, show_header=False)
    known.add_column()
    known.add_column(overflow="fold")
    for what, value in (
        ("registry", registered.registry_uri),
        ("digest", registered.digest),
        ("run", registered.run_id),
        ("git commit", registered.git_commit),
        ("training data", registered.data_hash),
        ("at today's traffic", span(seconds) if seconds else "not known"),
    ):
        known.add_row(f"[dim]{what}[/dim]", escape(value))
    gates = Table(box=None, pad_edge=False)
    for heading in ("gate", "state", "why"):
        gates.add_column(heading, overflow="fold")
    for gate in deployment.gates:
        state = f"[{_COLOURS[gate.state]}]{gate.state}[/]"
        gates.add_row(escape(gate.name), state, escape(gate.says))
    CONSOLE.print(known)
    CONSOLE.print(gates)
    CONSOLE.print(f"\n{escape(following)}", highlight=False, soft_wrap=True)


def _next(deployment: Deployment, put: Put | None, *, is_written: bool) -> str:
    which, stack = f"{deployment.service} {deployment.version}", deployment.stack
    if not deployment.is_allowed:
        failed = [gate.name for gate in deployment.gates if gate.state == "failed"]
        return f"{which} was not deployed, nothing was written; failed: {', '.join(failed)}"
    if put:
        return f"{which} begins at {deployment.to_percent}% once this is merged: {put.url}"
    if not is_written:
        return f"{which} would begin at {deployment.to_percent}%; nothing was written"
    return (
        f"{which} begins at {deployment.to_percent}%; review and commit it, then: "
        f"pulumi up --stack {stack}"
    )


def _as_json(deployment: Deployment, seconds: float | None) -> dict[str, object]:
    return {
        "service": deployment.service,
        "version": deployment.version,
        "stack": deployment.stack,
        "allowed": deployment.is_allowed,
        "toPercent": deployment.to_percent,
        "entry": entry_of(deployment.registered),
        "secondsAtTodaysTraffic": seconds,
        **evidence_of(deployment),
    }
