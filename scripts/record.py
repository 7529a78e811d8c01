"""`modelramp record`: moves that people made in the stack file, into the deployment log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from local.home import Home
from models.errors import GitError
from models.stack import Stack, load_stack
from rollout import history
from rollout.git import Repository
from rollout.stack_file import stack_path
from rollout.unlogged import unlogged
from scripts.screen import CONSOLE


def record(
    stack: Annotated[str, typer.Option(help="The stack: stacks/Pulumi.<stack>.yaml.")],
    commit: Annotated[bool, typer.Option("--commit", help="Commit the log files alone.")] = False,
    push: Annotated[
        bool, typer.Option("--push", help="With --commit: push it to the remote's default branch.")
    ] = False,
) -> None:
    """Write moves that people made in the stack file into the deployment log.

    `drift-check` and modelramp's commands log what they write. Who edits the file by hand, in a
    pull request say, does not; this adds the lines that are missing, by the author of the file's
    last commit. CI runs it after `pulumi up`.

    Exit code 0, also where nothing is missing; 1 if git refuses.
    """
    if push and not commit:
        raise typer.BadParameter("--push goes with --commit")
    file = stack_path(Home.find().root, stack)
    repository = Repository.of(file.parent) if commit else None
    if repository:
        repository.check_committable([file.parent / "history" / stack])
    written = _write(file, stack, load_stack(file))
    for line in written:
        told = f"{line['service']}: {line['candidate']} {line['from']}% to {line['to']}%"
        CONSOLE.print(f"{escape(told)}, by {escape(line['by'])}", highlight=False)
    if not written:
        CONSOLE.print("every move is logged")
        return
    if repository:
        services = dict.fromkeys(line["service"] for line in written)
        paths = [history.history_path(file, stack, it) for it in services]
        repository.commit(paths, f"{stack}: log moves made by hand ({', '.join(services)})")
        if push:
            repository.run("push", "--quiet", "origin", f"HEAD:{repository.default_branch()}")


def _write(file: Path, stack: str, declared: Stack) -> list[dict[str, Any]]:
    """Appends the lines that are missing; returns them."""
    author, commit = _author(file)
    written: list[dict[str, Any]] = []
    for name, service in declared.services.items():
        if service.rollout is None:
            continue
        path = history.history_path(file, stack, name)
        missing = unlogged(
            name,
            service.rollout,
            history.lines(path),
            by=author,
            digests={version: it.digest for version, it in service.versions.items()},
            commit=commit,
        )
        for line in missing:
            history.append(path, line)
        written += missing
    return written


def _author(file: Path) -> tuple[str, str | None]:
    """Returns who last changed a file, and in which commit."""
    try:
        said = Repository.of(file.parent).run("log", "-1", "--format=%ae%n%H", "--", str(file))
    except GitError:
        said = ""
    author, _, commit = said.partition("\n")
    return author or history.who(), commit or None
