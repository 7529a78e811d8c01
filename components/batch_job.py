"""Predictions on whole files: a Job, or a CronJob where there is a schedule."""

import hashlib
import json
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as kubernetes

from components.arguments import refuse
from components.gpu_placement import GpuPlacementArgs, gpu_resources, pod_fields, pod_labels
from components.pods import container_security, scratch_mount, scratch_volume
from models.names import API_PREFIX, BATCH_BAD_INPUT, LONGEST_BATCH_NAME

BATCH_LABEL = f"{API_PREFIX}/batch"


class StoreKeysArgs(TypedDict):
    """Access to a store with keys; without them, the service account has access of its own."""

    secret: pulumi.Input[str]
    """Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""

    endpoint: str
    """URL of the store."""

    region: str
    """What the store calls its region."""


class BatchJobArgs(TypedDict):
    """Arguments of `BatchJob`."""

    namespace: str
    """Namespace of the pods."""

    service: str
    """The model service."""

    version: str
    """The version that predicts."""

    uri: str
    """Folder of its artifact, `s3://bucket/prefix`."""

    digest: str
    """SHA-256 of that folder; another content is refused."""

    image: str
    """Image of our model server."""

    source: str
    """`s3://bucket/prefix` of the files."""

    target: str
    """`s3://bucket/prefix` of the results; each run has a folder of its own."""

    format: str
    """parquet, csv or jsonl."""

    chunkRows: int
    """Rows that are predicted at a time."""

    parallelism: int
    """Pods that share the files."""

    timeoutSeconds: float
    """A run that takes longer is ended."""

    retries: int
    """Of a pod that fails."""

    keepFinishedSeconds: float
    """How long a finished run of a schedule can be looked at."""

    schedule: NotRequired[str]
    """When, in cron syntax; once, if absent."""

    timeZone: NotRequired[str]
    """Time zone of the schedule."""

    requests: dict[str, str]
    """CPU and memory that a pod is sure of."""

    limits: dict[str, str]
    """CPU and memory that a pod uses at most."""

    gpu: NotRequired[GpuPlacementArgs]
    """GPUs of a pod, and where they are."""

    serviceAccount: NotRequired[pulumi.Input[str]]
    """Service account of the pods, which may read the input and write the output."""

    storeKeys: NotRequired[StoreKeysArgs]
    """Access to a store with keys."""


class BatchJob(pulumi.ComponentResource):
    """Predicts what lies in the store with the version, artifact and pool that serve requests.

    A Job cannot be changed: what it does is part of its name, so a new version is a new Job, and
    `pulumi up` does not wait for its end.
    """

    job_name: pulumi.Output[str]
    """Name of the Job or CronJob."""

    def __init__(
        self, name: str, args: BatchJobArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        _validate(name, args)
        super().__init__("modelramp:index:BatchJob", name, dict(args), opts)
        scheduled = "schedule" in args
        in_cluster = name if scheduled else f"{name}-{_fingerprint(args)}"
        job = _job_spec(name, args)
        kubernetes.apiextensions.CustomResource(
            f"{name}-run",
            api_version="batch/v1",
            kind="CronJob" if scheduled else "Job",
            metadata={
                "name": in_cluster,
                "namespace": args["namespace"],
                "labels": {BATCH_LABEL: name},
                # It may take hours, and nothing else waits for it.
                "annotations": {"pulumi.com/skipAwait": "true"},
            },
            spec=_cron_spec(args, job) if scheduled else job,
            # A Job that has run is not run again because, say, pods are to be larger from now on.
            opts=pulumi.ResourceOptions(
                parent=self, ignore_changes=None if scheduled else ["spec"]
            ),
        )
        self.job_name = pulumi.Output.from_input(in_cluster)
        self.register_outputs({"jobName": self.job_name})


def _validate(name: str, args: BatchJobArgs) -> None:
    """Raises `InputPropertiesError` with everything that is wrong."""
    found: list[tuple[str, str]] = []
    if len(name) > LONGEST_BATCH_NAME:
        found.append(("name", f"must be at most {LONGEST_BATCH_NAME} letters"))
    if args["format"] not in ("parquet", "csv", "jsonl"):
        found.append(("format", "must be parquet, csv or jsonl"))
    found += [
        (key, "must be of the form s3://bucket/prefix")
        for key in ("uri", "source", "target")
        if not args[key].startswith("s3://")
    ]
    found += [
        (key, "must be at least 1")
        for key in ("chunkRows", "parallelism", "timeoutSeconds")
        if args[key] < 1
    ]
    refuse("BatchJob", found)


def _fingerprint(args: BatchJobArgs) -> str:
    """Returns eight letters that are others for another run."""
    facts = {key: args[key] for key in ("digest", "image", "source", "target", "format")}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]


def _cron_spec(args: BatchJobArgs, job: dict[str, Any]) -> dict[str, Any]:
    return {
        "schedule": args.get("schedule"),
        "timeZone": args.get("timeZone", "Etc/UTC"),
        "concurrencyPolicy": "Forbid",
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 3,
        "jobTemplate": {"spec": job},
    }


def _job_spec(name: str, args: BatchJobArgs) -> dict[str, Any]:
    pods = int(args["parallelism"])
    gpu = args.get("gpu")
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "containers": [_container(args)],
        "volumes": [scratch_volume()],
        **(pod_fields(gpu) if gpu else {}),
    }
    if "serviceAccount" in args:
        pod["serviceAccountName"] = args["serviceAccount"]
    return {
        # Each pod knows its number, and so its share of the files.
        "completionMode": "Indexed",
        "completions": pods,
        "parallelism": pods,
        "backoffLimitPerIndex": int(args["retries"]),
        "activeDeadlineSeconds": int(args["timeoutSeconds"]),
        # Without a schedule it stays: `up --refresh` would run again what is gone.
        **(
            {"ttlSecondsAfterFinished": int(args["keepFinishedSeconds"])}
            if "schedule" in args
            else {}
        ),
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onExitCodes": {
                        "containerName": "batch",
                        "operator": "In",
                        "values": [BATCH_BAD_INPUT],
                    },
                }
            ]
        },
        "template": {
            "metadata": {"labels": {BATCH_LABEL: name, **(pod_labels(gpu) if gpu else {})}},
            "spec": pod,
        },
    }


def _container(args: BatchJobArgs) -> dict[str, Any]:
    gpus = gpu_resources(args["gpu"]) if "gpu" in args else {}
    run: dict[str, Any] = {
        "name": "RUN",
        "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}},
    }
    return {
        "name": "batch",
        "image": args["image"],
        "command": ["python3", "-m", "serving.batch"],
        "args": [
            f"--name={args['service']}",
            f"--version={args['version']}",
            f"--digest={args['digest']}",
            f"--model_uri={args['uri']}",
            f"--source={args['source']}",
            f"--target={args['target']}",
            "--run=$(RUN)",
            f"--format={args['format']}",
            f"--chunk_rows={int(args['chunkRows'])}",
            f"--shards={int(args['parallelism'])}",
        ],
        "env": [run, *_store_env(args)],
        "resources": {
            "requests": {**args["requests"], **gpus},
            "limits": {**args["limits"], **gpus},
        },
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [scratch_mount()],
    }


def _store_env(args: BatchJobArgs) -> list[dict[str, Any]]:
    if "storeKeys" not in args:
        return []
    keys = args["storeKeys"]
    return [
        {"name": "AWS_ENDPOINT_URL", "value": keys["endpoint"]},
        {"name": "AWS_REGION", "value": keys["region"]},
        *(
            {"name": key, "valueFrom": {"secretKeyRef": {"name": keys["secret"], "key": key}}}
            for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        ),
    ]
