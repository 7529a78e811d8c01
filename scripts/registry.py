"""`modelramp registry`: the model registry follows what the stack files declare."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from local.embedded import control
from local.home import Home
from models.errors import ConfigError, Problem
from models.stack import Cluster, load_stack
from rollout.registry_follow import follow, follow_quietly
from rollout.stack_file import stack_path
from scripts.screen import CONSOLE, ERRORS

TRACKING_URI = "MLFLOW_TRACKING_URI"

registry = typer.Typer(
    help="The model registry (MLflow) follows what the stack files declare.", no_args_is_help=True
)


@registry.command()
def sync(
    stack: Annotated[str, typer.Option(help="The stack: stacks/Pulumi.<stack>.yaml.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show, but change nothing.")] = False,
) -> None:
    """Bring tags and aliases of registered versions to what the stack declares.

    Each version that a stack declares is tagged `modelramp.stack.<stack>` with its role, share of
    traffic and time. With `cluster.registryAliases: true` the aliases champion and challenger
    follow too. A version that no stack names for longer than `retention.archiveAfter` is tagged
    `modelramp.archived`. Nothing is ever deleted. Run again, it changes nothing.
    """
    home = Home.find()
    file = stack_path(home.root, stack)
    changes = follow(
        file, stack, registry_of(home, load_stack(file).cluster), datetime.now(UTC), dry_run=dry_run
    )
    if not changes:
        CONSOLE.print("the registry is as declared")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("registered version", "what", "value"):
        table.add_column(heading, overflow="fold")
    for change in changes:
        table.add_row(escape(change.uri), change.name, escape(change.value or "removed"))
    CONSOLE.print(table)


def follow_move(home: Home, file: Path, stack: str) -> None:
    """Lets the registry follow a move, if the stack has one; whatever becomes of it, only warns."""
    try:
        tracking_uri = registry_of(home, load_stack(file).cluster)
    except ConfigError:
        return
    follow_quietly(file, stack, tracking_uri, datetime.now(UTC), warn)


def registry_of(home: Home, cluster: Cluster) -> str:
    """Returns the URL of a stack's registry, and makes its store known to the MLflow client.

    Raises:
        ConfigError: none is declared, none is in the environment, and none runs.
    """
    if cluster.registry:
        return cluster.registry
    now = control.status(home) if cluster.target == "embedded" else None
    if now:
        os.environ.update(control.store_environment(home, now))
    if found := os.environ.get(TRACKING_URI):
        return found
    start = "modelramp local up, or " if cluster.target == "embedded" else ""
    what = f"no model registry: {start}declare cluster.registry or set {TRACKING_URI}"
    raise ConfigError([Problem("registry", what)])


def warn(what: str) -> None:
    """Tells of something that is not as it should be, and stops nothing."""
    ERRORS.print(f"[yellow]warning[/yellow] {escape(what)}", highlight=False, soft_wrap=True)
