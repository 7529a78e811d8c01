"""`modelramp rollback`: the candidate to 0%, or the version before this one, in seconds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from local.home import Home
from models.errors import ConfigError, Problem, RuntimeTargetError, ToolError
from models.stack import Stack, find_service, load_stack
from rollout import history
from rollout.declare import write_edit
from rollout.drift_check import outcome_of
from rollout.edits import AddMove, Drop, Edit, Restore
from rollout.plan import is_over
from rollout.stack_file import stack_path
from scripts.notify import tell
from scripts.pulumi_cli import Pulumi, StackLockedError
from scripts.registry import follow_move
from scripts.screen import ERRORS, ToolProgress

ROLES = ("route", "grpc", "declared")
"""The resources that carry the weights, and the record of them."""


def rollback(
    service: Annotated[str, typer.Argument(help="The model service.")],
    stack: Annotated[str, typer.Option(help="The stack: stacks/Pulumi.<stack>.yaml.")],
    why: Annotated[str, typer.Option(help="For the log and the file.")] = "a person rolled it back",
    promotion: Annotated[
        bool,
        typer.Option("--promotion", help="The last promotion, though a candidate was taken back."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Take a candidate back, or a promotion, in one command and in seconds.

    A candidate goes to 0%. Without one, the version before the last promotion serves everything
    again. What was taken back is rejected: it is not tried again until `modelramp retry`. Typed
    twice, the command sees to it that the first one is in effect.

    The stack file is edited first. On a cluster the route is then written at once, as Pulumi's
    provider would write it; then `pulumi up` runs for the route and its record alone. While another
    `pulumi up` holds the lock of the stack only the first is done, and said: run `pulumi up` after
    it. Neither Prometheus, nor MLflow, nor a git remote is needed.

    Exit code 0 if the weights are back, 1 if not.
    """
    began = time.monotonic()
    home = Home.find()
    file = stack_path(home.root, stack)
    done = take_back(home, file, stack, service, why, began, promotion=promotion)
    if as_json:
        typer.echo(json.dumps(done, indent=2))
    follow_move(home, file, stack)
    if not done["weightsBack"]:
        raise typer.Exit(1)


def take_back(
    home: Home, file: Path, stack: str, name: str, why: str, began: float, *, promotion: bool
) -> dict[str, Any]:
    """Edits, writes the route, runs `pulumi up` on it; says what happened, in seconds.

    Args:
        home: the project.
        file: the stack file.
        stack: its name.
        name: the service.
        why: for the log.
        began: when the command began, of `time.monotonic`.
        promotion: the last promotion, whether or not a candidate was taken back before.
    """
    seen = load_stack(file)
    find_service(seen, name, file)
    on_cluster = seen.cluster.target != "embedded" and seen.cluster.mode == "standard"
    live: Any = None
    if on_cluster:
        live = _live_routes(name, seen)
    knows = live.knows if live else None
    edit = edit_of(name, seen, file, why, knows=knows, promotion=promotion)
    if edit is None:
        after, said = seen, "taken back already; --promotion takes the one before it back too"
    else:
        after = write_edit(file, stack, name, seen, edit, datetime.now(UTC), by=history.who())
        said = f"{type(edit).__name__} {name}, {why}"
    seconds: dict[str, float] = {"edit": _since(began)}
    _say(f"{file.name}: {said}", seconds["edit"])
    if live and not isinstance(edit, Drop):
        try:
            live.apply(name, after)
        except RuntimeTargetError as error:
            _warn(str(error))
        else:
            seconds["weights"] = _since(began)
            _say(
                "the route has its weights back, and the gateway has taken them", seconds["weights"]
            )
    elif isinstance(edit, Drop):
        seconds["weights"] = seconds["edit"]
        _say("the route never knew the candidate: nothing was sent to it", seconds["weights"])
    try:
        _converge(home, stack, name, after)
    except StackLockedError:
        _warn(
            "another pulumi holds the lock of the stack, and may still write what it read before; "
            "run `pulumi up` when it has ended"
            + ("" if "weights" in seconds else ": until then the old weights hold")
        )
    except (RuntimeTargetError, ToolError) as error:
        _warn(str(error))
    else:
        seconds.setdefault("weights", _since(began))
        seconds["pulumi"] = _since(began)
        _say("pulumi up has made it so", seconds["pulumi"])
    if edit:
        tell(home, stack, seen, [outcome_of(name, seen, None, edit)], by=history.who())
    rollout = after.services[name].rollout
    return {
        "service": name,
        "edit": edit and type(edit).__name__,
        "stable": rollout and rollout.stable,
        "candidate": rollout and rollout.candidate,
        "weightsBack": "weights" in seconds,
        "seconds": seconds,
    }


def edit_of(
    name: str,
    stack: Stack,
    file: Path,
    why: str,
    *,
    knows: Callable[[str], bool] | None = None,
    promotion: bool = False,
) -> Edit | None:
    """Returns what takes back the candidate, or else the last promotion; None if it is already.

    Args:
        name: the service.
        stack: as declared.
        file: of the stack, for the error.
        why: for the log.
        knows: says whether the route in the cluster names a version; None where that is not known.
        promotion: the last promotion, whether or not a candidate was taken back before.

    Raises:
        ConfigError: there is neither a candidate nor a previous version.
    """
    service = stack.services[name]
    rollout = service.rollout
    if rollout and rollout.candidate and not is_over(service):
        if knows is not None and not knows(rollout.candidate):
            # Half made: a route that named it now would send requests to nobody.
            return Drop("candidate", why, reject=True)
        return AddMove(0, why, reject=True)
    if service.is_taken_back and not promotion:
        return None
    if rollout and rollout.previous:
        return Restore(why)
    what = f"{name} has no candidate with traffic and no previous version: nothing to take back"
    raise ConfigError([Problem(str(file), what, f"modelramp:services.{name}.rollout")])


def _live_routes(name: str, stack: Stack) -> Any:
    """Returns the routes in the cluster; None, said aloud, where it can't be asked."""
    from scripts.live_route import LiveRoutes  # noqa: PLC0415  Kubernetes's client takes a while

    try:
        return LiveRoutes.read(name, stack)
    except RuntimeTargetError as error:
        _warn(str(error))
        return None


def _converge(home: Home, stack: str, name: str, after: Stack) -> None:
    pulumi = Pulumi.of_user(home, stack, after.cluster, ToolProgress(ERRORS))
    knative = after.cluster.mode == "knative"
    pulumi.up(*(f"{name}-{role}" for role in (("service", "declared") if knative else ROLES)))


def _since(began: float) -> float:
    return round(time.monotonic() - began, 2)


def _say(what: str, seconds: float) -> None:
    ERRORS.print(f"[green]{seconds:6.2f} s[/green]  {escape(what)}", highlight=False)


def _warn(what: str) -> None:
    ERRORS.print(f"[yellow]warning[/yellow]   {escape(what)}", highlight=False, soft_wrap=True)
