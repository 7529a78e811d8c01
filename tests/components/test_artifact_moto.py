# pyright: basic
"""What an artifact store registers is taken by AWS's API, and its policies do what they say.

moto takes the requests. Of policies it enforces those of roles, by action and resource. Conditions,
and so the bucket's policy, are beyond it: our own evaluator reads them, as moto gives them back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters
from moto import mock_aws
from moto.core import set_initial_no_auth_action_count

from tests.components.artifact_stores import ACCOUNT, BUCKET, DECLARED, ISSUER, declare
from tests.components.aws_replay import parameters
from tests.components.conftest import record
from tests.components.iam_policies import ANYBODY, Policy, Request, allowed

REGION = "eu-central-1"
LOGS = f"{BUCKET}-logs"
ON_AWS = [name for name, it in DECLARED.items() if it["provider"] == "aws"]
OURS, OBJECTS = f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/"
TLS = {"aws:SecureTransport": "true", "s3:TlsVersion": "1.3"}
SSE = "s3:x-amz-server-side-encryption"
SSE_KEY = f"{SSE}-aws-kms-key-id"
TRAINER = f"arn:aws:iam::{ACCOUNT}:role/training"
TRAINING: Policy = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
}
"""Of somebody who may do everything with S3."""


@contextmanager
def account() -> Generator[None]:
    """An account with a boundary, an identity provider and a bucket for access logs."""
    with pytest.MonkeyPatch.context() as environment, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            environment.setenv(name, "testing")
        environment.setenv("AWS_DEFAULT_REGION", REGION)
        iam, s3 = boto3.client("iam"), boto3.client("s3")
        iam.create_policy(PolicyName="boundary", PolicyDocument=json.dumps(TRAINING))
        iam.create_open_id_connect_provider(Url=f"https://{ISSUER}", ThumbprintList=["0" * 40])
        s3.create_bucket(
            Bucket="acme-access-logs", CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        delivery = {
            "Effect": "Allow",
            "Principal": {"Service": "logging.s3.amazonaws.com"},
            "Action": "s3:PutObject",
            "Resource": "arn:aws:s3:::acme-access-logs/*",
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [delivery]})
        s3.put_bucket_policy(Bucket="acme-access-logs", Policy=policy)
        yield


class Replay:
    """Makes recorded resources as the provider would.

    Attributes:
        real: the ARN that AWS gave, by the one of the mocks.
    """

    def __init__(self) -> None:
        self.s3, self.kms = boto3.client("s3"), boto3.client("kms")
        self.iam, self.eks = boto3.client("iam"), boto3.client("eks")
        self.real: dict[str, str] = {}

    def run(self, made: Mapping[str, Mapping[str, Any]]) -> None:
        makers: dict[str, Callable[[str, dict[str, Any]], None]] = {
            "Key": self._key,
            "Alias": self._alias,
            "Bucket": self._bucket,
            "BucketPublicAccessBlock": self._public_access,
            "BucketOwnershipControls": self._ownership,
            "BucketVersioning": self._versioning,
            "BucketServerSideEncryptionConfiguration": self._encryption,
            "BucketPolicy": self._policy,
            "BucketLifecycleConfiguration": self._lifecycle,
            "BucketObjectLockConfiguration": self._lock,
            "BucketLogging": self._logging,
            "Role": self._role,
            "RolePolicy": self._role_policy,
            "PodIdentityAssociation": self._identity,
        }
        on_aws = {name: it for name, it in made.items() if it["type"].startswith("aws:")}
        assert {it["type"].split(":")[-1] for it in on_aws.values()} <= makers.keys()
        for kind, make in makers.items():
            for name, it in on_aws.items():
                if it["type"].split(":")[-1] == kind:
                    text = json.dumps(it["inputs"])
                    for mocked, real in self.real.items():
                        text = text.replace(mocked, real)
                    make(name, json.loads(text))

    def key_arn(self) -> str:
        return self.kms.describe_key(KeyId=f"alias/{BUCKET}")["KeyMetadata"]["Arn"]

    def _send(self, client: Any, operation: str, inputs: Mapping[str, Any], **options: Any) -> Any:
        given = parameters(client, operation, inputs, **options)
        method = {value: key for key, value in client.meta.method_to_api_mapping.items()}[operation]
        return getattr(client, method)(**given)

    def _key(self, name: str, inputs: dict[str, Any]) -> None:
        tags = [{"tagKey": key, "tagValue": it} for key, it in inputs["tags"].items()]
        apart = ("enableKeyRotation", "deletionWindowInDays")
        made = self._send(self.kms, "CreateKey", {**inputs, "tags": tags}, left_out=apart)
        arn = made["KeyMetadata"]["Arn"]
        self.real[f"arn:aws:mock:::Key/{name}"] = arn
        if inputs["enableKeyRotation"]:
            self._send(self.kms, "EnableKeyRotation", {"keyId": arn})

    def _alias(self, name: str, inputs: dict[str, Any]) -> None:
        self._send(self.kms, "CreateAlias", inputs, renamed={"name": "AliasName"})

    def _bucket(self, name: str, inputs: dict[str, Any]) -> None:
        self._send(
            self.s3,
            "CreateBucket",
            {**inputs, "createBucketConfiguration": {"locationConstraint": REGION}},
            renamed={"objectLockEnabled": "ObjectLockEnabledForBucket"},
            left_out=("forceDestroy", "tags"),
        )
        tagging = {"bucket": inputs["bucket"], "tagging": {"tagSet": inputs["tags"]}}
        self._send(self.s3, "PutBucketTagging", tagging)

    def _put(self, operation: str, inputs: dict[str, Any], wrapped: dict[str, Any]) -> None:
        self._send(self.s3, operation, {"bucket": inputs["bucket"], **wrapped})

    def _public_access(self, name: str, inputs: dict[str, Any]) -> None:
        settings = {key: it for key, it in inputs.items() if key != "bucket"}
        wrapped = {"publicAccessBlockConfiguration": settings}
        self._put("PutPublicAccessBlock", inputs, wrapped)

    def _ownership(self, name: str, inputs: dict[str, Any]) -> None:
        wrapped = {"ownershipControls": {"rules": [inputs["rule"]]}}
        self._put("PutBucketOwnershipControls", inputs, wrapped)

    def _versioning(self, name: str, inputs: dict[str, Any]) -> None:
        self._send(self.s3, "PutBucketVersioning", inputs)

    def _encryption(self, name: str, inputs: dict[str, Any]) -> None:
        wrapped = {"serverSideEncryptionConfiguration": {"rules": inputs["rules"]}}
        self._put("PutBucketEncryption", inputs, wrapped)

    def _policy(self, name: str, inputs: dict[str, Any]) -> None:
        self._send(self.s3, "PutBucketPolicy", inputs)

    def _lifecycle(self, name: str, inputs: dict[str, Any]) -> None:
        wrapped = {"lifecycleConfiguration": {"rules": inputs["rules"]}}
        self._put("PutBucketLifecycleConfiguration", inputs, wrapped)

    def _lock(self, name: str, inputs: dict[str, Any]) -> None:
        wrapped = {"objectLockConfiguration": {"objectLockEnabled": "Enabled", **inputs}}
        del wrapped["objectLockConfiguration"]["bucket"]
        self._put("PutObjectLockConfiguration", inputs, wrapped)

    def _logging(self, name: str, inputs: dict[str, Any]) -> None:
        enabled = {key: it for key, it in inputs.items() if key != "bucket"}
        self._put("PutBucketLogging", inputs, {"bucketLoggingStatus": {"loggingEnabled": enabled}})

    def _role(self, name: str, inputs: dict[str, Any]) -> None:
        renamed = {"assumeRolePolicy": "AssumeRolePolicyDocument"}
        made = self._send(self.iam, "CreateRole", {**inputs, "roleName": name}, renamed=renamed)
        self.real[f"arn:aws:mock:::Role/{name}"] = made["Role"]["Arn"]

    def _role_policy(self, name: str, inputs: dict[str, Any]) -> None:
        renamed = {"role": "RoleName", "policy": "PolicyDocument"}
        self._send(self.iam, "PutRolePolicy", {**inputs, "policyName": name}, renamed=renamed)

    def _identity(self, name: str, inputs: dict[str, Any]) -> None:
        """By botocore's own check alone: moto has no such associations."""
        given = parameters(self.eks, "CreatePodIdentityAssociation", inputs)
        model = self.eks.meta.service_model.operation_model("CreatePodIdentityAssociation")
        validate_parameters(given, model.input_shape)
        self.iam.get_role(RoleName=given["roleArn"].rpartition("/")[2])


