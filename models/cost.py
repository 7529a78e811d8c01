"""What the stack may cost, and what nodes of one's own cost."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from models.base import Declared, Name

Amount = Annotated[float, Field(ge=0)]
"""Money, in the currency of the stack."""


class OwnHardware(Declared):
    """What one node of a pool of the provider `existing` costs.

    Attributes:
        nodes: how many there are.
        purchase: price of one.
        lifetime_months: after which it is worth nothing.
        power_watts: drawn under load.
        electricity_per_kwh: price of a kilowatt-hour.
        operations_per_month: people, space and network for one.
    """

    nodes: int = Field(ge=1)
    purchase: Amount
    lifetime_months: int = Field(36, ge=1)
    power_watts: Amount
    electricity_per_kwh: Amount
    operations_per_month: Amount = 0.0


class Cost(Declared):
    """What the stack may cost.

    Attributes:
        currency: of all amounts.
        monthly_budget: what it may cost a month at most.
        own_hardware: what nodes of one's own cost, by pool.
    """

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    monthly_budget: Annotated[float, Field(gt=0)] | None = None
    own_hardware: dict[Name, OwnHardware] = Field(default_factory=dict)
