"""Nodes, whoever makes them, and what they cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cases import apart, gpu_pod
from evaluate import prepare, run
from raw import Resources, aws, custom
from rules.catalogue import POLICIES

BY_NAME = {policy.name: policy for policy in POLICIES}
REGION = aws("pulumi:providers:aws", "aws", region="eu-central-1")


def told(name: str, stack: Resources, /, **config: Any) -> tuple[list[str], list[str]]:
    """Returns violations, and what could not be checked."""
    found = run(BY_NAME[name], prepare(stack), {name: config})
    violations = [it["message"] for it in found if not it["advice"]]
    return violations, [it["message"] for it in found if it["advice"]]


def group(**changed: Any) -> Resources:
    """An autoscaling group that is made from a launch template."""
    template = aws("aws:ec2/launchTemplate:LaunchTemplate", "template", instanceType="p4d.24xlarge")
    (made,) = aws("aws:autoscaling/group:Group", "group", maxSize=2, **changed)
    return [*template, {**made, "madeFrom": {"launchTemplate": ["template"]}}]


def karpenter(*requirements: tuple[str, str, list[str]], **spec: Any) -> Resources:
    required = [
        {"key": key, "operator": operator, "values": values}
        for key, operator, values in requirements
    ]
    template = {"spec": {"requirements": required}}
    return custom("karpenter.sh/v1", "NodePool", {"template": template, **spec}, "pool")


Requirements = list[tuple[str, str, list[str]]]
FAMILY = "karpenter.k8s.aws/instance-family"
LIMITS = {"limits": {"nvidia.com/gpu": "8"}}


def test_an_autoscaling_group_has_the_type_of_its_template() -> None:
    (said,), _ = told("gpu-cap-of-a-pool", group())
    assert "group may grow to 16 GPUs" in said
    _, advice = told("gpu-cap-of-a-pool", group()[1:])
    assert "launch template is not in this stack" in advice[0]
    overrides = [{"instanceType": "g5.48xlarge"}]
    mixed: dict[str, Any] = {"launchTemplate": {"overrides": overrides}}
    (said,), _ = told("gpu-cap-of-a-pool", group(mixedInstancesPolicy=mixed)[1:])
    assert "16 GPUs" in said


@pytest.mark.parametrize(
    ("requirements", "is_limited"),
    [
        (Requirements(), False),
        ([("node.kubernetes.io/instance-type", "NotIn", ["g5.xlarge"])], False),
        ([(FAMILY, "In", ["m7i", "g6"])], False),
        ([("karpenter.k8s.aws/instance-category", "In", ["g", "p"])], False),
        ([(FAMILY, "In", ["m7i", "c7i"])], True),
        ([("karpenter.k8s.aws/instance-category", "In", ["c", "m", "r"])], True),
        ([("karpenter.k8s.aws/instance-gpu-count", "DoesNotExist", ["0"])], True),
        ([("eks.amazonaws.com/instance-family", "In", ["c7i"])], True),
        ([("eks.amazonaws.com/instance-family", "In", ["g6"])], False),
    ],
)
def test_karpenter_has_a_limit_or_no_gpus(requirements: Requirements, is_limited: bool) -> None:
    assert bool(told("gpu-cap-of-a-pool", karpenter(*requirements))[0]) is not is_limited
    assert not told("gpu-cap-of-a-pool", karpenter(*requirements, **LIMITS))[0]


def test_a_pod_is_apart_from_all_others_or_it_is_not() -> None:
    for expression in ({"key": "app", "operator": "Exists"}, {"operator": "Exists"}):
        affinity = apart("chat")
        required = "requiredDuringSchedulingIgnoredDuringExecution"
        term = affinity["podAntiAffinity"][required][0]
        term["labelSelector"]["matchExpressions"].append(expression)
        (said,), _ = told("no-shared-gpu", gpu_pod(affinity=affinity))
        assert "may land beside another share group than chat" in said
    assert told("no-shared-gpu", gpu_pod()) == ([], [])


def test_nodes_of_one_pool_add_up_and_its_quota_counts_once() -> None:
    labels = {"modelramp.dev/gpu-pool": "modelramp-models-a10g"}
    nodes = [
        it
        for name, most in (("spot", 6), ("on-demand", 2))
        for it in aws(
            "aws:eks/nodeGroup:NodeGroup",
            name,
            instanceTypes=["g5.xlarge", "g5.2xlarge"],
            scalingConfig={"maxSize": most},
            labels=labels,
        )
    ]
    scope = {"scopeName": "PriorityClass", "operator": "In", "values": [*labels.values()]}
    quota = custom(
        "v1",
        "ResourceQuota",
        {
            "hard": {"requests.nvidia.com/gpu": "8"},
            "scopeSelector": {"matchExpressions": [scope]},
        },
        "quota",
    )
    assert told("gpu-cap-in-total", [*nodes, *quota], atMost=8) == ([], [])
    (said,), _ = told("gpu-cap-in-total", [*nodes, *quota], atMost=7)
    assert "may grow to 8 GPUs" in said


def test_a_group_without_a_largest_size_hides_no_other() -> None:
    stack = [*nodes("m7i.large", most=None), *group()]
    (said,), _ = told("gpu-cap-in-total", stack, atMost=8)
    assert "may grow to 16 GPUs" in said
    assert told("gpu-cap-of-a-pool", nodes("g5.xlarge", most=None))[0]


@pytest.mark.parametrize("limit", ["8k", "lots"])
def test_a_limit_that_is_no_plain_number_is_no_small_one(limit: str) -> None:
    assert told("gpu-cap-of-a-pool", karpenter(limits={"nvidia.com/gpu": limit}))[0]
    quota = custom("v1", "ResourceQuota", {"hard": {"requests.nvidia.com/gpu": limit}})
    assert told("gpu-cap-of-a-pool", quota)[0]


@pytest.mark.parametrize(
    "stack",
    [
        aws("aws:ec2/fleet:Fleet", "fleet"),
        aws("aws:sagemaker/endpointConfiguration:EndpointConfiguration", "endpoint"),
        custom("karpenter.sh/v1alpha5", "Provisioner", {}),
    ],
)
def test_other_nodes_may_have_gpus(stack: Resources) -> None:
    for name in ("gpu-cap-of-a-pool", "gpu-cap-in-total"):
        violations, (said,) = told(name, stack)
        assert not violations
        assert "how many GPUs it may have is not known" in said


def test_shares_of_gpus_are_not_taken_for_gpus() -> None:
    quota = custom("v1", "ResourceQuota", {"hard": {"requests.nvidia.com/gpu.shared": "99"}})
    violations, advice = told("gpu-cap-of-a-pool", quota)
    assert not violations
    assert "counts shares of GPUs" in advice[0]


@pytest.fixture
def prices(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "prices.yaml"
    types = {
        "g5.xlarge": {"gpus": 1, "regions": {"eu-central-1": {"onDemand": 1.0, "spot": 0.5}}},
        "g5.2xlarge": {"gpus": 1, "regions": {"eu-central-1": {"onDemand": 2.0}}},
    }
    file.write_text(json.dumps({"instances": types}), encoding="utf-8")
    return {"pricesFile": str(file)}


def nodes(*types: str, most: float | None = 10, **changed: Any) -> Resources:
    made = aws(
        "aws:eks/nodeGroup:NodeGroup",
        "nodes",
        instanceTypes=list(types),
        scalingConfig={"maxSize": most},
        **changed,
    )
    return [*REGION, *made]


def test_nodes_cost_what_the_dearest_of_their_types_costs(prices: dict[str, str]) -> None:
    stack = nodes("g5.xlarge", "g5.2xlarge")
    assert told("within-budget", stack, monthlyBudget=14_600, **prices) == ([], [])
    (said,), _ = told("within-budget", stack, monthlyBudget=14_599, **prices)
    assert said == "nodes may cost $14,600 a month; the budget is $14,599"


def test_spot_nodes_cost_less(prices: dict[str, str]) -> None:
    stack = nodes("g5.xlarge", capacityType="SPOT")
    assert told("within-budget", stack, monthlyBudget=3_650, **prices) == ([], [])
    assert told("within-budget", stack, monthlyBudget=3_649, **prices)[0]


def test_karpenter_costs_what_its_cheapest_gpus_cost(prices: dict[str, str]) -> None:
    stack = [*REGION, *karpenter((FAMILY, "In", ["g5"]), limits={"nvidia.com/gpu": "4"})]
    assert told("within-budget", stack, monthlyBudget=100_000) == ([], [])
    assert told("within-budget", stack, monthlyBudget=2_919, **prices)[0]


@pytest.mark.parametrize(
    ("stack", "why"),
    [
        (nodes("g5.2xlarge", capacityType="SPOT"), "no spot price of g5.2xlarge in eu-central-1"),
        (nodes("m7i.large"), "no onDemand price of m7i.large"),
        (nodes("g5.xlarge")[1:], "its region is not known"),
        (nodes("g5.xlarge", region="mars-north-1"), "in mars-north-1"),
        ([*REGION, *karpenter()], "nothing limits it"),
        ([*REGION, *karpenter((FAMILY, "In", ["m7i"]))], "what its nodes cost is not known"),
    ],
)
def test_a_price_that_is_not_known_is_never_zero(
    stack: Resources, why: str, prices: dict[str, str]
) -> None:
    violations, (said,) = told("within-budget", stack, monthlyBudget=0, **prices)
    assert not violations
    assert said.startswith("could not be checked: ")
    assert why in said


def test_what_is_known_may_be_too_much_already(prices: dict[str, str]) -> None:
    other = aws("aws:ec2/instance:Instance", "other", instanceType="m7i.large")
    stack = [*nodes("g5.xlarge"), *other]
    violations, advice = told("within-budget", stack, monthlyBudget=1, **prices)
    assert violations
    assert advice


def test_a_region_that_is_not_known_yet_is_said(prices: dict[str, str]) -> None:
    region = aws("pulumi:providers:aws", "aws", region="04da6b54-80e4-46f7-96ec-b56ff0331ba9")
    stack = [*region, *nodes("g5.xlarge")[1:]]
    violations, (said,) = told("within-budget", stack, monthlyBudget=0, **prices)
    assert not violations
    assert said.startswith("could not be checked: ")


def test_without_a_budget_nothing_is_asked() -> None:
    assert told("within-budget", nodes("m7i.large")) == ([], [])
