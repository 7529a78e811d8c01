"""Where models lie: a bucket of AWS, or one of any store that speaks S3."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, model_validator

from models.alerting import SecretKey
from models.aws import Aws
from models.base import Declared, Name, refuse
from models.service import Service

LOG_SUFFIX: Final = "-logs"
"""After the name of a bucket: the bucket of its access log."""

BATCH_SUFFIX: Final = "-batch"
"""After the name of a service: the account of its batch predictions, which may write."""

_LONGEST_BUCKET = 63
_WILDCARDS = "*?$"

# No dots: they are not covered by the certificate of `<bucket>.s3.<region>.amazonaws.com`.
AwsBucketName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", max_length=63)
]
BucketName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,62}$")]
Prefix = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9._=-]+(/[A-Za-z0-9._=-]+)*$", max_length=512)
]
ObjectName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$", max_length=253)
]

Found = Iterator[tuple[tuple[str, ...], str]]
"""Key path and what is wrong there."""


class _Store(Declared):
    """What every store declares.

    Attributes:
        prefixes: folder of a service's versions in the bucket, by service; it is the service's own
            name where absent. With MLflow either give the service's experiment the artifact
            location `s3://<bucket>/<service>`, or name here what MLflow chose:
            `<artifact root>/<experiment id>`.
    """

    prefixes: dict[Name, Prefix] = Field(default_factory=dict)

    @property
    def secret_keys(self) -> tuple[str, ...]:
        """The config keys of all secrets."""
        return ()


class ObjectLock(Declared):
    """No version of an object can be deleted or replaced for a time. Only for a new bucket.

    Attributes:
        mode: in `governance` principals with `s3:BypassGovernanceRetention` still can; in
            `compliance` nobody can, the account's root neither.
        days: for so long after an upload.
    """

    mode: Literal["governance", "compliance"]
    days: int = Field(ge=1, le=36500)


class AccessLog(Declared):
    """Who read or wrote what, as S3 logs it.

    Attributes:
        bucket: one that is there already and lets S3's log delivery write; absent, one is made
            that is named `<bucket>-logs`.
        retain_days: how long the log is kept in a bucket that is made.
    """

    bucket: AwsBucketName | None = None
    retain_days: int = Field(365, ge=1)

    @model_validator(mode="after")
    def _own_bucket_or_another(self) -> AccessLog:
        if self.bucket and "retain_days" in self.model_fields_set:
            raise ValueError("retainDays is for a bucket that is made here; bucket names another")
        return self


class AwsStore(_Store):
    """A bucket of AWS with a key of its own, and a role for each service that reads its prefix.

    Attributes:
        bucket: its name, unique in the partition.
        access: how pods get their role: EKS Pod Identity, whose agent must run on the nodes, or
            IRSA, which needs `oidcProviderArn` of the cluster.
        retain_days: how long replaced and deleted objects can be brought back.
        cheaper_after_days: when objects go to the cheaper class.
        cheaper_class: a served version is fetched again with each new pod, and only
            INTELLIGENT_TIERING asks no fee for that.
        object_lock: forbids deletion for a time.
        access_log: who read or wrote what.
    """

    provider: Literal["aws"]
    bucket: AwsBucketName
    access: Literal["pod-identity", "irsa"] = "pod-identity"
    retain_days: int = Field(730, ge=1)
    cheaper_after_days: int = Field(30, ge=30)
    cheaper_class: Literal["INTELLIGENT_TIERING", "STANDARD_IA", "GLACIER_IR"] = (
        "INTELLIGENT_TIERING"
    )
    object_lock: ObjectLock | None = None
    access_log: AccessLog = Field(default_factory=lambda: AccessLog.model_validate({}))

    @model_validator(mode="after")
    def _fits_together(self) -> AwsStore:
        rules = (
            (
                self.access_log.bucket is None
                and len(self.bucket) + len(LOG_SUFFIX) > _LONGEST_BUCKET,
                f"{self.bucket}{LOG_SUFFIX} is too long for a bucket; name one in accessLog.bucket",
            ),
            (
                self.access_log.bucket == self.bucket,
                "accessLog.bucket is the bucket itself: every log file would be logged again",
            ),
            (
                self.object_lock is not None and self.object_lock.days > self.retain_days,
                "objectLock.days is more than retainDays: objects cannot expire while locked",
            ),
        )
        refuse([what for wrong, what in rules if wrong])
        return self


class Credentials(Declared):
    """Keys of the store, as config keys whose values are secret.

    Attributes:
        access_key_secret: config key of the access key's id.
        secret_key_secret: config key of the secret access key.
    """

    access_key_secret: SecretKey
    secret_key_secret: SecretKey


class S3CompatibleStore(_Store):
    """A bucket that is there already, in any store that speaks S3.

    All services read with the same keys: what one may read is not kept apart.

    Attributes:
        bucket: its name.
        endpoint: URL without a path, as the pods see it.
        region: what the store calls its region.
        path_style: the bucket is in the path of a URL, not in its host.
        verify_tls: whether the store's certificate is checked; goes with https.
        ca_config_map: a ConfigMap in the services' namespace with the store's authority under
            `cabundle.crt`.
        credentials: the keys; a Secret is made of them.
        existing_secret: or a Secret with KServe's S3 annotations, made by others; the pods that
            fetch models then have endpoint, region and TLS from there.
    """

    provider: Literal["s3-compatible"]
    bucket: BucketName
    endpoint: str = Field(pattern=r"^https?://[A-Za-z0-9.-]+(:\d+)?$")
    region: str = Field("us-east-1", pattern=r"^[a-z0-9-]+$")
    path_style: bool = True
    verify_tls: bool = True
    ca_config_map: ObjectName | None = None
    credentials: Credentials | None = None
    existing_secret: ObjectName | None = None

    @property
    def secret_keys(self) -> tuple[str, ...]:
        """See `_Store`."""
        it = self.credentials
        return (it.access_key_secret, it.secret_key_secret) if it else ()

    @model_validator(mode="after")
    def _fits_together(self) -> S3CompatibleStore:
        tls = self.endpoint.startswith("https://")
        rules = (
            (
                (self.credentials is None) == (self.existing_secret is None),
                "give either credentials, of which a Secret is made, or existingSecret",
            ),
            (
                not tls and (not self.verify_tls or self.ca_config_map is not None),
                "verifyTls and caConfigMap are for https, endpoint is http",
            ),
            (
                not self.verify_tls and self.ca_config_map is not None,
                "caConfigMap is of no use with verifyTls: false",
            ),
            (
                self.existing_secret is not None
                and not self.model_fields_set.isdisjoint(
                    {"verify_tls", "ca_config_map", "path_style"}
                ),
                "existingSecret says verifyTls, caConfigMap and pathStyle itself, by annotations",
            ),
        )
        refuse([what for wrong, what in rules if wrong])
        return self


ArtifactStore = Annotated[AwsStore | S3CompatibleStore, Field(discriminator="provider")]
"""The store of a stack, by its provider."""


def service_prefix(store: ArtifactStore, service_name: str) -> str:
    """Returns the folder in the bucket that a service's versions lie in, without slashes around."""
    return store.prefixes.get(service_name, service_name)


