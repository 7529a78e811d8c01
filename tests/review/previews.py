# pyright: basic
"""Previews for tests: recorded from the real engine, and made by hand in its form.

What is in `recorded/` is what Pulumi 3.259 printed for `tests.stacks.LOCAL` and edits of it,
without `outputs` and what no test reads. `mandatory.events.jsonl` is of `--event-log`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from review.preview import Preview, read_preview

RECORDED = Path(__file__).parent / "recorded"
UP = "urn:pulumi:prod::modelramp::"


def recorded(name: str, *, events: bool = False) -> Preview:
    log = RECORDED / f"{name}.events.jsonl" if events else None
    return read_preview(RECORDED / f"{name}.json", log)


def step(
    op: str,
    kind: str,
    name: str,
    old: dict[str, Any] | None = None,
    new: dict[str, Any] | None = None,
    diff: dict[str, str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A step; `more` is of both states, and so is `parent`."""
    urn = f"{UP}{kind}::{name}"
    states = {
        key: {
            "urn": urn,
            "custom": not kind.rpartition("$")[2].startswith("modelramp:"),
            "inputs": it,
            **more,
        }
        for key, it in (("oldState", old), ("newState", new))
        if it is not None
    }
    detailed = {path: {"kind": it, "inputDiff": False} for path, it in (diff or {}).items()}
    return {"op": op, "urn": urn, **states, "detailedDiff": detailed or None}


def component(name: str) -> str:
    return f"{UP}modelramp:index:ModelService::{name}"


def route(
    service: str,
    weights: dict[str, int],
    facts: dict[str, str],
    kind: str = "HTTPRoute",
) -> dict[str, Any]:
    """Inputs of a route: weights by version, annotations without their prefix."""
    backends = [
        {"name": f"{service}-v{version.replace('.', '-')}-predictor", "weight": weight}
        for version, weight in weights.items()
    ]
    door = [{"headers": [{"name": "x-model-version", "value": "1"}]}]
    return {
        "kind": kind,
        "metadata": {
            "name": service,
            "annotations": {
                f"modelramp.dev/{it}": value for it, value in {"service": service, **facts}.items()
            },
        },
        "spec": {"rules": [{"backendRefs": backends}, {"matches": door, "backendRefs": backends}]},
    }


HTTP_ROUTE = "modelramp:index:ModelService$kubernetes:gateway.networking.k8s.io/v1:HTTPRoute"
VERSION = "modelramp:index:ModelService$kubernetes:serving.kserve.io/v1beta1:InferenceService"


def facts(stable: str, candidate: str = "", percent: int = 0, **more: str) -> dict[str, str]:
    moves = [{"percent": percent, "at": "2026-11-23T08:00:00+00:00"}] if candidate else []
    rest = {"candidate": candidate} if candidate else {}
    return {"stable": stable, "risk": "high", "moves": json.dumps(moves), **rest, **more}


def version(service: str, number: str, pods: int = 1, **predictor: Any) -> dict[str, Any]:
    """Inputs of an InferenceService."""
    return {
        "metadata": {
            "name": f"{service}-v{number.replace('.', '-')}",
            "labels": {"model-service": service, "model-version": number},
        },
        "spec": {"predictor": {"minReplicas": pods, "maxReplicas": pods, **predictor}},
    }


def digest(*steps: dict[str, Any], same: int = 0, errors: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the CLI prints for these steps."""
    counts: dict[str, int] = {"same": same}
    for it in steps:
        counts[it["op"]] = counts.get(it["op"], 0) + 1
    said = [{"message": f"error: {it}\n", "severity": "error"} for it in errors]
    return {"steps": list(steps), "diagnostics": said, "changeSummary": counts}


def made(path: Path, *steps: dict[str, Any], events: Path | None = None, **more: Any) -> Preview:
    """Writes a preview and reads it."""
    file = path / "preview.json"
    file.write_text(json.dumps(digest(*steps, **more)))
    return read_preview(file, events)


def event(policy: str, urn: str, message: str, level: str = "mandatory", **more: str) -> str:
    """A line of the event log."""
    found = {
        "resourceUrn": urn,
        "message": f"It should be otherwise.\n{message}\n",
        "policyName": policy,
        "policyPackName": "modelramp",
        "enforcementLevel": level,
        **more,
    }
    return json.dumps({"sequence": 1, "timestamp": 1, "policyEvent": found})
