"""What must hold between several parts of a stack: every rule finds all that breaks it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from models.artifact_store import S3CompatibleStore, artifact_problems
from models.base import version_order
from models.gpu_pool import ExistingPool, placement_problems, pool_problems
from models.names import LONGEST_BATCH_NAME, inference_service_name
from models.runtime import Runtime
from models.service import Service
from models.smoke import PATHS
from models.strategy import AllAtOnce, BlueGreen
from models.version import Version

if TYPE_CHECKING:
    from models.stack import Stack

KeyPath = tuple[str | int, ...]
Found = Iterator[tuple[KeyPath, str]]
"""Key path and what is wrong there."""

_LONGEST_HOST_LABEL = 63


def broken_rules(stack: Stack) -> list[tuple[KeyPath, str]]:
    """Returns everything that does not fit together in a stack, with the key path of each."""
    whole = (_cluster, _names, _pools, _artifacts, _batch_names, _batch_store, _costs)
    found = [it for rule in whole for it in rule(stack)]
    for name, service in stack.services.items():
        at: KeyPath = ("services", name)
        for rule in (_roles, _signatures, _percent, _strategy, _accuracy, _batch, _quantization):
            found += [((*at, *path), what) for path, what in rule(service)]
        found += [((*at, *path), what) for path, what in _smoke(stack, service)]
        found += [((*at, *path), what) for path, what in _gpu(stack, name, service)]
        found += [((*at, *path), what) for path, what in _target(stack, service)]
    return found


def _cluster(stack: Stack) -> Found:
    if stack.cluster.target == "eks" and (stack.aws is None or stack.aws.eks is None):
        yield ("cluster", "target"), "eks needs modelramp:aws with eks.cluster"


def _smoke(stack: Stack, service: Service) -> Found:
    strategy = service.strategy
    if not isinstance(strategy, BlueGreen) or not strategy.smoke:
        return
    if stack.cluster.target != "embedded" and stack.cluster.gateway_url is None:
        yield ("strategy", "smoke"), "needs gatewayUrl of modelramp:cluster, to be sent to"
    for index, request in enumerate(strategy.smoke):
        if request.path is None and service.runtime.speaks not in PATHS:
            at = ("strategy", "smoke", index)
            yield at, f"needs a path: {service.runtime.speaks} has several; {', '.join(PATHS)} one"


def _names(stack: Stack) -> Found:
    seen: dict[str, str] = {}
    for service_name, service in stack.services.items():
        for version in service.versions:
            name = inference_service_name(service_name, version)
            at = ("services", service_name, "versions", version)
            # KServe makes <name>-predictor-<namespace> a label of a host name.
            host = f"{name}-predictor-{stack.cluster.namespace}"
            if len(host) > _LONGEST_HOST_LABEL:
                yield at, f"{host} is longer than {_LONGEST_HOST_LABEL}; take a shorter name"
            if name in seen:
                yield at, f"{service_name} {version} and {seen[name]} both become {name}"
            seen[name] = f"{service_name} {version}"


def _pools(stack: Stack) -> Found:
    for name, pool in stack.gpu_pools.items():
        for what in pool_problems(stack.cluster.namespace, name, pool, stack.aws):
            yield ("gpuPools", name), what


def _artifacts(stack: Stack) -> Found:
    if stack.artifacts:
        yield from artifact_problems(
            stack.artifacts, stack.services, stack.aws, stack.cluster.target
        )


def _costs(stack: Stack) -> Found:
    for name in stack.cost.own_hardware if stack.cost else ():
        at = ("cost", "ownHardware", name)
        pool = stack.gpu_pools.get(name)
        if pool is None:
            yield at, f"no pool of this name; gpuPools has {_listed(stack.gpu_pools)}"
        elif not isinstance(pool, ExistingPool):
            yield at, f"is for pools of provider existing, this one is {pool.provider}"


def _roles(service: Service) -> Found:
    """Stable, candidate and previous are declared, and not rejected."""
    rollout = service.rollout
    if rollout is None:
        return
    named = {
        ("stable",): rollout.stable,
        ("candidate",): rollout.candidate,
        ("previous", "version"): rollout.previous and rollout.previous.version,
    }
    for path, version in named.items():
        if version and version not in service.versions:
            declared = _listed(service.versions)
            yield ("rollout", *path), f"{version} is not under versions; there are {declared}"
    candidate = rollout.candidate
    if candidate and version_order(candidate) < version_order(rollout.stable):
        yield (
            ("rollout", "candidate"),
            f"{candidate} is older than stable {rollout.stable}: publish it under a higher version",
        )


def _signatures(service: Service) -> Found:
    """Within a major version no input and no output changes."""
    ordered = sorted(service.versions, key=version_order)
    for side in ("inputs", "outputs"):
        with_side = [it for it in ordered if getattr(service.versions[it], side) is not None]
        for older, newer in pairwise(with_side):
            if older.split(".")[0] != newer.split(".")[0]:
                continue
            if changes := _changes(service.versions[older], service.versions[newer], side):
                yield (
                    ("versions", newer, side),
                    f"differ from those of {older} ({changes}): that needs a new major version",
                )


def _changes(older: Version, newer: Version, side: str) -> str:
    before: dict[str, str] = getattr(older, side)
    after: dict[str, str] = getattr(newer, side)
    return ", ".join(
        f"{name}: {before.get(name, 'absent')} to {after.get(name, 'absent')}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    )


def _percent(service: Service) -> Found:
    """The declared percentage is one of the strategy's."""
    rollout = service.rollout
    if rollout is None or not rollout.moves:
        return
    allowed = service.strategy.percents
    if rollout.percent not in allowed:
        percents = ", ".join(map(str, sorted(allowed)))
        yield (
            ("rollout", "moves", len(rollout.moves) - 1, "percent"),
            f"{rollout.percent} is no step of strategy {service.strategy.kind}: {percents}",
        )


