"""What a preview changes of pods, GPUs and their cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from models.gpu_pool import (
    POOL_LABEL,
    SHARE_GROUP,
    EksPool,
    GpuPool,
    KarpenterPool,
    capacity_gpus,
    pods_per_gpu,
    pool_object_name,
    requested_resource,
)
from models.names import SERVICE_LABEL
from models.prices import Prices
from models.stack import Stack
from review.amounts import Range
from review.cost import dollar_rate, pool_cost
from review.gpu_use import Use, quantity, uses_of
from review.pool_cost import PoolCost
from review.preview import State, Step


@dataclass(frozen=True)
class Load:
    """A pool, and what it carries.

    Attributes:
        gpus: that the declared pods have.
        cap: on GPUs.
        cost: a month, in the stack's currency.
    """

    gpus: float
    cap: int
    cost: PoolCost


@dataclass(frozen=True)
class PoolChange:
    """What a preview changes of a pool.

    Attributes:
        name: of the pool.
        before: as it is; None if it is new.
        after: as it is to be.
    """

    name: str
    before: Load | None
    after: Load

    @property
    def cost(self) -> Range:
        """How much more it costs a month; None where a price is unknown."""
        after, before = self.after.cost.cost, self.before and self.before.cost.cost
        return Range(
            *(
                None if b is None or a is None else a - b
                for a, b in zip(after.amounts, before.amounts if before else (0, 0, 0), strict=True)
            )
        )


@dataclass(frozen=True)
class Capacity:
    """What a preview changes of what is paid for.

    Attributes:
        currency: of all amounts.
        pools: those that change.
        pods: declared pods without GPUs, before and after, by service; they have no known price.
        gone: pools that leave, or that the stack file does not declare.
    """

    currency: str
    pools: tuple[PoolChange, ...]
    pods: Mapping[str, tuple[int, int]]
    gone: tuple[str, ...] = ()


def capacity_of(
    steps: Iterable[Step], stack: Stack, prices: Prices, dollar: float | None = None
) -> Capacity:
    """Returns what a preview changes of pods, GPUs and cost.

    Args:
        steps: of the preview.
        stack: as the preview's program has read it: what is after it.
        prices: in dollars.
        dollar: what one costs in the stack's currency, where that is another one.

    Raises:
        ConfigError: the stack's currency is another one, and the dollar's price is not given.
    """
    rate, steps = dollar_rate(stack, dollar), [*steps]
    versions = [it for it in steps if it.kind == "InferenceService"]
    in_pools = {name: [*_of_pool(versions, name, stack)] for name in stack.gpu_pools}
    made = {it.name: it for it in steps if it.kind == "GpuNodePool"}
    changes = [
        _change(name, pool, made.get(name), in_pools[name], stack, prices, rate)
        for name, pool in stack.gpu_pools.items()
        if in_pools[name] or name in made
    ]
    gone = [name for name in made if name not in stack.gpu_pools]
    pooled = {it.urn for of_pool in in_pools.values() for it in of_pool}
    without = [it for it in versions if it.urn not in pooled]
    return Capacity(
        stack.cost.currency if stack.cost else "USD",
        tuple(it for it in changes if it.before != it.after),
        {name: it for name, it in _pods_by_service(without).items() if it[0] != it[1]},
        tuple(gone),
    )


def _of_pool(versions: Iterable[Step], name: str, stack: Stack) -> Iterator[Step]:
    """Yields the versions whose pods run in a pool."""
    whole = pool_object_name(stack.cluster.namespace, name)
    for step in versions:
        predictor = _predictor(step)
        selected = (predictor.get("nodeSelector") or {}).get(POOL_LABEL)
        if whole in (selected, predictor.get("priorityClassName")):
            yield step
            continue
        # Nodes that are there already have labels of their own.
        found = stack.services.get(_service(step))
        gpu = found.runtime.gpu if found and selected is None else None
        if gpu and gpu.pool == name:
            yield step


def _change(
    name: str,
    pool: GpuPool,
    made: Step | None,
    versions: Iterable[Step],
    stack: Stack,
    prices: Prices,
    rate: float,
) -> PoolChange:
    """Returns what happens to a pool: what is after it is in the stack file, before it in steps."""
    after = _now(uses_of(stack.services, name, pool), stack)
    before = dict(after)
    for step in versions:
        service = _service(step)
        use = before.get(service) or _use(step, pool)
        pods = (use.pods.expected or 0) + _pods(step.old) - _pods(step.new)
        before[service] = replace(use, pods=Range(pods, pods, pods))
    was = pool if made is None else _as_it_was(made.old, pool)

    def load(pool: GpuPool, uses: Mapping[str, Use]) -> Load:
        cost = pool_cost(stack, name, pool, uses, prices, rate)
        gpus = sum((it.pods.expected or 0) * it.gpus for it in uses.values())
        return Load(gpus, capacity_gpus(pool), cost)

    return PoolChange(name, load(was, before) if was else None, load(pool, after))


def _now(uses: Mapping[str, Use], stack: Stack) -> dict[str, Use]:
    """Returns uses with the pods that are declared now; a service that serves nothing has none."""
    pods = {name: sum(stack.services[name].least_pods().values()) for name in uses}
    return {name: replace(it, pods=Range(*[pods[name]] * 3)) for name, it in uses.items()}


def _as_it_was(old: State | None, pool: GpuPool) -> GpuPool | None:
    """Returns a pool with what its component said before; None if there was none."""
    if old is None:
        return None
    said: Mapping[str, Any] = old.inputs
    most = int(said["maxGpus"])
    match pool:
        case EksPool() if "eks" in said:
            eks = said["eks"]
            return pool.model_copy(
                update={
                    "instance_types": tuple(eks["instanceTypes"]),
                    "gpus_per_node": int(eks["gpusPerNode"]),
                    "min": int(eks["minNodes"]),
                    "max": most // int(eks["gpusPerNode"]),
                    "spot": eks["spot"],
                    "on_demand_base": int(eks["onDemandBase"]),
                }
            )
        case KarpenterPool() if "karpenter" in said:
            karpenter = said["karpenter"]
            return pool.model_copy(
                update={
                    "instance_families": tuple(karpenter["instanceFamilies"]),
                    "instance_sizes": tuple(karpenter.get("instanceSizes", ())),
                    "capacity_types": tuple(karpenter["capacityTypes"]),
                    "max_gpus": most,
                }
            )
        case EksPool():
            return None  # of another kind before: there is no telling what it cost
        case _:
            return pool.model_copy(update={"max_gpus": most})


def _use(step: Step, pool: GpuPool) -> Use:
    """Returns the use of a service that the stack no longer declares."""
    predictor = _predictor(step)
    container = predictor.get("model") or (predictor.get("containers") or [{}])[0]
    wanted: Mapping[str, str] = container.get("resources", {}).get("requests", {})
    group = predictor.get("labels", {}).get(SHARE_GROUP, _service(step))
    gpus = int(wanted.get(requested_resource(pool), "1")) / pods_per_gpu(pool.sharing)
    cpu, memory = quantity(wanted.get("cpu", "1")), quantity(wanted.get("memory", "1Gi"))
    return Use(group, {}, Range(0, 0, 0), gpus, cpu, memory / 2**30)


def _pods_by_service(versions: Iterable[Step]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for step in versions:
        before, after = found.get(_service(step), (0, 0))
        found[_service(step)] = before + _pods(step.old), after + _pods(step.new)
    return found


def _pods(state: State | None) -> int:
    predictor = state.inputs.get("spec", {}).get("predictor", {}) if state else {}
    least = predictor.get("minReplicas", 1) if predictor else 0
    return int(least) if isinstance(least, int | float) else 0


def _predictor(step: Step) -> Mapping[str, Any]:
    known = step.new or step.old
    return known.inputs.get("spec", {}).get("predictor", {}) if known else {}


def _service(step: Step) -> str:
    known = step.new or step.old
    metadata = known.inputs.get("metadata", {}) if known else {}
    return str((metadata.get("labels") or {}).get(SERVICE_LABEL, step.name))
