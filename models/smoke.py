"""Requests of one's own to a candidate that no user meets yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from models.base import Declared

PATHS: Mapping[str, str] = {
    "v1": "/v1/models/{service}:predict",
    "v2": "/v2/models/{service}/infer",
}
"""Where a protocol takes predictions."""


class SmokeRequest(Declared):
    """A POST that a good version answers with 2xx.

    Attributes:
        body: JSON.
        path: at the gateway; where the service's protocol, v1 or v2, takes predictions if absent.
    """

    body: dict[str, Any]
    path: str | None = Field(None, pattern=r"^/[!-~]*$")

    def path_of(self, service: str, protocol: str) -> str:
        """Returns where it is sent."""
        return self.path or PATHS[protocol].format(service=service)
