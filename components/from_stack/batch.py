"""A declared batch prediction becomes the arguments of its `BatchJob`."""

from collections.abc import Mapping
from typing import cast

import pulumi

from components.batch_job import BatchJobArgs, StoreKeysArgs
from components.from_stack.gpu_pools import service_placement_args
from models.artifact_store import S3CompatibleStore
from models.batch import BatchPrediction
from models.service import Service
from models.stack import Stack


def batch_job_args(
    name: str,
    service: Service,
    batch: BatchPrediction,
    stack: Stack,
    *,
    priority_classes: Mapping[str, pulumi.Input[str]],
    service_account: pulumi.Input[str] | None = None,
    secret: pulumi.Output[str | None] | None = None,
) -> BatchJobArgs | None:
    """Returns the arguments of a `BatchJob`, or None where its version is not there now.

    Args:
        name: of the service.
        service: as declared.
        batch: one of its batch predictions.
        stack: the whole stack.
        priority_classes: of the GPU pools.
        service_account: of the pods.
        secret: with the keys of a store that speaks S3.
    """
    rollout, runtime, cluster = service.rollout, service.runtime, stack.cluster
    version = rollout and (rollout.stable if batch.version == "stable" else rollout.candidate)
    if not version:
        return None
    declared = service.versions[version]
    args: BatchJobArgs = {
        "namespace": cluster.namespace,
        "service": name,
        "version": version,
        "uri": declared.uri,
        "digest": declared.digest,
        "image": cluster.server_image,
        "source": batch.input,
        "target": batch.output,
        "format": batch.format,
        "chunkRows": batch.chunk_rows,
        "parallelism": batch.parallelism,
        "timeoutSeconds": batch.timeout_seconds,
        "retries": batch.retries,
        "keepFinishedSeconds": batch.keep_finished_seconds,
        "requests": runtime.requests,
        "limits": runtime.limits,
    }
    if batch.schedule:
        args["schedule"] = batch.schedule
        args["timeZone"] = batch.zone
    gpu = service_placement_args(
        name, service, cluster.namespace, stack.gpu_pools, priority_classes
    )
    if gpu is not None:
        args["gpu"] = gpu
    if service_account is not None:
        args["serviceAccount"] = service_account
    if isinstance(stack.artifacts, S3CompatibleStore) and secret is not None:
        keys: StoreKeysArgs = {
            "secret": cast("pulumi.Input[str]", secret),
            "endpoint": stack.artifacts.endpoint,
            "region": stack.artifacts.region,
        }
        args["storeKeys"] = keys
    return args
