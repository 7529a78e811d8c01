"""When hardware of one's own is cheaper than the cloud's."""

from __future__ import annotations

from dataclasses import dataclass

from models.cost import OwnHardware
from review.pool_cost import HOURS_PER_MONTH


@dataclass(frozen=True)
class BreakEven:
    """Hardware of one's own against the cloud, where an hour that is not used is not paid.

    Attributes:
        own_fixed: what it costs a month though it stands still: written off, and operations.
        own_hour: what an hour of work costs beside that: power.
        cloud_hour: what the same hour costs in the cloud.
        utilisation: the share of all hours above which the own is cheaper over its lifetime; more
            than 1 is never. None where an own hour of power alone costs as much as the cloud's.
        hours: of work after which the purchase is paid back, operations left out; None is never.
    """

    own_fixed: float
    own_hour: float
    cloud_hour: float
    utilisation: float | None
    hours: float | None

    @property
    def is_never(self) -> bool:
        """Whether the own is not cheaper even if it always works."""
        return self.utilisation is None or self.utilisation > 1


def compare(hardware: OwnHardware, cloud_hour: float) -> BreakEven:
    """Compares one node with what replaces it in the cloud.

    Own: purchase / lifetime + operations + hours x power. Cloud: hours x price. They are equal at
    hours = (purchase / lifetime + operations) / (price - power), a month.

    Args:
        hardware: what a node costs; `nodes` does not matter.
        cloud_hour: price of an hour in the cloud, in the same currency.
    """
    own_hour = hardware.power_watts / 1000 * hardware.electricity_per_kwh
    fixed = hardware.purchase / hardware.lifetime_months + hardware.operations_per_month
    saved = cloud_hour - own_hour
    return BreakEven(
        fixed,
        own_hour,
        cloud_hour,
        fixed / saved / HOURS_PER_MONTH if saved > 0 else None,
        hardware.purchase / saved if saved > 0 else None,
    )


def months_to_pay_back(
    hardware: OwnHardware, cloud_hour: float, utilisation: float
) -> float | None:
    """Returns after how many months the purchase is paid back; None is never.

    Args:
        hardware: what a node costs.
        cloud_hour: price of an hour in the cloud, in the same currency.
        utilisation: the share of all hours in which it works, 0 to 1.
    """
    saved_hour = cloud_hour - hardware.power_watts / 1000 * hardware.electricity_per_kwh
    saved = utilisation * HOURS_PER_MONTH * saved_hour - hardware.operations_per_month
    return hardware.purchase / saved if saved > 0 else None
