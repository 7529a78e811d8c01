# pyright: basic
"""Components on Pulumi's mocks: everything they register, and golden files of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.runtime.mocks import MockMonitor

GOLDEN = Path(__file__).parent / "golden"
OUTPUT_AS_TEXT = "Calling __str__ on an Output"

Registered = dict[str, dict[str, Any]]
"""Type, inputs, parent and options of each resource by its logical name."""


class Recorded(pulumi.runtime.Mocks):
    """Answers as a provider that takes whatever it is given."""

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        return args.name, {**args.inputs, **_computed(args)}

    def call(self, args: pulumi.runtime.MockCallArgs) -> Any:
        raise AssertionError(f"no component calls {args.token}")


def _computed(args: pulumi.runtime.MockResourceArgs) -> dict[str, Any]:
    """What AWS adds to a resource that other resources are made from."""
    if not args.typ.startswith("aws:"):
        return {}
    arn = f"arn:aws:mock:::{args.typ.split(':')[-1]}/{args.name}"
    return {
        "arn": arn,
        "id": args.name,
        "name": args.inputs.get("name", args.name),
        "latestVersion": 1,
    }


class Recording(MockMonitor):
    """Remembers every registration whole: the mocks are told neither parent nor options."""

    def __init__(self) -> None:
        super().__init__(Recorded())
        self.registered: Registered = {}

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  gRPC's name
        if request.type != "pulumi:pulumi:Stack":
            # Components of one service share its name; two of one type would be one URN.
            taken = self.registered.get(request.name)
            assert not taken or taken["type"] != request.type, f"two {request.type} {request.name}"
            name = f"{request.type} {request.name}" if taken else request.name
            self.registered[name] = {
                "type": request.type,
                "parent": _name(request.parent),
                "options": _options(request),
                "inputs": pulumi.runtime.rpc.deserialize_properties(request.object),
            }
        return super().RegisterResource(request)


def _name(urn: str) -> str:
    return urn.rsplit("::", 1)[-1] if "pulumi:pulumi:Stack" not in urn.split("::")[2:3] else ""


def _options(request: Any) -> dict[str, Any]:
    timeouts = request.customTimeouts
    options = {
        "protect": request.protect,
        "retainOnDelete": request.retainOnDelete,
        "deleteBeforeReplace": request.deleteBeforeReplace,
        "ignoreChanges": list(request.ignoreChanges),
        "replaceOnChanges": list(request.replaceOnChanges),
        "additionalSecretOutputs": list(request.additionalSecretOutputs),
        "dependsOn": sorted(map(_name, request.dependencies)),
        "aliases": [it.spec.name or it.urn for it in request.aliases],
        "timeouts": {
            verb: value
            for verb in ("create", "update", "delete")
            if (value := getattr(timeouts, verb))
        },
    }
    return {name: value for name, value in options.items() if value}


def record(program: Callable[[], object]) -> Registered:
    """Runs a program on mocks; returns what it registered, by logical name."""
    monitor = Recording()
    pulumi.runtime.set_mocks(monitor.mocks, preview=False, monitor=monitor)

    @pulumi.runtime.test
    def inner() -> object:
        program()

    inner()
    assert OUTPUT_AS_TEXT not in json.dumps(monitor.registered, default=str)
    return monitor.registered


@pytest.fixture
def registered() -> Callable[[Callable[[], object]], Registered]:
    return record


@pytest.fixture
def declared(registered) -> Callable[[Callable[[], object]], dict[str, dict[str, Any]]]:
    """Runs a program on mocks; returns type and inputs of each resource by its logical name."""

    def run(program: Callable[[], object]) -> dict[str, dict[str, Any]]:
        return {
            name: {"type": it["type"], **it["inputs"]} for name, it in registered(program).items()
        }

    return run


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """Compares with `golden/<name>.json`; `--update-golden` writes it, for a person to read."""

    def compare(name: str, value: object) -> None:
        text = json.dumps(value, indent=2, sort_keys=True, default=str) + "\n"
        file = GOLDEN / f"{name}.json"
        if request.config.getoption("--update-golden"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        assert json.loads(file.read_text()) == json.loads(text), "--update-golden, then read it"

    return compare
