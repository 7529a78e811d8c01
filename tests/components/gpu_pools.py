# pyright: basic
"""Declared GPU pools that several tests use, and the components they become."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pulumi.errors import InputPropertiesError
from pydantic import TypeAdapter

from components.from_stack.gpu_pools import gpu_pool_args, gpu_rules_args
from components.gpu_node_pool import GpuNodePool
from components.gpu_rules import GpuRules
from models.aws import Aws
from models.gpu_pool import GpuPool

NAMESPACE = "models"
AWS = Aws.model_validate(
    {
        "region": "eu-central-1",
        "tags": {"team": "ml-platform"},
        "permissionsBoundaryArn": "arn:aws:iam::123456789012:policy/boundary",
        "eks": {
            "cluster": "prod",
            "version": "1.34",
            "subnetIds": ["subnet-0a1b2c3d", "subnet-1a2b3c4d"],
        },
    }
)
DECLARED: dict[str, dict[str, Any]] = {
    "eks": {"provider": "eks", "instanceTypes": ["g5.12xlarge"], "gpusPerNode": 4, "max": 2},
    "eks-spot": {
        "provider": "eks",
        "instanceTypes": ["g5.xlarge", "g5.2xlarge"],
        "min": 1,
        "max": 8,
        "spot": True,
        "onDemandBase": 2,
        "amiRelease": "1.34.2-20260810",
        "rootVolume": {
            "sizeGib": 300,
            "kmsKeyArn": "arn:aws:kms:eu-central-1:123456789012:key/ebs",
        },
        "labels": {"team": "ml"},
        "taints": [{"key": "team", "value": "ml"}, {"key": "quiet", "effect": "NoExecute"}],
    },
    "eks-slices": {
        "provider": "eks",
        "instanceTypes": ["g6.xlarge"],
        "max": 3,
        "shareGroup": "payments",
        "sharing": {"kind": "time-slicing", "replicas": 4},
    },
    "eks-mig": {
        "provider": "eks",
        "instanceTypes": ["p4d.24xlarge"],
        "gpusPerNode": 8,
        "max": 1,
        "shareGroup": "payments",
        "sharing": {"kind": "mig", "profile": "1g.5gb", "slices": 7},
    },
    "karpenter": {
        "provider": "karpenter",
        "instanceFamilies": ["g6", "g6e"],
        "instanceSizes": ["xlarge", "2xlarge"],
        "gpusPerNode": 1,
        "capacityTypes": ["spot", "on-demand"],
        "maxGpus": 8,
        "ami": "al2023@v20260810",
        "shareGroup": "payments",
        "taints": [{"key": "quiet", "effect": "NoSchedule"}],
        "disruption": {
            "consolidationPolicy": "WhenEmptyOrUnderutilized",
            "consolidateAfter": "90s",
            "budgets": [
                {"nodes": "20%", "reasons": ["Empty", "Drifted"]},
                {"nodes": "0", "schedule": "0 8 * * mon-fri", "duration": "10h"},
            ],
            "expireAfter": "14d",
            "terminationGracePeriod": "30m",
        },
    },
    "existing": {
        "provider": "existing",
        "nodeSelector": {"rack": "r1"},
        "taints": [{"key": "rack", "value": "r1", "effect": "NoExecute"}],
        "maxGpus": 4,
    },
}


def pool(declared: dict[str, Any]) -> GpuPool:
    return TypeAdapter(GpuPool).validate_python(declared)


POOLS = {name: pool(declared) for name, declared in DECLARED.items()}


def declare(name: str, namespace: str = NAMESPACE, aws: Aws | None = AWS) -> GpuNodePool:
    return GpuNodePool(name, gpu_pool_args(POOLS[name], namespace, aws))


def declare_rules(*names: str, namespace: str = NAMESPACE) -> GpuRules:
    return GpuRules("gpus", gpu_rules_args({it: POOLS[it] for it in names}, namespace))


def wrong(component: Callable[[], object]) -> list[tuple[str, str]]:
    """Returns what a component says of its arguments, as (path, reason)."""
    with pytest.raises(InputPropertiesError) as error:
        component()
    return [(it["property_path"], it["reason"]) for it in error.value.errors or []]
