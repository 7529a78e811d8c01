"""What to do about a violation: Pulumi's events do not tell, the page on policies does."""

from __future__ import annotations

import re
from pathlib import Path

_CELL = re.compile(r"(?<!\\)\|")
_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_TO_DO = re.compile(r"(?i)remed|what to do")


def remedies(path: Path) -> dict[str, str]:
    """Returns what to do by policy, from the tables of docs/policies.md; empty without the page.

    A table counts if a column is headed with what to do; its first column names the policy.
    """
    if not path.is_file():
        return {}
    found: dict[str, str] = {}
    column: int | None = None
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            column = None
            continue
        cells = [it.strip() for it in _CELL.split(line.strip().strip("|"))]
        if column is None:
            heads = [index for index, it in enumerate(cells) if _TO_DO.search(it)]
            column = heads[0] if heads else -1
        elif 0 <= column < len(cells) and (name := _NAME.search(_text(cells[0]))):
            found[name[0]] = _text(cells[column])
    return {name: text for name, text in found.items() if text.strip("-: ")}


def _text(cell: str) -> str:
    """Returns a cell without links, anchors and code."""
    plain = re.sub(r"<[^>]*>", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", cell))
    return plain.replace("\\|", "|").replace("`", "").strip()
