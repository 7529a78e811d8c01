"""Rules about what a stack may cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pulumi_policy import Severity

from rules.node_pools import NodePool, node_pools
from rules.policy import Options, stack_policy
from rules.prices import PRICES_FILE, gpus_of, price_per_hour
from rules.reading import Declared, Finding, NotKnown

_TOPIC = "cost"
_HOURS_PER_MONTH = 730
_PROVIDERS = ("pulumi:providers:aws", "pulumi:providers:aws-native")


def _budget(
    resources: Sequence[Declared], options: Options
) -> Iterator[tuple[Declared | None, Finding]]:
    budget = options.get("monthlyBudget")
    if budget is None:
        return
    file = str(options.get("pricesFile", PRICES_FILE))
    regions = {
        str(it.props["region"])
        for it in resources
        if it.type in _PROVIDERS and it.props.get("region")
    }
    total = 0.0
    for pool in node_pools(resources):
        if isinstance(pool, NotKnown):
            yield None, pool
            continue
        region = pool.declared.props.get("region") or pool.declared.provider.get("region")
        where = str(region) if region else next(iter(regions)) if len(regions) == 1 else ""
        cost = _dollars(pool, where, file)
        if isinstance(cost, NotKnown):
            yield pool.declared, cost
        else:
            total += cost
    if total > budget:
        yield None, f"nodes may cost ${total:,.0f} a month; the budget is ${budget:,.0f}"


def _dollars(pool: NodePool, region: str, file: str) -> float | NotKnown:
    """Returns what a pool at its cap costs a month, in US dollars."""
    if pool.most_nodes == 0 or (pool.most_nodes is None and pool.most_gpus == 0):
        return 0.0 if pool.most_nodes == 0 else NotKnown("what its nodes cost is not known")
    if not region:
        return NotKnown("its region is not known, so its price is not")
    kind = "spot" if pool.is_spot else "onDemand"
    prices = {it: price_per_hour(it, region, kind, file) for it in pool.types}
    missing = [it for it, price in prices.items() if price is None]
    if pool.most_nodes is not None:
        if missing or not prices:
            types = ", ".join(missing) or "its instances"
            return NotKnown(f"no {kind} price of {types} in {region} is known")
        # Any of its types may be all there is: the dearest counts.
        dearest = max(price for price in prices.values() if price is not None)
        return _HOURS_PER_MONTH * pool.most_nodes * dearest
    if pool.most_gpus is None:
        return NotKnown("nothing limits it")
    # Karpenter takes the cheapest: that for each GPU counts.
    each = [
        price / gpus
        for it, price in prices.items()
        if price is not None and (gpus := gpus_of(it, file))
    ]
    if not each:
        return NotKnown(f"no {kind} price of its instances in {region} is known")
    return _HOURS_PER_MONTH * pool.most_gpus * min(each)


POLICIES = [
    stack_policy(
        _TOPIC,
        _budget,
        name="within-budget",
        title="Within the budget",
        description="The nodes of a stack should not cost more than its budget.",
        severity=Severity.MEDIUM,
        remediation="Lower the caps of GPU pools or take cheaper instances; `modelramp cost` says "
        "what each pool costs.",
        options={
            "monthlyBudget": {
                "type": ["number", "null"],
                "minimum": 0,
                "default": None,
                "description": "US dollars a month with all pools at their caps; none if null",
            },
            "pricesFile": {
                "type": "string",
                "default": PRICES_FILE,
                "description": "dated prices, in the repository",
            },
        },
    )
]
