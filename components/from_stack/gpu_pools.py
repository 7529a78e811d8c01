"""A declared GPU pool becomes the arguments of its components, and where its pods run."""

import math
from collections.abc import Mapping

import pulumi

from components.eks_node_group import EksNodesArgs
from components.gpu_admission import PoolRuleArgs
from components.gpu_node_pool import GpuNodePoolArgs, GpuSharingArgs
from components.gpu_nodes import NodeRoleArgs, RootVolumeArgs, TaintArgs
from components.gpu_placement import GpuPlacementArgs, TolerationArgs
from components.gpu_rules import GpuRulesArgs, SlicesArgs
from components.karpenter_pool import BudgetArgs, KarpenterNodesArgs
from models.aws import Aws
from models.gpu_pool import (
    DEVICE_PLUGIN_LABEL,
    MIG_LABEL,
    POOL_LABEL,
    SHARE_GROUP,
    Budget,
    EksPool,
    ExistingPool,
    GpuPool,
    KarpenterPool,
    Mig,
    RootVolume,
    Taint,
    TimeSlicing,
    capacity_gpus,
    pods_per_gpu,
    pool_object_name,
    requested_resource,
)
from models.service import Service


def gpu_pool_args(pool: GpuPool, namespace: str, aws: Aws | None) -> GpuNodePoolArgs:
    """Returns the arguments of a pool's `GpuNodePool`.

    Args:
        pool: the declaration.
        namespace: of the stack's services.
        aws: what the stack says of AWS; with an EKS cluster, if the pool makes nodes.
    """
    args: GpuNodePoolArgs = {
        "namespace": namespace,
        "maxGpus": capacity_gpus(pool),
        "resource": pool.resource,
        "labels": pool.labels,
        "taints": [_taint(it) for it in pool.taints],
        "tags": dict(aws.tags) if aws else {},
    }
    if pool.share_group:
        args["shareGroup"] = pool.share_group
    if pool.sharing:
        sharing: GpuSharingArgs = {
            "resource": requested_resource(pool),
            "podsPerGpu": pods_per_gpu(pool.sharing),
        }
        if isinstance(pool.sharing, Mig):
            sharing["migProfile"] = pool.sharing.profile
        args["sharing"] = sharing
    if isinstance(pool, EksPool):
        args["eks"] = _eks(pool, aws)
    if isinstance(pool, KarpenterPool):
        args["karpenter"] = _karpenter(pool, aws)
    return args


def gpu_placement_args(
    namespace: str, pool_name: str, pool: GpuPool, share_group: str, count: int
) -> GpuPlacementArgs:
    """Returns where the pods of a share group run that have `count` GPUs of a pool each."""
    object_name = pool_object_name(namespace, pool_name)
    tolerations: list[TolerationArgs] = [
        {"key": pool.resource, "operator": "Exists", "effect": "NoSchedule"}
    ]
    if pool.share_group:
        tolerations.append(_tolerated(SHARE_GROUP, pool.share_group, "NoSchedule"))
    tolerations += [_tolerated(it.key, it.value, it.effect) for it in pool.taints]
    return {
        "pool": pool_name,
        "count": count,
        "resource": requested_resource(pool),
        "shareGroup": share_group,
        "nodeSelector": _node_selector(object_name, pool),
        "tolerations": tolerations,
        "priorityClass": object_name,
    }


def service_placement_args(
    name: str,
    service: Service,
    namespace: str,
    pools: Mapping[str, GpuPool],
    priority_classes: Mapping[str, pulumi.Input[str]],
) -> GpuPlacementArgs | None:
    """Returns where a service's pods run, or None if they need no GPU.

    Args:
        name: of the service.
        service: as declared.
        namespace: of its pods.
        pools: of the stack.
        priority_classes: of the pools that are resources, as Outputs.
    """
    gpu = service.runtime.gpu
    if gpu is None:
        return None
    group = service.share_group or name
    args = gpu_placement_args(namespace, gpu.pool, pools[gpu.pool], group, gpu.count)
    if gpu.pool in priority_classes:
        args["priorityClass"] = priority_classes[gpu.pool]
    return args


def gpu_rules_args(pools: Mapping[str, GpuPool], namespace: str) -> GpuRulesArgs:
    """Returns the arguments of the `GpuRules` of all pools of a stack."""
    rules: list[PoolRuleArgs] = []
    slices: list[SlicesArgs] = []
    for name, pool in pools.items():
        object_name = pool_object_name(namespace, name)
        rule: PoolRuleArgs = {
            "priorityClass": object_name,
            "resource": requested_resource(pool),
            "nodeSelector": _node_selector(object_name, pool),
        }
        if pool.share_group:
            rule["shareGroup"] = pool.share_group
        rules.append(rule)
        if pool.sharing:
            slices.append(_slices(object_name, pool.sharing))
    return {"namespace": namespace, "pools": rules, "slices": slices}


