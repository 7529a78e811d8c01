"""How traffic moves from the stable version to the candidate."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from models.base import Declared, Percent, WaitSeconds


class Step(Declared):
    """One traffic percentage of a strategy.

    Attributes:
        percent: the candidate's share of traffic.
        bake_seconds: least time here; the strategy's own where absent.
        evidence: what must be shown before the next step. `bake`: the bake time is over and no
            harm was found. `margin`: also, worse by more than the margin is ruled out.
    """

    percent: Percent
    bake_seconds: WaitSeconds | None = Field(None, alias="bake")
    evidence: Literal["bake", "margin"] | None = None


def _step_from_integer(value: Any) -> Any:
    return {"percent": value} if isinstance(value, int) else value


class Canary(Declared):
    """Rising steps; the last one before 100 asks for `margin` evidence unless it says otherwise.

    Attributes:
        steps: percentages, rising, ending at 100.
        bake_seconds: least time at each step.
    """

    kind: Literal["canary"]
    steps: tuple[Annotated[Step, BeforeValidator(_step_from_integer)], ...] = Field(min_length=1)
    bake_seconds: WaitSeconds = Field(1800.0, alias="bake")

    @model_validator(mode="after")
    def _steps_rise_to_100(self) -> Canary:
        percents = [step.percent for step in self.steps]
        if any(low >= high for low, high in pairwise([0, *percents])):
            raise ValueError(f"steps must rise from above 0, got {percents}")
        if percents[-1] != 100:
            raise ValueError(f"steps must end at 100, got {percents}")
        return self

    def bake_at(self, percent: int) -> float:
        """Returns the least time at a percentage, in seconds."""
        step = self.step_at(percent)
        own = step.bake_seconds if step else None
        return self.bake_seconds if own is None else own

    def evidence_at(self, percent: int) -> Literal["bake", "margin"]:
        """Returns what must be shown at a percentage, a person's own too, to move on."""
        step = self.step_at(percent)
        if step and step.evidence:
            return step.evidence
        return "margin" if self.next_percent(percent) == 100 else "bake"

    def step_at(self, percent: int) -> Step | None:
        """Returns the step of this percentage, or None where a person chose another one."""
        return next((step for step in self.steps if step.percent == percent), None)

    def next_percent(self, percent: int) -> int | None:
        """Returns the first step above `percent`, or None at 100."""
        return next((step.percent for step in self.steps if step.percent > percent), None)
