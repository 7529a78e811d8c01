# pyright: basic
from __future__ import annotations

import json
from typing import Any

import pytest

from components.from_stack.gpu_pools import gpu_pool_args
from components.gpu_node_pool import GpuNodePool
from models.aws import Aws
from tests.components.gpu_pools import AWS, NAMESPACE, POOLS, declare, wrong


@pytest.mark.parametrize("name", POOLS)
def test_the_whole_registration(name, registered, golden):
    golden(f"gpu-{name}", registered(lambda: declare(name)))


def nodes(made, name):
    return {it.removeprefix(f"{name}-"): made[it]["inputs"] for it in made if it != name}


@pytest.mark.parametrize(
    ("least", "base", "expected"),
    [
        (0, 0, {"spot": (0, 8)}),
        (5, 0, {"spot": (5, 8)}),
        (1, 2, {"on-demand": (2, 2), "spot": (0, 6)}),
        (4, 2, {"on-demand": (2, 2), "spot": (2, 6)}),
    ],
)
def test_both_node_groups_together_have_the_declared_nodes(least, base, expected, registered):
    declared = POOLS["eks-spot"].model_copy(update={"min": least, "on_demand_base": base})
    args = gpu_pool_args(declared, NAMESPACE, AWS)
    made = nodes(registered(lambda: GpuNodePool("a", args)), "a")
    found = {
        name: (int(it["scalingConfig"]["minSize"]), int(it["scalingConfig"]["maxSize"]))
        for name, it in made.items()
        if "scalingConfig" in it
    }
    assert found == expected
    assert sum(most for _, most in found.values()) == 8
    assert made["quota"]["spec"]["hard"] == {"requests.nvidia.com/gpu": "8"}


@pytest.mark.parametrize(
    ("name", "hard"),
    [
        ("eks", {"requests.nvidia.com/gpu": "8"}),  # 2 nodes with 4 each
        ("eks-slices", {"requests.nvidia.com/gpu.shared": "12"}),  # 3 nodes with 1 of 4 slices
        ("eks-mig", {"requests.nvidia.com/mig-1g.5gb": "56"}),  # 1 node with 8 of 7 slices
        ("karpenter", {"requests.nvidia.com/gpu": "8"}),
        ("existing", {"requests.nvidia.com/gpu": "4"}),
    ],
)
def test_the_quota_counts_what_pods_ask_for(name, hard, registered):
    quota = nodes(registered(lambda: declare(name)), name)["quota"]["spec"]
    assert quota["hard"] == hard


def test_pods_cannot_ask_the_node_for_its_credentials(registered):
    template = nodes(registered(lambda: declare("eks")), "eks")["nodes"]
    node_class = nodes(registered(lambda: declare("karpenter")), "karpenter")["node-class"]
    for options in (template["metadataOptions"], node_class["spec"]["metadataOptions"]):
        assert options["httpTokens"] == "required"
        assert options["httpPutResponseHopLimit"] == 1


def test_numbers_may_come_as_the_component_host_gives_them(registered):
    args = gpu_pool_args(POOLS["eks-spot"], NAMESPACE, AWS)
    floats = json.loads(json.dumps(args), parse_int=float)
    expected = registered(lambda: GpuNodePool("eks-spot", args))
    found = registered(lambda: GpuNodePool("eks-spot", floats))
    children = [name for name in expected if name != "eks-spot"]
    assert json.dumps({it: found[it] for it in children}) == json.dumps(
        {it: expected[it] for it in children}
    )


@pytest.mark.parametrize(
    ("region", "partition"),
    [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("eu-central-1", "aws")],
)
def test_policies_are_those_of_the_partition(region, partition, registered):
    aws = AWS.model_copy(update={"region": region})
    made = nodes(registered(lambda: declare("eks", aws=aws)), "eks")
    suffix = ".cn" if partition == "aws-cn" else ""
    assert f'"ec2.amazonaws.com{suffix}"' in made["node"]["assumeRolePolicy"]
    arns = {it["policyArn"] for it in made.values() if "policyArn" in it}
    assert arns == {
        f"arn:{partition}:iam::aws:policy/{name}"
        for name in (
            "AmazonEKSWorkerNodePolicy",
            "AmazonEKS_CNI_Policy",
            "AmazonEC2ContainerRegistryPullOnly",
        )
    }