@pytest.fixture
def replayed() -> Generator[Callable[[str], Replay]]:
    def run(name: str) -> Replay:
        replay = Replay()
        replay.run(record(lambda: declare(name)))
        return replay

    with account():
        yield run


@dataclass(frozen=True)
class Policies:
    """All policies of a store, as AWS gives them back.

    Attributes:
        key_arn: of the store's key.
        key: its policy.
        buckets: by name.
        trust: of roles, by service account.
        roles: by service account.
    """

    key_arn: str
    key: Policy
    buckets: Mapping[str, Policy]
    trust: Mapping[str, Policy]
    roles: Mapping[str, Policy]


def policies_of(name: str) -> Policies:
    accounts = ("fraud", "fraud-batch", "churn")
    with account():
        it = Replay()
        it.run(record(lambda: declare(name)))
        arn = it.key_arn()
        return Policies(
            key_arn=arn,
            key=json.loads(it.kms.get_key_policy(KeyId=arn, PolicyName="default")["Policy"]),
            buckets={
                bucket: json.loads(it.s3.get_bucket_policy(Bucket=bucket)["Policy"])
                for bucket in (BUCKET, LOGS)
            },
            trust={
                one: it.iam.get_role(RoleName=f"artifacts-{one}")["Role"][
                    "AssumeRolePolicyDocument"
                ]
                for one in accounts
            },
            roles={
                one: it.iam.get_role_policy(
                    RoleName=f"artifacts-{one}", PolicyName=f"artifacts-{one}-policy"
                )["PolicyDocument"]
                for one in accounts
            },
        )


