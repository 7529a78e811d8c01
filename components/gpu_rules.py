"""What holds for all GPU pools of a namespace together: which GPU pods are let in, and slices."""

import json
from collections.abc import Iterable
from itertools import groupby
from typing import Any, NotRequired, TypedDict, cast

import pulumi
import pulumi_kubernetes as kubernetes

from components.arguments import refuse
from components.gpu_admission import PoolRuleArgs, admission_policy_spec
from models.gpu_pool import NVIDIA_GPU


class SlicesArgs(TypedDict):
    """How NVIDIA's device plugin offers the GPUs of a pool's nodes."""

    config: str
    """Value of the node label nvidia.com/device-plugin.config."""

    namespace: str
    """Where the device plugin runs."""

    replicas: NotRequired[int]
    """Time slices of each GPU; absent with MIG."""


class GpuRulesArgs(TypedDict):
    """Arguments of `GpuRules`."""

    namespace: str
    """Namespace of the pods."""

    pools: list[PoolRuleArgs]
    """All pools that its pods may use."""

    slices: list[SlicesArgs]
    """Of the pools whose GPUs are shared."""


class GpuRules(pulumi.ComponentResource):
    """Lets in only GPU pods that name a pool and keep to it, and configures slices of GPUs.

    A pod that names no pool would be counted by no quota, and one without the anti-affinity could
    land beside another service: so both are refused, whoever makes them, all problems at once.
    """

    def __init__(
        self, name: str, args: GpuRulesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        _validate(args)
        super().__init__("modelramp:index:GpuRules", name, dict(args), opts)
        child = pulumi.ResourceOptions(parent=self)
        policy_name = f"modelramp-{args['namespace']}-gpu-pods"
        policy = kubernetes.admissionregistration.v1.ValidatingAdmissionPolicy(
            f"{name}-policy",
            metadata={"name": policy_name},
            spec=cast("Any", admission_policy_spec(args["pools"])),
            opts=child,
        )
        kubernetes.admissionregistration.v1.ValidatingAdmissionPolicyBinding(
            f"{name}-binding",
            metadata={"name": policy_name},
            spec={
                "policy_name": policy_name,
                "validation_actions": ["Deny"],
                "match_resources": {
                    "namespace_selector": {
                        "match_labels": {"kubernetes.io/metadata.name": args["namespace"]}
                    }
                },
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )
        ordered = sorted(args["slices"], key=_plugin_namespace)
        for namespace, slices in groupby(ordered, key=_plugin_namespace):
            kubernetes.core.v1.ConfigMap(
                f"{name}-slices-{namespace}",
                metadata={"name": f"modelramp-{args['namespace']}", "namespace": namespace},
                data=_plugin_configs(slices),
                opts=child,
            )
        self.register_outputs({})


def _validate(args: GpuRulesArgs) -> None:
    """Raises `InputPropertiesError` with everything that is wrong."""
    found: list[tuple[str, str]] = []
    if not args["pools"]:
        found.append(("pools", "must name at least one"))
    for index, pool in enumerate(args["pools"]):
        if "/" not in pool["resource"]:
            found.append((f"pools[{index}].resource", "must be of the form vendor/resource"))
        if not pool["nodeSelector"]:
            found.append((f"pools[{index}].nodeSelector", "must name at least one label"))
    refuse("GpuRules", found)


def _plugin_namespace(slices: SlicesArgs) -> str:
    return slices["namespace"]


def _plugin_configs(slices: Iterable[SlicesArgs]) -> dict[str, str]:
    # `default` is for nodes without the label: without it, the plugin would take the only other
    # configuration there is, and cut GPUs into slices that nobody declared.
    configs: dict[str, dict[str, Any]] = {"default": {"version": "v1"}}
    for it in slices:
        config: dict[str, Any] = {"version": "v1"}
        if "replicas" in it:
            config["sharing"] = {
                "timeSlicing": {
                    "renameByDefault": True,
                    "failRequestsGreaterThanOne": True,
                    "resources": [{"name": NVIDIA_GPU, "replicas": int(it["replicas"])}],
                }
            }
        else:
            config["flags"] = {"migStrategy": "mixed"}
        configs[it["config"]] = config
    return {key: json.dumps(config, indent=2) for key, config in configs.items()}
