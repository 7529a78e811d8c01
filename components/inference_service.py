"""The InferenceService of one version: what KServe has to know to serve it."""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict, cast

import pulumi

from components.gpu_placement import GpuPlacementArgs, gpu_resources, pod_fields, pod_labels
from components.pods import (
    CONTAINER,
    GRPC_PORT,
    HTTP_PORT,
    container_security,
    probes,
    scratch_mount,
    scratch_volume,
    spread,
    version_labels,
)
from models.runtime import SERVERS, Kind


class ModelVersionArgs(TypedDict):
    """One version of a model service."""

    uri: pulumi.Input[str]
    """Folder of the artifact, `s3://bucket/prefix`."""

    digest: pulumi.Input[str]
    """SHA-256 of that folder; our own server refuses another content."""

    percent: int
    """Share of traffic in percent; the shares of all versions add up to 100."""

    replicas: int
    """Pods; the least number with scaling."""

    quantization: NotRequired[str]
    """Of the weights, for servers that are to be told."""

    scaleQuery: NotRequired[str]
    """PromQL of the load of this version, with scaling by KEDA."""


class BatchingArgs(TypedDict):
    """Requests that arrive together are answered together."""

    maxSize: int
    """Requests in a batch, at most."""

    maxLatencyMs: int
    """How long the first one waits for others, milliseconds."""


class ScalingArgs(TypedDict):
    """How the number of pods follows the load."""

    max: int
    """Pods of a version, at most."""

    metric: str
    """cpu, memory, requests, queue or tokens."""

    target: float
    """What one pod is to carry."""

    prometheus: NotRequired[str]
    """URL, as KEDA sees it; for requests, queue and tokens."""


class LoggerArgs(TypedDict):
    """Where requests and answers are sent."""

    url: str
    """Who takes them."""

    mode: str
    """all, request or response."""


class RuntimeArgs(TypedDict):
    """What serves the versions."""

    kind: str
    """mlflow, sklearn, xgboost, lightgbm, onnx, openvino, triton, mlserver, huggingface, vllm or
    custom."""

    name: NotRequired[pulumi.Input[str]]
    """Name of the ServingRuntime; that of the kind if absent."""

    format: NotRequired[str]
    """KServe's name of the model's format; that of the kind if absent."""

    protocol: str
    """v1, v2 or openai."""

    image: NotRequired[pulumi.Input[str]]
    """Instead of the kind's own."""

    command: NotRequired[list[str]]
    """Instead of the image's own, of a custom runtime."""

    args: NotRequired[list[str]]
    """Added to those that we give."""

    env: NotRequired[dict[str, pulumi.Input[str]]]
    """Environment variables."""

    grpcHostname: NotRequired[str]
    """By which the gateway tells gRPC calls of this service from others; no gRPC if absent."""

    readyPath: NotRequired[str]
    """Answers 200 when the model is loaded; of a custom runtime."""

    timeoutSeconds: float
    """Longest time for one prediction."""

    requests: dict[str, str]
    """CPU and memory that a pod is sure of."""

    limits: dict[str, str]
    """CPU and memory that a pod uses at most."""

    gpu: NotRequired[GpuPlacementArgs]
    """GPUs of a pod, and where they are."""

    batching: NotRequired[BatchingArgs]
    """Of requests, before the model."""

    scaling: NotRequired[ScalingArgs]
    """How the number of pods follows the load; fixed if absent."""

    writableRoot: NotRequired[bool]
    """Whether the container may write outside of /tmp."""

    serviceAccount: NotRequired[pulumi.Input[str]]
    """Service account of the pods, which may read the artifacts; the namespace's own if absent."""

    logger: NotRequired[LoggerArgs]
    """Where requests and answers are sent."""


