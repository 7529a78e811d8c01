"""What all nodes of a GPU pool have, whoever makes them: labels, taints, disk and IAM role."""

import json
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import pulumi
import pulumi_aws as aws

_POLICIES = {
    "worker": "AmazonEKSWorkerNodePolicy",
    "cni": "AmazonEKS_CNI_Policy",
    # Not ...ReadOnly: nodes pull images, they need not list repositories or read scan findings.
    "pull": "AmazonEC2ContainerRegistryPullOnly",
}


class TaintArgs(TypedDict):
    """A taint of nodes."""

    key: str
    """Key of the taint."""

    value: str
    """Value of the taint; may be empty."""

    effect: str
    """NoSchedule, PreferNoSchedule or NoExecute."""


class RootVolumeArgs(TypedDict):
    """The root volume of a node: gp3, encrypted."""

    sizeGib: int
    """Size in GiB."""

    iops: int
    """Input and output operations a second."""

    throughputMibPerSecond: int
    """Throughput in MiB a second."""

    kmsKeyArn: NotRequired[str]
    """Key that it is encrypted with; the account's key for EBS, if absent."""


class NodeRoleArgs(TypedDict):
    """IAM role of nodes: an ARN, or what one is made with."""

    partition: str
    """aws, aws-cn or aws-us-gov."""

    arn: NotRequired[str]
    """A role that is there already; absent, one is made."""

    permissionsBoundaryArn: NotRequired[str]
    """A policy that bounds a role that is made."""


@dataclass(frozen=True)
class Nodes:
    """What a provider makes nodes with, checked and in plain values.

    Attributes:
        name: logical name of the pool.
        object_name: of cluster-wide objects.
        max_gpus: the cap.
        advertised: resource that nodes advertise, and how many of it for each GPU.
        labels: of the nodes.
        taints: of the nodes.
        tags: of all AWS resources.
    """

    name: str
    object_name: str
    max_gpus: int
    advertised: tuple[str, int]
    labels: dict[str, str]
    taints: list[TaintArgs]
    tags: dict[str, str]


def node_role(
    nodes: Nodes, args: NodeRoleArgs, parent: pulumi.Resource
) -> tuple[pulumi.Output[str], pulumi.Output[str], list[pulumi.Resource]]:
    """Returns name and ARN of the nodes' role, and what must be there before a node is."""
    if "arn" in args:
        arn = pulumi.Output.from_input(args["arn"])
        return pulumi.Output.from_input(args["arn"].rpartition("/")[2]), arn, []
    child = pulumi.ResourceOptions(parent=parent)
    suffix = ".cn" if args["partition"] == "aws-cn" else ""
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": f"ec2.amazonaws.com{suffix}"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    role = aws.iam.Role(
        f"{nodes.name}-node",
        assume_role_policy=json.dumps(trust),
        description=f"Nodes of the GPU pool {nodes.name}",
        permissions_boundary=args.get("permissionsBoundaryArn"),
        tags=nodes.tags,
        opts=child,
    )
    attachments = [
        aws.iam.RolePolicyAttachment(
            f"{nodes.name}-node-{short}",
            role=role.name,
            policy_arn=f"arn:{args['partition']}:iam::aws:policy/{policy}",
            opts=child,
        )
        for short, policy in _POLICIES.items()
    ]
    return role.name, role.arn, [role, *attachments]
