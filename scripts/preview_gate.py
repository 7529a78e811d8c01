"""`modelramp preview-gate`: whether the deletes and replacements of a preview may go on."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from review.gate import Finding, findings
from review.preview import read_preview
from review.pull_request import pull_request_of
from scripts.previewed import LABEL, AllowOption, JsonOption, LabelOption, PreviewFile, allowances
from scripts.screen import CONSOLE, ERRORS

REFUSED = 1

_COLOURS = {"refused": "red", "allowed": "yellow", "implied": "green"}


def preview_gate(
    preview: PreviewFile,
    allow: AllowOption = None,
    allow_label: LabelOption = LABEL,
    as_json: JsonOption = False,
) -> None:
    """Refuse a preview that deletes or replaces what people depend on, until somebody allows it.

    Policies see neither deletes nor what was before, so the preview's JSON is looked at: versions
    that serve, routes, buckets, keys, GPU nodes, alert rules, namespaces. What a rollout implies
    passes: a candidate without traffic that is dropped, a previous version whose time is over.
    Whatever else is deleted, replaced or no longer protected is refused, and so is a preview that
    failed, as nobody knows what it left out.

    To allow it, say why: `--allow 'fraud-*=fraud is retired, see #12'`, or give the pull request
    the label `allow-deletes`; who gave it is in its history.

    Example: pulumi preview --stack prod --json --show-sames > preview.json;
    modelramp preview-gate --preview preview.json

    Exit code 0 if all of it may go on, 1 if something is refused or an option is wrong.
    """
    read = read_preview(preview)
    allowed = allowances(allow, allow_label, pull_request_of(os.environ))
    found = findings(read, allowed, datetime.now(UTC))
    refused = [it for it in found if it.verdict == "refused"]
    if as_json:
        typer.echo(json.dumps(_as_json(found, failed=read.has_failed), indent=2))
    else:
        _show(found)
    if read.has_failed:
        said = "; ".join(read.errors)
        ERRORS.print(f"[red]refused[/red]: the preview failed: {escape(said)}", highlight=False)
    if refused or read.has_failed:
        raise typer.Exit(REFUSED)


def _show(found: Sequence[Finding]) -> None:
    if not found:
        CONSOLE.print("nothing that is protected is deleted or replaced")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("verdict", "what", "resource", "why"):
        table.add_column(heading, overflow="fold")
    for it in found:
        colour = _COLOURS[it.verdict]
        resource = f"{it.step.kind} {it.step.name}"
        table.add_row(
            f"[{colour}]{it.verdict}[/{colour}]", it.what, escape(resource), escape(it.why)
        )
    CONSOLE.print(table)


def _as_json(found: Sequence[Finding], *, failed: bool) -> dict[str, Any]:
    return {
        "passes": not failed and all(it.verdict != "refused" for it in found),
        "failed": failed,
        "findings": [
            {
                "verdict": it.verdict,
                "what": it.what,
                "type": it.step.type,
                "name": it.step.name,
                "urn": it.step.urn,
                "why": it.why,
            }
            for it in found
        ],
    }
