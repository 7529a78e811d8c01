"""`modelramp validate`: whether stack files declare what can be had, without any cluster."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from local.home import Home
from models.errors import ConfigError, Problem, StackFileError
from models.schema import stack_file_schema
from models.stack import load_stack
from rollout.stack_file import stack_path
from scripts.rounds import check_goes_on
from scripts.screen import CONSOLE

INVALID = 1


def validate(
    stack: Annotated[
        list[str] | None, typer.Option(help="A stack, once or more; all, if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    merged: Annotated[
        bool,
        typer.Option("--merged", help="Also refuse one that lacks moves that are merged."),
    ] = False,
    show_schema: Annotated[
        bool,
        typer.Option("--schema", help="Print the JSON Schema of a stack file and stop."),
    ] = False,
) -> None:
    """Check stack files: every problem with its file, line, key, and what is allowed.

    Reads nothing but the files. With --merged they are also compared with those on the remote's
    default branch: applying an older file would take moves back.

    An editor that reads the first line of a stack file completes keys and shows most problems as
    you type: `# yaml-language-server: $schema=schema.json`, where stacks/schema.json is what
    `--schema` prints.

    Exit code 0 if all are valid, 1 if not.
    """
    if show_schema:
        typer.echo(json.dumps(stack_file_schema(), indent=2))
        return
    root = Home.find().root
    files = [stack_path(root, it) for it in stack] if stack else _all_files(root)
    found = {file.relative_to(root): _problems(file, merged=merged) for file in files}
    if as_json:
        typer.echo(json.dumps([_as_json(file, it) for file, it in found.items()], indent=2))
    else:
        for file, problems in found.items():
            _show(file, problems)
    if any(found.values()):
        raise typer.Exit(INVALID)


def _all_files(root: Path) -> list[Path]:
    return sorted(stack_path(root, "any").parent.glob("Pulumi.*.yaml"))


def _problems(file: Path, *, merged: bool) -> tuple[Problem, ...]:
    try:
        load_stack(file)
        if merged:
            check_goes_on(file)
    except ConfigError as error:
        return error.problems
    except StackFileError as error:
        return (Problem(str(file), str(error), "modelramp:services"),)
    return ()


def _show(file: Path, problems: tuple[Problem, ...]) -> None:
    verdict = f"[red]{len(problems)} wrong[/red]" if problems else "[green]valid[/green]"
    CONSOLE.print(f"{escape(str(file))}: {verdict}", highlight=False)
    for problem in problems:
        line = "" if problem.line is None else f"line {problem.line}, "
        CONSOLE.print(
            f"  {line}[bold]{escape(problem.key)}[/bold]: {escape(problem.what)}",
            highlight=False,
            soft_wrap=True,
        )


def _as_json(file: Path, problems: tuple[Problem, ...]) -> dict[str, Any]:
    return {
        "file": str(file),
        "valid": not problems,
        "problems": [{**asdict(problem), "where": str(file)} for problem in problems],
    }
