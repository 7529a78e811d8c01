"""Which deletes and replacements of a preview may go on: policies see neither.

What a rollout implies passes: a version without traffic that left its route. Everything else of a
protected kind waits for a person who allows it, with a reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

from models.errors import ConfigError, Problem
from models.names import SERVICE_LABEL, VERSION_HEADER, VERSION_LABEL
from review.moves import Change, changes_of
from review.preview import Preview, Step

PROTECTED: Final[Mapping[str, str]] = {
    "serving.kserve.io/*:InferenceService": "a version that serves",
    "serving.kserve.io/*:ServingRuntime": "versions run in it",
    "serving.kserve.io/*:ClusterServingRuntime": "versions run in it",
    "gateway.networking.k8s.io/*:*Route": "requests take it",
    "monitoring.coreos.com/*:PrometheusRule": "alerts, and the weights that the judge believes",
    "core/v1:Namespace": "everything in it goes too",
    "core/v1:PersistentVolumeClaim": "data",
    "karpenter.sh/*:NodePool": "pods run on its nodes",
    "karpenter.k8s.aws/*:EC2NodeClass": "pods run on its nodes",
    "aws:eks/nodeGroup:NodeGroup": "pods run on its nodes",
    "aws:eks/cluster:Cluster": "everything in it goes too",
    "aws:s3/bucket:Bucket": "models and what was predicted",
    "aws:s3/bucketV2:BucketV2": "models and what was predicted",
    "aws:s3/directoryBucket:DirectoryBucket": "models and what was predicted",
    "aws-native:eks:Nodegroup": "pods run on its nodes",
    "aws-native:s3:Bucket": "models and what was predicted",
    "aws-native:kms:Key": "without it nothing that it encrypted can be read",
    "aws:kms/key:Key": "without it nothing that it encrypted can be read",
}
"""Why a kind is protected, by a pattern of its type; Kubernetes' own without `kubernetes:`."""

Verdict = Literal["refused", "allowed", "implied"]


@dataclass(frozen=True)
class Allowance:
    """A person's yes.

    Attributes:
        pattern: of logical names, or of URNs where it begins with `urn:`.
        reason: why.
    """

    pattern: str
    reason: str

    def covers(self, step: Step) -> bool:
        """Whether it is for this resource."""
        text = step.urn if self.pattern.startswith("urn:") else step.name
        return fnmatchcase(text, self.pattern)


@dataclass(frozen=True)
class Finding:
    """A delete or a replacement of a protected kind.

    Attributes:
        step: what would be done.
        what: the same in words.
        verdict: `implied`: a rollout implies it.
        why: it is refused, implied or allowed.
    """

    step: Step
    what: str
    verdict: Verdict
    why: str


def allowance(text: str) -> Allowance:
    """Reads `NAME=REASON`.

    Raises:
        ConfigError: it is something else.
    """
    pattern, _, reason = text.partition("=")
    if not pattern.strip() or not reason.strip():
        what = f"{text!r} is no NAME=REASON, such as 'fraud-*=fraud is retired, see #12'"
        raise ConfigError([Problem("--allow", what)])
    return Allowance(pattern.strip(), reason.strip())


def findings(
    preview: Preview, allowances: Sequence[Allowance], now: datetime
) -> tuple[Finding, ...]:
    """Returns what a preview would do to protected kinds, refused ones first.

    Args:
        preview: what Pulumi would do.
        allowances: what people allow.
        now: previous versions may go when their time is over.
    """
    changes = changes_of([*preview.steps, *preview.same])
    sent = _sent_traffic([*preview.steps, *preview.same])
    found: list[Finding] = []
    # With --show-replacement-steps a replacement is several steps.
    for step in {it.urn: it for it in preview.steps if _what(it)}.values():
        what, why = _what(step), _protected(step)
        if why is None:
            continue
        if step.kind == "InferenceService":
            implied, why = _implied(step, changes, sent, now)
            if implied:
                found.append(Finding(step, what, "implied", why))
                continue
        allowed = next((it.reason for it in allowances if it.covers(step)), None)
        verdict = "refused" if allowed is None else "allowed"
        found.append(Finding(step, what, verdict, allowed or why))
    order = ("refused", "allowed", "implied")
    # The engine's own order is another one at each run.
    return tuple(sorted(found, key=lambda it: (order.index(it.verdict), it.step.urn)))


def _what(step: Step) -> str:
    if step.is_replaced:
        return "replaced"
    if step.is_deleted:
        kept = step.old and step.old.retain
        return "left behind, no longer Pulumi's" if kept else "deleted"
    return "no longer protected from deletion" if step.is_unprotected else ""


def _protected(step: Step) -> str | None:
    kind = step.type.removeprefix("kubernetes:")
    return next((why for it, why in PROTECTED.items() if fnmatchcase(kind, it)), None)


def _implied(
    step: Step, changes: Mapping[str, Change], sent: Collection[str], now: datetime
) -> tuple[bool, str]:
    """Returns whether a rollout implies that a version goes, and why it does or does not."""
    metadata: Mapping[str, Any] = step.old.inputs.get("metadata", {}) if step.old else {}
    labels = metadata.get("labels") or {}
    service, version = str(labels.get(SERVICE_LABEL)), str(labels.get(VERSION_LABEL))
    change = changes.get(service)
    if change is None or change.old is None:
        why = "its route is not in the preview, so whether it has traffic cannot be told"
        return False, f"{why}; pulumi preview --show-sames shows it"
    if VERSION_LABEL not in labels:
        return False, f"it serves all versions of {service}"  # KServe owns the split
    old, new = change.old, change.new
    percent = old.percents.get(version, 0)
    if percent or metadata.get("name") in sent:
        return (
            False,
            f"it has {percent}% of {service}'s traffic" if percent else "a route leads to it",
        )
    if new is None:
        return False, f"{service} leaves with it"
    if version in new.percents:
        if version == new.candidate and not new.percent:
            return True, f"candidate {version} has no traffic"
        return False, f"{version} still serves {service}"
    if version != old.previous:
        return True, f"{version} had no traffic"
    if new.previous:
        return True, f"previous {version} left, {new.previous} is previous now"
    if old.previous_until and now < old.previous_until:
        return False, f"previous {version} is kept until {old.previous_until:%Y-%m-%d %H:%M %Z}"
    return True, f"previous {version} left after its time"


def _sent_traffic(steps: Iterable[Step]) -> set[str]:
    """Returns the InferenceServices that routes lead to as they are, whatever these say of it.

    A rule that asks for the header of a version is the door for tests, not a share of traffic.
    """
    found: set[str] = set()
    for step in steps:
        if not step.kind.endswith("Route") or step.old is None:
            continue
        for rule in step.old.inputs.get("spec", {}).get("rules") or []:
            matches = rule.get("matches") or []
            if matches and all(_asks_for_a_version(it) for it in matches):
                continue
            for backend in rule.get("backendRefs") or []:
                if backend.get("weight", 1):
                    found.add(str(backend.get("name")).removesuffix("-predictor"))
    return found


def _asks_for_a_version(match: Mapping[str, Any]) -> bool:
    return any(it.get("name") == VERSION_HEADER for it in match.get("headers") or [])
