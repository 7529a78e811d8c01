"""Writes what was decided on a rollout into its stack file; what a person edited meanwhile wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString as Quoted

from models.errors import StackFileError
from models.rollout import Rollout
from models.service import Service
from models.stack import Stack
from rollout import history
from rollout.edits import (
    AddMove,
    Approve,
    Drop,
    Edit,
    Pause,
    Promote,
    Restart,
    Restore,
    Resume,
    Retry,
    is_revert,
    to_percent,
    word,
)
from rollout.judge import Verdict
from rollout.plan import BOT, first_move
from rollout.stack_file import edit_service


def write_edit(
    path: Path,
    stack: str,
    name: str,
    seen: Stack,
    edit: Edit,
    now: datetime,
    *,
    by: str,
    verdict: Verdict | None = None,
) -> Stack:
    """Writes one edit of a service's rollout, and its line into the deployment log.

    Args:
        path: the stack file.
        stack: its name.
        name: the service.
        seen: the stack that the decision was reached on.
        edit: what to write.
        now: time of the decision.
        by: who or what decided.
        verdict: that it follows from; None where a person or the time decided.

    Returns:
        the stack as it is declared now.

    Raises:
        StackFileError: see `apply_edit`; nothing is written or logged.
    """
    after = apply_edit(path, name, seen, edit, now)
    service = seen.services[name]
    rollout = service.rollout
    assert rollout is not None  # noqa: S101  `apply_edit` has refused that
    decided: dict[str, Any] = {}
    if verdict:
        # Sixty features that did not drift would drown the move.
        drift = tuple(it for it in verdict.drift if it.drifted)
        decided = history.as_json(replace(verdict, drift=drift))
    decided |= {"verdict": word(edit, by_person=by != BOT), "reason": edit.why}
    about = rollout.candidate or rollout.stable
    if isinstance(edit, Restore):
        about = rollout.stable
    elif isinstance(edit, Drop) and edit.role == "previous" and rollout.previous:
        about = rollout.previous.version
    line = history.line_of(
        now,
        name,
        (rollout.stable, rollout.candidate),
        (rollout.percent, to_percent(edit, rollout.percent)),
        decided,
        by=by,
        digest=service.versions[about].digest,
        commit=history.head_commit(path),
    )
    history.append(history.history_path(path, stack, name), line)
    return after


def apply_edit(path: Path, name: str, seen: Stack, edit: Edit, now: datetime) -> Stack:
    """Writes one edit of a service's rollout.

    Args:
        path: the stack file.
        name: the service.
        seen: the stack that the decision was reached on.
        edit: what to write.
        now: time of the decision.

    Returns:
        the stack as it is declared now.

    Raises:
        StackFileError: the service is no longer what was decided on, or the edit does not fit its
            rollout; nothing is written.
    """

    def change(declared: CommentedMap, stack: Stack) -> None:
        service = stack.services[name]
        rollout = service.rollout
        if rollout is None or not _is_still(name, stack, seen, edit):
            raise StackFileError(
                f"{path}: the rollout of {name} was changed meanwhile; nothing was written"
            )
        try:
            _Writer(declared, service, rollout, now).write(edit)
        except KeyError as missing:
            raise StackFileError(f"{path}: {name} has no {missing.args[0]} to change") from None

    return edit_service(path, name, change)


def start_rollout(
    path: Path, name: str, version: str, entry: Mapping[str, Any], *, now: datetime, why: str
) -> Stack:
    """Declares a version and makes it the candidate at the strategy's first step.

    It begins at 0 where people have declared that it has to wait; drift-check moves it on. The
    first version of all becomes stable at once.

    Args:
        path: the stack file.
        name: the service.
        version: semantic version.
        entry: what is written under that version.
        now: time of the decision.
        why: in a sentence.

    Raises:
        StackFileError: the service is not declared, a rollout is going on, the version is declared
            with another digest, or this digest was taken back before.
    """

    def change(declared: CommentedMap, stack: Stack) -> None:
        service = stack.services[name]
        _check_new(path, service, version, entry["digest"])
        if service.rollout and service.rollout.candidate and not service.is_taken_back:
            raise StackFileError(f"{path}: {name} {service.rollout.candidate} is being rolled out")
        versions = declared.setdefault("versions", CommentedMap())
        versions[Quoted(version)] = _flow({key: _quoted(it) for key, it in entry.items()})
        if service.rollout is None:
            declared["rollout"] = CommentedMap(stable=Quoted(version))
            return
        rollout = declared["rollout"]
        percent, waits = first_move(name, stack, now)
        _forgive(rollout, service.rollout, entry["digest"])
        rollout["candidate"] = Quoted(version)
        _begin(rollout, percent, now, f"{why}; it begins at 0: {waits}" if waits else why)

    return edit_service(path, name, change)


def reset_service(path: Path, name: str) -> Stack:
    """Takes all versions of a service and its rollout out of the file."""

    def change(declared: CommentedMap, _: Stack) -> None:
        declared.clear()

    return edit_service(path, name, change)


def _is_still(name: str, current: Stack, seen: Stack, edit: Edit) -> bool:
    """Whether an edit is still what was decided on; a pause, too, keeps all but a revert away."""
    now, before = current.services[name], seen.services.get(name)
    if is_revert(edit):
        return _identity(now) == _identity(before)
    return (now, current.calendar) == (before, seen.calendar)


def _identity(service: Service | None) -> tuple[Any, ...]:
    rollout = service.rollout if service else None
    return (rollout.stable, rollout.candidate, rollout.moves[-1:]) if rollout else ()


def _check_new(path: Path, service: Service, version: str, digest: str) -> None:
    known = service.versions.get(version)
    if known and known.digest != digest:
        raise StackFileError(f"{path}: version {version} is declared with another digest")
    rollout = service.rollout
    if rollout is None or digest in rollout.retry:
        return
    if any(it.digest == digest for it in rollout.rejected):
        raise StackFileError(
            f"{path}: version {version} was taken back before; see rejected, and modelramp retry"
        )


@dataclass(frozen=True)
class _Writer:
    """Changes what is written of one service.

    Attributes:
        declared: versions and rollout, as they are written.
        service: the same, as it is declared.
        rollout: of the service.
        now: time of the decision.
    """

    declared: CommentedMap
    service: Service
    rollout: Rollout
    now: datetime

    @property
    def written(self) -> CommentedMap:
        """The rollout, as it is written."""
        return self.declared["rollout"]

    def write(self, edit: Edit) -> None:
        """Writes an edit."""
        match edit:
            case AddMove():
                self._move(edit)
            case Promote():
                self._promote()
            case Restore():
                self._restore(edit)
            case Restart():
                _forgive(self.written, self.rollout, self._digest(self.written["candidate"]))
                _begin(self.written, edit.percent, self.now, edit.why)
            case Drop():
                self._drop(edit)
            case Pause():
                self.written["paused"] = Quoted(edit.why)
            case Resume():
                del self.written["paused"]
            case Approve():
                approval = {"percent": edit.percent, "by": Quoted(edit.by), "at": _time(self.now)}
                self.written.setdefault("approvals", CommentedSeq()).append(_flow(approval))
            case Retry():
                self.written.setdefault("retry", CommentedSeq()).append(Quoted(edit.digest))

    def _move(self, edit: AddMove) -> None:
        # A last move that a person dated in the future must not keep a revert from being written.
        now = max(self.now, *(move.at for move in self.rollout.moves))
        self.written["moves"].append(_move_entry(edit.percent, now, edit.why))
        if edit.reject:
            self._reject(self.written["candidate"], edit.why, now)

    def _promote(self) -> None:
        until = self.now + timedelta(seconds=self.service.keep_previous.for_seconds)
        previous = _flow({"version": self.written["stable"], "until": _time(until)})
        self.written["stable"] = self.written.pop("candidate")
        del self.written["moves"]
        self.written.pop("approvals", None)  # they were of this rollout
        self.written["previous"] = previous
        if self.rollout.previous:
            self._forget(self.rollout.previous.version)

    def _restore(self, edit: Restore) -> None:
        written = self.written
        previous = written.pop("previous")["version"]
        written["candidate"], written["stable"] = written["stable"], previous
        _begin(written, 0, self.now, edit.why)
        self._reject(self.rollout.stable, edit.why, self.now)
        if self.rollout.candidate:
            self._forget(self.rollout.candidate)

    def _drop(self, edit: Drop) -> None:
        dropped = self.written.pop(edit.role)
        if edit.role == "candidate":
            version = str(dropped)
            del self.written["moves"]
            self.written.pop("approvals", None)
        else:
            version = dropped["version"]
        if edit.reject:
            self._reject(version, edit.why, self.now)
        self._forget(version)

    def _digest(self, version: str) -> str:
        return self.service.versions[version].digest

    def _reject(self, version: str, why: str, at: datetime) -> None:
        entry = {"digest": Quoted(self._digest(version)), "at": _time(at), "why": Quoted(why)}
        self.written.setdefault("rejected", CommentedSeq()).append(_flow(entry))

    def _forget(self, version: str) -> None:
        """Takes the declaration of a version out that no role names any more."""
        previous = self.written.get("previous", {}).get("version")
        if version not in (self.written["stable"], self.written.get("candidate"), previous):
            del self.declared["versions"][version]


def _begin(rollout: CommentedMap, percent: int, now: datetime, why: str) -> None:
    """Starts the moves anew; approvals were of another rollout."""
    rollout.pop("approvals", None)
    rollout["moves"] = CommentedSeq()
    rollout["moves"].append(_move_entry(percent, now, why))


def _forgive(rollout: CommentedMap, declared: Rollout, digest: str) -> None:
    """Takes a digest out of what was rejected and of what may be retried."""
    for key, digests in (
        ("rejected", [it.digest for it in declared.rejected]),
        ("retry", declared.retry),
    ):
        for index in reversed(range(len(digests))):
            if digests[index] == digest:
                del rollout[key][index]
        if key in rollout and not rollout[key]:
            del rollout[key]


def _move_entry(percent: int, now: datetime, why: str) -> CommentedMap:
    return _flow({"percent": percent, "at": _time(now), "why": Quoted(why)})


def _quoted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _flow({key: _quoted(it) for key, it in value.items()})
    return Quoted(value)


def _flow(content: Mapping[str, Any]) -> CommentedMap:
    entry = CommentedMap(content)
    entry.fa.set_flow_style()
    return entry


def _time(at: datetime) -> Quoted:
    return Quoted(at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
