# pyright: basic
"""Costs, each derived by hand from prices that are not the real ones."""

from __future__ import annotations

import pytest

from models.errors import ConfigError
from models.prices import Prices
from models.stack import Stack, parse_stack
from review.amounts import Range
from review.cost import StackCost, stack_cost
from tests.stacks import DIGEST, OTHER

MONTH = 730

PRICES = Prices.model_validate(
    {
        "sources": [{"at": "2026-07-20", "of": "onDemand", "what": "the tests"}],
        "instances": {
            "g5.xlarge": {
                "gpu": "A10G",
                "gpus": 1,
                "vcpus": 4,
                "memoryGib": 16,
                "regions": {"eu-central-1": {"onDemand": 1.2, "spot": 0.5}},
            },
            "g5.2xlarge": {
                "gpu": "A10G",
                "gpus": 1,
                "vcpus": 8,
                "memoryGib": 32,
                "regions": {"eu-central-1": {"onDemand": 1.6, "spot": 0.7}},
            },
            "g5.12xlarge": {
                "gpu": "A10G",
                "gpus": 4,
                "vcpus": 48,
                "memoryGib": 192,
                "regions": {"eu-central-1": {"onDemand": 6}},
            },
        },
        "cards": {},
    }
)

VERSIONS = f"""{{
        "1.0.0": {{uri: "s3://m/a", digest: "{DIGEST}", registry: "models:/m/1"}},
        "2.0.0": {{uri: "s3://m/b", digest: "{OTHER}", registry: "models:/m/2"}},
        "0.9.0": {{uri: "s3://m/c", digest: "{OTHER[:-1]}2", registry: "models:/m/3"}}}}"""


def service(rollout: str = "", *, pool: str = "p", runtime: str = "", more: str = "") -> str:
    return f"""
    chat:
      owner: a
      runtime: {{kind: vllm, replicas: 2, gpu: {{pool: {pool}}}{runtime}}}
      versions: {VERSIONS}
      strategy: {{kind: canary, steps: [10, 50, 100]}}
      slo: {{errorRate: 0.01, latency: {{thresholdMs: 100, share: 0.9}}}}
      {more}
      {f"rollout: {rollout}" if rollout else ""}
"""


def stack(pool: str, services: str = "", cost: str = "", region: str = "eu-central-1") -> Stack:
    text = f"""\
config:
  modelramp:cluster:
    {{target: eks, namespace: m, gateway: g/m, prometheus: "http://p:9090"}}
  modelramp:aws: {{region: {region}, eks: {{cluster: c, subnetIds: [subnet-0a1b]}}}}
  modelramp:gpuPools: {{p: {pool}}}
  {f"modelramp:cost: {cost}" if cost else ""}
  modelramp:services: {services or "{}"}
"""
    return parse_stack(text, "x")


def of(pool: str, services: str = "", cost: str = "", **more: str) -> StackCost:
    return stack_cost(stack(pool, services, cost, **more), PRICES)


def near(found: Range, *expected: float | None) -> None:
    for got, wanted in zip(found.amounts, expected, strict=True):
        assert got == (None if wanted is None else pytest.approx(wanted))


STABLE = '{stable: "1.0.0"}'


def canary(percent: int, more: str = "") -> str:
    moves = f'[{{percent: {percent}, at: "2026-11-23T08:00:00Z"}}]'
    return f'{{stable: "1.0.0", candidate: "2.0.0", moves: {moves}{more}}}'


EKS = "{provider: eks, instanceTypes: [g5.xlarge, g5.2xlarge], min: 1, max: 6}"
SPOT = (
    "{provider: eks, instanceTypes: [g5.xlarge, g5.2xlarge], max: 6, spot: true, onDemandBase: 2}"
)


def test_on_demand_from_the_least_nodes_to_the_cap():
    (pool,) = of(EKS).pools
    near(pool.gpus, 1, 1, 6)
    # One node of the cheapest; the first type; six of the dearest.
    near(pool.cost, 1.2 * MONTH, 1.2 * MONTH, 6 * 1.6 * MONTH)


