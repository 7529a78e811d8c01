"""The command line: `modelramp`, and `drift-check`, which is `modelramp check`."""

from __future__ import annotations

import sys

import typer
from rich.markup import escape

from models.errors import ModelrampError
from scripts.backtest import backtest
from scripts.by_hand import approve, pause, promote, resume, retry
from scripts.card import card
from scripts.check import check
from scripts.deploy import deploy
from scripts.doctor import doctor
from scripts.history import history
from scripts.judge import judge
from scripts.local import local
from scripts.profile import profile
from scripts.quickstart import quickstart
from scripts.registry import registry
from scripts.rollback import rollback
from scripts.screen import ERRORS
from scripts.status import status
from scripts.validate import validate

USAGE_ERROR = 1
INTERNAL_ERROR = 2
TYPER_USAGE_ERROR = 2

_app = typer.Typer(
    name="modelramp",
    help="Roll machine-learning models out on KServe: declared in Pulumi, judged by statistics.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
_app.command()(validate)
_app.command()(check)
_app.command()(status)
_app.command()(deploy)
_app.command()(rollback)
_app.command()(promote)
_app.command()(pause)
_app.command()(resume)
_app.command()(approve)
_app.command()(retry)
_app.command()(history)
_app.command()(card)
_app.command()(doctor)
_app.command()(judge)
_app.command()(backtest)
_app.command()(quickstart)
_app.command()(profile)
_app.add_typer(local, name="local")
_app.add_typer(registry, name="registry")


def app() -> None:
    """Runs `modelramp`; exits 1 on an error of use or configuration, 2 on an internal one."""
    _run(_app)


def drift_check() -> None:
    """Runs `drift-check`."""
    single = typer.Typer(pretty_exceptions_show_locals=False)
    single.command()(check)
    _run(single)


def _run(command: typer.Typer) -> None:
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
