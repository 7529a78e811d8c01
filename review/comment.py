"""The comment on a pull request: what a preview means, as Markdown, under the forge's limit."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Template
from markupsafe import Markup

from review.amounts import counted, written
from review.capacity import Capacity, PoolChange
from review.gate import Finding
from review.moves import Change, changes_of, sentence
from review.preview import UNKNOWN, Preview, State, Step, Violation
from review.secrecy import MASKED, names_a_secret, without_codes, without_secrets
from rollout.markdown import code, plain
from rollout.markdown_templates import environment

LIMIT_BYTES: Final = 65_000
"""GitHub takes 65,536 characters of a comment, which are at least as many bytes."""

SUMMARY_LIMIT_BYTES: Final = 1_000_000
"""GitHub takes 1 MiB of a step's summary."""

_PACK: Final = "modelramp"
"""The policy pack that docs/policies.md tells of."""

_ALL: Final = 1_000_000
_ROWS: Final = (5000, 2000, 1000, 500, 200, 100, 50, 20, 5)
_ROOM: Final = (*((_ALL, it) for it in (_ALL, *_ROWS, 0)), *((it, 0) for it in _ROWS))
"""Rows of each list and of the folded ones, which are the first to go."""

_DETAILS: Final = ("steps", "warnings")
_WORDS: Final = {"findings": "deletes and replacements", "steps": "changes"}
_LONGEST_VALUE: Final = 60
_LONGEST_TEXT: Final = 600
_MOST_VALUES: Final = 8
_STOPPED: Final = "preview failed"
"""What the CLI says where a policy stopped it, and of some other failures."""

_OPERATIONS: Final = ("create", "update", "replace", "delete")


@dataclass(frozen=True)
class Subject:
    """What is commented on.

    Attributes:
        stack: its name.
        preview: what Pulumi would do.
        findings: deletes and replacements of protected kinds.
        capacity: what changes of pods, GPUs and cost; None if nobody can say.
        why_not: nobody can.
        remedies: what to do about a violation, by policy.
        policies_url: of the page on policies, without a policy's anchor.
        commit: that was previewed, or "".
        run_url: of the log, or "".
    """

    stack: str
    preview: Preview
    findings: Sequence[Finding]
    capacity: Capacity | None = None
    why_not: str = ""
    remedies: Mapping[str, str] = field(default_factory=dict)
    policies_url: str = "docs/policies.md"
    commit: str = ""
    run_url: str = ""


def marker(stack: str) -> str:
    """Returns the line by which a stack's comment is found again; nobody sees it."""
    return f"<!-- modelramp preview of {re.sub(r'[^A-Za-z0-9_.-]', '-', stack)} -->"


def render(subject: Subject, limit_bytes: int = LIMIT_BYTES) -> tuple[str, bool]:
    """Returns the comment, and whether it is whole; else each list has only its first rows.

    Args:
        subject: what it is about.
        limit_bytes: it is not longer.
    """
    whole, text = _view(subject), ""
    for rows, details in _ROOM:
        drawn = _template().render({**whole, **_shortened(whole, rows, details)})
        text = marker(subject.stack) + "\n" + re.sub(r"\n{3,}", "\n\n", drawn).strip() + "\n"
        if len(text.encode()) <= limit_bytes:
            return text, (rows, details) == _ROOM[0]
    return text.encode()[:limit_bytes].decode(errors="ignore"), False


def _shortened(view: Mapping[str, Any], rows: int, details: int) -> dict[str, _Rows]:
    """Returns the first rows of each list of a view."""
    lists = {name: it for name, it in view.items() if isinstance(it, list)}
    sizes = {name: details if name in _DETAILS else rows for name in lists}
    return {name: _rows(name, it, sizes[name]) for name, it in lists.items()}


def _rows(name: str, them: Sequence[Any], size: int) -> _Rows:
    left = len(them) - size
    note = f"_And {left} more {_WORDS.get(name, name)}: in the summary of the run._"
    return _Rows(them[:size], Markup(note if left > 0 else ""))  # noqa: S704


