"""Where GPU pods run: on nodes of one pool, and never beside pods of another share group."""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

import pulumi

from models.gpu_pool import SHARE_GROUP


class TolerationArgs(TypedDict):
    """One toleration of a pod."""

    key: str
    """Key of the taint."""

    operator: str
    """Equal or Exists."""

    value: NotRequired[str]
    """Value of the taint, with Equal."""

    effect: NotRequired[str]
    """Effect of the taint; all, if absent."""


class GpuPlacementArgs(TypedDict):
    """The GPUs of each pod, and where they are."""

    pool: str
    """Name of the pool."""

    count: int
    """GPUs, or slices of them, of each pod."""

    resource: str
    """What a pod asks for, such as nvidia.com/gpu."""

    shareGroup: str
    """No GPU node ever has pods of two share groups."""

    nodeSelector: Mapping[str, str]
    """Labels of the pool's nodes."""

    tolerations: list[TolerationArgs]
    """For the taints of the pool's nodes."""

    priorityClass: pulumi.Input[str]
    """By which the pool's quota counts the pod."""


def pod_fields(placement: GpuPlacementArgs) -> dict[str, Any]:
    """Returns the fields of a pod's spec that bind it to its pool."""
    return {
        "nodeSelector": dict(placement["nodeSelector"]),
        "tolerations": [dict(it) for it in placement["tolerations"]],
        "priorityClassName": placement["priorityClass"],
        "affinity": {
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    apart_from_others(placement["shareGroup"])
                ]
            }
        },
    }


def pod_labels(placement: GpuPlacementArgs) -> dict[str, str]:
    """Returns the labels of a GPU pod."""
    return {SHARE_GROUP: placement["shareGroup"]}


def gpu_resources(placement: GpuPlacementArgs) -> dict[str, str]:
    """Returns what a container asks for, as limit and as request: GPUs cannot be overcommitted."""
    # The component host hands integers over as floats.
    return {placement["resource"]: str(int(placement["count"]))}


def apart_from_others(share_group: str) -> dict[str, Any]:
    """Returns the anti-affinity term of a share group.

    It holds for pods in all namespaces, and the scheduler keeps it both ways: a later pod of
    another group is kept away too. It needs no label on the node but the one that kubelets set.
    """
    return {
        "topologyKey": "kubernetes.io/hostname",
        "namespaceSelector": {},
        "labelSelector": {
            "matchExpressions": [
                {"key": SHARE_GROUP, "operator": "Exists"},
                {"key": SHARE_GROUP, "operator": "NotIn", "values": [share_group]},
            ]
        },
    }
