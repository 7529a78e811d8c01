"""`modelramp local`: the local targets, started, stopped and shown."""

from __future__ import annotations

import json
import os
import shlex
from typing import Annotated

import typer
from rich.table import Table

from local.embedded import control
from local.home import Home
from local.plugins.environment import pulumi_environment
from scripts.screen import CONSOLE, ERRORS, ToolProgress, working
from scripts.signals import terminable
from scripts.targets import target_of

local = typer.Typer(
    help="Run a stack on this machine: as processes without root, or on a Kubernetes of its own.",
    no_args_is_help=True,
)

OnCluster = Annotated[
    bool,
    typer.Option(
        "--cluster",
        help="A real Kubernetes of one node with KServe; needs Linux and root.",
    ),
]


@local.command()
def up(on_cluster: OnCluster = False) -> None:
    """Start Envoy, Prometheus, MLflow, an S3-compatible store, and your models.

    As processes, what `pulumi up` renders into .modelramp/manifests is run as soon as it is there.
    With --cluster, Kubernetes, KServe, Envoy Gateway and Prometheus are put together first: half an
    hour the first time where no releases can be downloaded, a minute from then on. Run again after
    a failure, it goes on where it was.
    """
    target = target_of(Home.find(), on_cluster=on_cluster)
    with terminable():
        endpoints = target.up(ToolProgress(ERRORS))
    _show(endpoints)
    CONSOLE.print(
        f'For `pulumi` by hand: [bold]eval "$(modelramp local env{target.option})"[/bold]'
    )


@local.command()
def fetch(on_cluster: OnCluster = False) -> None:
    """Find, download or build what `up` runs, and start nothing.

    For a machine that is to be ready for `up` later, such as one of CI.
    """
    target = target_of(Home.find(), on_cluster=on_cluster)
    with terminable():
        target.fetch(ToolProgress(ERRORS))


@local.command()
def down(on_cluster: OnCluster = False) -> None:
    """End every process, whatever was killed before; with --cluster, delete the cluster.

    Of a deleted cluster no process, mount, network device or firewall rule is left. Its images,
    the artifact store and the model registry stay in the cache for the next one.
    """
    target = target_of(Home.find(), on_cluster=on_cluster)
    with working("Ending all processes"):
        count = target.down()
    CONSOLE.print(f"ended {count} processes" if count else "nothing was running")


@local.command()
def status(
    on_cluster: OnCluster = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what runs: processes, endpoints, the weights in effect or the pods."""
    target = target_of(Home.find(), on_cluster=on_cluster)
    now = target.status()
    if as_json:
        typer.echo(json.dumps(now, indent=2))
        return
    if now is None:
        start = f"modelramp local up{target.option}"
        CONSOLE.print(f"nothing is running; start it with [bold]{start}[/bold]")
        return
    _show(now["endpoints"])
    _show({name: _state(it["ready"]) for name, it in now["processes"].items()})
    _show({name: _state(ready) for name, ready in now.get("pods", {}).items()})
    for route, weights in now.get("weights", {}).items():
        _show({f"{route}: {backend}": f"{weight}%" for backend, weight in weights.items()})
    for problem in (now["error"], *now.get("pending", {}).values()):
        if problem:
            CONSOLE.print(problem, style="yellow", markup=False)


@local.command()
def wait(
    timeout_seconds: Annotated[float, typer.Option(help="Give up after this long.")] = 120.0,
) -> None:
    """Wait until what `pulumi up` rendered is what runs; for scripts, without a cluster."""
    control.wait_applied(Home.find(), timeout_seconds=timeout_seconds)


@local.command()
def env(on_cluster: OnCluster = False) -> None:
    """Print shell commands that set up `pulumi`, `kubectl` and MLflow clients for the local stack.

    Use it as: eval "$(modelramp local env)"
    """
    home = Home.find()
    target = target_of(home, on_cluster=on_cluster)
    variables = pulumi_environment(home, ToolProgress(ERRORS), kubeconfig=target.kubeconfig)
    variables |= target.environment()
    for name, value in variables.items():
        if os.environ.get(name) != value:
            typer.echo(f"export {name}={shlex.quote(value)}")


def _state(ready: bool) -> str:
    return "ready" if ready else "waiting"


def _show(rows: dict[str, str]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in rows.items():
        table.add_row(name, value)
    if rows:
        CONSOLE.print(table)