@cache
def _template() -> Template:
    return environment(Path(__file__).parent, _shown).get_template("comment.md.j2")


def _shown(value: Any) -> str:
    """Returns a value as text that is no markup, mentions nobody, and has no terminal codes."""
    return plain(value if isinstance(value, Markup) else without_codes(str(value)))


@dataclass(frozen=True)
class _Rows:
    """The first rows of a list, and what is said of the others."""

    shown: Sequence[Any]
    note: Markup


def _view(subject: Subject) -> dict[str, Any]:
    preview = subject.preview
    return {
        "stack": subject.stack,
        "counts": _counts(preview),
        "failed": preview.has_failed,
        "why_failed": _why_failed(preview),
        "errors": [_short(it) for it in preview.errors if it != _STOPPED],
        "findings": [_finding(it) for it in subject.findings],
        "refused": sum(it.verdict == "refused" for it in subject.findings),
        "others": _others(subject),
        "services": _services(preview),
        "capacity": subject.capacity,
        "pools": [_pool(it) for it in subject.capacity.pools] if subject.capacity else [],
        "why_not": subject.why_not,
        "violations": None if preview.violations is None else _violations(subject),
        "policies_url": subject.policies_url,
        "steps": [_change(it) for it in sorted(preview.steps, key=_order) if it.custom],
        "warnings": [_short(it) for it in preview.warnings],
        "commit": subject.commit[:12],
        "run_url": subject.run_url,
    }


def _why_failed(preview: Preview) -> str:
    if any(it.is_mandatory for it in preview.violations or ()):
        return ": a mandatory policy is violated"
    if preview.violations is None and _STOPPED in preview.errors:
        return "; whether by a policy, only --event-log tells"
    return ""


def _counts(preview: Preview) -> str:
    counts = preview.counts
    told = {it: counts.get(it, 0) for it in _OPERATIONS}
    told |= {it: count for it, count in counts.items() if it not in (*told, "same", "read")}
    parts = [f"{count} to {operation}" for operation, count in told.items() if count]
    same = f"{counts.get('same', 0)} unchanged"
    nothing = "failed" if preview.has_failed else "no changes"
    return f"{', '.join(parts) or nothing}; {same}"


def _finding(finding: Finding) -> dict[str, str]:
    resource = f"{finding.step.kind} {finding.step.name}"
    return {
        "what": finding.what,
        "resource": resource,
        "verdict": finding.verdict,
        "why": finding.why,
    }


def _others(subject: Subject) -> dict[str, int]:
    """Counts deletes and replacements that nobody protects."""
    known = {it.step.urn for it in subject.findings}
    rest = [it for it in subject.preview.steps if it.custom and it.urn not in known]
    found = {
        "deleted": sum(it.is_deleted for it in rest),
        "replaced": sum(it.is_replaced for it in rest),
    }
    return {what: count for what, count in found.items() if count}


def _services(preview: Preview) -> list[dict[str, Any]]:
    """Returns a line a service: first those whose traffic moves."""
    changes = changes_of(preview.steps)
    touched = Counter(
        it.parent.rpartition("::")[2] for it in preview.steps if "ModelService::" in it.parent
    )
    names = [*changes, *(it for it in touched if it not in changes)]
    lines = [_service(name, changes.get(name), touched[name]) for name in names]
    return sorted(lines, key=lambda it: (not it["moves"], it["name"]))


def _service(name: str, change: Change | None, touched: int) -> dict[str, Any]:
    said = sentence(change) if change else "no move"
    if said == "no move":
        said += ", 1 resource changes" if touched == 1 else f", {touched} resources change"
    return {"name": name, "said": said, "moves": change is not None and change.moves_traffic}


