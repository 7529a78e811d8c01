"""Pulumi's host for components in other languages, without two of its faults."""

from typing import Any

import pulumi
from pulumi.errors import InputPropertiesError
from pulumi.provider import ConstructResult
from pulumi.provider.experimental.component import ComponentProvider
from pulumi.provider.server import ComponentInitError


class Host(ComponentProvider):
    """Makes components for programs in any language."""

    def construct(
        self,
        name: str,
        resource_type: str,
        inputs: pulumi.Inputs,
        options: pulumi.ResourceOptions | None = None,
    ) -> ConstructResult:
        """Makes one component.

        Raises:
            InputPropertiesError: arguments are wrong.
        """
        try:
            return super().construct(name, resource_type, _ordered(inputs), options)
        except ComponentInitError as error:
            # By which Pulumi shows a stack trace, and not which arguments are wrong.
            if isinstance(error.inner, InputPropertiesError):
                raise error.inner from None
            raise


def _ordered(value: Any) -> Any:
    """Sorts maps: they arrive in another order each time, and lists are made from some."""
    if isinstance(value, dict):
        return {key: _ordered(it) for key, it in sorted(value.items())}
    if isinstance(value, list):
        return [_ordered(it) for it in value]
    return value
