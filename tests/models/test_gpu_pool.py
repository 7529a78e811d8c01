# pyright: basic
from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from models.aws import Aws
from models.gpu_pool import (
    GpuPool,
    capacity_gpus,
    placement_problems,
    pods_per_gpu,
    pool_problems,
    requested_resource,
)

POOL = TypeAdapter(GpuPool)
EKS = {"provider": "eks", "instanceTypes": ["g5.xlarge"], "max": 8}
FOURS = {**EKS, "instanceTypes": ["g5.12xlarge"], "gpusPerNode": 4}
KARPENTER = {
    "provider": "karpenter",
    "instanceFamilies": ["g6"],
    "maxGpus": 8,
    "ami": "al2023@v20260810",
}
EXISTING = {"provider": "existing", "nodeSelector": {"rack": "r1"}, "maxGpus": 4}
SLICES = {"kind": "time-slicing", "replicas": 4}
MIG = {"kind": "mig", "profile": "1g.5gb", "slices": 7}
EKS_CLUSTER = {"cluster": "prod", "subnetIds": ["subnet-1"]}


def refused(declared: dict) -> str:
    with pytest.raises(ValidationError) as error:
        POOL.validate_python(declared)
    return str(error.value)


@pytest.mark.parametrize("declared", [EKS, KARPENTER, EXISTING])
def test_the_shortest_declarations(declared):
    pool = POOL.validate_python(declared)
    assert pool.resource == "nvidia.com/gpu"
    assert pool.share_group is None


@pytest.mark.parametrize(
    ("declared", "gpus"),
    [(EKS, 8), (FOURS, 32), (KARPENTER, 8), (EXISTING, 4)],
)
def test_the_cap_is_in_whole_gpus(declared, gpus):
    assert capacity_gpus(POOL.validate_python(declared)) == gpus


@pytest.mark.parametrize(
    ("sharing", "pods", "resource"),
    [
        (None, 1, "nvidia.com/gpu"),
        (SLICES, 4, "nvidia.com/gpu.shared"),
        (MIG, 7, "nvidia.com/mig-1g.5gb"),
    ],
)
def test_what_pods_ask_for(sharing, pods, resource):
    pool = POOL.validate_python({**EKS, "shareGroup": "payments", "sharing": sharing})
    assert (pods_per_gpu(pool.sharing), requested_resource(pool)) == (pods, resource)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({**EKS, "min": 9}, "min 9 is more than max 8"),
        ({**EKS, "onDemandBase": 1}, "onDemandBase goes with spot: true"),
        ({**EKS, "spot": True, "onDemandBase": 8}, "leaves no spot node under max 8"),
        ({**EKS, "sharing": SLICES}, "sharing is allowed only with shareGroup"),
        (
            {**EKS, "shareGroup": "a", "sharing": MIG, "resource": "amd.com/gpu"},
            "resource must be nvidia.com/gpu",
        ),
        ({**EKS, "labels": {"node.kubernetes.io/a": "b"}}, "node.kubernetes.io/a: the domains"),
        ({**EKS, "taints": [{"key": "karpenter.sh/a"}]}, "karpenter.sh/a: the domains"),
        ({**EKS, "labels": {"a b": "c"}}, "labels"),
        ({**EKS, "amiRelease": "latest"}, "amiRelease"),
        (
            {**EKS, "instanceTypes": ["g5.xlarge", "g5.12xlarge"]},
            "g5.12xlarge has 4 whole NVIDIA GPUs, gpusPerNode says 1",
        ),
        ({**EKS, "instanceTypes": ["g6f.xlarge"]}, "g6f.xlarge has 0 whole NVIDIA GPUs"),
        ({**EKS, "instanceTypes": ["g5"]}, "instanceTypes"),
        ({**KARPENTER, "instanceFamilies": ["g6", "g5g"]}, "g5g has no whole NVIDIA GPU on amd64"),
        ({**EKS, "rootVolume": {"throughputMibPerSecond": 1000}}, "3000 iops allow"),
        ({**KARPENTER, "ami": "al2023@latest"}, "ami"),
        ({**KARPENTER, "shareGroup": "a", "sharing": SLICES}, "Karpenter counts the GPUs of"),
        ({**KARPENTER, "gpusPerNode": 16}, "no node could ever be made"),
        ({**KARPENTER, "disruption": {"budgets": []}}, "budgets"),
        (
            {**KARPENTER, "disruption": {"budgets": [{"nodes": "1", "schedule": "@daily"}]}},
            "schedule and duration come together",
        ),
        (
            {
                **KARPENTER,
                "disruption": {
                    "budgets": [{"nodes": "1", "schedule": "@daily", "duration": "90s"}]
                },
            },
            "whole minutes",
        ),
        ({**EXISTING, "nodeSelector": {}}, "nodeSelector"),
        ({**EXISTING, "labels": {"a": "b"}}, "nodeSelector says which they have"),
        ({**EXISTING, "maxGpus": 0}, "maxGpus"),
        ({**EXISTING, "provider": "gke"}, "'eks', 'karpenter', 'existing'"),
    ],
)
def test_what_is_refused(declared, said):
    assert said in refused(declared)


