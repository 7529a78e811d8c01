"""Where models lie, and the service accounts whose pods may read them."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as kubernetes

from components.arguments import refuse
from components.artifact_access import (
    AccessArgs,
    Granted,
    Rights,
    access_problems,
    grant,
    name_problems,
)
from components.artifact_bucket import Account, BucketArgs, bucket_problems, declare_bucket
from models.artifact_store import BATCH_SUFFIX

_KEYS = ("accessKey", "secretKey")
# In a policy the signs that are left out stand for something else.
_PLAIN_URI = re.compile(r"s3://[^/*?$]+/[^*?$]*[^/*?$]")


class BatchAccessArgs(TypedDict):
    """What batch predictions of a service read and write, beside its models."""

    inputs: list[str]
    """Prefixes that they read, `s3://bucket/folder`."""

    outputs: list[str]
    """Prefixes that they write."""


class StoreServiceArgs(TypedDict):
    """A service whose pods read the store."""

    prefix: str
    """Folder of its versions in the bucket."""

    batch: NotRequired[BatchAccessArgs]
    """For its batch predictions, which have a service account of their own."""


class AwsStoreArgs(TypedDict):
    """A bucket of AWS that is made here."""

    partition: str
    """aws, aws-cn or aws-us-gov."""

    region: str
    """Of the bucket and its key."""

    accountId: str
    """Twelve digits."""

    tags: dict[str, str]
    """Of all AWS resources."""

    bucket: BucketArgs
    """How the bucket is kept."""

    access: AccessArgs
    """How pods may read it."""


class S3CompatibleArgs(TypedDict):
    """A bucket that is there already, in any store that speaks S3."""

    endpoint: str
    """URL without a path, as the pods see it."""

    region: str
    """What the store calls its region."""

    pathStyle: bool
    """The bucket is in the path of a URL, not in its host."""

    verifyTls: bool
    """Whether the store's certificate is checked."""

    caConfigMap: NotRequired[str]
    """A ConfigMap with the store's authority under `cabundle.crt`."""

    accessKey: NotRequired[pulumi.Input[str]]
    """The access key's id; goes into a Kubernetes Secret and nowhere else."""

    secretKey: NotRequired[pulumi.Input[str]]
    """The secret access key; goes into a Kubernetes Secret and nowhere else."""

    existingSecret: NotRequired[str]
    """Or a Secret that others make, with KServe's S3 annotations."""


class ArtifactStoreArgs(TypedDict):
    """Arguments of `ArtifactStore`."""

    namespace: str
    """Namespace of the service accounts."""

    bucket: str
    """Name of the bucket."""

    services: Mapping[str, StoreServiceArgs]
    """Whose pods read the store, by service."""

    aws: NotRequired[AwsStoreArgs]
    """A bucket of AWS; this or s3Compatible."""

    s3Compatible: NotRequired[S3CompatibleArgs]
    """A bucket of another store."""


