"""A bucket of AWS for models: private, versioned, encrypted with its own key, logged, kept."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_aws as aws

from models.artifact_store import LOG_SUFFIX

_UNFINISHED_UPLOAD_DAYS = 7
_KEY_DELETION_DAYS = 30
_LOGS_REPLACED_DAYS = 30
_LEAST_TLS = "1.2"

_SSE = "s3:x-amz-server-side-encryption"
_SSE_KEY = f"{_SSE}-aws-kms-key-id"
_SSE_CUSTOMER = f"{_SSE}-customer-algorithm"

Statement = dict[str, Any]


class ObjectLockArgs(TypedDict):
    """No version of an object can be deleted or replaced for a time."""

    mode: str
    """governance or compliance."""

    days: int
    """For so long after an upload."""


class AccessLogArgs(TypedDict):
    """Where S3 logs who read or wrote what."""

    bucket: NotRequired[str]
    """One that is there already and lets S3's log delivery write; absent, one is made."""

    retainDays: int
    """How long the log is kept in a bucket that is made."""


class BucketArgs(TypedDict):
    """How a bucket of AWS is kept."""

    retainDays: int
    """How long replaced and deleted objects can be brought back."""

    cheaperAfterDays: int
    """When objects go to the cheaper class."""

    cheaperClass: str
    """INTELLIGENT_TIERING, STANDARD_IA or GLACIER_IR."""

    objectLock: NotRequired[ObjectLockArgs]
    """Forbids deletion for a time. Added to a bucket that is there, it would replace it."""

    accessLog: AccessLogArgs
    """Who read or wrote what."""


@dataclass(frozen=True)
class Account:
    """Where in AWS resources are made.

    Attributes:
        partition: aws, aws-cn or aws-us-gov.
        region: of the bucket and its key.
        account_id: twelve digits.
        tags: of all resources.
    """

    partition: str
    region: str
    account_id: str
    tags: Mapping[str, str]

    def bucket_arn(self, bucket: str) -> str:
        """Returns the ARN of a bucket, which has neither region nor account."""
        return f"arn:{self.partition}:s3:::{bucket}"

    @property
    def domain(self) -> str:
        """The domain of the partition's endpoints."""
        return "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com"


def bucket_problems(args: BucketArgs) -> list[tuple[str, str]]:
    """Returns what is wrong, as (path, reason)."""
    classes = ("INTELLIGENT_TIERING", "STANDARD_IA", "GLACIER_IR")
    modes = ("governance", "compliance")
    lock = args.get("objectLock", ObjectLockArgs(mode="governance", days=1))
    rules = (
        (args["retainDays"] < 1, "retainDays", "must be at least 1"),
        (args["cheaperAfterDays"] < 30, "cheaperAfterDays", "must be at least 30"),
        (
            args["cheaperClass"] not in classes,
            "cheaperClass",
            f"must be one of {', '.join(classes)}",
        ),
        (lock["mode"] not in modes, "objectLock.mode", f"must be one of {', '.join(modes)}"),
        (
            not 1 <= lock["days"] <= args["retainDays"],
            "objectLock.days",
            "must be from 1 to retainDays",
        ),
        (args["accessLog"]["retainDays"] < 1, "accessLog.retainDays", "must be at least 1"),
    )
    return [(path, why) for wrong, path, why in rules if wrong]


