"""Nodes that Karpenter makes: a NodePool and its EC2NodeClass."""

from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from components.gpu_nodes import NodeRoleArgs, Nodes, RootVolumeArgs, node_role


class BudgetArgs(TypedDict):
    """How many nodes may be disrupted at once."""

    nodes: str
    """A number or a percentage."""

    schedule: NotRequired[str]
    """When it begins to hold, cron in UTC."""

    duration: NotRequired[str]
    """For how long from then, in hours and minutes; goes with schedule."""

    reasons: NotRequired[list[str]]
    """Underutilized, Empty, Drifted; all, if absent."""


class KarpenterNodesArgs(TypedDict):
    """Nodes that Karpenter makes."""

    clusterName: str
    """Name of the EKS cluster."""

    instanceFamilies: list[str]
    """Such as g6."""

    instanceSizes: NotRequired[list[str]]
    """Such as xlarge; any, if absent."""

    gpusPerNode: NotRequired[int]
    """Only instances with so many GPUs; any, if absent."""

    capacityTypes: list[str]
    """spot, on-demand, reserved."""

    ami: str
    """Alias of the image, pinned: al2023@v20260810."""

    subnetIds: NotRequired[list[str]]
    """Subnets of the nodes; those tagged karpenter.sh/discovery, if absent."""

    securityGroupIds: NotRequired[list[str]]
    """Security groups of the nodes; those tagged karpenter.sh/discovery, if absent."""

    consolidationPolicy: str
    """WhenEmpty or WhenEmptyOrUnderutilized."""

    consolidateAfter: str
    """How long a node must be so, as a duration of Karpenter."""

    budgets: list[BudgetArgs]
    """How many nodes may be disrupted at once."""

    expireAfter: str
    """The age at which a node is replaced."""

    terminationGracePeriod: NotRequired[str]
    """After which a node that drains is ended."""

    rootVolume: RootVolumeArgs
    """Root volume of each node."""

    role: NodeRoleArgs
    """IAM role of the nodes."""


def karpenter_problems(args: KarpenterNodesArgs) -> list[tuple[str, str]]:
    """Returns what is wrong, as (path, reason)."""
    found: list[tuple[str, str]] = []
    if not args["instanceFamilies"]:
        found.append(("karpenter.instanceFamilies", "must name at least one family"))
    if not args["capacityTypes"]:
        found.append(("karpenter.capacityTypes", "must name at least one"))
    if not args["budgets"]:
        found.append(("karpenter.budgets", "must hold one: without, Karpenter takes 10%"))
    alias, _, version = args["ami"].partition("@")
    if alias != "al2023" or version in ("", "latest"):
        found.append(("karpenter.ami", f"must be a pinned al2023@v<date>, got {args['ami']!r}"))
    return found


def declare_karpenter_nodes(
    nodes: Nodes, args: KarpenterNodesArgs, parent: pulumi.Resource
) -> None:
    """Declares role, EC2NodeClass and NodePool of a pool."""
    child = pulumi.ResourceOptions(parent=parent)
    role_name, role_arn, before = node_role(nodes, args["role"], parent)
    if before:
        # EKS makes one for a managed node group; a role of ours has none, and its nodes could not
        # join.
        access = aws.eks.AccessEntry(
            f"{nodes.name}-node-access",
            cluster_name=args["clusterName"],
            principal_arn=role_arn,
            type="EC2_LINUX",
            tags=nodes.tags,
            opts=child,
        )
        before = [*before, access]
    node_class = kubernetes.apiextensions.CustomResource(
        f"{nodes.name}-node-class",
        api_version="karpenter.k8s.aws/v1",
        kind="EC2NodeClass",
        metadata={"name": nodes.object_name},
        spec=_node_class_spec(nodes, args, role_name),
        opts=pulumi.ResourceOptions(parent=parent, depends_on=before),
    )
    kubernetes.apiextensions.CustomResource(
        f"{nodes.name}-node-pool",
        api_version="karpenter.sh/v1",
        kind="NodePool",
        metadata={"name": nodes.object_name},
        spec=_node_pool_spec(nodes, args),
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[node_class]),
    )


def _node_class_spec(
    nodes: Nodes, args: KarpenterNodesArgs, role_name: pulumi.Output[str]
) -> dict[str, Any]:
    volume = args["rootVolume"]
    ebs: dict[str, Any] = {
        "volumeType": "gp3",
        "volumeSize": f"{int(volume['sizeGib'])}Gi",
        "iops": int(volume["iops"]),
        "throughput": int(volume["throughputMibPerSecond"]),
        "encrypted": True,
        "deleteOnTermination": True,
    }
    if "kmsKeyArn" in volume:
        ebs["kmsKeyID"] = volume["kmsKeyArn"]

    def selected(ids: list[str] | None) -> list[dict[str, Any]]:
        if ids:
            return [{"id": it} for it in ids]
        return [{"tags": {"karpenter.sh/discovery": args["clusterName"]}}]

    return {
        "role": role_name,
        "amiSelectorTerms": [{"alias": args["ami"]}],
        "subnetSelectorTerms": selected(args.get("subnetIds")),
        "securityGroupSelectorTerms": selected(args.get("securityGroupIds")),
        "metadataOptions": {
            "httpEndpoint": "enabled",
            "httpProtocolIPv6": "disabled",
            "httpTokens": "required",
            # Answers do not reach pods, so no model server gets the node's role.
            "httpPutResponseHopLimit": 1,
        },
        "blockDeviceMappings": [{"deviceName": "/dev/xvda", "rootVolume": True, "ebs": ebs}],
        "detailedMonitoring": True,
        "tags": {**nodes.tags, "Name": nodes.object_name},
    }


def _node_pool_spec(nodes: Nodes, args: KarpenterNodesArgs) -> dict[str, Any]:
    requirements: list[dict[str, Any]] = [
        _one_of("karpenter.k8s.aws/instance-family", args["instanceFamilies"]),
        _one_of("karpenter.sh/capacity-type", args["capacityTypes"]),
        _one_of("kubernetes.io/arch", ["amd64"]),
        _one_of("kubernetes.io/os", ["linux"]),
    ]
    if "instanceSizes" in args:
        requirements.append(_one_of("karpenter.k8s.aws/instance-size", args["instanceSizes"]))
    if "gpusPerNode" in args:
        count = str(int(args["gpusPerNode"]))
        requirements.append(_one_of("karpenter.k8s.aws/instance-gpu-count", [count]))
    node: dict[str, Any] = {
        "nodeClassRef": {
            "group": "karpenter.k8s.aws",
            "kind": "EC2NodeClass",
            "name": nodes.object_name,
        },
        "requirements": requirements,
        "taints": [_without_empty_value(dict(it)) for it in nodes.taints],
        "expireAfter": args["expireAfter"],
    }
    if "terminationGracePeriod" in args:
        node["terminationGracePeriod"] = args["terminationGracePeriod"]
    return {
        "template": {"metadata": {"labels": nodes.labels}, "spec": node},
        "limits": {nodes.advertised[0]: str(nodes.max_gpus)},
        "disruption": {
            "consolidationPolicy": args["consolidationPolicy"],
            "consolidateAfter": args["consolidateAfter"],
            "budgets": [dict(it) for it in args["budgets"]],
        },
    }


def _one_of(key: str, values: list[str]) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": values}


def _without_empty_value(taint: dict[str, Any]) -> dict[str, Any]:
    # The API server drops it, and the next preview would show a difference.
    return {key: value for key, value in taint.items() if value}
