"""`modelramp backtest`: what a policy would have done on recorded counts, and when."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from local.home import Home
from models.errors import ConfigError, MetricsError, Problem
from models.rollout import Move
from models.stack import find_service, load_stack
from rollout import backtest as past
from rollout import history
from rollout.case import load_case, observations_of, terms_of
from rollout.collect import observe
from rollout.grid import even_grid
from rollout.judge import Observations
from rollout.judge.terms import ERRORS
from rollout.stack_file import stack_path
from scripts.endpoints import prometheus_url
from scripts.screen import CONSOLE
from scripts.screen import ERRORS as STDERR

_DEFAULT_CEILING = 0.01


def backtest(
    case: Annotated[
        Path | None, typer.Option("--case", help="JSON file with a long record, as for judge.")
    ] = None,
    stack: Annotated[str | None, typer.Option(help="Or a stack: its Prometheus is read.")] = None,
    service: Annotated[str | None, typer.Option(help="With --stack: the model service.")] = None,
    steps: Annotated[int, typer.Option(help="Checks that Flagger and Argo must pass.")] = 10,
    threshold: Annotated[int, typer.Option(help="Flagger: failed checks before it reverts.")] = 5,
    ceiling: Annotated[
        float | None, typer.Option(help="Flagger, Argo: highest error rate; the SLO's by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Replay a rollout: what the declared policy would have done at each interval, and when.

    Reads the record from a case file, or from a stack's Prometheus: the rollout that is going on,
    else the last one in stacks/history/. Beside it: when Flagger, Argo Rollouts and Kayenta would
    have taken the candidate back, or let it pass. Nothing is edited.
    """
    terms_at, moves, seen = _from_case(case) if case else _from_stack(stack, service)
    looks = [
        *track(
            past.replay(terms_at, moves, seen),
            "judging",
            total=len(seen.weights),
            console=STDERR,
            transient=True,
        )
    ]
    declared = terms_at(moves).rates.get(ERRORS)
    limit = ceiling or (declared and declared.ceiling) or _DEFAULT_CEILING
    others = past.peers(seen, limit, steps, threshold)
    if as_json:
        typer.echo(json.dumps(_json(looks, others), indent=2, allow_nan=False))
        return
    CONSOLE.print(_timeline(past.changes(looks)))
    CONSOLE.print(_peers(others, limit))


def _from_case(case: Path) -> tuple[past.TermsAt, tuple[Move, ...], Observations]:
    read = load_case(case)
    return lambda moves: terms_of(read, moves), read.rollout.moves, observations_of(read)


def _from_stack(
    stack: str | None, name: str | None
) -> tuple[past.TermsAt, tuple[Move, ...], Observations]:
    from rollout.prometheus import Prometheus  # noqa: PLC0415  its client imports pandas

    if stack is None or name is None:
        raise typer.BadParameter("give --case, or --stack and --service")
    home = Home.find()
    file = stack_path(home.root, stack)
    declared = load_stack(file)
    service = find_service(declared, name, file)
    log = history.lines(history.history_path(file, stack, name))
    rollout = past.last_rollout(service, log)
    if rollout is None:
        raise ConfigError([Problem(str(file), f"{name} has had no rollout yet")])
    service = service.model_copy(update={"rollout": rollout})
    cluster = declared.cluster
    metrics = Prometheus(prometheus_url(home, cluster), cluster.prometheus_access)
    grid = even_grid(rollout.moves[0].at, datetime.now(UTC), service.judge.interval_seconds)
    seen = observe({name: service}, declared.cluster.namespace, metrics, {name: grid})[name]
    if isinstance(seen, MetricsError):
        raise seen
    return past.terms_of_service(service, rollout), rollout.moves, seen


def _timeline(looks: list[past.Look]) -> Table:
    table = Table(title="The judge", title_justify="left", box=None, pad_edge=False)
    for heading in ("at", "percent", "verdict", "why"):
        table.add_column(heading, overflow="fold")
    for look in looks:
        reason = escape(look.verdict.reason)
        table.add_row(_time(look.at), f"{look.percent}%", look.verdict.kind, reason)
    return table


def _peers(others: tuple[past.Peer, ...], ceiling: float) -> Table:
    title = f"Other rules, error rate at most {ceiling:.2%} an interval"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("rule", "takes it back", "lets it pass"):
        table.add_column(heading, overflow="fold")
    for peer in others:
        table.add_row(peer.name, _time(peer.reverted_at), _time(peer.passed_at))
    return table


def _time(at: datetime | None) -> str:
    return "never" if at is None else at.strftime("%Y-%m-%d %H:%M:%S")


def _json(looks: list[past.Look], others: tuple[past.Peer, ...]) -> dict[str, Any]:
    return {
        "looks": [
            {
                "at": look.at.isoformat(),
                "percent": look.percent,
                "verdict": look.verdict.kind,
                "reason": look.verdict.reason,
            }
            for look in looks
        ],
        "peers": [
            {
                "rule": peer.name,
                "revertedAt": peer.reverted_at and peer.reverted_at.isoformat(),
                "passedAt": peer.passed_at and peer.passed_at.isoformat(),
            }
            for peer in others
        ],
    }
