# pyright: basic
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pulumi
import pytest


class Recorded(pulumi.runtime.Mocks):
    """Remembers every resource that is registered."""

    def __init__(self) -> None:
        self.resources: dict[str, dict[str, Any]] = {}

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        self.resources[args.name] = {"type": args.typ, **args.inputs}
        return args.name, args.inputs

    def call(self, args: pulumi.runtime.MockCallArgs) -> Any:
        raise AssertionError(f"no component calls {args.token}")


@pytest.fixture
def declared() -> Callable[[Callable[[], object]], dict[str, dict[str, Any]]]:
    """Runs a program on mocks; returns the inputs of each resource by its logical name."""

    def run(program: Callable[[], object]) -> dict[str, dict[str, Any]]:
        mocks = Recorded()
        pulumi.runtime.set_mocks(mocks, preview=False)

        @pulumi.runtime.test
        def inner() -> object:
            program()

        inner()
        return mocks.resources

    return run
