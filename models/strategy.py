"""How traffic moves from the stable version to the candidate."""

from __future__ import annotations

from abc import abstractmethod
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from models.base import Declared, DurationSeconds, Percent, WaitSeconds, refuse
from models.smoke import SmokeRequest

Evidence = Literal["bake", "margin"]


class Step(Declared):
    """One traffic percentage of a strategy.

    Attributes:
        percent: the candidate's share of traffic.
        bake_seconds: least time here; the strategy's own where absent.
        evidence: what must be shown before the next step. `bake`: the bake time is over and no
            harm was found. `margin`: also, worse by more than the margin is ruled out.
        approve: whether a person has to approve this step before it is taken.
        capacity_percent: the candidate's pods here, as a share of stable's; enough for the next
            step where absent.
    """

    percent: Percent
    bake_seconds: WaitSeconds | None = Field(None, alias="bake")
    evidence: Evidence | None = None
    approve: bool = False
    capacity_percent: Annotated[int, Field(ge=1, le=100)] | None = Field(None, alias="capacity")


def _step_from_integer(value: Any) -> Any:
    is_percent = isinstance(value, int) and not isinstance(value, bool)
    return {"percent": value} if is_percent else value


def _step(percent: int, *, approve: bool = False) -> Step:
    return Step.model_validate({"percent": percent, "approve": approve})


AnyStep = Annotated[Step, BeforeValidator(_step_from_integer, json_schema_input_type=Step | int)]
"""A step, or a bare percentage."""


class Stepped(Declared):
    """A strategy that walks through percentages of traffic.

    Attributes:
        bake_seconds: least time at each step.
    """

    bake_seconds: WaitSeconds = Field(1800.0, alias="bake")

    @property
    @abstractmethod
    def walk(self) -> tuple[Step, ...]:
        """The steps, rising; none where the candidate's share does not grow by itself."""

    def bake_at(self, percent: int) -> float:
        """Returns the least time at a percentage, in seconds; at 0 nothing bakes, it waits."""
        if percent == 0:
            return 0.0
        step = self.step_at(percent)
        own = step.bake_seconds if step else None
        return self.bake_seconds if own is None else own

    def evidence_at(self, percent: int) -> Evidence:
        """Returns what must be shown at a percentage to move on; `margin` before 100."""
        step = self.step_at(percent)
        if step and step.evidence:
            return step.evidence
        return "margin" if self.next_percent(percent) == 100 else "bake"

    def step_at(self, percent: int) -> Step | None:
        """Returns the step of this percentage, or None if there is none."""
        return next((step for step in self.walk if step.percent == percent), None)

    def next_percent(self, percent: int) -> int | None:
        """Returns the first step above `percent`, or None at the last one."""
        return next((step.percent for step in self.walk if step.percent > percent), None)

    @property
    def first_percent(self) -> int:
        """The candidate's share of traffic when its rollout begins."""
        return self.walk[0].percent if self.walk else 0

    @property
    def copies_percent(self) -> int:
        """Share of stable's requests that a candidate at 0 gets a copy of."""
        return 0

    @property
    def is_endless(self) -> bool:
        """Whether champion and challenger run on and on, without a last decision."""
        return False

    @property
    def percents(self) -> frozenset[int]:
        """The shares that the candidate may have."""
        return frozenset({0, *(step.percent for step in self.walk)})


class Canary(Stepped):
    """Rising steps; the last one before 100 asks for `margin` evidence unless it says otherwise.

    Attributes:
        steps: percentages, rising, ending at 100.
        bake_seconds: least time at each step.
    """

    kind: Literal["canary"]
    steps: tuple[AnyStep, ...] = Field(min_length=1)

    @property
    def walk(self) -> tuple[Step, ...]:
        """The declared steps."""
        return self.steps

    @model_validator(mode="after")
    def _steps_rise_to_100(self) -> Canary:
        percents = [step.percent for step in self.steps]
        problems: list[str] = []
        if any(low >= high for low, high in pairwise([0, *percents])):
            problems.append(f"steps must rise from above 0, got {percents}")
        if percents[-1] != 100:
            problems.append(f"steps must end at 100, got {percents}")
        refuse(problems)
        return self