class ArtifactStore(pulumi.ComponentResource):
    """A bucket of models, and a service account for each service that may read its own.

    The bucket of AWS and its key outlive the stack. A service's account has the service's name;
    that of its batch predictions has `-batch` behind it.
    """

    uri_prefix: pulumi.Output[str]
    """What every URI in the store begins with, `s3://bucket`."""

    service_accounts: pulumi.Output[Mapping[str, str]]
    """Name of the account of each service's pods, by service."""

    batch_service_accounts: pulumi.Output[Mapping[str, str]]
    """Name of the account of each service's batch predictions, by service."""

    secret: pulumi.Output[str | None]
    """Name of the Secret with the store's keys; none where pods have roles."""

    kms_key_arn: pulumi.Output[str | None]
    """The key that everything is encrypted with, where there is one."""

    def __init__(
        self, name: str, args: ArtifactStoreArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        rights = _rights(args)
        _validate(name, args, rights)
        super().__init__("modelramp:index:ArtifactStore", name, _without_keys(args), opts)
        namespace = args["namespace"]
        secret: pulumi.Input[str] | None = None
        key_arn: pulumi.Output[str] | None = None
        before: list[pulumi.Resource] = []
        if "s3Compatible" in args:
            secret, before = _secret(name, namespace, args["s3Compatible"], self)
        if "aws" in args:
            account = _account(args["aws"])
            key_arn = declare_bucket(name, args["bucket"], account, args["aws"]["bucket"], self)

        def named(it: Rights) -> pulumi.Output[str]:
            granted = Granted(annotations={}, before=before)
            if key_arn is not None and "aws" in args:
                access = args["aws"]["access"]
                granted = grant(name, namespace, it, key_arn, _account(args["aws"]), access, self)
            return _service_account(name, namespace, it.account, granted, secret, self)

        self._accounts = {it.account: named(it) for it in rights}
        self.uri_prefix = pulumi.Output.from_input(f"s3://{args['bucket']}")
        batch = [service for service, it in args["services"].items() if "batch" in it]
        # Of nothing, `all` makes a list.
        self.service_accounts = pulumi.Output.all(
            **{it: self.account(it) for it in args["services"]}
        ).apply(dict)
        self.batch_service_accounts = pulumi.Output.all(
            **{it: self.batch_account(it) for it in batch}
        ).apply(dict)
        self.secret = pulumi.Output.from_input(secret)
        self.kms_key_arn = pulumi.Output.from_input(key_arn)
        self.register_outputs(
            {
                "uriPrefix": self.uri_prefix,
                "serviceAccounts": self.service_accounts,
                "batchServiceAccounts": self.batch_service_accounts,
                "secret": self.secret,
                "kmsKeyArn": self.kms_key_arn,
            }
        )

    def account(self, service: str) -> pulumi.Output[str]:
        """Returns the service account of a service's pods; it waits for that service's role only.

        Raises:
            KeyError: the store does not know the service.
        """
        return self._accounts[service]

    def batch_account(self, service: str) -> pulumi.Output[str]:
        """Returns the service account of a service's batch predictions.

        Raises:
            KeyError: the service has none.
        """
        return self._accounts[f"{service}{BATCH_SUFFIX}"]


def _account(args: AwsStoreArgs) -> Account:
    return Account(args["partition"], args["region"], args["accountId"], args["tags"])


def _rights(args: ArtifactStoreArgs) -> list[Rights]:
    rights: list[Rights] = []
    for service, it in args["services"].items():
        own = f"s3://{args['bucket']}/{it['prefix']}"
        rights.append(Rights(service, [own]))
        if "batch" in it:
            reads = [own, *(uri for uri in it["batch"]["inputs"] if uri != own)]
            rights.append(Rights(f"{service}{BATCH_SUFFIX}", reads, it["batch"]["outputs"]))
    return rights


def _secret(
    name: str, namespace: str, args: S3CompatibleArgs, parent: pulumi.Resource
) -> tuple[pulumi.Input[str], list[pulumi.Resource]]:
    """Returns the name of the Secret, and what is made of it."""
    if "existingSecret" in args:
        return args["existingSecret"], []
    scheme, _, host = args["endpoint"].partition("://")
    # KServe's own spelling of true and false, which is not the same for all of them.
    annotations = {
        "s3-endpoint": host,
        "s3-usehttps": "1" if scheme == "https" else "0",
        "s3-region": args["region"],
        "s3-verifyssl": "1" if args["verifyTls"] else "0",
        "s3-usevirtualbucket": "false" if args["pathStyle"] else "true",
    }
    if "caConfigMap" in args:
        annotations["s3-cabundle-configmap"] = args["caConfigMap"]
    secret = kubernetes.core.v1.Secret(
        f"{name}-secret",
        metadata={
            "name": name,
            "namespace": namespace,
            "annotations": {f"serving.kserve.io/{key}": it for key, it in annotations.items()},
        },
        string_data={
            "AWS_ACCESS_KEY_ID": pulumi.Output.secret(args.get("accessKey", "")),
            "AWS_SECRET_ACCESS_KEY": pulumi.Output.secret(args.get("secretKey", "")),
        },
        opts=pulumi.ResourceOptions(parent=parent),
    )
    return name, [secret]


def _service_account(
    name: str,
    namespace: str,
    account: str,
    granted: Granted,
    secret: pulumi.Input[str] | None,
    parent: pulumi.Resource,
) -> pulumi.Output[str]:
    """Returns the name of a service account; whoever uses it waits for all that it needs."""
    made = kubernetes.core.v1.ServiceAccount(
        f"{name}-{account}-account",
        metadata={
            "name": account,
            "namespace": namespace,
            "annotations": granted.annotations,
        },
        secrets=None if secret is None else [{"name": secret}],
        # Models do not talk to Kubernetes; AWS's token is another one.
        automount_service_account_token=False,
        opts=pulumi.ResourceOptions(parent=parent, depends_on=list(granted.before)),
    )
    return made.urn.apply(lambda _: account)


def _without_keys(args: ArtifactStoreArgs) -> dict[str, Any]:
    """Returns the component's inputs: its keys are in the Secret's state only."""
    inputs: dict[str, Any] = dict(args)
    if "s3Compatible" in args:
        inputs["s3Compatible"] = {
            key: it for key, it in args["s3Compatible"].items() if key not in _KEYS
        }
    return inputs


def _validate(name: str, args: ArtifactStoreArgs, rights: list[Rights]) -> None:
    """Raises `InputPropertiesError` with everything that is wrong."""
    found = [*_service_problems(args, rights)]
    if ("aws" in args) == ("s3Compatible" in args):
        found.append(("aws", "exactly one of `aws` and `s3Compatible` must be given"))
    if "aws" in args:
        bucket, access = args["aws"]["bucket"], args["aws"]["access"]
        found += [(f"aws.bucket.{path}", why) for path, why in bucket_problems(bucket)]
        found += [(f"aws.access.{path}", why) for path, why in access_problems(access)]
        found += [("services", why) for why in name_problems(name, [it.account for it in rights])]
    if "s3Compatible" in args:
        found += _key_problems(args["s3Compatible"])
    refuse("ArtifactStore", found)


def _service_problems(args: ArtifactStoreArgs, rights: list[Rights]) -> Iterator[tuple[str, str]]:
    accounts = Counter(it.account for it in rights)
    for account, needed in accounts.items():
        if needed > 1:
            yield "services", f"two of them need the service account {account}"
    for service, it in args["services"].items():
        batch = it.get("batch", BatchAccessArgs(inputs=[], outputs=[]))
        uris = {
            "prefix": [f"s3://{args['bucket']}/{it['prefix']}"],
            "batch.inputs": batch["inputs"],
            "batch.outputs": batch["outputs"],
        }
        for key, those in uris.items():
            for uri in those:
                if not _PLAIN_URI.fullmatch(uri):
                    yield (
                        f"services.{service}.{key}",
                        f"{uri} must be s3://bucket/folder, without * ? $ and a slash at the end",
                    )


def _key_problems(args: S3CompatibleArgs) -> Iterator[tuple[str, str]]:
    given = [key for key in _KEYS if key in args]
    if "existingSecret" in args and given:
        yield "s3Compatible", "`existingSecret` and keys are mutually exclusive"
    if "existingSecret" not in args and len(given) < len(_KEYS):
        yield "s3Compatible", "needs accessKey and secretKey, or existingSecret"
    if not args["endpoint"].startswith(("http://", "https://")):
        yield "s3Compatible.endpoint", "must begin with http:// or https://"
