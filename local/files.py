"""Files that another process reads while we write: replaced whole, by rename."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replaces a file's content; a reader sees the old or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.touch(mode)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Replaces a file's content by JSON."""
    write_text(path, json.dumps(content, indent=1))
