"""The deployment log: one JSON line per move, in `stacks/history/<stack>/<service>.jsonl`."""

from __future__ import annotations

import dataclasses
import getpass
import json
import math
import os
import subprocess
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from rollout.judge import Verdict

GIT_TIMEOUT_SECONDS = 10


def history_path(stack_file: Path, stack: str, service: str) -> Path:
    """Returns the log of one service."""
    return stack_file.parent / "history" / stack / f"{service}.jsonl"


def append(path: Path, line: dict[str, Any]) -> None:
    """Adds one line; readers see all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def lines(path: Path) -> list[dict[str, Any]]:
    """Returns the log's lines, oldest first; none where there is no log yet."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def line_of(
    at: datetime,
    service: str,
    versions: tuple[str | None, str | None],
    percents: tuple[int, int],
    decided: Mapping[str, Any],
    *,
    by: str,
    digest: str | None,
    commit: str | None,
) -> dict[str, Any]:
    """Returns the log line of a move.

    Args:
        at: when it was decided.
        service: the model service.
        versions: stable and candidate.
        percents: the candidate's share before and after, percent.
        decided: `verdict`, `reason` and what they rest on, such as `as_json` gives.
        by: who or what decided.
        digest: of the version that it is about.
        commit: that was checked out when it was decided; the move itself is in a later one.
    """
    return {
        "at": at.isoformat(timespec="seconds"),
        "service": service,
        "stable": versions[0],
        "candidate": versions[1],
        "from": percents[0],
        "to": percents[1],
        "by": by,
        "digest": digest,
        "commit": commit,
        **decided,
    }


def who() -> str:
    """Returns who runs this command: the CI's actor, git's user, or the machine's."""
    actor = os.environ.get("GITHUB_ACTOR") or os.environ.get("GITLAB_USER_LOGIN")
    return actor or _git(Path.cwd(), "config", "user.email") or getpass.getuser()


def head_commit(stack_file: Path) -> str | None:
    """Returns the commit that is checked out where a stack file lies, None outside of git."""
    return _git(stack_file.parent, "rev-parse", "HEAD")


def _git(folder: Path, *arguments: str) -> str | None:
    """Returns what git answers; the log does without where it does not."""
    try:
        done = subprocess.run(
            ("git", *arguments),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def as_json(verdict: Verdict) -> dict[str, Any]:
    """Returns a verdict for machines, keys in camelCase as everywhere in our JSON."""
    fields = dataclasses.asdict(verdict)
    return _camel({"verdict": fields.pop("kind"), **fields})


def _camel(value: Any) -> Any:
    if isinstance(value, dict):
        return {_camel_key(key): _camel(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_camel(item) for item in value]
    # JSON has no infinity, and no number for nothing.
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _camel_key(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(word.capitalize() for word in rest)
