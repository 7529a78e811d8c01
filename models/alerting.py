"""What is watched of a model service, and who hears of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from models.base import Declared, DurationSeconds, Share


class Alert(Declared):
    """One alert: `metric` below or above a share, for a time."""

    metric: Literal["errorRate", "slowShare", "accuracy"]
    below: Share | None = None
    above: Share | None = None
    for_seconds: DurationSeconds = Field(alias="for")
    severity: Literal["critical", "warning", "info"] = "warning"

    @model_validator(mode="after")
    def _one_bound(self) -> Alert:
        if (self.below is None) == (self.above is None):
            raise ValueError("give exactly one of below and above")
        return self
