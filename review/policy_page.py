"""What to do about a violation: Pulumi's events do not tell, the page on policies does."""

from __future__ import annotations

import re
from pathlib import Path

_REMEDY = re.compile(r"^### (\S+)$(?:(?!^#).)*?^Remedy: (.+?)$", re.MULTILINE | re.DOTALL)


def remedies(path: Path) -> dict[str, str]:
    """Returns what to do by policy, from docs/policies.md; empty without that page."""
    if not path.is_file():
        return {}
    return dict(_REMEDY.findall(path.read_text(encoding="utf-8")))
