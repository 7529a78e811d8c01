"""What a stack costs a month: least, expected and most, by pool and by service.

Pure functions of a stack and of prices. What has no price is unknown (None), never zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from models.errors import ConfigError, Problem
from models.gpu_pool import EksPool, ExistingPool, GpuPool, KarpenterPool
from models.prices import Prices
from models.stack import Stack
from review.amounts import UNKNOWN, Range, each, known_part, total
from review.gpu_use import Use, uses_of
from review.pool_cost import PoolCost, eks_cost, existing_cost, karpenter_cost

_NO_GPU = "its pods need no GPU: they run on nodes that the stack does not declare"


@dataclass(frozen=True)
class ServiceCost:
    """What a service costs: its share of its pool.

    Attributes:
        name: of the service.
        pool: that its pods run in; None where they need no GPU.
        roles: GPUs that stable, candidate and previous have now, by role.
        gpus: of all of them.
        cost: a month.
        why: what is unknown, and why.
    """

    name: str
    pool: str | None
    roles: Mapping[str, float]
    gpus: Range
    cost: Range
    why: tuple[str, ...] = ()


@dataclass(frozen=True)
class StackCost:
    """What a stack costs.

    Attributes:
        currency: of all amounts.
        budget: a month; None if none is declared.
        pools: in the order of the file.
        services: the same.
    """

    currency: str
    budget: float | None
    pools: tuple[PoolCost, ...]
    services: tuple[ServiceCost, ...]

    @property
    def total(self) -> Range:
        """Of all pools; unknown where one is."""
        return total(it.cost for it in self.pools)

    @property
    def known(self) -> Range:
        """Of what is known; what is unknown comes on top."""
        return known_part(it.cost for it in self.pools)

    @property
    def is_over_budget(self) -> bool | None:
        """Whether what is expected is more than the budget; None if nobody can say."""
        if self.budget is None:
            return False
        if (self.known.expected or 0.0) > self.budget:
            return True
        return None if self.total.expected is None else False


def stack_cost(stack: Stack, prices: Prices, dollar: float | None = None) -> StackCost:
    """Returns what a stack costs a month.

    Args:
        stack: as declared.
        prices: in dollars.
        dollar: what one costs in the stack's currency, where that is another one.

    Raises:
        ConfigError: the stack's currency is another one, and the dollar's price is not given.
    """
    uses = {name: uses_of(stack.services, name, it) for name, it in stack.gpu_pools.items()}
    rate = dollar_rate(stack, dollar)
    pools = {
        name: pool_cost(stack, name, pool, uses[name], prices, rate)
        for name, pool in stack.gpu_pools.items()
    }
    return StackCost(
        stack.cost.currency if stack.cost else "USD",
        stack.cost.monthly_budget if stack.cost else None,
        tuple(pools.values()),
        tuple(
            _service_cost(name, pools[it.runtime.gpu.pool], uses[it.runtime.gpu.pool][name])
            if it.runtime.gpu
            else ServiceCost(name, None, {}, Range(0.0, 0.0, 0.0), UNKNOWN, (_NO_GPU,))
            for name, it in stack.services.items()
        ),
    )


def pool_cost(
    stack: Stack, name: str, pool: GpuPool, uses: Mapping[str, Use], prices: Prices, rate: float
) -> PoolCost:
    """Returns what a pool costs a month.

    Args:
        stack: that it belongs to.
        name: of the pool.
        pool: as declared.
        uses: of the pool, by service.
        prices: in dollars.
        rate: what a dollar costs in the stack's currency.
    """
    region = stack.aws.region if stack.aws else ""
    match pool:
        case ExistingPool():
            hardware = stack.cost.own_hardware.get(name) if stack.cost else None
            return existing_cost(name, pool, hardware)
        case EksPool():
            found = eks_cost(name, pool, uses, prices, region)
        case KarpenterPool():
            found = karpenter_cost(name, pool, uses, prices, region)
    return replace(found, cost=found.cost.times(rate))


def dollar_rate(stack: Stack, dollar: float | None) -> float:
    """Returns what a dollar costs in a stack's currency; see `stack_cost`."""
    currency = stack.cost.currency if stack.cost else "USD"
    bought = all(isinstance(it, ExistingPool) for it in stack.gpu_pools.values())
    if currency == "USD" or bought:
        return 1.0
    if dollar is None:
        what = f"prices are in dollars: say by --dollar what one costs in {currency}"
        raise ConfigError([Problem("modelramp:cost.currency", what)])
    return dollar


def _service_cost(name: str, pool: PoolCost, use: Use) -> ServiceCost:
    """Returns a service's share of its pool, by its GPUs; never more than the pool has."""
    wanted = use.pods.times(use.gpus)
    gpus = each(lambda all_, own: own if all_ is None else min(all_, own), pool.gpus, wanted)
    cost = each(_share, pool.cost, pool.gpus, gpus)
    return ServiceCost(name, pool.name, use.roles, gpus, cost, pool.why)


def _share(cost: float | None, of: float | None, own: float) -> float | None:
    if own == 0:
        return 0.0
    return None if cost is None or not of else cost * own / of
