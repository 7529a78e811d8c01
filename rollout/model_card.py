"""The model card of a deployed version, as Markdown: what it is for, where it comes from, its log.

Source: Mitchell et al. 2019, "Model Cards for Model Reporting".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from models.registry_tags import RegistryTags
from models.service import Service
from rollout.markdown_templates import environment
from rollout.registry import connect, parse_registry_uri, parse_tags
from rollout.registry_evidence import Logged, Missing, read_logged


@dataclass(frozen=True)
class Known:
    """What the registry knows of a version.

    Attributes:
        tags: of the registered version.
        metrics: of its training run, by name.
        logged: evaluation, load test and fairness.
    """

    tags: RegistryTags
    metrics: Mapping[str, float]
    logged: Logged


def read_known(tracking_uri: str, registry: str) -> Known:
    """Reads what the registry knows of a version, such as `models:/fraud/14`.

    Raises:
        RegistryError: it is not there, its tags are not modelramp's, or the server failed.
    """
    name, number = parse_registry_uri(registry)
    with connect(tracking_uri) as client:
        tags = parse_tags(registry, client.get_model_version(name, number).tags)
        metrics = client.get_run(tags.metrics_run).data.metrics
    return Known(tags, metrics, read_logged(tracking_uri, tags))


def render(
    name: str,
    service: Service,
    version: str,
    stack: str,
    known: Known | Missing,
    log: Sequence[Mapping[str, Any]],
    now: datetime,
) -> str:
    """Returns the card as Markdown; whatever people wrote is text in it, never markup.

    Args:
        name: of the service.
        service: as declared, with the version among its versions.
        version: that the card is of.
        stack: name of the stack.
        known: of the registry; where it did not answer, the card says so.
        log: lines of the service's history, oldest first.
        now: when it is written.
    """
    declared = service.versions[version]
    lineage = [
        ("files", declared.uri),
        ("digest", declared.digest),
        ("registered as", declared.registry),
    ]
    logged: Logged | None = None
    if isinstance(known, Known):
        logged = known.logged
        lineage += [
            ("training run", known.tags.metrics_run),
            ("git commit", known.tags.git_commit),
            ("training data", known.tags.data_hash),
        ]
    sides = (("input", declared.inputs), ("output", declared.outputs))
    text = (
        environment(Path(__file__).parent)
        .get_template("model_card.md.j2")
        .render(
            service=name,
            version=version,
            stack=stack,
            role=_role(service, version),
            percent=service.percents().get(version, 0),
            owner=service.owner,
            risk=service.risk,
            card=service.card,
            written_at=now.isoformat(timespec="seconds"),
            lineage=lineage,
            missing=known.why if isinstance(known, Missing) else None,
            signature=[(side, *it) for side, types in sides for it in (types or {}).items()],
            metrics=[(it, f"{value:.6g}") for it, value in sorted(known.metrics.items())]
            if isinstance(known, Known)
            else [],
            evaluation=_evaluation(logged),
            fairness=_fairness(logged, service),
            log=[_line(it) for it in log if _is_about(it, version, declared.digest)],
        )
    )
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def _role(service: Service, version: str) -> str:
    rollout = service.rollout
    if rollout and version == rollout.stable:
        return "stable"
    if rollout and version == rollout.candidate:
        return "taken back" if service.is_taken_back else "candidate"
    if rollout and rollout.previous and version == rollout.previous.version:
        return "previous"
    return "declared, serves nothing"


def _evaluation(logged: Logged | None) -> list[str]:
    if logged is None:
        return ["Not known."]
    lines: list[str] = []
    if isinstance(logged.evaluation, Missing):
        lines.append(f"Evaluation: {logged.evaluation.why}")
    else:
        many, data = len(logged.evaluation.ids), logged.evaluation.data_hash
        lines += [
            f"{metric}: {np.mean(it.values):.4g} on average of {many:,} examples "
            f"({it.better} is better), data {data}"
            for metric, it in logged.evaluation.metrics.items()
        ]
    test = logged.load_test
    lines.append(
        f"Load test: {test.why}"
        if isinstance(test, Missing)
        else f"Load test: p99 {test.p99_ms:g} ms of {test.requests:,} requests at "
        f"{test.requests_per_second:g} a second, {test.failed:,} failed"
    )
    return lines


def _fairness(logged: Logged | None, service: Service) -> list[str]:
    if logged is None:
        return ["Not known."]
    if isinstance(logged.fairness, Missing):
        return [logged.fairness.why]
    bounds = {it.metric: it for it in service.gates.fairness}
    lines: list[str] = []
    for metric, value in logged.fairness.metrics.items():
        bound = bounds.get(metric)
        limits = [
            f"{word} {limit:g}"
            for word, limit in (("at least", bound and bound.min), ("at most", bound and bound.max))
            if limit is not None
        ]
        allowed = f", must be {' and '.join(limits)}" if limits else ""
        lines.append(f"{metric}: {value:g}{allowed}")
    return lines


def _is_about(line: Mapping[str, Any], version: str, digest: str) -> bool:
    """Whether a line of the log tells of this version: as candidate, or by its digest."""
    return line.get("digest") == digest or line.get("candidate") == version


def _line(line: Mapping[str, Any]) -> dict[str, Any]:
    return {"by": None, "reason": None, **line}