class Linear(Stepped):
    """Equal steps up to 100.

    Attributes:
        increment: percent points that a step adds.
        bake_seconds: least time between two steps.
    """

    kind: Literal["linear"]
    increment: Annotated[int, Field(ge=1, le=50)] = 10
    bake_seconds: WaitSeconds = Field(600.0, alias="every")

    @property
    def walk(self) -> tuple[Step, ...]:
        """Every `increment` points, and 100."""
        percents = [*range(self.increment, 100, self.increment), 100]
        return tuple(_step(percent) for percent in percents)


class BlueGreen(Stepped):
    """Checks at 0, then everything at once; the switch back is one edit.

    Attributes:
        mirror_percent: share of stable's requests that the candidate gets a copy of while it waits;
            its answers are discarded.
        smoke: requests that the candidate has to answer before the switch, sent by drift-check.
        bake_seconds: least time before and after the switch.
        approve: whether a person has to approve the switch.
    """

    kind: Literal["blue-green"]
    mirror_percent: Percent = Field(0, alias="mirror")
    smoke: tuple[SmokeRequest, ...] = Field((), max_length=100)
    approve: bool = False

    @property
    def walk(self) -> tuple[Step, ...]:
        """One step."""
        return (_step(100, approve=self.approve),)

    @property
    def first_percent(self) -> int:
        """The candidate waits for its checks."""
        return 0

    def bake_at(self, percent: int) -> float:
        """Returns the least time before or after the switch, in seconds."""
        del percent
        return self.bake_seconds

    @property
    def copies_percent(self) -> int:
        """Share of stable's requests that a candidate at 0 gets a copy of."""
        return self.mirror_percent


class Shadow(Stepped):
    """The candidate gets copies of requests; no user ever sees its answers.

    Attributes:
        mirror_percent: share of requests that are copied.
        for_seconds: after that time, without harm, it is over and the candidate leaves; it runs on
            and on if absent.
    """

    kind: Literal["shadow"]
    mirror_percent: Annotated[int, Field(ge=1, le=100)] = Field(100, alias="mirror")
    for_seconds: DurationSeconds | None = Field(None, alias="for")

    @property
    def walk(self) -> tuple[Step, ...]:
        """None: a shadow never gets traffic of its own."""
        return ()

    def bake_at(self, percent: int) -> float:
        """Returns how long it runs at least, in seconds."""
        del percent
        return self.for_seconds or self.bake_seconds

    @property
    def copies_percent(self) -> int:
        """Share of stable's requests that the candidate gets a copy of."""
        return self.mirror_percent

    @property
    def is_endless(self) -> bool:
        """Whether it runs on and on."""
        return self.for_seconds is None


class AbTest(Stepped):
    """A fixed split of users, by a number that the client or the gateway derives from the user.

    A request carries `header: n`, where n is a hash of the user's id modulo 100; users with n below
    `percent` get the candidate, all others, also those without the header, get stable.

    Attributes:
        percent: share of users who get the candidate.
        header: name of the request header with the user's number, 0 to 99.
        until: `decision`: a winner or no difference ends it. `forever`: champion and challenger run
            on and on.
    """

    kind: Literal["ab-test"]
    percent: Annotated[int, Field(ge=1, le=99)] = 50
    header: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)] = (
        "x-user-bucket"
    )
    until: Literal["decision", "forever"] = "decision"

    @property
    def walk(self) -> tuple[Step, ...]:
        """The split, and 100 for a winner."""
        last = () if self.is_endless else (_step(100, approve=True),)
        return (_step(self.percent), *last)

    @property
    def is_endless(self) -> bool:
        """Whether champion and challenger run on and on."""
        return self.until == "forever"


class AllAtOnce(Stepped):
    """Everything at once, without a comparison: only for services of low risk."""

    kind: Literal["all-at-once"]

    @property
    def walk(self) -> tuple[Step, ...]:
        """One step."""
        return (_step(100),)


Strategy = Annotated[
    Canary | Linear | BlueGreen | Shadow | AbTest | AllAtOnce, Field(discriminator="kind")
]
