"""The deployment log for people: one row a move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rollout.markdown import escaped

COLUMNS = ("time (UTC)", "move", "version", "percent", "by", "why")


def rows(log: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Returns the cells of each line of a log, each of one printable line."""
    return [
        tuple(
            _printable(cell)
            for cell in (
                _minute(line.get("at")),
                line.get("verdict"),
                line.get("candidate") or line.get("stable"),
                f"{line.get('from')} to {line.get('to')}",
                line.get("by"),
                line.get("reason"),
            )
        )
        for line in log
    ]


def as_markdown(service: str, stack: str, log: Sequence[Mapping[str, Any]]) -> str:
    """Returns a log as a page of Markdown; whatever people wrote is text in it, never markup."""
    if not log:
        table = "Nothing is logged yet."
    else:
        heads = [COLUMNS, ("---",) * len(COLUMNS)]
        body = [tuple(escaped(cell) for cell in row) for row in rows(log)]
        table = "\n".join(f"| {' | '.join(row)} |" for row in [*heads, *body])
    return f"# Deployment log of {escaped(service)} on {escaped(stack)}\n\n{table}\n"


def _minute(at: object) -> str:
    try:
        return f"{datetime.fromisoformat(str(at)).astimezone(UTC):%F %R}"
    except ValueError:
        return str(at)


def _printable(cell: object) -> str:
    """Returns a cell without line ends, and without what a terminal would obey."""
    if cell is None:
        return ""
    seen = "".join(letter if letter.isprintable() else " " for letter in str(cell))
    return " ".join(seen.split())
