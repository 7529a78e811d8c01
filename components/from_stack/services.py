"""A declared service becomes the arguments of its `ModelService`."""

import math
from collections.abc import Mapping
from typing import cast

import pulumi

from components.from_stack.gpu_pools import service_placement_args
from components.inference_service import ModelVersionArgs, RuntimeArgs, ScalingArgs
from components.model_service import GovernanceArgs, ModelServiceArgs, MoveArgs
from components.traffic_route import StrategyArgs
from models.base import format_duration
from models.gpu_pool import GpuPool
from models.metric_sources import METRIC_SOURCES
from models.service import Service
from models.stack import Cluster
from models.strategy import AbTest, BlueGreen, Shadow

_LOAD = {"requests": ("routed", "sum(rate({}[1m]))"), "queue": ("queue", "sum({})")}
_LOAD["tokens"] = ("tokens", "sum(rate({}[1m]))")


def model_service_args(
    name: str,
    service: Service,
    cluster: Cluster,
    *,
    pools: Mapping[str, GpuPool] | None = None,
    priority_classes: Mapping[str, pulumi.Input[str]] | None = None,
    mlflow_runtime: pulumi.Input[str] | None = None,
    service_account: pulumi.Input[str] | None = None,
) -> ModelServiceArgs:
    """Returns the arguments of a deployed service's `ModelService`.

    Args:
        name: of the service.
        service: a service with a rollout.
        cluster: where it runs.
        pools: GPU pools of the stack.
        priority_classes: of the pools, Outputs where they are resources.
        mlflow_runtime: name of our ServingRuntime, an Output where it is a resource.
        service_account: of the pods, which may read the artifacts.
    """
    assert service.rollout is not None  # noqa: S101  the caller skips services never deployed
    rollout = service.rollout
    runtime = _runtime(service, cluster)
    gpu = service_placement_args(
        name, service, cluster.namespace, pools or {}, priority_classes or {}
    )
    if gpu is not None:
        runtime["gpu"] = gpu
    if service.runtime.kind == "mlflow" and mlflow_runtime is not None:
        runtime["name"] = mlflow_runtime
    if service_account is not None:
        runtime["serviceAccount"] = service_account
    args: ModelServiceArgs = {
        "namespace": cluster.namespace,
        "gateway": cluster.gateway,
        "mode": cluster.mode,
        "callers": list(cluster.callers),
        "runtime": runtime,
        "versions": {
            version: _version(name, version, service, cluster) for version in service.served
        },
        "stable": rollout.stable,
        "risk": service.risk,
        "strategy": _strategy(service),
        "moves": [MoveArgs(percent=it.percent, at=it.at.isoformat()) for it in rollout.moves],
        "governance": _governance(service),
        "readyTimeoutSeconds": service.judge.ready_deadline_seconds,
    }
    if rollout.candidate:
        args["candidate"] = rollout.candidate
    if rollout.previous:
        args["previous"] = rollout.previous.version
        args["previousUntil"] = rollout.previous.until.isoformat()
    if cluster.rule_interval_seconds:
        args["ruleInterval"] = format_duration(cluster.rule_interval_seconds)
    return args


def _governance(service: Service) -> GovernanceArgs:
    args: GovernanceArgs = {
        "owner": service.owner,
        "keepPreviousSeconds": service.keep_previous.for_seconds,
    }
    if service.card:
        args["contact"] = service.card.contact
    # What goes on for ever keeps no other rollout of its group waiting.
    if service.group and not service.strategy.is_endless:
        args["group"] = service.group
    if service.gates.staging:
        args["staging"] = service.gates.staging.stack
    if service.is_taken_back:
        args["takenBack"] = True
    return args


def _version(name: str, version: str, service: Service, cluster: Cluster) -> ModelVersionArgs:
    declared, runtime = service.versions[version], service.runtime
    args: ModelVersionArgs = {
        "uri": declared.uri,
        "digest": declared.digest,
        "percent": service.percents()[version],
        "replicas": service.least_pods()[version],
    }
    if declared.quantization:
        args["quantization"] = declared.quantization
    if runtime.scaling and runtime.scaling.metric in _LOAD:
        counter, query = _LOAD[runtime.scaling.metric]
        source = METRIC_SOURCES[runtime.kind]
        args["scaleQuery"] = query.format(
            source.selector(counter, namespace=cluster.namespace, service=name, version=version)
        )
    return args


def _strategy(service: Service) -> StrategyArgs:
    strategy = service.strategy
    args: StrategyArgs = {"kind": strategy.kind}
    mirrors = isinstance(strategy, BlueGreen | Shadow) and strategy.mirror_percent
    if mirrors and not service.is_taken_back:
        args["mirrorPercent"] = mirrors
    if isinstance(strategy, AbTest):
        args["bucketHeader"] = strategy.header
    return args


def _runtime(service: Service, cluster: Cluster) -> RuntimeArgs:
    runtime = service.runtime
    args: RuntimeArgs = {
        "kind": runtime.kind,
        "protocol": runtime.speaks,
        "timeoutSeconds": runtime.timeout_seconds,
        "requests": runtime.requests,
        "limits": runtime.limits,
    }
    optional = {
        "format": runtime.format,
        "image": runtime.image,
        "command": list(runtime.command),
        "args": list(runtime.args),
        "env": dict(runtime.env),
        "grpcHostname": runtime.grpc and runtime.grpc.hostname,
        "readyPath": runtime.ready_path,
        "writableRoot": runtime.writable_root,
    }
    args = cast("RuntimeArgs", {**args, **{key: it for key, it in optional.items() if it}})
    if runtime.batching:
        args["batching"] = {
            "maxSize": runtime.batching.max_size,
            "maxLatencyMs": math.ceil(runtime.batching.max_latency_seconds * 1000),
        }
    if runtime.scaling:
        scaling: ScalingArgs = {
            "max": runtime.scaling.max,
            "metric": runtime.scaling.metric,
            "target": runtime.scaling.target,
        }
        if cluster.prometheus:
            scaling["prometheus"] = cluster.prometheus
        args["scaling"] = scaling
    if service.prediction_log:
        args["logger"] = {"url": service.prediction_log.url, "mode": service.prediction_log.mode}
    return args