def annotations(runtime: RuntimeArgs, mode: str, ready_timeout_seconds: float) -> dict[str, str]:
    """Returns the annotations of an InferenceService."""
    autoscaler = "none"
    if scaling := runtime.get("scaling"):
        autoscaler = "hpa" if _is_resource(scaling) else "keda"
    standard = {"serving.kserve.io/autoscalerClass": autoscaler} if mode == "standard" else {}
    return {
        "serving.kserve.io/deploymentMode": mode.capitalize(),
        **standard,
        "pulumi.com/waitFor": "condition=Ready",
        "pulumi.com/timeoutSeconds": f"{ready_timeout_seconds:.0f}",
    }


def knative_predictor(
    service: str, version: str, declared: ModelVersionArgs, runtime: RuntimeArgs
) -> dict[str, Any]:
    """Returns `spec.predictor` where KServe hands it to Knative, which takes less of a pod.

    Knative spreads pods by itself, and refuses a second port (its validation of revisions).
    """
    fields = predictor(service, version, declared, runtime)
    del fields["topologySpreadConstraints"]
    if "autoScaling" in fields:
        del fields["autoScaling"]
        target = max(1, round(runtime["scaling"]["target"])) if "scaling" in runtime else 1
        fields |= {"scaleMetric": "rps", "scaleTarget": target}
    for container in [fields.get("model"), *fields.get("containers", [])]:
        if container and "ports" in container:
            container["ports"] = container["ports"][:1]
    return {**fields, "timeout": max(1, round(runtime["timeoutSeconds"]))}


def predictor(
    service: str, version: str, declared: ModelVersionArgs, runtime: RuntimeArgs
) -> dict[str, Any]:
    """Returns `spec.predictor` of a version's InferenceService."""
    labels = version_labels(service, version)
    gpu = runtime.get("gpu")
    fields: dict[str, Any] = {
        "labels": {**labels, **(pod_labels(gpu) if gpu else {})},
        "automountServiceAccountToken": False,
        "topologySpreadConstraints": spread(labels),
        "volumes": [scratch_volume()],
        **(pod_fields(gpu) if gpu else {}),
        **_replicas(declared, runtime),
    }
    if "serviceAccount" in runtime:
        fields["serviceAccountName"] = runtime["serviceAccount"]
    if logger := runtime.get("logger"):
        fields["logger"] = dict(logger)
    if batching := runtime.get("batching"):
        fields["batcher"] = {
            "maxBatchSize": int(batching["maxSize"]),
            "maxLatency": int(batching["maxLatencyMs"]),
            "timeout": max(1, round(runtime["timeoutSeconds"])),
        }
    container = _container(service, version, declared, runtime)
    if runtime["kind"] == "custom":
        return {**fields, "containers": [container]}
    return {**fields, "model": {**container, **_model(declared, runtime)}}


def _model(declared: ModelVersionArgs, runtime: RuntimeArgs) -> dict[str, Any]:
    server = SERVERS[cast("Kind", runtime["kind"])]
    model: dict[str, Any] = {
        "modelFormat": {"name": runtime.get("format", server.model_format)},
        "runtime": runtime.get("name", server.runtime),
        "storageUri": declared["uri"],
    }
    if runtime["protocol"] != "openai":
        model["protocolVersion"] = runtime["protocol"]
    return model


def _container(
    service: str, version: str, declared: ModelVersionArgs, runtime: RuntimeArgs
) -> dict[str, Any]:
    kind = cast("Kind", runtime["kind"])
    server, writable = SERVERS[kind], runtime.get("writableRoot", False)
    gpus = gpu_resources(runtime["gpu"]) if "gpu" in runtime else {}
    container: dict[str, Any] = {
        "args": [*_args(service, version, declared, runtime), *runtime.get("args", ())],
        "env": _env(service, version, declared, runtime),
        "resources": {
            "requests": {**runtime["requests"], **gpus},
            "limits": {**runtime["limits"], **gpus},
        },
        "securityContext": container_security(writable_root=writable, user=server.user),
        "volumeMounts": [scratch_mount()],
    }
    if kind != "mlflow":  # whose ServingRuntime is ours and has the rest
        container["ports"] = _ports(runtime)
        container["terminationMessagePolicy"] = "FallbackToLogsOnError"
        ready = runtime.get("readyPath")
        container |= probes(ready or server.ready_path, ready or server.live_path)
    if "image" in runtime:
        container["image"] = runtime["image"]
    if kind == "custom":
        container |= {"name": CONTAINER, "command": runtime.get("command", [])}
    return {key: value for key, value in container.items() if value != []}


