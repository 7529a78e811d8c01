"""What a stack must know of AWS: the account's rules, and the EKS cluster that nodes join."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from models.base import Declared

SubnetId = Annotated[str, StringConstraints(pattern=r"^subnet-[0-9a-f]+$")]
SecurityGroupId = Annotated[str, StringConstraints(pattern=r"^sg-[0-9a-f]+$")]
RoleArn = Annotated[str, StringConstraints(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$")]
OidcProviderArn = Annotated[
    str, StringConstraints(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:oidc-provider/.+$")
]
PolicyArn = Annotated[
    str, StringConstraints(pattern=r"^arn:aws[a-z-]*:iam::(\d{12}|aws):policy/.+$")
]


class Eks(Declared):
    """The EKS cluster that GPU nodes join.

    Attributes:
        cluster: its name.
        version: Kubernetes version of managed node groups; the cluster's own if absent.
        subnet_ids: where nodes run; with Karpenter, if absent, those tagged
            `karpenter.sh/discovery: <cluster>`.
        security_group_ids: of nodes that Karpenter makes; if absent, those with the same tag. A
            managed node group has the cluster's own.
        node_role_arn: an IAM role for all nodes, where roles are made elsewhere; else each pool
            gets one of its own. Karpenter's controller must be allowed to pass it.
        oidc_provider_arn: the cluster's identity provider in IAM; pods get roles by it where an
            artifact store has `access: irsa`.
    """

    cluster: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z_-]*$", max_length=100)
    version: str | None = Field(None, pattern=r"^1\.\d+$")
    subnet_ids: tuple[SubnetId, ...] = ()
    security_group_ids: tuple[SecurityGroupId, ...] = ()
    node_role_arn: RoleArn | None = None
    oidc_provider_arn: OidcProviderArn | None = None


class Aws(Declared):
    """The AWS account that a stack makes resources in.

    Attributes:
        region: of all of them.
        account_id: twelve digits, a quoted string; needed by an artifact store.
        tags: on each of them.
        permissions_boundary_arn: a policy that every IAM role we make is bounded by.
        eks: the cluster; needed by GPU pools of the providers `eks` and `karpenter`.
    """

    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")
    account_id: str | None = Field(None, pattern=r"^\d{12}$")
    tags: dict[str, str] = Field(default_factory=dict)
    permissions_boundary_arn: PolicyArn | None = None
    eks: Eks | None = None

    @property
    def partition(self) -> str:
        """The partition of the region, the second part of every ARN."""
        if self.region.startswith("cn-"):
            return "aws-cn"
        return "aws-us-gov" if self.region.startswith("us-gov-") else "aws"