def declare_bucket(
    name: str, bucket: str, account: Account, args: BucketArgs, parent: pulumi.Resource
) -> pulumi.Output[str]:
    """Declares a bucket with all its settings, its key and its log.

    Args:
        name: logical name of the store.
        bucket: name of the bucket.
        account: where it is made.
        args: how it is kept.
        parent: of all resources.

    Returns:
        The ARN of the key, known when the bucket is ready.
    """
    child = pulumi.ResourceOptions(parent=parent)
    key = _key(name, bucket, account, parent)
    lock = args.get("objectLock")
    made, versioning = _private_bucket(
        f"{name}-bucket",
        bucket,
        account,
        pulumi.Output.json_dumps(
            _policy([*_tls_only(account.bucket_arn(bucket)), *_our_key_only(account, bucket, key)])
        ),
        parent,
        key_arn=key.arn,
        object_lock=lock is not None,
    )
    aws.s3.BucketLifecycleConfiguration(
        f"{name}-bucket-lifecycle",
        bucket=made.bucket,
        rules=[
            _rule(
                "cheaper-storage",
                transitions=[
                    {
                        "days": int(args["cheaperAfterDays"]),
                        "storage_class": args["cheaperClass"],
                    }
                ],
            ),
            *_expiry_rules(int(args["retainDays"])),
        ],
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[versioning], retain_on_delete=True),
    )
    if lock:
        aws.s3.BucketObjectLockConfiguration(
            f"{name}-bucket-lock",
            bucket=made.bucket,
            rule={"default_retention": {"mode": lock["mode"].upper(), "days": int(lock["days"])}},
            opts=pulumi.ResourceOptions(
                parent=parent, depends_on=[versioning], retain_on_delete=True
            ),
        )
    log_bucket, before = _log_bucket(name, bucket, account, args["accessLog"], parent)
    aws.s3.BucketLogging(
        f"{name}-bucket-logging",
        bucket=made.bucket,
        target_bucket=log_bucket,
        target_prefix=f"{bucket}/",
        opts=pulumi.ResourceOptions.merge(
            child, pulumi.ResourceOptions(depends_on=before, retain_on_delete=True)
        ),
    )
    return key.arn


def _key(name: str, bucket: str, account: Account, parent: pulumi.Resource) -> "aws.kms.Key":
    """Declares the key of the bucket; who may use it is said by policies of IAM."""
    owner = {
        "Sid": "PoliciesOfTheAccountDecide",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:{account.partition}:iam::{account.account_id}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    key = aws.kms.Key(
        f"{name}-key",
        description=f"Models in s3://{bucket}",
        enable_key_rotation=True,
        # Without it nothing in the bucket can be read again.
        deletion_window_in_days=_KEY_DELETION_DAYS,
        policy=json.dumps(_policy([owner])),
        tags=account.tags,
        opts=pulumi.ResourceOptions(parent=parent, protect=True, retain_on_delete=True),
    )
    aws.kms.Alias(
        f"{name}-key-alias",
        name=f"alias/{bucket}",
        target_key_id=key.arn,
        opts=pulumi.ResourceOptions(parent=parent),
    )
    return key


def _private_bucket(
    name: str,
    bucket: str,
    account: Account,
    policy: pulumi.Input[str],
    parent: pulumi.Resource,
    *,
    key_arn: pulumi.Input[str] | None = None,
    object_lock: bool = False,
) -> "tuple[aws.s3.Bucket, pulumi.Resource]":
    """Declares a bucket that nobody outside can open; returns it and its versioning.

    It outlives its stack, and so do its settings: without them it would lie there open.
    """
    kept = pulumi.ResourceOptions(parent=parent, retain_on_delete=True)
    made = aws.s3.Bucket(
        name,
        bucket=bucket,
        force_destroy=False,
        object_lock_enabled=object_lock,
        tags=account.tags,
        opts=pulumi.ResourceOptions(parent=parent, protect=True, retain_on_delete=True),
    )
    closed = aws.s3.BucketPublicAccessBlock(
        f"{name}-public-access",
        bucket=made.bucket,
        block_public_acls=True,
        block_public_policy=True,
        ignore_public_acls=True,
        restrict_public_buckets=True,
        opts=kept,
    )
    aws.s3.BucketOwnershipControls(
        f"{name}-ownership",
        bucket=made.bucket,
        rule={"object_ownership": "BucketOwnerEnforced"},
        opts=kept,
    )
    versioning = aws.s3.BucketVersioning(
        f"{name}-versioning",
        bucket=made.bucket,
        versioning_configuration={"status": "Enabled"},
        opts=kept,
    )
    aws.s3.BucketServerSideEncryptionConfiguration(
        f"{name}-encryption",
        bucket=made.bucket,
        rules=[
            {
                "apply_server_side_encryption_by_default": {
                    "sse_algorithm": "aws:kms" if key_arn is not None else "AES256",
                    "kms_master_key_id": key_arn,
                },
                "bucket_key_enabled": key_arn is not None,
            }
        ],
        opts=kept,
    )
    aws.s3.BucketPolicy(
        f"{name}-policy",
        bucket=made.bucket,
        policy=policy,
        # S3 refuses to change both at a time.
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[closed], retain_on_delete=True),
    )
    return made, versioning


