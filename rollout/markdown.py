"""Text that people wrote, as Markdown shows it: as it is, never as markup."""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup

_SPECIAL = re.compile(r"([\\`*_\[\]|~$])")
_BEGINS_A_BLOCK = re.compile(r"^(\d*)((?<!\d)[-+=#]|(?<=\d)[.)](?=\s|$))")


def escaped(value: Any) -> str:
    """Returns a value as text that Markdown shows as it is, in a table too."""
    if isinstance(value, Markup):
        return value
    line = " ".join(str(value).split())
    safe = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _BEGINS_A_BLOCK.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", safe))


def plain(value: object) -> str:
    """Returns the same where people are mentioned and issues referred to: it does neither."""
    if isinstance(value, Markup):
        return value
    return re.sub(r"([@#])", "\\1\u200b", escaped(value))


def code(value: object) -> Markup:
    """Returns a value as code in a line."""
    line = " ".join(str(value).split()).replace("`", "'").replace("|", "\\|")
    return Markup(f"`{line}`")  # noqa: S704


def target(url: str) -> Markup:
    """Returns the target of a link, which a bracket would end."""
    safe = url.replace("<", "%3C").replace(">", "%3E").replace("\\", "%5C")
    return Markup(f"<{safe}>")  # noqa: S704
