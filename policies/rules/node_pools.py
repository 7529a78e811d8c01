"""Nodes, whoever makes them: managed node groups, autoscaling groups, Karpenter, EC2."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pulumi_policy.proxy import UnknownValueError

from rules.prices import gpus_of, may_have_gpus, types_of
from rules.reading import Declared, NotKnown, at, mapping, mappings, number, sequence

POOL_LABEL = "modelramp.dev/gpu-pool"
GPU_RESOURCE = "nvidia.com/gpu"

# Without their domains: Karpenter and EKS Auto Mode have one each.
_FAMILY, _TYPE, _CATEGORY = "instance-family", "instance-type", "instance-category"
_CAPACITY = "capacity-type"
_GPU_COUNT = "instance-gpu-count"
_GPU_KEYS = (_GPU_COUNT, "instance-gpu-manufacturer")

_OTHER_NODES = frozenset(
    {
        *("ec2/Fleet", "ec2/EC2Fleet", "ec2/SpotFleetRequest", "ec2/SpotFleet"),
        *("batch/ComputeEnvironment", "sagemaker/EndpointConfiguration"),
        *("sagemaker/EndpointConfig", "sagemaker/NotebookInstance"),
    }
)
"""What else may have GPUs; nobody here can say how many."""


@dataclass(frozen=True)
class NodePool:
    """Nodes of one resource.

    Attributes:
        declared: the resource.
        pool: that its nodes are labelled with; the resource's own name without a label.
        types: instance types that its nodes may have; none where Karpenter may take any.
        is_spot: whether all of them are spot instances.
        most_nodes: how many there may be; None where only their GPUs are limited.
        most_gpus: how many GPUs there may be, 0 without any; None if nothing limits them.
    """

    declared: Declared
    pool: str
    types: tuple[str, ...]
    is_spot: bool
    most_nodes: float | None
    most_gpus: float | None


def node_pools(resources: Sequence[Declared]) -> Iterator[NodePool | NotKnown]:
    """Yields the nodes of a stack, also those without GPUs."""
    for declared in resources:
        try:
            if found := _node_pool(declared, resources):
                yield found
        except UnknownValueError as unknown:
            yield NotKnown(f"{declared.name}: {unknown.message}")
        except LookupError as error:
            yield NotKnown(f"{declared.name}: {error.args[0]}")


def _node_pool(declared: Declared, resources: Sequence[Declared]) -> NodePool | None:
    kind = declared.aws
    if kind in ("eks/NodeGroup", "eks/Nodegroup"):
        return _managed(declared, resources)
    if kind == "autoscaling/Group":
        return _autoscaling(declared, resources)
    if kind in ("ec2/Instance", "ec2/SpotInstanceRequest"):
        types = _texts(declared.props.get("instanceType"))
        return _nodes(declared, types, kind.startswith("ec2/Spot"), 1)
    if kind in _OTHER_NODES or declared.kind == "provisioner":
        raise LookupError("how many GPUs it may have is not known")
    if declared.kind == "nodepool" and "karpenter" in str(declared.props.get("apiVersion")):
        return _karpenter(declared)
    return None


def _managed(declared: Declared, resources: Sequence[Declared]) -> NodePool:
    types = _texts(declared.props.get("instanceTypes")) or _of_template(declared, resources)
    types = types or ("t3.medium",)  # which EKS takes
    most = number(at(declared.props, "scalingConfig", "maxSize"), math.inf)
    is_spot = declared.props.get("capacityType") == "SPOT"
    return _nodes(declared, types, is_spot, most)


def _autoscaling(declared: Declared, resources: Sequence[Declared]) -> NodePool:
    mixed = mapping(declared.props.get("mixedInstancesPolicy"))
    overrides = mappings(at(mixed, "launchTemplate", "overrides"))
    types = tuple(str(it["instanceType"]) for it in overrides if it.get("instanceType"))
    types = types or _of_template(declared, resources)
    if not types and any("instanceRequirements" in it for it in overrides):
        raise LookupError("its instance types are chosen by attributes")
    return _nodes(
        declared, types, is_spot=False, most=number(declared.props.get("maxSize"), math.inf)
    )


def _of_template(declared: Declared, resources: Sequence[Declared]) -> tuple[str, ...]:
    """Returns the instance type of the launch template that a group is made from."""
    by_urn = {it.urn: it for it in resources}
    keys = ("launchTemplate", "launchConfiguration", "mixedInstancesPolicy")
    made_from = [urn for key in keys for urn in declared.made_from.get(key, ())]
    templates = [by_urn[urn] for urn in made_from if urn in by_urn]
    types = [str(it.props["instanceType"]) for it in templates if it.props.get("instanceType")]
    if declared.aws == "autoscaling/Group" and not types:
        raise LookupError("its launch template is not in this stack, nor its instance type")
    return tuple(types)


def _nodes(declared: Declared, types: tuple[str, ...], is_spot: bool, most: float) -> NodePool:
    counts = [gpus_of(it) for it in types]
    if None in counts:
        unknown = ", ".join(it for it, gpus in zip(types, counts, strict=True) if gpus is None)
        raise LookupError(f"how many GPUs {unknown} has is not known")
    per_node = max((it for it in counts if it is not None), default=0)
    label = mapping(declared.props.get("labels")).get(POOL_LABEL) or declared.name
    # Not infinitely many times 0, which is no number.
    return NodePool(declared, str(label), types, is_spot, most, per_node and most * per_node)


def _karpenter(declared: Declared) -> NodePool:
    template = mapping(declared.spec.get("template"))
    required = {
        _short(it.get("key")): _texts(it.get("values"))
        for it in mappings(at(template, "spec", "requirements"))
        if it.get("operator") == "In"
    }
    absent = {
        _short(it.get("key"))
        for it in mappings(at(template, "spec", "requirements"))
        if it.get("operator") == "DoesNotExist"
    }
    narrowed = [required[key] for key in (_TYPE, _FAMILY, _CATEGORY) if required.get(key)]
    has_none = any(not any(map(may_have_gpus, values)) for values in narrowed)
    if has_none or absent & {*_GPU_KEYS} or required.get(_GPU_COUNT) == ("0",):
        limit: Any = 0
    else:
        limit = at(declared.spec, "limits", GPU_RESOURCE)
    label = at(template, "metadata", "labels", POOL_LABEL) or declared.object_name
    families = required.get(_FAMILY, ())
    return NodePool(
        declared,
        str(label),
        required.get(_TYPE) or tuple(it for family in families for it in types_of(family)),
        required.get(_CAPACITY) == ("spot",),
        None,
        # What is no plain number, such as 8k, is no small one.
        None if limit is None else number(limit, math.inf),
    )


def _short(key: Any) -> str:
    return str(key).rpartition("/")[2]


def _texts(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(map(str, sequence(value)))
