# pyright: basic
"""Objects that components register, for a real API server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from local.cluster.kubectl import Kubectl
from models.errors import ToolError
from tests.components.conftest import record

Object = dict[str, Any]


def objects_of(program: Callable[[], object]) -> list[Object]:
    """Returns the Kubernetes objects that a program registers."""
    made = record(program).values()
    return [whole_numbers(it["inputs"]) for it in made if it["type"].startswith("kubernetes:")]


def whole_numbers(value: Any) -> Any:
    """Pulumi's protocol has only floats."""
    if isinstance(value, dict):
        return {key: whole_numbers(it) for key, it in value.items()}
    if isinstance(value, list):
        return [whole_numbers(it) for it in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def eventually(holds: Callable[[], object], seconds: float = 30) -> Any:
    """Waits until something is true, and returns it."""
    give_up_at = time.monotonic() + seconds
    while True:
        found = None
        with suppress(ToolError):
            found = holds()
        if found:
            return found
        assert time.monotonic() < give_up_at, "it never came to hold"
        time.sleep(0.3)


def delete(kubectl: Kubectl, objects: list[Object]) -> None:
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    kubectl.run("delete", "--filename=-", "--ignore-not-found", "--wait=false", given=given)
