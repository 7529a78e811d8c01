# pyright: basic
from __future__ import annotations

import json

from components.gpu_rules import GpuRules, GpuRulesArgs
from tests.components.gpu_pools import POOLS, declare, declare_rules, wrong


def test_the_whole_registration(registered, golden):
    golden("gpu-rules", registered(lambda: declare_rules(*POOLS)))


def test_without_shared_gpus_the_device_plugin_is_left_alone(registered):
    made = registered(lambda: declare_rules("eks", "karpenter", "existing"))
    assert set(made) == {"gpus", "gpus-policy", "gpus-binding"}


def test_nodes_without_a_label_are_not_cut_into_slices(registered):
    made = registered(lambda: declare_rules("eks-slices"))
    configs = made["gpus-slices-nvidia-device-plugin"]["inputs"]["data"]
    assert {key: json.loads(text) for key, text in configs.items()} == {
        "default": {"version": "v1"},
        "modelramp-models-eks-slices": {
            "version": "v1",
            "sharing": {
                "timeSlicing": {
                    "renameByDefault": True,
                    "failRequestsGreaterThanOne": True,
                    "resources": [{"name": "nvidia.com/gpu", "replicas": 4}],
                }
            },
        },
    }


def test_nodes_pick_their_slices_by_the_label_that_the_pool_gives_them(registered):
    made = registered(lambda: declare_rules("eks-mig"))
    (config,) = set(made["gpus-slices-nvidia-device-plugin"]["inputs"]["data"]) - {"default"}
    pool = registered(lambda: declare("eks-mig"))
    assert pool["eks-mig-on-demand"]["inputs"]["labels"] == {
        "modelramp.dev/gpu-pool": "modelramp-models-eks-mig",
        "modelramp.dev/share-group": "payments",
        "nvidia.com/device-plugin.config": config,
        "nvidia.com/mig.config": "all-1g.5gb",
    }


def test_everything_that_is_wrong_is_said_at_once():
    nothing: GpuRulesArgs = {"namespace": "models", "pools": [], "slices": []}
    assert wrong(lambda: GpuRules("a", nothing)) == [("pools", "must name at least one")]
    args: GpuRulesArgs = {
        **nothing,
        "pools": [{"priorityClass": "a", "resource": "gpu", "nodeSelector": {}}],
    }
    assert [path for path, _ in wrong(lambda: GpuRules("a", args))] == [
        "pools[0].resource",
        "pools[0].nodeSelector",
    ]
