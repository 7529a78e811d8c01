# pyright: basic
from __future__ import annotations

from typing import Any

import pytest

from components.from_stack.gpu_pools import gpu_placement_args
from components.gpu_placement import gpu_resources, pod_fields, pod_labels
from tests.components.gpu_pools import NAMESPACE, POOLS, declare, pool


def placed(name: str, group: str = "fraud", count: int = 1) -> Any:
    return gpu_placement_args(NAMESPACE, name, POOLS[name], group, count)


def test_the_fields_of_a_pod():
    placement = placed("karpenter", "payments", 2)
    assert pod_fields(placement) == {
        "nodeSelector": {"modelramp.dev/gpu-pool": "modelramp-models-karpenter"},
        "priorityClassName": "modelramp-models-karpenter",
        "tolerations": [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
            {
                "key": "modelramp.dev/share-group",
                "operator": "Equal",
                "value": "payments",
                "effect": "NoSchedule",
            },
            {"key": "quiet", "operator": "Equal", "value": "", "effect": "NoSchedule"},
        ],
        "affinity": {
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "topologyKey": "kubernetes.io/hostname",
                        "namespaceSelector": {},
                        "labelSelector": {
                            "matchExpressions": [
                                {"key": "modelramp.dev/share-group", "operator": "Exists"},
                                {
                                    "key": "modelramp.dev/share-group",
                                    "operator": "NotIn",
                                    "values": ["payments"],
                                },
                            ]
                        },
                    }
                ]
            }
        },
    }
    assert pod_labels(placement) == {"modelramp.dev/share-group": "payments"}
    assert gpu_resources(placement) == {"nvidia.com/gpu": "2"}


@pytest.mark.parametrize(
    ("name", "resource"),
    [
        ("eks", "nvidia.com/gpu"),
        ("eks-slices", "nvidia.com/gpu.shared"),
        ("eks-mig", "nvidia.com/mig-1g.5gb"),
    ],
)
def test_a_slice_is_not_called_a_gpu(name, resource):
    assert gpu_resources(placed(name)) == {resource: "1"}


def test_a_count_may_come_as_the_component_host_gives_it():
    given: Any = {**placed("eks"), "count": 2.0}
    assert gpu_resources(given) == {"nvidia.com/gpu": "2"}


@pytest.mark.parametrize("name", ["eks", "eks-spot", "eks-slices", "eks-mig", "karpenter"])
def test_pods_fit_the_nodes_that_are_made_for_them(name, registered):
    """Whatever labels and taints nodes get, the pool's pods select and tolerate."""
    fields = pod_fields(placed(name, POOLS[name].share_group or "fraud"))
    made = registered(lambda: declare(name))
    if name == "karpenter":
        template = made["karpenter-node-pool"]["inputs"]["spec"]["template"]
        labels, taints = template["metadata"]["labels"], template["spec"]["taints"]
    else:
        group = made[f"{name}-spot" if name == "eks-spot" else f"{name}-on-demand"]["inputs"]
        labels, taints = group["labels"], group["taints"]
    assert fields["nodeSelector"].items() <= labels.items()
    tolerated = {
        (it["key"], it.get("value")) for it in fields["tolerations"] if it["operator"] == "Equal"
    } | {(it["key"], "present") for it in fields["tolerations"] if it["operator"] == "Exists"}
    assert {(it["key"], it.get("value", "")) for it in taints} <= tolerated


def test_shared_nodes_that_are_there_already_are_those_labelled_for_it():
    shared = pool(
        {
            "provider": "existing",
            "nodeSelector": {"rack": "r1"},
            "maxGpus": 1,
            "shareGroup": "payments",
            "sharing": {"kind": "mig", "profile": "2g.10gb", "slices": 3},
        }
    )
    placement = gpu_placement_args(NAMESPACE, "rack", shared, "payments", 1)
    assert placement["nodeSelector"] == {
        "rack": "r1",
        "nvidia.com/device-plugin.config": "modelramp-models-rack",
        "nvidia.com/mig.config": "all-2g.10gb",
    }


def test_nodes_that_are_there_already_are_found_by_their_own_labels():
    fields = pod_fields(placed("existing"))
    assert fields["nodeSelector"] == {"rack": "r1"}
    assert fields["tolerations"][-1] == {
        "key": "rack",
        "operator": "Equal",
        "value": "r1",
        "effect": "NoExecute",
    }
