"""`modelramp history`: the deployment log of a service."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from local.home import Home
from models.errors import ConfigError, Problem
from models.stack import find_service, load_stack
from rollout import history as log
from rollout.history_table import COLUMNS, as_markdown, rows
from rollout.stack_file import stack_path
from scripts.screen import CONSOLE

LONGEST_NAME = 16
"""Characters of who did it; a mail address would leave no room for why."""


class Format(StrEnum):
    """How the log is printed."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"


def history(
    service: Annotated[str, typer.Option(help="The model service.")],
    stack: Annotated[str, typer.Option(help="The stack: stacks/Pulumi.<stack>.yaml.")],
    form: Annotated[
        Format, typer.Option("--format", help="json has the evidence of each move too.")
    ] = Format.TABLE,
) -> None:
    """Print the deployment log of a service, oldest move first: when, what, by whom and why.

    It is stacks/history/<stack>/<service>.jsonl, as git has it: each move was written there
    together with the edit of the stack file. A service that is declared no more keeps its log.

    Example: modelramp history --service fraud --stack prod --format markdown > docs/fraud.md
    """
    file = stack_path(Home.find().root, stack)
    path = log.history_path(file, stack, service)
    if not path.is_file():
        find_service(load_stack(file), service, file)
    try:
        lines = log.lines(path)
    except ValueError as error:
        raise ConfigError([Problem(str(path), f"a line is no JSON: {error}")]) from None
    if form is Format.JSON:
        typer.echo(json.dumps(lines, indent=2))
    elif form is Format.MARKDOWN:
        typer.echo(as_markdown(service, stack, lines), nl=False)
    else:
        table = Table(box=None, pad_edge=False)
        for heading in COLUMNS[:-2]:
            table.add_column(heading, no_wrap=True)
        table.add_column(COLUMNS[-2], no_wrap=True, max_width=LONGEST_NAME)
        table.add_column(COLUMNS[-1], overflow="fold")
        for row in rows(lines):
            table.add_row(*map(escape, row))
        CONSOLE.print(table if lines else "nothing is logged yet")