def test_everything_that_is_wrong_is_said_at_once():
    text = refused(
        {**EKS, "min": 9, "onDemandBase": 1, "sharing": SLICES, "labels": {"k8s.io/a": ""}}
    )
    for said in ("min 9", "onDemandBase", "shareGroup", "k8s.io/a"):
        assert said in text


@pytest.mark.parametrize(
    ("declared", "aws", "said"),
    [
        (EKS, None, ["provider eks needs modelramp:aws.eks, the nodes' cluster"]),
        (KARPENTER, {}, ["provider karpenter needs modelramp:aws.eks, the nodes' cluster"]),
        (
            EKS,
            {"eks": {"cluster": "prod"}},
            ["a managed node group needs subnetIds, here or in modelramp:aws.eks"],
        ),
        ({**EKS, "subnetIds": ["subnet-2"]}, {"eks": {"cluster": "prod"}}, []),
        (KARPENTER, {"eks": {"cluster": "prod"}}, []),
        (EKS, {"eks": EKS_CLUSTER}, []),
        (EXISTING, None, []),
    ],
)
def test_a_pool_in_its_stack(declared, aws, said):
    account = None if aws is None else Aws.model_validate({"region": "eu-central-1", **aws})
    assert pool_problems("models", "a10g", POOL.validate_python(declared), account) == said


def test_names_must_fit_a_label():
    pool = POOL.validate_python(EXISTING)
    (said,) = pool_problems("n" * 40, "p" * 40, pool, None)
    assert "is longer than 63" in said


@pytest.mark.parametrize(
    ("declared", "group", "count", "said"),
    [
        (EKS, "fraud", 1, []),
        (EKS, "fraud", 2, ["no node of the pool has 2 of nvidia.com/gpu: at most 1"]),
        (FOURS, "fraud", 4, []),
        (KARPENTER, "fraud", 8, []),
        (KARPENTER, "fraud", 9, ["no node of the pool has 9 of nvidia.com/gpu: at most 8"]),
        (
            {**EKS, "shareGroup": "payments"},
            "fraud",
            1,
            ["the pool is dedicated to share group payments, the service is in fraud"],
        ),
        ({**EKS, "shareGroup": "payments"}, "payments", 1, []),
        ({**EKS, "shareGroup": "payments", "sharing": MIG}, "payments", 7, []),
        (
            {**EKS, "shareGroup": "payments", "sharing": SLICES},
            "payments",
            2,
            ["a pod of a time-sliced pool asks for 1: more would be no more of a GPU"],
        ),
    ],
)
def test_a_service_in_a_pool(declared, group, count, said):
    assert placement_problems(POOL.validate_python(declared), group, count) == said


@pytest.mark.parametrize(
    ("region", "partition"),
    [("eu-central-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")],
)
def test_the_partition_of_a_region(region, partition):
    assert Aws.model_validate({"region": region}).partition == partition


@pytest.mark.parametrize(
    "wrong",
    [
        {"region": "Frankfurt"},
        {"eks": {"cluster": ""}},
        {"eks": {"cluster": "a", "version": "latest"}},
        {"eks": {"cluster": "a", "nodeRoleArn": "gpu-nodes"}},
        {"permissionsBoundaryArn": "boundary"},
    ],
)
def test_what_is_no_aws(wrong):
    with pytest.raises(ValidationError):
        Aws.model_validate({"region": "eu-central-1", **wrong})
