"""`modelramp local`: the embedded target, started, stopped and shown."""

from __future__ import annotations

import json
import os
import shlex
from typing import Annotated

import typer
from rich.table import Table

from local.embedded import control
from local.embedded.runtime import Binaries
from local.home import Home
from local.plugins.environment import pulumi_environment
from local.tools import ensure
from scripts.screen import CONSOLE, ERRORS, ToolProgress, working

local = typer.Typer(help="Run a stack on this machine: no cluster, no root.", no_args_is_help=True)


def binaries() -> Binaries:
    """Finds, downloads or builds what the embedded target runs."""
    progress = ToolProgress(ERRORS)
    return Binaries(
        envoy=ensure("envoy", progress),
        prometheus=ensure("prometheus", progress),
        versitygw=ensure("versitygw", progress),
    )


@local.command()
def up() -> None:
    """Start the embedded target: Envoy, Prometheus, MLflow, an S3-compatible store, your models.

    What `pulumi up` renders into .modelramp/manifests is run as soon as it is there.
    """
    home = Home.find()
    programs = binaries()
    with working("Starting Envoy, Prometheus, MLflow and the artifact store"):
        now = control.up(home, programs)
    _show(now["endpoints"])
    CONSOLE.print('For `pulumi` by hand: [bold]eval "$(modelramp local env)"[/bold]')


@local.command()
def down() -> None:
    """End every process of the embedded target, whatever was killed before."""
    with working("Ending all processes"):
        count = control.down(Home.find())
    CONSOLE.print(f"ended {count} processes" if count else "nothing was running")


@local.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what runs: processes, endpoints, the weights in effect."""
    now = control.status(Home.find())
    if as_json:
        typer.echo(json.dumps(now, indent=2))
    elif now is None:
        CONSOLE.print("nothing is running; start it with [bold]modelramp local up[/bold]")
    else:
        _show(now["endpoints"])
        _show(
            {name: "ready" if it["ready"] else "waiting" for name, it in now["processes"].items()}
        )
        for route, weights in now["weights"].items():
            _show({f"{route}: {backend}": f"{weight}%" for backend, weight in weights.items()})
        for problem in (now["error"], *now["pending"].values()):
            if problem:
                CONSOLE.print(problem, style="yellow", markup=False)


@local.command()
def wait(
    timeout_seconds: Annotated[float, typer.Option(help="Give up after this long.")] = 120.0,
) -> None:
    """Wait until what `pulumi up` rendered is what runs; for scripts."""
    control.wait_applied(Home.find(), timeout_seconds=timeout_seconds)


@local.command()
def env() -> None:
    """Print shell commands that set up `pulumi` and MLflow clients for the local stack.

    Use it as: eval "$(modelramp local env)"
    """
    home = Home.find()
    variables = pulumi_environment(home, ToolProgress(ERRORS))
    now = control.status(home)
    if now:
        variables |= control.store_environment(home, now)
    for name, value in variables.items():
        if os.environ.get(name) != value:
            typer.echo(f"export {name}={shlex.quote(value)}")


def _show(rows: dict[str, str]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in rows.items():
        table.add_row(name, value)
    CONSOLE.print(table)