def artifact_problems(
    store: ArtifactStore, services: Mapping[str, Service], aws: Aws | None, target: str
) -> list[tuple[tuple[str, ...], str]]:
    """Returns what does not fit together between a store and its stack, with key paths.

    Args:
        store: the declaration.
        services: of the stack, by name.
        aws: what the stack says of AWS.
        target: where the stack runs.
    """
    return [
        *_place_problems(store, aws, target),
        *_prefix_problems(store, services),
        *_account_problems(services),
        *(
            ((*("services", name), *path), what)
            for name, service in services.items()
            for path, what in (
                *_version_problems(store, name, service),
                *_batch_problems(store, services, name, service),
            )
        ),
    ]


def _place_problems(store: ArtifactStore, aws: Aws | None, target: str) -> Found:
    if target == "embedded":
        yield ("artifacts",), "the embedded target has a store of its own"
    if not isinstance(store, AwsStore):
        return
    if aws is None or aws.account_id is None or aws.eks is None:
        yield (
            ("artifacts", "provider"),
            "aws needs modelramp:aws with region, accountId and eks.cluster",
        )
    elif store.access == "irsa" and aws.eks.oidc_provider_arn is None:
        yield ("artifacts", "access"), "irsa needs modelramp:aws.eks.oidcProviderArn"


def _prefix_problems(store: ArtifactStore, services: Mapping[str, Service]) -> Found:
    for name in store.prefixes:
        if name not in services:
            declared = ", ".join(services) or "none"
            yield ("artifacts", "prefixes", name), f"no service of this name; there are {declared}"
    # Sorted, a folder stands before those that lie in it.
    folders = sorted((f"{service_prefix(store, name)}/", name) for name in services)
    for (outer, one), (inner, other) in pairwise(folders):
        if inner.startswith(outer):
            yield (
                ("artifacts", "prefixes"),
                f"{one} has {outer} and {other} has {inner}: one could read the other's models",
            )


def _account_problems(services: Mapping[str, Service]) -> Found:
    for name, service in services.items():
        batch = f"{name}{BATCH_SUFFIX}"
        if name == "default":
            yield ("services", name), "every namespace has a service account of this name already"
        if service.batch and batch in services:
            yield (
                ("services", batch),
                f"is also the service account of the batch predictions of {name}",
            )


def _version_problems(store: ArtifactStore, name: str, service: Service) -> Found:
    own = f"s3://{store.bucket}/{service_prefix(store, name)}/"
    for version, declared in service.versions.items():
        if not declared.uri.rstrip("/").startswith(own):
            yield (
                ("versions", version, "uri"),
                (
                    f"{declared.uri} is not under {own}, which is all that {name} may read; "
                    f"artifacts.prefixes.{name} can name another folder"
                ),
            )


def _batch_problems(
    store: ArtifactStore, services: Mapping[str, Service], name: str, service: Service
) -> Found:
    for job, batch in service.batch.items():
        for side, uri in (("input", batch.input), ("output", batch.output)):
            at = ("batch", job, side)
            if any(it in uri for it in _WILDCARDS):
                yield at, f"{uri}: none of {' '.join(_WILDCARDS)} is taken literally in a policy"
            for other in services:
                models = f"s3://{store.bucket}/{service_prefix(store, other)}/"
                overlaps = models.startswith(f"{uri}/") or f"{uri}/".startswith(models)
                if overlaps and (side == "output" or other != name):
                    yield at, f"{uri} overlaps with {models}, where the models of {other} lie"


def batch_prefixes(service: Service) -> tuple[list[str], list[str]]:
    """Returns all prefixes that batch predictions of a service read, and all that they write."""
    jobs = service.batch.values()
    return _unique(it.input for it in jobs), _unique(it.output for it in jobs)


def _unique(uris: Iterable[str]) -> list[str]:
    return sorted(set(uris))
