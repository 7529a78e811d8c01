"""What `pulumi preview` said: its JSON, and the results of policies from its event log.

`pulumi preview --json` leaves the results of policies out (pkg/backend/display/json.go of the CLI);
they are in what `--event-log` writes, a line of JSON an event.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.errors import ConfigError, Problem
from review.secrecy import without_secrets

UNKNOWN: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""What stands for a value that is known only once the stack is up (sdk, resource/plugin)."""

REPLACING: Final = ("replace", "create-replacement", "delete-replaced", "import-replacement")
DELETING: Final = ("delete", "delete-replaced")
_SILENT = "pulumi printed nothing: its log says why"
_NOTHING = ("same", "read", "refresh")


@dataclass(frozen=True)
class State:
    """A resource as it is, or as it is to be.

    Attributes:
        inputs: what was declared; secrets are blinded by the CLI.
        protect: whether Pulumi refuses to delete it.
        retain: whether the real thing stays when Pulumi forgets it.
    """

    inputs: Mapping[str, Any]
    protect: bool = False
    retain: bool = False


@dataclass(frozen=True)
class Step:
    """What Pulumi would do to one resource.

    Attributes:
        op: create, update, replace, delete, same, ...
        urn: of the resource.
        parent: URN of the component it belongs to, or "".
        custom: whether it is a real thing, not a component.
        old: None if it is made.
        new: None if it is deleted.
        diff: what changes, add, update or delete, by path.
        replace_reasons: paths that make it a replacement.
    """

    op: str
    urn: str
    parent: str
    custom: bool
    old: State | None
    new: State | None
    diff: Mapping[str, str]
    replace_reasons: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        """The type token, such as `aws:s3/bucket:Bucket`."""
        return self.urn.split("::")[2].rpartition("$")[2]

    @property
    def name(self) -> str:
        """The logical name."""
        return self.urn.split("::", 3)[3]

    @property
    def kind(self) -> str:
        """The last part of the type, such as `Bucket`."""
        return self.type.rpartition(":")[2]

    @property
    def is_unprotected(self) -> bool:
        """Whether Pulumi would no longer refuse to delete it."""
        return bool(self.old and self.new and self.old.protect and not self.new.protect)

    @property
    def is_replaced(self) -> bool:
        """Whether it is deleted and made again."""
        return self.op in REPLACING

    @property
    def is_deleted(self) -> bool:
        """Whether it is gone afterwards."""
        return self.op in DELETING and not self.is_replaced


@dataclass(frozen=True)
class Violation:
    """What a policy found.

    Attributes:
        level: mandatory, advisory, or what the CLI calls it.
        severity: low, medium, high, critical, or "".
        pack: the policy pack.
        policy: its name.
        urn: of the resource; "" of a rule on the whole stack.
        message: what is wrong.
    """

    level: str
    severity: str
    pack: str
    policy: str
    urn: str
    message: str

    @property
    def is_mandatory(self) -> bool:
        """Whether it stops `pulumi up`."""
        return self.level == "mandatory"

    @property
    def resource(self) -> str:
        """Kind and name of the resource; "the stack" of a rule on all of it."""
        parts = self.urn.split("::", 3)
        if len(parts) < 4 or parts[2] == "pulumi:pulumi:Stack":
            return "the stack"
        return f"{parts[2].rpartition('$')[2].rpartition(':')[2]} {parts[3]}"


@dataclass(frozen=True)
class Preview:
    """A preview of one stack.

    Attributes:
        steps: what would be done.
        same: resources that stay as they are; only with `pulumi preview --show-sames`.
        counts: resources by operation, those that stay included.
        errors: why it failed; empty if it did not.
        warnings: what else the CLI said.
        violations: what policies found; None if nobody asked them.
    """

    steps: tuple[Step, ...]
    same: tuple[Step, ...]
    counts: Mapping[str, int]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    violations: tuple[Violation, ...] | None

    @property
    def has_failed(self) -> bool:
        """Whether it ended before everything was looked at, or a policy stopped it."""
        return bool(self.errors)


def read_preview(path: Path, events: Path | None = None) -> Preview:
    """Reads what `pulumi preview --json` printed; nothing is a preview that failed.

    Args:
        path: of that.
        events: what `--event-log` wrote at the same time; policies are unknown if None.

    Raises:
        ConfigError: it is something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if not text.strip():
            return Preview((), (), {}, (_SILENT,), (), None)
        digest = json.loads(text)
        steps = [_step(it) for it in digest.get("steps", [])]
        diagnostics = digest.get("diagnostics", [])
        counts = digest["changeSummary"] if not diagnostics else digest.get("changeSummary", {})
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        what = f"is not what `pulumi preview --json` prints: {error!r}"
        raise ConfigError([Problem(str(path), what)]) from None
    said = [
        (it.get("severity", ""), without_secrets(it.get("message", "")).strip())
        for it in diagnostics
    ]
    return Preview(
        tuple(it for it in steps if it.op not in _NOTHING or it.is_unprotected),
        tuple(it for it in steps if it.op == "same" and not it.is_unprotected),
        counts,
        tuple(text.removeprefix("error: ") for severity, text in said if severity == "error"),
        tuple(text.removeprefix("warning: ") for severity, text in said if severity == "warning"),
        None if events is None else tuple(_violations(events)),
    )


def _step(found: Mapping[str, Any]) -> Step:
    states = [found.get("newState"), found.get("oldState")]
    known = next((it for it in states if it), {})
    step = Step(
        found["op"],
        found["urn"],
        known.get("parent", ""),
        known.get("custom", False),
        _state(found.get("oldState")),
        _state(found.get("newState")),
        {path: it["kind"] for path, it in (found.get("detailedDiff") or {}).items()},
        tuple(found.get("replaceReasons") or ()),
    )
    assert step.name  # noqa: S101  an URN has four parts
    return step


def _state(found: Mapping[str, Any] | None) -> State | None:
    if found is None:
        return None
    inputs = found.get("inputs", {})
    return State(inputs, found.get("protect", False), found.get("retainOnDelete", False))


def _violations(path: Path) -> Iterator[Violation]:
    try:
        events = [json.loads(it) for it in path.read_text(encoding="utf-8").splitlines() if it]
        yield from [_violation(it["policyEvent"]) for it in events if "policyEvent" in it]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"is not what `pulumi preview --event-log` writes: {error!r}"
        raise ConfigError([Problem(str(path), what)]) from None


def _violation(found: Mapping[str, Any]) -> Violation:
    # The first line is the rule's description, the others are what it found.
    _, _, message = found["message"].strip().partition("\n")
    return Violation(
        found["enforcementLevel"],
        found.get("severity", ""),
        found["policyPackName"],
        found["policyName"],
        found.get("resourceUrn", ""),
        without_secrets(message or found["message"]).strip(),
    )
