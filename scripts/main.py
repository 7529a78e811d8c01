"""The command line `modelramp`."""

from __future__ import annotations

import typer

from scripts.backtest import backtest
from scripts.break_even import break_even
from scripts.by_hand import approve, pause, promote, resume, retry
from scripts.card import card
from scripts.check import check
from scripts.cost import cost
from scripts.deploy import deploy
from scripts.doctor import doctor
from scripts.history import history
from scripts.judge import judge
from scripts.kubeconfig import kubeconfig
from scripts.local import local
from scripts.preview_comment import preview_comment
from scripts.preview_gate import preview_gate
from scripts.prices import prices
from scripts.profile import profile
from scripts.quickstart import quickstart
from scripts.record import record
from scripts.registry import registry
from scripts.rollback import rollback
from scripts.running import run
from scripts.stacks import stacks
from scripts.status import status
from scripts.validate import validate

_app = typer.Typer(
    name="modelramp",
    help="Roll machine-learning models out on KServe: declared in Pulumi, judged by statistics.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
_app.command()(validate)
_app.command()(stacks)
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
_app.command()(record)
_app.command()(card)
_app.command()(doctor)
_app.command()(kubeconfig)
_app.command()(preview_comment)
_app.command()(preview_gate)
_app.command()(cost)
_app.command()(prices)
_app.command()(break_even)
_app.command()(judge)
_app.command()(backtest)
_app.command()(quickstart)
_app.command()(profile)
_app.add_typer(local, name="local")
_app.add_typer(registry, name="registry")


def app() -> None:
    """Runs `modelramp`."""
    run(_app)
