"""`modelramp card`: the model card of a deployed version."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from local.home import Home
from models.errors import ConfigError, Problem, RegistryError
from models.stack import Cluster, find_service, load_stack
from rollout import history
from rollout.model_card import Known, read_known, render
from rollout.registry_evidence import Missing
from rollout.stack_file import stack_path
from scripts.registry import registry_of


def card(
    service: Annotated[str, typer.Argument(help="The model service.")],
    stack: Annotated[str, typer.Option(help="The stack: stacks/Pulumi.<stack>.yaml.")],
    version: Annotated[
        str | None, typer.Argument(help="A declared version; the stable one if not given.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write it to this file, not to the screen.")
    ] = None,
) -> None:
    """Print the model card of a version as Markdown: purpose, limits, lineage, evaluation, log.

    What people have to say is the service's `card` in the stack file; the rest comes from the
    model registry and from stacks/history/. Without the registry the card is made of the other
    two, and says so.

    Example: modelramp card fraud 1.5.0 --stack prod --output docs/cards/fraud-1.5.0.md
    """
    home = Home.find()
    file = stack_path(home.root, stack)
    declared = load_stack(file)
    found = find_service(declared, service, file)
    which = version or (found.rollout.stable if found.rollout else None)
    if which not in found.versions:
        there = ", ".join(found.versions) or "none"
        what = f"{service} declares no version {which or 'at all'}; there are: {there}"
        raise ConfigError([Problem(str(file), what)])
    known = _known(home, declared.cluster, found.versions[which].registry)
    log = history.lines(history.history_path(file, stack, service))
    text = render(service, found, which, stack, known, log, datetime.now(UTC))
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")


def _known(home: Home, cluster: Cluster, registry: str) -> Known | Missing:
    try:
        return read_known(registry_of(home, cluster), registry)
    except (ConfigError, RegistryError) as error:
        return Missing(f"The registry has told nothing of it: {error}")
