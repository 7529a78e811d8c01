"""How commands are run: what goes wrong is told in a line, with an exit code of its own."""

from __future__ import annotations

import sys

import typer
from rich.markup import escape

from models.errors import ModelrampError
from scripts.screen import ERRORS

USAGE_ERROR = 1
INTERNAL_ERROR = 2
TYPER_USAGE_ERROR = 2


def run(command: typer.Typer) -> None:
    """Runs a command; exits 1 on an error of use or configuration, 2 on an internal one."""
    try:
        command()
    except SystemExit as ended:
        # Typer's own code for errors of use is 2, which is taken by internal errors here.
        sys.exit(USAGE_ERROR if ended.code == TYPER_USAGE_ERROR else ended.code)
    except ModelrampError as error:
        for line in str(error).splitlines():
            ERRORS.print(f"[red]error[/red] {escape(line)}", highlight=False, soft_wrap=True)
        sys.exit(USAGE_ERROR)
    except Exception:  # noqa: BLE001  the last resort: shown whole, with an exit code of its own
        ERRORS.print_exception()
        sys.exit(INTERNAL_ERROR)
