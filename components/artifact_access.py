"""Roles of AWS for the service accounts of model services: each reads its own prefix."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_aws as aws

from components.artifact_bucket import Account

_METHODS = ("pod-identity", "irsa")
_LONGEST_ROLE_NAME = 64
_RANDOM_SUFFIX = 8


class AccessArgs(TypedDict):
    """How pods get the role of their service account."""

    method: str
    """pod-identity or irsa."""

    clusterName: str
    """Name of the EKS cluster."""

    oidcProviderArn: NotRequired[str]
    """The cluster's identity provider in IAM; for irsa."""

    permissionsBoundaryArn: NotRequired[str]
    """A policy that bounds every role."""


@dataclass(frozen=True)
class Rights:
    """What a service account may do.

    Attributes:
        account: name of the service account.
        reads: prefixes, `s3://bucket/folder`.
        writes: prefixes; existing objects are not read by that right.
    """

    account: str
    reads: Sequence[str]
    writes: Sequence[str] = ()


@dataclass(frozen=True)
class Granted:
    """What a service account needs, and must wait for.

    Attributes:
        annotations: of the service account.
        before: what must be there before a pod starts.
    """

    annotations: dict[str, pulumi.Input[str]]
    before: Sequence[pulumi.Resource]


def access_problems(args: AccessArgs) -> list[tuple[str, str]]:
    """Returns what is wrong, as (path, reason)."""
    found: list[tuple[str, str]] = []
    if args["method"] not in _METHODS:
        found.append(("method", f"must be one of {', '.join(_METHODS)}"))
    if args["method"] == "irsa" and "oidcProviderArn" not in args:
        found.append(("oidcProviderArn", "is needed by irsa"))
    return found


def name_problems(name: str, accounts: Iterable[str]) -> list[str]:
    """Returns which service accounts could have no role for the length of its name."""
    names = [_role_name(name, it) for it in accounts]
    return [
        f"{it} is longer than {_LONGEST_ROLE_NAME - _RANDOM_SUFFIX}, too long for a role"
        for it in names
        if len(it) + _RANDOM_SUFFIX > _LONGEST_ROLE_NAME
    ]


def grant(
    name: str,
    namespace: str,
    rights: Rights,
    key_arn: pulumi.Output[str],
    account: Account,
    args: AccessArgs,
    parent: pulumi.Resource,
) -> Granted:
    """Declares the role of a service account.

    Args:
        name: logical name of the store.
        namespace: of the service account.
        rights: of the service account.
        key_arn: key of the store's bucket.
        account: where the bucket is.
        args: how pods get the role.
        parent: of all resources.
    """
    child = pulumi.ResourceOptions(parent=parent)
    role_name = _role_name(name, rights.account)
    irsa = args["method"] == "irsa"
    trust = _irsa_trust if irsa else _pod_identity_trust
    role = aws.iam.Role(
        role_name,
        assume_role_policy=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [trust(namespace, rights.account, account, args)],
            }
        ),
        description=f"Artifacts for pods of {namespace}/{rights.account}",
        permissions_boundary=args.get("permissionsBoundaryArn"),
        tags=account.tags,
        opts=child,
    )
    policy = aws.iam.RolePolicy(
        f"{role_name}-policy",
        role=role.name,
        policy=pulumi.Output.json_dumps(
            {"Version": "2012-10-17", "Statement": _statements(rights, key_arn, account)}
        ),
        opts=child,
    )
    if irsa:
        return Granted(
            annotations={
                "eks.amazonaws.com/role-arn": role.arn,
                # KServe hands it to the container that fetches the model.
                "serving.kserve.io/s3-region": account.region,
            },
            before=[policy],
        )
    association = aws.eks.PodIdentityAssociation(
        f"{role_name}-identity",
        cluster_name=args["clusterName"],
        namespace=namespace,
        service_account=rights.account,
        role_arn=role.arn,
        tags=account.tags,
        opts=child,
    )
    return Granted(annotations={}, before=[policy, association])


def _role_name(name: str, account: str) -> str:
    return f"{name}-{account}"


def _pod_identity_trust(
    namespace: str, service_account: str, account: Account, args: AccessArgs
) -> dict[str, Any]:
    """Trusts EKS, for this service account of this cluster only: it tags each session so."""
    cluster = (
        f"arn:{account.partition}:eks:{account.region}:{account.account_id}"
        f":cluster/{args['clusterName']}"
    )
    return {
        "Effect": "Allow",
        "Principal": {"Service": "pods.eks.amazonaws.com"},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
        "Condition": {
            "StringEquals": {
                "aws:RequestTag/eks-cluster-arn": cluster,
                "aws:RequestTag/kubernetes-namespace": namespace,
                "aws:RequestTag/kubernetes-service-account": service_account,
            }
        },
    }


def _irsa_trust(
    namespace: str, service_account: str, account: Account, args: AccessArgs
) -> dict[str, Any]:
    del account
    provider = args.get("oidcProviderArn", "")
    issuer = provider.partition(":oidc-provider/")[2]
    return {
        "Effect": "Allow",
        "Principal": {"Federated": provider},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {
                f"{issuer}:aud": "sts.amazonaws.com",
                f"{issuer}:sub": f"system:serviceaccount:{namespace}:{service_account}",
            }
        },
    }


def _statements(
    rights: Rights, key_arn: pulumi.Output[str], account: Account
) -> list[dict[str, Any]]:
    def objects(uris: Sequence[str]) -> list[str]:
        return [f"{account.bucket_arn(uri.removeprefix('s3://'))}/*" for uri in uris]

    statements: list[dict[str, Any]] = [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": objects(rights.reads)}
    ]
    if rights.writes:
        statements.append(
            {
                "Effect": "Allow",
                "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
                "Resource": objects(rights.writes),
            }
        )
    for bucket, prefixes in _by_bucket([*rights.reads, *rights.writes]).items():
        statements.append(
            {
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": account.bucket_arn(bucket),
                # KServe asks for the bucket's head before it lists, which is the same right and
                # has no prefix. So a list without a prefix is let through too: it shows names.
                "Condition": {"StringLikeIfExists": {"s3:prefix": [f"{it}/*" for it in prefixes]}},
            }
        )
    return [
        *statements,
        {
            "Effect": "Allow",
            "Action": ["kms:Decrypt", *(["kms:GenerateDataKey"] if rights.writes else [])],
            "Resource": key_arn,
            "Condition": {
                "StringEquals": {"kms:ViaService": f"s3.{account.region}.{account.domain}"}
            },
        },
    ]


def _by_bucket(uris: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for uri in uris:
        bucket, _, folder = uri.removeprefix("s3://").partition("/")
        found.setdefault(bucket, []).append(folder)
    return found
