"""What a GPU pool costs a month, by who makes its nodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from models.cost import OwnHardware
from models.gpu_pool import EksPool, ExistingPool, KarpenterPool
from models.prices import InstancePrices, Prices
from review.amounts import UNKNOWN, Range, added, each, multiplied, total
from review.gpu_use import Use

HOURS_PER_MONTH: Final = 365 * 24 / 12


@dataclass(frozen=True)
class PoolCost:
    """What a pool costs.

    Attributes:
        name: of the pool.
        provider: who makes its nodes.
        gpus: whole ones that are paid for.
        cost: a month.
        why: what is unknown, and why.
    """

    name: str
    provider: str
    gpus: Range
    cost: Range
    why: tuple[str, ...] = ()


def eks_cost(
    name: str, pool: EksPool, uses: Mapping[str, Use], prices: Prices, region: str
) -> PoolCost:
    """Returns what managed node groups cost, in dollars.

    On demand EKS takes the instance types in their order, as spot those with most capacity. Spot
    never costs more than on demand, so that is the most.

    Args:
        name: of the pool.
        pool: as declared.
        uses: of the pool, by service.
        prices: in dollars.
        region: where it is.
    """
    hourly = {it: prices.hourly(it, region) for it in pool.instance_types}
    on_demand = [it.on_demand for it in hourly.values()]
    spot = [it.spot for it in hourly.values()]
    sure = Range(_of(min, on_demand), on_demand[0], _of(max, on_demand))
    varying = Range(_of(min, spot), _of(_mean, spot), sure.most) if pool.spot else sure

    def nodes(pods: Callable[[Use], float | None]) -> int:
        shared = {use.group: 0.0 for use in uses.values()}
        for use in uses.values():
            shared[use.group] += (pods(use) or 0) * use.gpus
        needed = sum(math.ceil(gpus / pool.gpus_per_node) for gpus in shared.values())
        return min(max(pool.min, pool.on_demand_base, needed), pool.max)

    count = Range(nodes(lambda use: use.pods.least), nodes(lambda use: use.pods.expected), pool.max)
    rest = each(lambda it: it - pool.on_demand_base, count)
    hour = total([sure.times(pool.on_demand_base), each(multiplied, rest, varying)])
    return PoolCost(
        name,
        pool.provider,
        count.times(pool.gpus_per_node),
        hour.times(HOURS_PER_MONTH),
        tuple(
            f"{instance_type} has no known price {kind} in {region}"
            for instance_type, found in hourly.items()
            for kind, price in (("on demand", found.on_demand), ("as spot", found.spot))
            if price is None and (kind == "on demand" or pool.spot)
        ),
    )


def karpenter_cost(
    name: str, pool: KarpenterPool, uses: Mapping[str, Use], prices: Prices, region: str
) -> PoolCost:
    """Returns what Karpenter's nodes cost, in dollars.

    Karpenter takes the cheapest nodes that the pods fit on. Where those are not to be had it takes
    dearer ones, so the most is the dearest type that the pool allows, on demand, up to the cap.

    Args:
        name: of the pool.
        pool: as declared.
        uses: of the pool, by service.
        prices: in dollars.
        region: where it is.
    """
    allowed = [
        (found, prices.hourly(it, region))
        for it, found in prices.instances.items()
        if _allows(pool, it, found)
    ]
    on_demand = [(it, price.on_demand) for it, price in allowed if price.on_demand]
    spot = [(it, price.spot) for it, price in allowed if price.spot]
    taken = spot if "spot" in pool.capacity_types else on_demand
    least = {it: _cheapest(use, use.pods.least, taken) for it, use in uses.items()}
    expected = {it: _cheapest(use, use.pods.expected, taken) for it, use in uses.items()}
    most = _of(max, [pool.max_gpus // it.gpus * price for it, price in on_demand])
    hour = Range(_hour(least.values()), _hour(expected.values()), most)
    kind = "as spot" if taken is spot else "on demand"
    why = [
        f"no instance of the pool that fits a pod of {it} has a known price {kind} in {region}"
        for it, found in expected.items()
        if found is None
    ]
    if most is None:
        families = ", ".join(pool.instance_families)
        why.append(f"no instance of {families} has a known price on demand in {region}")
    return PoolCost(
        name,
        pool.provider,
        Range(_gpus(least.values()), _gpus(expected.values()), pool.max_gpus),
        hour.times(HOURS_PER_MONTH),
        tuple(why),
    )


def existing_cost(name: str, pool: ExistingPool, hardware: OwnHardware | None) -> PoolCost:
    """Returns what nodes of one's own cost, whether they work or not, in the stack's currency.

    Args:
        name: of the pool.
        pool: as declared.
        hardware: what its nodes cost; None if the stack does not say.
    """
    gpus = Range(pool.max_gpus, pool.max_gpus, pool.max_gpus)
    if hardware is None:
        why = f"modelramp:cost.ownHardware.{name} does not say what its nodes cost"
        return PoolCost(name, pool.provider, gpus, UNKNOWN, (why,))
    cost = hardware.nodes * own_node_cost(hardware)
    return PoolCost(name, pool.provider, gpus, Range(cost, cost, cost))


def own_node_cost(hardware: OwnHardware) -> float:
    """Returns what a node of one's own costs a month, as if it always worked."""
    power = hardware.power_watts / 1000 * HOURS_PER_MONTH * hardware.electricity_per_kwh
    return hardware.purchase / hardware.lifetime_months + power + hardware.operations_per_month


@dataclass(frozen=True)
class _Taken:
    """Nodes: their GPUs, and what they cost an hour."""

    gpus: float
    hour: float


def _cheapest(
    use: Use, pods: float | None, prices: Collection[tuple[InstancePrices, float]]
) -> _Taken | None:
    """Returns the nodes that so many pods cost least on; None if no price is known."""
    if not pods:
        return _Taken(0.0, 0.0)
    fitting = [(it, price, _pods_on(it, use)) for it, price in prices]
    nodes = [(it, price, math.ceil(pods / room)) for it, price, room in fitting if room]
    taken = [_Taken(count * it.gpus, count * price) for it, price, count in nodes]
    return min(taken, key=lambda it: it.hour, default=None)


def _pods_on(instance: InstancePrices, use: Use) -> int:
    """Returns how many pods of a service one node has room for, of which the system takes some."""
    room = [math.floor(instance.gpus / use.gpus)]
    if instance.vcpus:
        room.append(math.ceil(instance.vcpus / use.cpu) - 1)
    if instance.memory_gib:
        room.append(math.ceil(instance.memory_gib / use.memory_gib) - 1)
    return min(room)


def _allows(pool: KarpenterPool, instance_type: str, found: InstancePrices) -> bool:
    family, _, size = instance_type.partition(".")
    return (
        family in pool.instance_families
        and (not pool.instance_sizes or size in pool.instance_sizes)
        and found.gpus <= pool.max_gpus
        and pool.gpus_per_node in (None, found.gpus)
    )


def _hour(taken: Collection[_Taken | None]) -> float | None:
    return added(it and it.hour for it in taken)


def _gpus(taken: Collection[_Taken | None]) -> float | None:
    return added(it and it.gpus for it in taken)


def _of(
    function: Callable[[list[float]], float], amounts: Collection[float | None]
) -> float | None:
    """Returns a function's value of all amounts; None if there is none, or one is unknown."""
    known = [it for it in amounts if it is not None]
    return function(known) if known and len(known) == len(amounts) else None


def _mean(amounts: Collection[float]) -> float:
    return sum(amounts) / len(amounts)
