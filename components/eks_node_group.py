"""Managed node groups of EKS: all on demand, all spot, or spot on an on-demand base."""

from typing import NotRequired, TypedDict

import pulumi
import pulumi_aws as aws

from components.gpu_nodes import NodeRoleArgs, Nodes, RootVolumeArgs, node_role

_AUTOSCALER = "k8s.io/cluster-autoscaler/node-template"
_EFFECTS = {
    "NoSchedule": "NO_SCHEDULE",
    "PreferNoSchedule": "PREFER_NO_SCHEDULE",
    "NoExecute": "NO_EXECUTE",
}


class EksNodesArgs(TypedDict):
    """Nodes in managed node groups."""

    clusterName: str
    """Name of the EKS cluster."""

    kubernetesVersion: NotRequired[str]
    """Kubernetes version of the nodes; the cluster's, if absent."""

    instanceTypes: list[str]
    """Types of the nodes."""

    gpusPerNode: int
    """GPUs of every one of these types."""

    minNodes: int
    """Least nodes."""

    spot: bool
    """Spot nodes, but for the base."""

    onDemandBase: int
    """So many nodes are on demand and stay; 0 without spot."""

    subnetIds: list[str]
    """Subnets of the nodes."""

    amiRelease: NotRequired[str]
    """Release of the EKS image; the latest at creation, if absent."""

    rootVolume: RootVolumeArgs
    """Root volume of each node."""

    role: NodeRoleArgs
    """IAM role of the nodes."""


def eks_problems(args: EksNodesArgs, max_gpus: int) -> list[tuple[str, str]]:
    """Returns what is wrong, as (path, reason)."""
    found: list[tuple[str, str]] = []
    per_node, base, least = (int(args[it]) for it in ("gpusPerNode", "onDemandBase", "minNodes"))
    if not args["instanceTypes"]:
        found.append(("eks.instanceTypes", "must name at least one type"))
    if not args["subnetIds"]:
        found.append(("eks.subnetIds", "must name at least one subnet"))
    if per_node < 1 or max_gpus % per_node:
        found.append(("eks.gpusPerNode", f"must divide maxGpus {max_gpus}, got {per_node}"))
        return found
    most = max_gpus // per_node
    if not 0 <= least <= most:
        found.append(("eks.minNodes", f"must be from 0 to {most} nodes, got {least}"))
    if base and not args["spot"]:
        found.append(("eks.onDemandBase", "goes with spot"))
    elif base and not 0 < base < most:
        found.append(("eks.onDemandBase", f"must be from 0 to {most - 1} nodes, got {base}"))
    return found


def declare_eks_nodes(nodes: Nodes, args: EksNodesArgs, parent: pulumi.Resource) -> None:
    """Declares role, launch template and node groups of a pool."""
    _, role_arn, before = node_role(nodes, args["role"], parent)
    template = _launch_template(nodes, args["rootVolume"], parent)
    most, least, base = (
        nodes.max_gpus // int(args["gpusPerNode"]),
        int(args["minNodes"]),
        int(args["onDemandBase"]),
    )
    groups = {"on-demand": (base, base)} if base else {}
    kind = "spot" if args["spot"] else "on-demand"
    groups[kind] = (max(0, least - base), most - base)
    for capacity, (fewest, highest) in groups.items():
        aws.eks.NodeGroup(
            f"{nodes.name}-{capacity}",
            cluster_name=args["clusterName"],
            version=args.get("kubernetesVersion"),
            release_version=args.get("amiRelease"),
            ami_type="AL2023_x86_64_NVIDIA",
            capacity_type=capacity.upper().replace("-", "_"),
            instance_types=args["instanceTypes"],
            node_role_arn=role_arn,
            subnet_ids=args["subnetIds"],
            launch_template={
                "id": template.id,
                "version": template.latest_version.apply(str),
            },
            scaling_config={"min_size": fewest, "max_size": highest, "desired_size": fewest},
            # GPUs are too few to have one more while nodes are replaced.
            update_config={"max_unavailable": 1},
            labels=nodes.labels,
            taints=[
                {
                    "key": it["key"],
                    "value": it["value"] or None,
                    "effect": _EFFECTS[it["effect"]],
                }
                for it in nodes.taints
            ],
            tags={**nodes.tags, **_autoscaler_tags(nodes, int(args["gpusPerNode"]))},
            opts=pulumi.ResourceOptions(
                parent=parent,
                depends_on=before,
                # From then on it is the autoscaler's.
                ignore_changes=["scalingConfig.desiredSize"],
            ),
        )


def _launch_template(
    nodes: Nodes, volume: RootVolumeArgs, parent: pulumi.Resource
) -> "aws.ec2.LaunchTemplate":
    ebs: aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgsDict = {
        "volume_type": "gp3",
        "volume_size": int(volume["sizeGib"]),
        "iops": int(volume["iops"]),
        "throughput": int(volume["throughputMibPerSecond"]),
        "encrypted": "true",
        "delete_on_termination": "true",
    }
    if "kmsKeyArn" in volume:
        ebs["kms_key_id"] = volume["kmsKeyArn"]
    # No image, instance type, role or network interface: they are the node group's, and EKS then
    # chooses the NVIDIA image and gives the nodes the cluster's security group.
    return aws.ec2.LaunchTemplate(
        f"{nodes.name}-nodes",
        description=f"Nodes of the GPU pool {nodes.name}",
        update_default_version=True,
        metadata_options={
            "http_endpoint": "enabled",
            "http_tokens": "required",
            # Answers do not reach pods, so no model server gets the node's role.
            "http_put_response_hop_limit": 1,
            "instance_metadata_tags": "disabled",
        },
        block_device_mappings=[{"device_name": "/dev/xvda", "ebs": ebs}],
        monitoring={"enabled": True},
        # AWS does not carry a node group's tags over to what its nodes are made of.
        tag_specifications=[
            {"resource_type": kind, "tags": {**nodes.tags, "Name": nodes.object_name}}
            for kind in ("instance", "volume", "network-interface")
        ],
        tags=nodes.tags,
        opts=pulumi.ResourceOptions(parent=parent),
    )


def _autoscaler_tags(nodes: Nodes, gpus_per_node: int) -> dict[str, str]:
    """Tells the cluster autoscaler what a node will have while there is none to look at.

    It reads them from the node group itself (`eks:DescribeNodegroup`).
    """
    resource, per_gpu = nodes.advertised
    return {
        **{f"{_AUTOSCALER}/label/{key}": value for key, value in nodes.labels.items()},
        **{
            f"{_AUTOSCALER}/taint/{it['key']}": f"{it['value']}:{it['effect']}"
            for it in nodes.taints
        },
        f"{_AUTOSCALER}/resources/{resource}": str(gpus_per_node * per_gpu),
    }
