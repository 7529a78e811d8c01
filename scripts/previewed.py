"""What `preview-comment` and `preview-gate` share: how deletes and replacements are allowed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from review.gate import Allowance, allowance
from review.pull_request import PullRequest

LABEL = "allow-deletes"

PreviewFile = Annotated[
    Path, typer.Option("--preview", help="What `pulumi preview --json --show-sames` printed.")
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="NAME=REASON",
        help="Allow it for resources of this logical name or pattern (`fraud-*`), or this URN; "
        "once or more.",
    ),
]
LabelOption = Annotated[
    str,
    typer.Option("--allow-label", help="A pull request with this label is allowed all of it."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def allowances(allow: Sequence[str] | None, label: str, request: PullRequest) -> list[Allowance]:
    """Returns what people allow, by options and by the pull request's label."""
    found = [allowance(it) for it in allow or ()]
    if label in request.labels:
        found.append(Allowance("*", f"label {label} of pull request {request.number}"))
    return found