@pytest.fixture(scope="module")
def policies() -> Policies:
    return policies_of("pod-identity")


# --- accepted


@pytest.mark.parametrize("name", ON_AWS)
def test_everything_is_accepted_and_is_as_declared(name, replayed):
    it = replayed(name)
    key = it.key_arn()
    buckets = [it["Name"] for it in it.s3.list_buckets()["Buckets"]]
    logs = "acme-access-logs" if name == "external-log" else LOGS
    assert set(buckets) == {BUCKET, "acme-access-logs", logs}
    for bucket in {BUCKET, LOGS} & set(buckets):
        closed = it.s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        assert list(closed.values()) == [True] * 4
        assert it.s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
        owned = it.s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]
        assert owned["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
        tags = it.s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
        assert tags == [{"Key": "team", "Value": "ml-platform"}]
        (rule,) = it.s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"][
            "Rules"
        ]
        by_key = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
        ours = bucket == BUCKET
        default = rule["ApplyServerSideEncryptionByDefault"]
        assert default == (by_key if ours else {"SSEAlgorithm": "AES256"})
        assert rule["BucketKeyEnabled"] is ours
    logged = it.s3.get_bucket_logging(Bucket=BUCKET)["LoggingEnabled"]
    assert (logged["TargetBucket"], logged["TargetPrefix"]) == (logs, f"{BUCKET}/")

    assert it.kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]
    assert key in it.real.values()


def test_old_objects_go_and_the_present_ones_get_cheaper(replayed):
    it = replayed("irsa")
    rules = {
        one["ID"]: one for one in it.s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    }
    assert {one["Status"] for one in rules.values()} == {"Enabled"}
    cheaper = rules["cheaper-storage"]["Transitions"]
    assert cheaper == [{"Days": 30, "StorageClass": "INTELLIGENT_TIERING"}]
    assert rules["replaced-objects"]["NoncurrentVersionExpiration"]["NoncurrentDays"] == 90
    unfinished = rules["unfinished-uploads"]["AbortIncompleteMultipartUpload"]
    assert unfinished == {"DaysAfterInitiation": 7}
    # What a service may still fetch never expires by itself.
    assert not any("Days" in one.get("Expiration", {}) for one in rules.values())
    logs = it.s3.get_bucket_lifecycle_configuration(Bucket=LOGS)["Rules"]
    assert [one["Expiration"]["Days"] for one in logs if one["ID"] == "expiry"] == [365]