def _args(
    service: str, version: str, declared: ModelVersionArgs, runtime: RuntimeArgs
) -> list[pulumi.Input[str]]:
    kind = cast("Kind", runtime["kind"])
    args: list[pulumi.Input[str]] = []
    if flag := SERVERS[kind].name_flag:
        args.append(f"{flag}={service}")
    if kind == "mlflow":
        args += [
            f"--model_version={version}",
            pulumi.Output.concat("--digest=", declared["digest"]),
            f"--timeout_seconds={runtime['timeoutSeconds']:g}",
        ]
    if "quantization" in declared:
        args.append(f"--quantization={declared['quantization']}")
    return args


def _env(
    service: str, version: str, declared: ModelVersionArgs, runtime: RuntimeArgs
) -> list[dict[str, Any]]:
    kind = cast("Kind", runtime["kind"])
    # Servers keep caches at home, and the root is read-only.
    env: dict[str, pulumi.Input[str]] = {}
    if kind not in ("mlflow", "custom"):
        env |= {"HOME": "/tmp", "USER": "model"}  # noqa: S108  of the container
    if variable := SERVERS[kind].name_variable:
        env[variable] = service
    if kind == "custom":
        env |= {
            "MODEL_NAME": service,
            "MODEL_VERSION": version,
            "MODEL_DIGEST": declared["digest"],
            # By this variable KServe fetches the artifact to /mnt/models.
            "STORAGE_URI": declared["uri"],
        }
    env |= runtime.get("env", {})
    return [{"name": name, "value": value} for name, value in env.items()]


def _ports(runtime: RuntimeArgs) -> list[dict[str, Any]]:
    """Returns the container's ports; KServe serves the first one at port 80."""
    metrics_port = SERVERS[cast("Kind", runtime["kind"])].metrics_port
    # Of all names, Knative takes only this one for HTTP/1.
    ports = [{"name": "http1", "containerPort": HTTP_PORT, "protocol": "TCP"}]
    if "grpcHostname" in runtime:
        # By this name KServe says that the port speaks HTTP/2.
        ports.append({"name": "h2c", "containerPort": GRPC_PORT, "protocol": "TCP"})
    if metrics_port != HTTP_PORT:
        ports.append({"name": "metrics", "containerPort": metrics_port, "protocol": "TCP"})
    return ports


def _replicas(declared: ModelVersionArgs, runtime: RuntimeArgs) -> dict[str, Any]:
    least = int(declared["replicas"])
    scaling = runtime.get("scaling")
    if scaling is None:
        return {"minReplicas": least, "maxReplicas": max(least, 1)}
    bounds = {"minReplicas": least, "maxReplicas": max(int(scaling["max"]), least)}
    if _is_resource(scaling):
        return {
            **bounds,
            "scaleMetric": scaling["metric"],
            "scaleTarget": round(scaling["target"]),
        }
    external = {
        "metric": {
            "backend": "prometheus",
            "serverAddress": scaling.get("prometheus", ""),
            "query": declared.get("scaleQuery", ""),
        },
        # KServe hands this value to KEDA, which takes it as what each pod is to carry.
        "target": {"type": "Value", "value": f"{scaling['target']:g}"},
    }
    return {**bounds, "autoScaling": {"metrics": [{"type": "External", "external": external}]}}


def _is_resource(scaling: Mapping[str, Any] | ScalingArgs) -> bool:
    return scaling["metric"] in ("cpu", "memory")