def test_a_base_on_demand_and_the_rest_as_spot():
    found = of(
        SPOT,
        service(canary(10)),
    )
    (pool,) = found.pools
    # Stable has 2 pods, the candidate 1 of 2 for its next step, 50%: 3 nodes, 2 of them the base.
    near(pool.gpus, 2, 3, 6)
    near(
        pool.cost,
        2 * 1.2 * MONTH,
        # As spot, the mean of both types.
        (2 * 1.2 + 0.6) * MONTH,
        # Spot never costs more than on demand.
        6 * 1.6 * MONTH,
    )


def test_candidate_and_previous_count_with_the_pods_they_have():
    moved = canary(50, ', previous: {version: "0.9.0", until: "2026-11-24T08:00:00Z"}')
    (chat,) = of(EKS, service(moved)).services
    # The candidate is at 50% and has what 100% takes.
    assert chat.roles == {"stable": 2, "candidate": 2, "previous": 2}
    near(chat.gpus, 2, 6, 6)
    (chat,) = of(EKS, service(moved, more="keepPrevious: {for: 1h, replicas: min}")).services
    assert chat.roles["previous"] == 1
    near(chat.cost, 2 * 1.2 * MONTH, 5 * 1.2 * MONTH, 5 * 1.6 * MONTH)


def test_a_shadow_counts_with_the_pods_for_its_copies():
    shadow = service(canary(0))
    shadow = shadow.replace("{kind: canary, steps: [10, 50, 100]}", "{kind: shadow, mirror: 50}")
    (chat,) = of(EKS, shadow).services
    assert chat.roles == {"stable": 2, "candidate": 1}
    near(chat.gpus, 2, 3, 6)


def test_autoscaling_from_zero_to_its_most():
    scaled = ", scaling: {max: 3, metric: requests, target: 1, zero: true}"
    low = service(STABLE, runtime=scaled, more="risk: low")
    (chat,) = of("{provider: eks, instanceTypes: [g5.xlarge], max: 20}", low).services
    # Nothing; the declared replicas; stable, a candidate and previous with 3 pods each.
    near(chat.gpus, 0, 2, 9)
    near(chat.cost, 0, 2 * 1.2 * MONTH, 9 * 1.2 * MONTH)


def test_what_is_not_served_yet_is_expected_to_be():
    (chat,) = of(EKS, service()).services
    near(chat.gpus, 0, 2, 6)


def test_shared_gpus_are_paid_for_once():
    shared = (
        "{provider: eks, instanceTypes: [g5.xlarge], max: 6, shareGroup: s, "
        "sharing: {kind: time-slicing, replicas: 4}}"
    )
    found = of(shared, service(STABLE, more="shareGroup: s"))
    near(found.services[0].gpus, 0.5, 0.5, 1.5)
    near(found.pools[0].gpus, 1, 1, 6)
    near(found.services[0].cost, 0.6 * MONTH, 0.6 * MONTH, 1.5 * 1.2 * MONTH)


KARPENTER = "{provider: karpenter, instanceFamilies: [g5], ami: al2023@v20260810, maxGpus: 8%s}"


def test_karpenter_takes_the_cheapest_that_the_pods_fit_on():
    found = of(KARPENTER % "", service(STABLE))
    # Nothing without pods would be 0, but stable has two; the most is two g5.12xlarge against
    # eight g5.2xlarge: 8 x 1.6 > 2 x 6.
    near(found.pools[0].cost, 2 * 1.2 * MONTH, 2 * 1.2 * MONTH, 8 * 1.6 * MONTH)
    near(found.pools[0].gpus, 2, 2, 8)
    # 20 GiB do not fit on 16, and 4 CPUs not on a node of 4.
    for more in (', memory: "20Gi"', ', cpu: "4"'):
        found = of(KARPENTER % "", service(STABLE, runtime=more))
        near(found.pools[0].cost, 2 * 1.6 * MONTH, 2 * 1.6 * MONTH, 8 * 1.6 * MONTH)
    found = of(KARPENTER % ", instanceSizes: [12xlarge]", service(STABLE))
    # Two pods on one node of four GPUs, all of which are paid for.
    near(found.pools[0].cost, 6 * MONTH, 6 * MONTH, 12 * MONTH)
    near(found.pools[0].gpus, 4, 4, 8)
    near(found.services[0].cost, 3 * MONTH, 3 * MONTH, 9 * MONTH)
    assert of(KARPENTER % "").pools[0].cost.least == 0