def test_a_locked_version_cannot_be_deleted(replayed):
    it = replayed("object-lock")
    lock = it.s3.get_object_lock_configuration(Bucket=BUCKET)["ObjectLockConfiguration"]
    retention = lock["Rule"]["DefaultRetention"]
    assert (retention["Mode"], retention["Days"]) == ("COMPLIANCE", 365)
    # Without the bucket's policy: moto takes a denial under conditions for one without.
    it.s3.delete_bucket_policy(Bucket=BUCKET)
    made = it.s3.put_object(
        Bucket=BUCKET, Key="fraud/1.0.0/model", Body=b"m", ChecksumAlgorithm="SHA256"
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        it.s3.delete_object(Bucket=BUCKET, Key="fraud/1.0.0/model", VersionId=made["VersionId"])


def test_every_role_is_bounded(replayed):
    it = replayed("pod-identity")
    roles = it.iam.list_roles()["Roles"]
    assert {one["RoleName"] for one in roles} == {
        f"artifacts-{name}" for name in ("fraud", "fraud-batch", "churn")
    }
    for one in roles:
        bounded = it.iam.get_role(RoleName=one["RoleName"])["Role"]["PermissionsBoundary"]
        assert bounded["PermissionsBoundaryArn"] == f"arn:aws:iam::{ACCOUNT}:policy/boundary"


# --- the bucket's policy, by our own evaluator


def put(key: str = "fraud/1.0.0/model", principal: str = TRAINER, **context: str) -> Request:
    return Request(principal, "s3:PutObject", f"{OBJECTS}{key}", {**TLS, **context})


@pytest.mark.parametrize("action", ["s3:PutObject", "s3:GetObject", "s3:DeleteObject"])
@pytest.mark.parametrize("bucket", [BUCKET, LOGS])
def test_the_public_is_refused(bucket, action, policies):
    # Nor would a policy that lets everybody in be taken: access for the public is blocked, above.
    request = Request(ANYBODY, action, f"arn:aws:s3:::{bucket}/{BUCKET}/a", TLS)
    assert not allowed(request, resource=policies.buckets[bucket])


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (TLS, True),
        ({**TLS, "s3:TlsVersion": "1.2"}, True),
        ({**TLS, "s3:TlsVersion": "1.1"}, False),
        ({"aws:SecureTransport": "false"}, False),
    ],
)
@pytest.mark.parametrize("action", ["s3:PutObject", "s3:GetObject"])
@pytest.mark.parametrize("bucket", [BUCKET, LOGS])
def test_only_present_tls_is_let_in(bucket, action, context, expected, policies):
    policy = policies.buckets[bucket]
    request = Request(TRAINER, action, f"arn:aws:s3:::{bucket}/a", context)
    assert allowed(request, identity=[TRAINING], resource=policy) is expected
    listing = request.having(action="s3:ListBucket", resource=f"arn:aws:s3:::{bucket}")
    assert allowed(listing, identity=[TRAINING], resource=policy) is expected


def test_only_the_key_of_the_bucket_encrypts(policies):
    key, policy = policies.key_arn, policies.buckets[BUCKET]
    let_in = {
        "said nothing, so the bucket encrypts with its key": {},
        "named our key": {SSE: "aws:kms", SSE_KEY: key},
    }
    refused = {
        "another key": {SSE: "aws:kms", SSE_KEY: key[:-1] + "x"},
        "another key, without the algorithm": {SSE_KEY: key[:-1] + "x"},
        "the account's own key for S3": {SSE: "aws:kms"},
        "S3's keys": {SSE: "AES256"},
        "S3's keys, naming ours": {SSE: "AES256", SSE_KEY: key},
        "two layers": {SSE: "aws:kms:dsse", SSE_KEY: key},
        "a key that the client has": {f"{SSE}-customer-algorithm": "AES256"},
    }
    for why, context in let_in.items():
        assert allowed(put(**context), identity=[TRAINING], resource=policy), why
    for why, context in refused.items():
        assert not allowed(put(**context), identity=[TRAINING], resource=policy), why


