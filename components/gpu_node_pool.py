"""A pool of GPUs with a hard cap: its nodes, if any are to be made, and its quota."""

from typing import NotRequired, TypedDict

import pulumi

from components.arguments import refuse
from components.eks_node_group import EksNodesArgs, declare_eks_nodes, eks_problems
from components.gpu_nodes import Nodes, TaintArgs
from components.gpu_quota import declare_quota
from components.karpenter_pool import (
    KarpenterNodesArgs,
    declare_karpenter_nodes,
    karpenter_problems,
)
from models.gpu_pool import (
    DEVICE_PLUGIN_LABEL,
    MIG_LABEL,
    POOL_LABEL,
    SHARE_GROUP,
    pool_object_name,
)

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_LONGEST_LABEL = 63


class GpuSharingArgs(TypedDict):
    """One GPU for several pods of the pool's share group."""

    resource: str
    """What a pod asks for then: nvidia.com/gpu.shared or nvidia.com/mig-<profile>."""

    podsPerGpu: int
    """Time slices, or slices of the profile, of one GPU."""

    migProfile: NotRequired[str]
    """Profile of each slice; absent with time-slicing."""


class GpuNodePoolArgs(TypedDict):
    """Arguments of `GpuNodePool`."""

    namespace: str
    """Namespace of the pods; the quota holds in it."""

    maxGpus: int
    """The cap, in whole GPUs."""

    resource: str
    """What the device plugin calls a whole GPU, such as nvidia.com/gpu."""

    shareGroup: NotRequired[str]
    """Dedicates the nodes to this group, by a taint."""

    sharing: NotRequired[GpuSharingArgs]
    """One GPU for several pods; only with shareGroup."""

    labels: dict[str, str]
    """Further labels of the nodes."""

    taints: list[TaintArgs]
    """Further taints of the nodes."""

    tags: dict[str, str]
    """Of all AWS resources."""

    eks: NotRequired[EksNodesArgs]
    """Nodes in managed node groups; without this and karpenter, nodes are there already."""

    karpenter: NotRequired[KarpenterNodesArgs]
    """Nodes that Karpenter makes."""


class GpuNodePool(pulumi.ComponentResource):
    """Nodes with GPUs, made by EKS or Karpenter or there already, and the cap on them.

    The cap holds twice: no more nodes are made, and a quota refuses pods beyond it.
    """

    priority_class: pulumi.Output[str]
    """By which the quota counts pods; it is also the value of the nodes' label."""

    def __init__(
        self, name: str, args: GpuNodePoolArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        _validate(name, args)
        super().__init__("modelramp:index:GpuNodePool", name, dict(args), opts)
        object_name = pool_object_name(args["namespace"], name)
        nodes = Nodes(
            name=name,
            object_name=object_name,
            max_gpus=int(args["maxGpus"]),
            advertised=_advertised(args),
            labels=_labels(object_name, args),
            taints=_taints(args),
            tags={**args["tags"], POOL_LABEL: object_name},
        )
        if "eks" in args:
            declare_eks_nodes(nodes, args["eks"], self)
        if "karpenter" in args:
            declare_karpenter_nodes(nodes, args["karpenter"], self)
        resource, per_gpu = nodes.advertised
        hard = {resource: str(nodes.max_gpus * per_gpu)}
        self.priority_class = declare_quota(name, object_name, args["namespace"], hard, self)
        self.register_outputs({"priorityClass": self.priority_class})


def _advertised(args: GpuNodePoolArgs) -> tuple[str, int]:
    if "sharing" not in args:
        return args["resource"], 1
    return args["sharing"]["resource"], int(args["sharing"]["podsPerGpu"])


def _labels(object_name: str, args: GpuNodePoolArgs) -> dict[str, str]:
    labels = {**args["labels"], POOL_LABEL: object_name}
    if "shareGroup" in args:
        labels[SHARE_GROUP] = args["shareGroup"]
    if "sharing" in args:
        labels[DEVICE_PLUGIN_LABEL] = object_name
        if "migProfile" in args["sharing"]:
            labels[MIG_LABEL] = f"all-{args['sharing']['migProfile']}"
    return labels


def _taints(args: GpuNodePoolArgs) -> list[TaintArgs]:
    # The first keeps pods without GPUs away. EKS makes every GPU pod tolerate it, so it cannot
    # dedicate nodes: that takes a taint of our own.
    taints = [TaintArgs(key=args["resource"], value="present", effect="NoSchedule")]
    if "shareGroup" in args:
        taints.append(TaintArgs(key=SHARE_GROUP, value=args["shareGroup"], effect="NoSchedule"))
    return [*taints, *args["taints"]]


def _validate(name: str, args: GpuNodePoolArgs) -> None:
    """Raises `InputPropertiesError` with everything that is wrong."""
    found: list[tuple[str, str]] = []
    most = int(args["maxGpus"])
    if most < 1:
        found.append(("maxGpus", f"must be at least 1, got {most}"))
    whole = pool_object_name(args["namespace"], name)
    if len(whole) > _LONGEST_LABEL:
        found.append(("namespace", f"{whole} is longer than {_LONGEST_LABEL}, so it is no label"))
    if "sharing" in args:
        if "shareGroup" not in args:
            found.append(("sharing", "only with shareGroup: unrelated services share no GPU"))
        if int(args["sharing"]["podsPerGpu"]) < 1:
            found.append(("sharing.podsPerGpu", "must be at least 1"))
        if "karpenter" in args:
            found.append(("sharing", "not with karpenter, which counts the GPUs of the hardware"))
    for index, taint in enumerate(args["taints"]):
        if taint["effect"] not in _EFFECTS:
            found.append((f"taints[{index}].effect", f"must be one of {', '.join(_EFFECTS)}"))
    if "eks" in args and "karpenter" in args:
        found.append(("eks", "`eks` and `karpenter` are mutually exclusive"))
    if "eks" in args:
        found += eks_problems(args["eks"], most)
    if "karpenter" in args:
        found += karpenter_problems(args["karpenter"])
    refuse("GpuNodePool", found)