def test_karpenter_takes_spot_where_it_may():
    found = of(KARPENTER % ", capacityTypes: [spot, on-demand]", service(STABLE))
    near(found.pools[0].cost, 2 * 0.5 * MONTH, 2 * 0.5 * MONTH, 8 * 1.6 * MONTH)


def test_what_has_no_price_is_unknown_and_said():
    found = of(EKS, service(STABLE), "{monthlyBudget: 10000}", region="eu-west-3")
    (pool,) = found.pools
    near(pool.cost, None, None, None)
    assert pool.why == (
        "g5.xlarge has no known price on demand in eu-west-3",
        "g5.2xlarge has no known price on demand in eu-west-3",
    )
    near(found.services[0].cost, None, None, None)
    near(found.total, None, None, None)
    assert found.is_over_budget is None
    (pool,) = of(KARPENTER % "", region="eu-west-3").pools
    near(pool.cost, 0, 0, None)
    (pool,) = of(KARPENTER % "", service(STABLE), region="eu-west-3").pools
    near(pool.cost, None, None, None)
    assert pool.why[0].startswith("no instance of the pool that fits a pod of chat")


def test_spot_without_a_price_is_bounded_by_the_price_on_demand():
    spot = (
        "{provider: eks, instanceTypes: [g5.12xlarge], gpusPerNode: 4, max: 2, min: 1, spot: true}"
    )
    (pool,) = of(spot).pools
    near(pool.cost, None, None, 12 * MONTH)
    assert pool.why == ("g5.12xlarge has no known price as spot in eu-central-1",)


def test_a_service_without_gpus_has_no_known_price_and_is_not_in_the_total():
    text = service(STABLE).replace("gpu: {pool: p}", 'memory: "2Gi"')
    found = of(EKS, text)
    near(found.services[0].cost, None, None, None)
    assert "nodes that the stack does not declare" in found.services[0].why[0]
    near(found.total, 1.2 * MONTH, 1.2 * MONTH, 6 * 1.6 * MONTH)


OWN = "{provider: existing, nodeSelector: {gpu: a}, maxGpus: 8}"
HARDWARE = (
    "{nodes: 2, purchase: 36000, lifetimeMonths: 36, powerWatts: 2000, "
    "electricityPerKwh: 0.25, operationsPerMonth: 135}"
)


def test_hardware_of_ones_own_costs_the_same_whatever_it_does():
    found = of(OWN, service(STABLE), f"{{ownHardware: {{p: {HARDWARE}}}}}")
    # 36000 / 36 + 2 kW x 730 h x 0.25 + 135 = 1500 a node.
    near(found.pools[0].cost, 3000, 3000, 3000)
    # 2 of 8 GPUs; at most 6.
    near(found.services[0].cost, 750, 750, 2250)
    (pool,) = of(OWN).pools
    near(pool.cost, None, None, None)
    assert pool.why == ("modelramp:cost.ownHardware.p does not say what its nodes cost",)


def test_another_currency_needs_the_price_of_a_dollar():
    declared = stack(EKS, cost="{currency: EUR}")
    with pytest.raises(ConfigError, match="--dollar what one costs in EUR"):
        stack_cost(declared, PRICES)
    found = stack_cost(declared, PRICES, 0.5)
    near(found.total, 0.6 * MONTH, 0.6 * MONTH, 6 * 0.8 * MONTH)
    assert found.currency == "EUR"
    # What is bought in euros is not converted.
    euros = f"{{currency: EUR, ownHardware: {{p: {HARDWARE}}}}}"
    near(of(OWN, cost=euros).total, 3000, 3000, 3000)


@pytest.mark.parametrize(("budget", "over"), [(876, False), (875, True)])
def test_the_budget_is_held_against_what_is_expected(budget: int, over: bool):
    assert of(EKS, cost=f"{{monthlyBudget: {budget}}}").is_over_budget is over


def test_what_is_known_may_be_over_the_budget_though_not_all_is_known():
    declared = stack(EKS, cost="{monthlyBudget: 10}")
    other = stack(EKS.replace("g5.xlarge, g5.2xlarge", "p9.xlarge")).gpu_pools["p"]
    both = declared.model_copy(update={"gpu_pools": {**declared.gpu_pools, "q": other}})
    assert stack_cost(both, PRICES).is_over_budget is True