@pytest.mark.parametrize("name", ["eks", "karpenter"])
def test_a_role_made_elsewhere_is_used_as_it_is(name, registered):
    arn = "arn:aws:iam::123456789012:role/platform/gpu-nodes"
    aws = Aws.model_validate(
        {"region": "eu-central-1", "eks": {"cluster": "prod", "nodeRoleArn": arn}}
    )
    declared = POOLS[name].model_copy(update={"subnet_ids": ("subnet-1",)})
    made = registered(lambda: GpuNodePool(name, gpu_pool_args(declared, NAMESPACE, aws)))
    assert not [it for it in made.values() if it["type"].startswith("aws:iam")]
    inputs = nodes(made, name)
    if name == "eks":
        assert inputs["on-demand"]["nodeRoleArn"] == arn
    else:
        # Karpenter takes its name, without the path.
        assert inputs["node-class"]["spec"]["role"] == "gpu-nodes"
        assert "node-access" not in inputs


def test_karpenter_finds_subnets_and_security_groups_by_the_tag_of_the_cluster(registered):
    aws = Aws.model_validate({"region": "eu-central-1", "eks": {"cluster": "prod"}})
    spec = nodes(registered(lambda: declare("karpenter", aws=aws)), "karpenter")["node-class"][
        "spec"
    ]
    by_tag = [{"tags": {"karpenter.sh/discovery": "prod"}}]
    assert spec["subnetSelectorTerms"] == spec["securityGroupSelectorTerms"] == by_tag


def test_everything_that_is_wrong_is_said_at_once():
    args: Any = gpu_pool_args(POOLS["eks-slices"], "m" * 60, AWS)
    args["taints"] = [{"key": "a", "value": "b", "effect": "Never"}]
    karpenter: Any = gpu_pool_args(POOLS["karpenter"], NAMESPACE, AWS)
    args["karpenter"] = {
        **karpenter["karpenter"],
        "instanceFamilies": [],
        "capacityTypes": [],
        "budgets": [],
        "ami": "al2023@latest",
    }
    args["eks"] = {
        **args["eks"],
        "instanceTypes": [],
        "subnetIds": [],
        "minNodes": 4,
        "onDemandBase": 1,
    }
    args["sharing"]["podsPerGpu"] = 0
    del args["shareGroup"]
    assert wrong(lambda: GpuNodePool("a", args)) == [
        ("namespace", f"modelramp-{'m' * 60}-a is longer than 63, so it is no label"),
        ("sharing", "only with shareGroup: unrelated services share no GPU"),
        ("sharing.podsPerGpu", "must be at least 1"),
        ("sharing", "not with karpenter, which counts the GPUs of the hardware"),
        ("taints[0].effect", "must be one of NoSchedule, PreferNoSchedule, NoExecute"),
        ("eks", "`eks` and `karpenter` are mutually exclusive"),
        ("eks.instanceTypes", "must name at least one type"),
        ("eks.subnetIds", "must name at least one subnet"),
        ("eks.minNodes", "must be from 0 to 3 nodes, got 4"),
        ("eks.onDemandBase", "goes with spot"),
        ("karpenter.instanceFamilies", "must name at least one family"),
        ("karpenter.capacityTypes", "must name at least one"),
        ("karpenter.budgets", "must hold one: without, Karpenter takes 10%"),
        ("karpenter.ami", "must be a pinned al2023@v<date>, got 'al2023@latest'"),
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"gpusPerNode": 3}, "must divide maxGpus 8, got 3"),
        ({"gpusPerNode": 0}, "must divide maxGpus 8, got 0"),
        ({"spot": True, "onDemandBase": 2}, "must be from 0 to 1 nodes, got 2"),
    ],
)
def test_nodes_that_do_not_add_up_are_refused(change, reason):
    args: Any = gpu_pool_args(POOLS["eks"], NAMESPACE, AWS)
    args["eks"] = {**args["eks"], **change}
    assert [it for _, it in wrong(lambda: GpuNodePool("a", args))] == [reason]


def test_a_pool_without_gpus_is_refused():
    args = gpu_pool_args(POOLS["existing"], NAMESPACE, None)
    args["maxGpus"] = 0
    assert wrong(lambda: GpuNodePool("a", args)) == [("maxGpus", "must be at least 1, got 0")]
