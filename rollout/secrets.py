"""Reads secrets from where a stack file says that they are."""

from __future__ import annotations

import os
from pathlib import Path

from models.metrics_server import Secret


def read_secret(place: Secret) -> str:
    """Returns a secret.

    Raises:
        ValueError: it is not there, empty, or of several lines; no message holds it.
    """
    if place.env is not None:
        value, what = os.environ.get(place.env, ""), f"the environment variable {place.env}"
    else:
        try:
            value = Path(place.file or "").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{place.file} cannot be read: {type(error).__name__}") from None
        what = str(place.file)
    if not value.strip():
        raise ValueError(f"{what} is not set or empty")
    if not value.strip().isprintable():
        raise ValueError(f"{what} holds more than one line")
    return value.strip()
