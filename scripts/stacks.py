"""`modelramp stacks`: the stacks of the project, or those that a change touches."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from local.home import Home
from rollout.changed_stacks import changed_stacks
from rollout.git import Repository
from rollout.stack_file import stack_path


def stacks(
    changed_since: Annotated[
        str | None,
        typer.Option(metavar="REF", help="Only those that the commits since this one touch."),
    ] = None,
    stack: Annotated[
        list[str] | None,
        typer.Option(envvar="MODELRAMP_STACKS", help="Only this one of them; once or more."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array, in a line.")] = False,
) -> None:
    """List the stacks of the project, or those that a change touches.

    A stack file touches its own stack. The program, what it imports, its lock and the policies
    touch all; their documentation, the deployment log and all else none.

    Example: modelramp stacks --changed-since origin/main --stack staging --stack prod --json
    """
    root = Home.find().root
    files = stack_path(root, "any").parent.glob("Pulumi.*.yaml")
    names = sorted(it.name.removeprefix("Pulumi.").removesuffix(".yaml") for it in files)
    if stack:
        if unknown := sorted({*stack} - {*names}):
            raise typer.BadParameter(f"no stack {', '.join(unknown)}; there are: {names}")
        names = [it for it in names if it in stack]
    if changed_since and changed_since.strip("0"):  # CI's word for no commit is zeros
        # Three dots: since they parted, whatever was merged there meanwhile.
        since = ("--name-only", "-z", "--relative", f"{changed_since}...HEAD")
        said = Repository.of(root).run("diff", *since, folder=root)
        names = changed_stacks(filter(None, said.split("\0")), names)
    typer.echo(json.dumps(names) if as_json else "\n".join(names))