def test_s3_may_deliver_the_log_of_this_bucket_only(policies):
    policy = policies.buckets[LOGS]
    source = {"aws:SourceArn": OURS, "aws:SourceAccount": ACCOUNT}
    delivery = Request(
        "logging.s3.amazonaws.com",
        "s3:PutObject",
        f"arn:aws:s3:::{LOGS}/{BUCKET}/2026-11-24",
        source,
    )
    assert allowed(delivery, resource=policy)
    for wrong in (
        delivery.having(context={**source, "aws:SourceArn": "arn:aws:s3:::another"}),
        delivery.having(context={**source, "aws:SourceAccount": "210987654321"}),
        delivery.having(resource=f"arn:aws:s3:::{LOGS}/other/2026-11-24"),
        delivery.having(action="s3:GetObject"),
        delivery.having(principal="cloudtrail.amazonaws.com"),
    ):
        assert not allowed(wrong, resource=policy), wrong


# --- the roles' policies


def asks(account: str, action: str, resource: str, **context: str) -> Request:
    return Request(
        f"arn:aws:sts::{ACCOUNT}:assumed-role/artifacts-{account}/pod",
        action,
        resource,
        {**TLS, **context},
    )


@pytest.mark.parametrize(
    ("account", "action", "resource", "expected"),
    [
        ("fraud", "s3:GetObject", f"{OBJECTS}fraud/1.0.0/model", True),
        ("fraud", "s3:GetObject", f"{OBJECTS}mlflow/7/models/m-1/model", False),
        ("fraud", "s3:GetObject", f"{OBJECTS}fraudulent/1.0.0/model", False),
        ("fraud", "s3:GetObject", "arn:aws:s3:::acme-models-logs/fraud/a", False),
        ("fraud", "s3:PutObject", f"{OBJECTS}fraud/1.0.0/model", False),
        ("fraud", "s3:DeleteObject", f"{OBJECTS}fraud/1.0.0/model", False),
        ("fraud", "s3:GetObject", f"{OBJECTS}batch/fraud/in/a", False),
        ("fraud", "s3:PutObject", f"{OBJECTS}batch/fraud/out/a", False),
        ("churn", "s3:GetObject", f"{OBJECTS}mlflow/7/models/m-1/model", True),
        ("churn", "s3:GetObject", f"{OBJECTS}mlflow/70/models/m-1/model", False),
        ("churn", "s3:GetObject", f"{OBJECTS}fraud/1.0.0/model", False),
        ("fraud-batch", "s3:GetObject", f"{OBJECTS}fraud/1.0.0/model", True),
        ("fraud-batch", "s3:GetObject", f"{OBJECTS}batch/fraud/in/a", True),
        ("fraud-batch", "s3:GetObject", "arn:aws:s3:::lake/payments/a", True),
        ("fraud-batch", "s3:GetObject", "arn:aws:s3:::lake/salaries/a", False),
        ("fraud-batch", "s3:PutObject", f"{OBJECTS}batch/fraud/out/a", True),
        ("fraud-batch", "s3:GetObject", f"{OBJECTS}batch/fraud/out/a", False),
        ("fraud-batch", "s3:PutObject", f"{OBJECTS}batch/fraud/in/a", False),
        ("fraud-batch", "s3:PutObject", f"{OBJECTS}fraud/1.0.0/model", False),
        ("fraud-batch", "s3:PutObject", "arn:aws:s3:::lake/payments/a", False),
        ("fraud-batch", "s3:DeleteObject", f"{OBJECTS}batch/fraud/out/a", False),
    ],
)
def test_a_role_reads_its_own_and_batch_writes_its_own(
    account, action, resource, expected, policies
):
    identity = [policies.roles[account]]
    request = asks(account, action, resource)
    assert allowed(request, identity=identity, resource=policies.buckets[BUCKET]) is expected


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({"s3:prefix": "fraud/1.0.0"}, True),  # as KServe asks, for `s3://acme-models/fraud/1.0.0`
        ({"s3:prefix": "fraud/"}, True),
        ({"s3:prefix": "fraud"}, False),
        ({"s3:prefix": ""}, False),
        ({"s3:prefix": "mlflow/7/models"}, False),
        ({}, True),  # the bucket's head, which KServe asks for first
    ],
)
def test_a_role_lists_its_own_prefix(context, expected, policies):
    identity = [policies.roles["fraud"]]
    assert allowed(asks("fraud", "s3:ListBucket", OURS, **context), identity=identity) is expected
    logs = asks("fraud", "s3:ListBucket", f"arn:aws:s3:::{LOGS}", **context)
    assert not allowed(logs, identity=identity)