def _slices(config: str, sharing: TimeSlicing | Mig) -> SlicesArgs:
    args: SlicesArgs = {"config": config, "namespace": sharing.device_plugin_namespace}
    if isinstance(sharing, TimeSlicing):
        args["replicas"] = sharing.replicas
    return args


def _node_selector(object_name: str, pool: GpuPool) -> Mapping[str, str]:
    if not isinstance(pool, ExistingPool):
        return {POOL_LABEL: object_name}
    selector = dict(pool.node_selector)
    # We do not label nodes that are not ours; pods wait for those that are labelled so.
    if pool.sharing:
        selector[DEVICE_PLUGIN_LABEL] = object_name
    if isinstance(pool.sharing, Mig):
        selector[MIG_LABEL] = f"all-{pool.sharing.profile}"
    return selector


def _eks(pool: EksPool, aws: Aws | None) -> EksNodesArgs:
    assert aws is not None and aws.eks is not None  # noqa: S101, PT018  pool_problems says so first
    args: EksNodesArgs = {
        "clusterName": aws.eks.cluster,
        "instanceTypes": list(pool.instance_types),
        "gpusPerNode": pool.gpus_per_node,
        "minNodes": pool.min,
        "spot": pool.spot,
        "onDemandBase": pool.on_demand_base,
        "subnetIds": list(pool.subnet_ids or aws.eks.subnet_ids),
        "rootVolume": _root_volume(pool.root_volume),
        "role": _role(aws),
    }
    if aws.eks.version:
        args["kubernetesVersion"] = aws.eks.version
    if pool.ami_release:
        args["amiRelease"] = pool.ami_release
    return args


def _karpenter(pool: KarpenterPool, aws: Aws | None) -> KarpenterNodesArgs:
    assert aws is not None and aws.eks is not None  # noqa: S101, PT018  pool_problems says so first
    disruption = pool.disruption
    args: KarpenterNodesArgs = {
        "clusterName": aws.eks.cluster,
        "instanceFamilies": list(pool.instance_families),
        "capacityTypes": list(pool.capacity_types),
        "ami": pool.ami,
        "consolidationPolicy": disruption.consolidation_policy,
        "consolidateAfter": _karpenter_duration(disruption.consolidate_after_seconds),
        "budgets": [_budget(it) for it in disruption.budgets],
        "expireAfter": _karpenter_duration(disruption.expire_after_seconds),
        "rootVolume": _root_volume(pool.root_volume),
        "role": _role(aws),
    }
    if pool.instance_sizes:
        args["instanceSizes"] = list(pool.instance_sizes)
    if pool.gpus_per_node:
        args["gpusPerNode"] = pool.gpus_per_node
    if subnets := pool.subnet_ids or aws.eks.subnet_ids:
        args["subnetIds"] = list(subnets)
    if aws.eks.security_group_ids:
        args["securityGroupIds"] = list(aws.eks.security_group_ids)
    if grace := disruption.termination_grace_period_seconds:
        args["terminationGracePeriod"] = _karpenter_duration(grace)
    return args


def _budget(budget: Budget) -> BudgetArgs:
    args: BudgetArgs = {"nodes": budget.nodes}
    if budget.schedule and budget.duration_seconds:
        args["schedule"] = budget.schedule
        args["duration"] = _karpenter_duration(budget.duration_seconds)
    if budget.reasons:
        args["reasons"] = list(budget.reasons)
    return args


def _role(aws: Aws) -> NodeRoleArgs:
    args: NodeRoleArgs = {"partition": aws.partition}
    if aws.eks and aws.eks.node_role_arn:
        args["arn"] = aws.eks.node_role_arn
    if aws.permissions_boundary_arn:
        args["permissionsBoundaryArn"] = aws.permissions_boundary_arn
    return args


def _root_volume(volume: RootVolume) -> RootVolumeArgs:
    args: RootVolumeArgs = {
        "sizeGib": volume.size_gib,
        "iops": volume.iops,
        "throughputMibPerSecond": volume.throughput_mib_per_second,
    }
    if volume.kms_key_arn:
        args["kmsKeyArn"] = volume.kms_key_arn
    return args


def _taint(taint: Taint) -> TaintArgs:
    return {"key": taint.key, "value": taint.value, "effect": taint.effect}


def _tolerated(key: str, value: str, effect: str) -> TolerationArgs:
    return {"key": key, "operator": "Equal", "value": value, "effect": effect}


def _karpenter_duration(seconds: float) -> str:
    """Writes a duration in Karpenter's units, which are hours, minutes and whole seconds."""
    for unit, length in (("h", 3600), ("m", 60)):
        if seconds % length == 0:
            return f"{int(seconds / length)}{unit}"
    return f"{math.ceil(seconds)}s"