def _strategy(service: Service) -> Found:
    if isinstance(service.strategy, AllAtOnce) and service.risk != "low":
        yield (
            ("strategy", "kind"),
            f"all-at-once is only for risk: low, this service has risk: {service.risk}",
        )


def _batch(service: Service) -> Found:
    if service.batch and service.runtime.kind != "mlflow":
        yield ("batch",), "needs runtime kind mlflow, whose server predicts files too"
    for name, batch in service.batch.items():
        source, target = f"{batch.input}/", f"{batch.output}/"
        if source.startswith(target) or target.startswith(source):
            yield (
                ("batch", name, "output"),
                f"{batch.output} and the input lie in each other: the next run would read results",
            )


def _batch_names(stack: Stack) -> Found:
    """The name of a Job is made of two names."""
    seen: dict[str, str] = {}
    for service_name, service in stack.services.items():
        for batch in service.batch:
            at, name = ("services", service_name, "batch", batch), f"{service_name}-{batch}"
            if len(name) > LONGEST_BATCH_NAME:
                yield at, f"{name} is longer than {LONGEST_BATCH_NAME}; take a shorter name"
            if name in seen:
                yield at, f"becomes {name}, as does one of {seen[name]}"
            seen[name] = service_name


def _batch_store(stack: Stack) -> Found:
    store = stack.artifacts
    if not isinstance(store, S3CompatibleStore):
        return
    plain = store.verify_tls and store.path_style and store.ca_config_map is None
    for name, service in stack.services.items():
        if service.batch and not plain:
            yield (
                ("services", name, "batch"),
                "needs a store with pathStyle: true, verifyTls: true and no caConfigMap",
            )


def _quantization(service: Service) -> Found:
    if service.runtime.kind in ("vllm", "huggingface"):
        return
    for version, declared in service.versions.items():
        if declared.quantization:
            yield (
                ("versions", version, "quantization"),
                f"is for vllm and huggingface; with {service.runtime.kind} the artifact has it",
            )


def _gpu(stack: Stack, name: str, service: Service) -> Found:
    gpu = service.runtime.gpu
    if gpu is None:
        return
    pool = stack.gpu_pools.get(gpu.pool)
    if pool is None:
        yield (
            ("runtime", "gpu", "pool"),
            f"no pool {gpu.pool!r}; gpuPools has {_listed(stack.gpu_pools)}",
        )
        return
    for what in placement_problems(pool, service.share_group or name, gpu.count):
        yield ("runtime", "gpu"), what


def _accuracy(service: Service) -> Found:
    if service.slo.accuracy is not None and service.runtime.kind != "mlflow":
        yield (
            ("slo", "accuracy"),
            f"only mlflow counts labels; with {service.runtime.kind} a rollout would wait for ever",
        )


def _target(stack: Stack, service: Service) -> Found:
    cluster, runtime = stack.cluster, service.runtime
    if cluster.target == "embedded":
        for path, given in _beyond_embedded(runtime, service):
            if given:
                yield path, "the embedded target has none of this; it needs a cluster"
    to_zero = runtime.scaling is not None and runtime.scaling.zero
    if to_zero and cluster.mode == "standard" and service.risk != "low":
        yield (
            ("runtime", "scaling", "zero"),
            "with mode: standard requests are refused until there is a pod: only for risk: low",
        )
    if cluster.mode == "knative" and service.strategy.kind in ("shadow", "ab-test"):
        yield (
            ("strategy", "kind"),
            f"{service.strategy.kind} needs mode: standard; Knative has neither mirror nor header",
        )
    if cluster.mode == "knative" and runtime.gpu:
        yield ("runtime", "gpu"), "needs mode: standard; Knative takes no placement of pods"
    if cluster.mode == "knative" and runtime.scaling and runtime.scaling.metric != "requests":
        yield (
            ("runtime", "scaling", "metric"),
            f"with mode: knative it must be requests, not {runtime.scaling.metric}",
        )
    if cluster.mode == "knative" and runtime.grpc:
        yield ("runtime", "grpc"), "needs mode: standard, with a GRPCRoute"


def _beyond_embedded(runtime: Runtime, service: Service) -> Iterator[tuple[KeyPath, bool]]:
    yield ("runtime", "kind"), runtime.kind != "mlflow"
    yield ("runtime", "gpu"), runtime.gpu is not None
    yield ("runtime", "grpc"), runtime.grpc is not None
    yield ("runtime", "scaling"), runtime.scaling is not None
    yield ("runtime", "batching"), runtime.batching is not None
    yield ("predictionLog",), service.prediction_log is not None
    yield ("batch",), bool(service.batch)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
