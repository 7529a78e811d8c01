"""The pods of a service that have GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.gpu_pool import GpuPool, pods_per_gpu
from models.service import Service
from review.amounts import Range

_DECIMAL = {"m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_UNITS = {**_DECIMAL, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


@dataclass(frozen=True)
class Use:
    """The pods of one service in one pool.

    Attributes:
        group: the share group; no node has pods of two.
        roles: whole GPUs that stable, candidate and previous have as declared now, by role.
        pods: of all versions. Least: stable's. Expected: those declared now, or one version's if
            none is served yet. Most: stable, a candidate and previous, each with all it may have.
        gpus: whole ones of one pod; less than one where it is shared.
        cpu: processors of one pod.
        memory_gib: of one pod.
    """

    group: str
    roles: Mapping[str, float]
    pods: Range
    gpus: float
    cpu: float
    memory_gib: float


def uses_of(services: Mapping[str, Service], pool_name: str, pool: GpuPool) -> dict[str, Use]:
    """Returns what services have of a pool, by their names."""
    return {
        name: _use(name, service, service.runtime.gpu.count / pods_per_gpu(pool.sharing))
        for name, service in services.items()
        if service.runtime.gpu and service.runtime.gpu.pool == pool_name
    }


def _use(name: str, service: Service, gpus: float) -> Use:
    runtime, now = service.runtime, service.least_pods()
    highest = max(runtime.replicas, runtime.scaling.max if runtime.scaling else 0)
    previous = highest if service.keep_previous.replicas == "same" else 1
    return Use(
        service.share_group or name,
        {role: now[version] * gpus for role, version in _roles(service).items()},
        Range(
            now[service.rollout.stable] if service.rollout else 0,
            sum(now.values()) or runtime.replicas,
            2 * highest + previous,
        ),
        gpus,
        quantity(runtime.cpu),
        quantity(runtime.memory) / 2**30,
    )


def _roles(service: Service) -> dict[str, str]:
    """Returns the served versions by role; one with two roles by the first."""
    rollout = service.rollout
    if rollout is None:
        return {}
    previous = rollout.previous and rollout.previous.version
    named = {"stable": rollout.stable, "candidate": rollout.candidate, "previous": previous}
    roles: dict[str, str] = {}
    for role, version in named.items():
        if version and version not in roles.values():
            roles[role] = version
    return roles


def quantity(text: str) -> float:
    """Reads a Kubernetes quantity, such as `500m` or `24Gi`."""
    number = text.rstrip("kKMGTim")
    return float(number) * _UNITS[text[len(number) :]]
