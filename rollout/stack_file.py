"""Edits of a stack file: comments kept, written whole or not at all, a human edit wins."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString as Quoted

from models.errors import StackFileError
from models.rollout import Rollout
from models.service import Service
from models.stack import CONFIG_PREFIX, Stack, parse_stack
from rollout.plan import AddMove, Edit, Promote

LOCK_TIMEOUT_SECONDS = 10


def stack_path(root: Path, stack: str) -> Path:
    """Returns the file of a stack: `Pulumi.<stack>.yaml` in Pulumi.yaml's `stackConfigDir`."""
    project = YAML(typ="safe").load(root / "Pulumi.yaml") or {}
    return root / project.get("stackConfigDir", ".") / f"Pulumi.{stack}.yaml"


def apply_edit(path: Path, name: str, seen: Rollout, edit: Edit, now: datetime) -> Stack:
    """Writes one edit of a service's rollout.

    Args:
        path: the stack file.
        name: the service.
        seen: the rollout that the verdict was reached on.
        edit: what to write.
        now: time of the decision.

    Returns:
        the stack as it is declared now.

    Raises:
        StackFileError: the rollout is no longer the one that was judged; nothing is written.
    """

    def change(services: CommentedMap, stack: Stack) -> None:
        service = stack.services.get(name)
        current = service.rollout if service else None
        if service is None or current is None or not _is_still(current, seen, edit):
            raise StackFileError(
                f"{path}: the rollout of {name} was changed meanwhile; nothing was written"
            )
        rollout = services[name]["rollout"]
        if isinstance(edit, Promote):
            _promote(rollout, service, now)
        else:
            _move(rollout, service, edit, now)

    return edit_services(path, change)


def start_rollout(
    path: Path, name: str, version: str, entry: Mapping[str, str], *, now: datetime, why: str
) -> Stack:
    """Declares a version and makes it the candidate at the strategy's first step.

    The first version of all becomes stable at once.

    Raises:
        StackFileError: the service is not declared, a rollout is going on, the version is declared
            with another digest, or this digest was taken back before.
    """

    def change(services: CommentedMap, stack: Stack) -> None:
        if name not in stack.services:
            raise StackFileError(f"{path}: no service {name}")
        service, declared = stack.services[name], services[name]
        _check_new(path, service, version, entry["digest"])
        versions = declared.setdefault("versions", CommentedMap())
        versions[Quoted(version)] = _flow({key: Quoted(it) for key, it in entry.items()})
        if service.rollout is None:
            declared["rollout"] = CommentedMap(stable=Quoted(version))
            return
        if service.rollout.candidate and not service.is_taken_back:
            raise StackFileError(f"{path}: {name} {service.rollout.candidate} is being rolled out")
        rollout = declared["rollout"]
        rollout["candidate"] = Quoted(version)
        rollout.pop("approvals", None)
        rollout["moves"] = _moves(service.strategy.first_percent, now, why)

    return edit_services(path, change)


def _check_new(path: Path, service: Service, version: str, digest: str) -> None:
    known = service.versions.get(version)
    if known and known.digest != digest:
        raise StackFileError(f"{path}: version {version} is declared with another digest")
    rejected = service.rollout.rejected if service.rollout else ()
    if any(it.digest == digest for it in rejected):
        raise StackFileError(f"{path}: version {version} was taken back before; see rejected")


def reset_service(path: Path, name: str) -> Stack:
    """Takes all versions of a service and its rollout out of the file."""

    def change(services: CommentedMap, _: Stack) -> None:
        for key in ("versions", "rollout"):
            services[name].pop(key, None)

    return edit_services(path, change)


def edit_services(path: Path, change: Callable[[CommentedMap, Stack], None]) -> Stack:
    """Reads, changes, checks and replaces a stack file, under a lock.

    Raises:
        StackFileError: somebody else edits it now, or the file can't keep its formatting.
        ConfigError: the file, or what it would become, is not valid; nothing is written.
    """
    with _locked(path):
        text = path.read_text(encoding="utf-8")
        stack = parse_stack(text, str(path))
        yaml = _yaml(text)
        document = yaml.load(text)
        change(document["config"][f"{CONFIG_PREFIX}services"], stack)
        edited = _dump(yaml, document)
        result = parse_stack(edited, f"{path} (edited)")
        if edited != text:
            _replace(path, edited)
        return result


def _is_still(current: Rollout, seen: Rollout, edit: Edit) -> bool:
    """Whether an edit is still what was decided on; a pause, too, keeps all but a revert away."""
    if isinstance(edit, AddMove) and edit.reject:
        return _identity(current) == _identity(seen)
    return current == seen


def _identity(rollout: Rollout) -> tuple[Any, ...]:
    return rollout.stable, rollout.candidate, rollout.moves[-1:]


def _move(rollout: CommentedMap, service: Service, edit: AddMove, now: datetime) -> None:
    if service.rollout:
        # A last move that a person dated in the future must not keep a revert from being written.
        now = max(now, *(move.at for move in service.rollout.moves))
    rollout["moves"].append(_move_entry(edit.percent, now, edit.why))
    if edit.reject and service.rollout and service.rollout.candidate:
        digest = service.versions[service.rollout.candidate].digest
        entry = _flow({"digest": Quoted(digest), "at": _time(now), "why": Quoted(edit.why)})
        rollout.setdefault("rejected", CommentedSeq()).append(entry)


def _promote(rollout: CommentedMap, service: Service, now: datetime) -> None:
    until = now + timedelta(seconds=service.keep_previous.for_seconds)
    previous = _flow({"version": rollout["stable"], "until": _time(until)})
    rollout["stable"] = rollout.pop("candidate")
    del rollout["moves"]
    rollout.pop("approvals", None)  # they were of this rollout
    rollout["previous"] = previous


def _moves(percent: int, now: datetime, why: str) -> CommentedSeq:
    moves = CommentedSeq()
    moves.append(_move_entry(percent, now, why))
    return moves


def _move_entry(percent: int, now: datetime, why: str) -> CommentedMap:
    return _flow({"percent": percent, "at": _time(now), "why": Quoted(why)})


def _flow(content: Mapping[str, Any]) -> CommentedMap:
    entry = CommentedMap(content)
    entry.fa.set_flow_style()
    return entry


def _time(at: datetime) -> Quoted:
    return Quoted(at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))


def _yaml(text: str) -> YAML:
    """Returns a round-trip YAML that leaves this text as it is.

    Raises:
        StackFileError: no indentation of sequences reproduces the text.
    """
    for sequence, offset in ((4, 2), (2, 0)):
        yaml = YAML(typ="rt")
        yaml.preserve_quotes = True
        yaml.width = 4096
        yaml.indent(mapping=2, sequence=sequence, offset=offset)
        if _dump(yaml, yaml.load(text)) == text:
            return yaml
    raise StackFileError(
        "the stack file can't be edited without changing its layout elsewhere; "
        "run it through a YAML formatter with two spaces of indentation first"
    )


def _dump(yaml: YAML, document: Any) -> str:
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.chmod(path.stat().st_mode)
    temporary.replace(path)


@contextmanager
def _locked(path: Path) -> Generator[None]:
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        with lock.acquire(timeout=LOCK_TIMEOUT_SECONDS):
            yield
    except Timeout:
        raise StackFileError(f"{path}: another process is editing it") from None
