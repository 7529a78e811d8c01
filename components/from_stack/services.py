"""A declared service becomes the arguments of its components."""

from typing import cast

from components.model_service import ModelServiceArgs, MoveArgs
from models.base import format_duration
from models.service import Service
from models.stack import Cluster


def model_service_args(
    service: Service, rollout_runtime: object, cluster: Cluster
) -> ModelServiceArgs:
    """Returns the arguments of a deployed service's `ModelService`.

    Args:
        service: a service with a rollout.
        rollout_runtime: name of the ServingRuntime, an Output where it is a resource.
        cluster: where it runs.
    """
    assert service.rollout is not None  # noqa: S101  the caller skips services never deployed
    rollout, runtime = service.rollout, service.runtime
    percents = service.percents()
    args: ModelServiceArgs = {
        "namespace": cluster.namespace,
        "gateway": cluster.gateway,
        "runtime": cast("str", rollout_runtime),
        "versions": {
            version: {
                "uri": service.versions[version].uri,
                "digest": service.versions[version].digest,
                "percent": percents[version],
            }
            for version in service.served
        },
        "stable": rollout.stable,
        "risk": service.risk,
        "strategy": service.strategy.kind,
        "moves": [MoveArgs(percent=it.percent, at=it.at.isoformat()) for it in rollout.moves],
        "replicas": runtime.replicas,
        "requests": {"cpu": runtime.cpu, "memory": runtime.memory},
        "limits": {"cpu": runtime.cpu_limit or runtime.cpu, "memory": runtime.memory},
        "timeoutSeconds": runtime.timeout_seconds,
        "readyTimeoutSeconds": service.judge.ready_deadline_seconds,
    }
    if rollout.candidate:
        args["candidate"] = rollout.candidate
    if cluster.rule_interval_seconds:
        args["ruleInterval"] = format_duration(cluster.rule_interval_seconds)
    return args
