"""Templates of Markdown, apart from its escaping: most commands need that alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rollout.markdown import code, escaped, target


def environment(folder: Path, shown: Callable[[Any], str] = escaped) -> Environment:
    """Returns what renders the templates of a folder as Markdown.

    Args:
        folder: of the templates.
        shown: makes text of the value of each expression.
    """
    made = Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # The escaping of HTML is not that of Markdown: `finalize` does it, for every expression.
        autoescape=False,  # noqa: S701
        finalize=shown,
    )
    made.filters |= {"code": code, "target": target}
    return made