def _log_bucket(
    name: str, bucket: str, account: Account, args: AccessLogArgs, parent: pulumi.Resource
) -> tuple[pulumi.Input[str], list[pulumi.Resource]]:
    """Returns the bucket of the access log, and what must be there before it is written to."""
    if "bucket" in args:
        return args["bucket"], []
    log_bucket = f"{bucket}{LOG_SUFFIX}"
    arn = account.bucket_arn(log_bucket)
    delivery = {
        "Sid": "LogDelivery",
        "Effect": "Allow",
        "Principal": {"Service": "logging.s3.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": f"{arn}/{bucket}/*",
        "Condition": {
            "ArnEquals": {"aws:SourceArn": account.bucket_arn(bucket)},
            "StringEquals": {"aws:SourceAccount": account.account_id},
        },
    }
    # Without a key: S3 delivers no log to a bucket that one of KMS encrypts by default.
    made, versioning = _private_bucket(
        f"{name}-logs",
        log_bucket,
        account,
        json.dumps(_policy([*_tls_only(arn), delivery])),
        parent,
    )
    aws.s3.BucketLifecycleConfiguration(
        f"{name}-logs-lifecycle",
        bucket=made.bucket,
        rules=[
            _rule("expiry", expiration={"days": int(args["retainDays"])}),
            *_expiry_rules(_LOGS_REPLACED_DAYS),
        ],
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[versioning], retain_on_delete=True),
    )
    return made.bucket, []


def _rule(rule_id: str, **actions: Any) -> Any:
    return {"id": rule_id, "status": "Enabled", "filter": {"prefix": ""}, **actions}


def _expiry_rules(replaced_days: int) -> list[Any]:
    return [
        _rule(
            "replaced-objects",
            noncurrent_version_expiration={"noncurrent_days": replaced_days},
            expiration={"expired_object_delete_marker": True},
        ),
        _rule(
            "unfinished-uploads",
            abort_incomplete_multipart_upload={"days_after_initiation": _UNFINISHED_UPLOAD_DAYS},
        ),
    ]


def _tls_only(arn: str) -> list[Statement]:
    return [
        _denied("TlsOnly", "s3:*", [arn, f"{arn}/*"], Bool={"aws:SecureTransport": "false"}),
        _denied(
            "NoOldTls", "s3:*", [arn, f"{arn}/*"], NumericLessThan={"s3:TlsVersion": _LEAST_TLS}
        ),
    ]


def _our_key_only(account: Account, bucket: str, key: "aws.kms.Key") -> list[Statement]:
    """Refuses every object that would not be encrypted with the bucket's key.

    An upload that says nothing of encryption is let in: the bucket encrypts it with that key, and
    most clients, MLflow's too, say nothing. One that says anything must name the key: `aws:kms`
    without a key would be the account's own key for S3, not the bucket's.
    """
    objects = [f"{account.bucket_arn(bucket)}/*"]

    def refused(sid: str, **condition: Any) -> Statement:
        return _denied(sid, "s3:PutObject", objects, **condition)

    # On a missing key StringNotEquals holds, so its presence is asked for apart.
    return [
        refused(
            "NoOtherEncryption",
            Null={_SSE: "false"},
            StringNotEquals={_SSE: "aws:kms"},
        ),
        refused("NoUnnamedKey", Null={_SSE: "false", _SSE_KEY: "true"}),
        refused("NoOtherKey", Null={_SSE_KEY: "false"}, StringNotEquals={_SSE_KEY: key.arn}),
        refused("NoKeyOfTheClient", Null={_SSE_CUSTOMER: "false"}),
    ]


def _denied(sid: str, action: str, resources: Sequence[str], **condition: Any) -> Statement:
    return {
        "Sid": sid,
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": action,
        "Resource": list(resources),
        "Condition": condition,
    }


def _policy(statements: Sequence[Statement]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}