def test_a_role_uses_the_key_only_through_s3(policies):
    key = policies.key_arn
    s3 = {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}
    rights = {"fraud": {"kms:Decrypt"}, "fraud-batch": {"kms:Decrypt", "kms:GenerateDataKey"}}
    for account, expected in rights.items():
        identity = [policies.roles[account]]
        for action in ("kms:Decrypt", "kms:GenerateDataKey", "kms:ScheduleKeyDeletion"):
            request = asks(account, action, key, **s3)
            assert allowed(request, identity=identity) is (action in expected)
            assert not allowed(request.having(context=TLS), identity=identity)
            assert not allowed(request.having(resource=f"{key}x"), identity=identity)
    # The key itself lets nobody in: its policy hands the question to those of the account.
    assert not allowed(asks("fraud", "kms:Decrypt", key, **s3), resource=policies.key)
    root = Request(f"arn:aws:iam::{ACCOUNT}:root", "kms:PutKeyPolicy", key)
    assert allowed(root, resource=policies.key)


def test_moto_lets_a_role_read_its_own_prefix_and_do_nothing_else(replayed):
    """Enforced by moto, without the bucket's policy: it knows the roles' actions and resources."""
    it = replayed("pod-identity")
    it.s3.delete_bucket_policy(Bucket=BUCKET)
    own, other, out = "fraud/1.0.0/model", "mlflow/7/models/m-1/model", "batch/fraud/out/a"
    for key in (own, other, out):
        it.s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())

    def client(account: str) -> Any:
        arn = f"arn:aws:iam::{ACCOUNT}:role/artifacts-{account}"
        keys = boto3.client("sts").assume_role(RoleArn=arn, RoleSessionName="pod")["Credentials"]
        return boto3.client(
            "s3",
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys["SessionToken"],
        )

    pods, batch = client("fraud"), client("fraud-batch")

    @set_initial_no_auth_action_count(0)
    def enforced() -> None:
        read = pods.get_object(Bucket=BUCKET, Key=own)["Body"].read()
        assert read == own.encode()
        batch.put_object(Bucket=BUCKET, Key=out, Body=b"")
        for attempt in (
            lambda: pods.get_object(Bucket=BUCKET, Key=other),
            lambda: pods.put_object(Bucket=BUCKET, Key=own, Body=b""),
            lambda: pods.delete_object(Bucket=BUCKET, Key=own),
            lambda: pods.put_object(Bucket=BUCKET, Key=out, Body=b""),
            lambda: batch.put_object(Bucket=BUCKET, Key=own, Body=b""),
            lambda: batch.get_object(Bucket=BUCKET, Key=other),
        ):
            with pytest.raises(ClientError, match="AccessDenied"):
                attempt()

    enforced()


# --- who gets a role


def test_only_the_service_account_of_this_cluster_gets_the_role(policies):
    trust = policies.trust["fraud"]
    tags = {
        "aws:RequestTag/eks-cluster-arn": f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/prod",
        "aws:RequestTag/kubernetes-namespace": "models",
        "aws:RequestTag/kubernetes-service-account": "fraud",
    }
    request = Request("pods.eks.amazonaws.com", "sts:AssumeRole", "the role", tags)
    assert allowed(request, resource=trust)
    assert allowed(request.having(action="sts:TagSession"), resource=trust)
    assert not allowed(request.having(principal="ec2.amazonaws.com"), resource=trust)
    assert not allowed(request.having(context={}), resource=trust)
    for tag in tags:
        assert not allowed(request.having(context={**tags, tag: "churn"}), resource=trust), tag


def test_only_a_token_of_the_service_account_gets_the_role():
    trust = policies_of("irsa").trust["fraud"]
    claims = {
        f"{ISSUER}:aud": "sts.amazonaws.com",
        f"{ISSUER}:sub": "system:serviceaccount:models:fraud",
    }
    provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}"
    request = Request(provider, "sts:AssumeRoleWithWebIdentity", "the role", claims)
    assert allowed(request, resource=trust)
    assert not allowed(request.having(principal=f"{provider}0"), resource=trust)
    assert not allowed(request.having(action="sts:AssumeRole"), resource=trust)
    for claim, wrong in (("aud", "another"), ("sub", "system:serviceaccount:models:churn")):
        context = {**claims, f"{ISSUER}:{claim}": wrong}
        assert not allowed(request.having(context=context), resource=trust), claim
