"""A declared artifact store becomes the arguments of its `ArtifactStore`."""

from collections.abc import Mapping

import pulumi

from components.artifact_access import AccessArgs
from components.artifact_bucket import AccessLogArgs, BucketArgs
from components.artifact_store import (
    ArtifactStoreArgs,
    AwsStoreArgs,
    S3CompatibleArgs,
    StoreServiceArgs,
)
from models.artifact_store import (
    ArtifactStore,
    AwsStore,
    S3CompatibleStore,
    batch_prefixes,
    service_prefix,
)
from models.aws import Aws
from models.service import Service


def artifact_store_args(
    store: ArtifactStore,
    services: Mapping[str, Service],
    namespace: str,
    aws: Aws | None = None,
    secrets: Mapping[str, pulumi.Input[str]] | None = None,
) -> ArtifactStoreArgs:
    """Returns the arguments of a stack's `ArtifactStore`.

    Args:
        store: the declaration.
        services: of the stack, by name.
        namespace: of the services.
        aws: what the stack says of AWS; for a store of AWS.
        secrets: the config's secret values, by the keys that `store.secret_keys` names.
    """
    args: ArtifactStoreArgs = {
        "namespace": namespace,
        "bucket": store.bucket,
        "services": {name: _service(store, name, it) for name, it in services.items()},
    }
    if isinstance(store, AwsStore):
        args["aws"] = _aws(store, aws)
    else:
        args["s3Compatible"] = _s3_compatible(store, secrets or {})
    return args


def _service(store: ArtifactStore, name: str, service: Service) -> StoreServiceArgs:
    args: StoreServiceArgs = {"prefix": service_prefix(store, name)}
    if service.batch:
        inputs, outputs = batch_prefixes(service)
        args["batch"] = {"inputs": inputs, "outputs": outputs}
    return args


def _aws(store: AwsStore, aws: Aws | None) -> AwsStoreArgs:
    # artifact_problems says so first.
    assert aws is not None and aws.account_id and aws.eks is not None  # noqa: S101, PT018
    log: AccessLogArgs = {"retainDays": store.access_log.retain_days}
    if store.access_log.bucket:
        log["bucket"] = store.access_log.bucket
    bucket: BucketArgs = {
        "retainDays": store.retain_days,
        "cheaperAfterDays": store.cheaper_after_days,
        "cheaperClass": store.cheaper_class,
        "accessLog": log,
    }
    if store.object_lock:
        bucket["objectLock"] = {
            "mode": store.object_lock.mode,
            "days": store.object_lock.days,
        }
    access: AccessArgs = {"method": store.access, "clusterName": aws.eks.cluster}
    if store.access == "irsa" and aws.eks.oidc_provider_arn:
        access["oidcProviderArn"] = aws.eks.oidc_provider_arn
    if aws.permissions_boundary_arn:
        access["permissionsBoundaryArn"] = aws.permissions_boundary_arn
    return {
        "partition": aws.partition,
        "region": aws.region,
        "accountId": aws.account_id,
        "tags": dict(aws.tags),
        "bucket": bucket,
        "access": access,
    }


def _s3_compatible(
    store: S3CompatibleStore, secrets: Mapping[str, pulumi.Input[str]]
) -> S3CompatibleArgs:
    args: S3CompatibleArgs = {
        "endpoint": store.endpoint,
        "region": store.region,
        "pathStyle": store.path_style,
        "verifyTls": store.verify_tls,
    }
    if store.ca_config_map:
        args["caConfigMap"] = store.ca_config_map
    if store.existing_secret:
        args["existingSecret"] = store.existing_secret
    if store.credentials:
        args["accessKey"] = secrets[store.credentials.access_key_secret]
        args["secretKey"] = secrets[store.credentials.secret_key_secret]
    return args