def _pool(change: PoolChange) -> dict[str, str]:
    before, after = change.before, change.after
    gpus = counted(after.gpus)
    cap = str(after.cap)
    if before and before.gpus != after.gpus:
        gpus = f"{counted(before.gpus)} to {gpus} ({after.gpus - before.gpus:+g})"
    if before and before.cap != after.cap:
        cap = f"{before.cap} to {cap} ({after.cap - before.cap:+d})"
    more = change.cost
    return {
        "name": change.name + ("" if before else " (new)"),
        "gpus": gpus,
        "cap": cap,
        "cost": f"{_more(more.expected)}, to {written(after.cost.cost.expected)}",
        "most": f"{_more(more.most)}, to {written(after.cost.cost.most)}",
        "why": "; ".join(after.cost.why),
    }


def _more(amount: float | None) -> str:
    return "unknown" if amount is None else f"{amount:+,.0f}" if round(amount) else "unchanged"


def _violations(subject: Subject) -> list[dict[str, Any]]:
    def order(it: Violation) -> tuple[bool, str, str]:
        return not it.is_mandatory, it.policy, it.urn

    return [
        {
            "level": it.level + (f", {it.severity}" if it.severity else ""),
            "is_mandatory": it.is_mandatory,
            "policy": it.policy if it.pack == _PACK else f"{it.pack}: {it.policy}",
            "url": _page(subject, it),
            "resource": it.resource,
            "message": _short(it.message),
            "remedy": _with_code(subject.remedies.get(it.policy, "")),
        }
        for it in sorted(subject.preview.violations or (), key=order)
    ]


def _order(step: Step) -> tuple[bool, bool, str, str]:
    """Deletes first, then replacements; the engine's own order is another one at each run."""
    return not step.is_deleted, not step.is_replaced, step.op, step.urn


def _with_code(text: str) -> Markup:
    """Returns a text of ours, in which what stands between backticks is code."""
    shown = [
        code(it) if index % 2 else " " * (it[:1] == " ") + _shown(it) + " " * (it[-1:] == " ")
        for index, it in enumerate(text.split("`"))
    ]
    return Markup("".join(shown).strip())  # noqa: S704


def _page(subject: Subject, violation: Violation) -> str:
    """Returns where a policy of ours is told; "" of others."""
    ours = violation.pack == _PACK and re.fullmatch(r"[a-z0-9-]+", violation.policy)
    return f"{subject.policies_url}#{violation.policy}" if ours else ""


def _change(step: Step) -> dict[str, Any]:
    hidden = step.kind == "Secret"
    values = [*_values(step, hidden=hidden)] if step.op not in ("create", "delete") else []
    more = len(values) - _MOST_VALUES
    told = "; ".join(values[:_MOST_VALUES]) + (f"; and {more} more" if more > 0 else "")
    return {"op": step.op, "kind": step.kind, "name": step.name, "what": told}


def _values(step: Step, *, hidden: bool) -> Iterator[str]:
    """Yields what changes in a resource: `spec.replicas: 1 to 2`."""
    for path in sorted(step.diff):
        forced = " (replaces)" if path in step.replace_reasons else ""
        if hidden or names_a_secret(path):
            yield f"{path}: {MASKED}{forced}"
            continue
        old, new = _value(step.old, path), _value(step.new, path)
        change = {"add": f"{new} is new", "delete": f"{old} goes"}
        kind = step.diff[path].removesuffix("-replace")
        yield f"{path}: {change.get(kind, f'{old} to {new}')}{forced}"


def _value(state: State | None, path: str) -> str:
    """Returns the value at a path of the CLI: `a.b[0].c`, `a["b.c"]`; "..." where it is not."""
    found: Any = state.inputs if state else None
    for name, quoted, index in re.findall(r'([^.[\]"]+)|\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]', path):
        try:
            found = found[int(index)] if index else found[quoted or name]
        except (KeyError, IndexError, TypeError, ValueError):
            return "..."
    if found == UNKNOWN:
        return "known after up"
    text = found if isinstance(found, str) else json.dumps(found)
    text = " ".join(without_secrets(text).split())
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."
