"""Containers, wherever pods are declared: found by their shape, not by a list of kinds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from rules.reading import Declared, NotKnown, Properties, mapping, members

JOBS = frozenset({"job", "cronjob"})
RUNTIMES = frozenset({"servingruntime", "clusterservingruntime"})
MODEL_CONTAINER = "kserve-container"
"""KServe merges a model's own container with this one of its runtime."""

COMPONENTS = ("predictor", "transformer", "explainer")
_MODELS = frozenset(
    {
        *("model", "sklearn", "xgboost", "tensorflow", "pytorch", "triton", "onnx", "huggingface"),
        *("pmml", "lightgbm", "paddle", "art"),
    }
)
"""Keys of an InferenceService's component that hold a container."""

_WITHOUT_PODS = frozenset({"prometheusrule", "configmap", "secret"})
"""Large, and certainly without: they would take most of the time."""

_LISTS = ("containers", "initContainers", "ephemeralContainers")
_NOT_DECLARED = frozenset({"status", "metadata", "data", "stringData"})
_HOLDERS = frozenset(
    {
        *("spec", "template", "jobTemplate", "podTemplate", "workerSpec", "worker", "prefill"),
        *("items", *COMPONENTS, *_LISTS, *_MODELS),
    }
)
"""Keys whose value, where it is unknown, may hold a container."""


@dataclass(frozen=True)
class Container:
    """One container.

    Attributes:
        where: in its resource, as a path.
        props: the container.
        pod: the pod's spec around it.
        is_init: whether it ends before others begin.
        is_model: whether KServe merges it with the container of a runtime.
    """

    where: str
    props: Properties
    pod: Properties
    is_init: bool = False
    is_model: bool = False


def containers(declared: Declared) -> Iterator[Container | NotKnown]:
    """Yields every container of a Kubernetes resource; none of another resource.

    A patch counts as if it were whole: what it leaves out is not set.
    """
    if not declared.kind or declared.kind in _WITHOUT_PODS:
        return
    if declared.kind == "clusterstoragecontainer":
        own = mapping(declared.spec.get("container"))
        yield Container("spec.container", own, declared.spec, is_init=True)
        return
    for key, value in members(declared.props):
        if key not in _NOT_DECLARED and not key.startswith("__"):
            yield from _within(value, key, key)


def pods(declared: Declared) -> Iterator[tuple[str, Properties] | NotKnown]:
    """Yields path and spec of every pod of a Kubernetes resource."""
    seen: list[Properties] = []
    for container in containers(declared):
        if isinstance(container, NotKnown):
            yield container
        elif not any(it is container.pod for it in seen):
            seen.append(container.pod)
            yield container.where.split(".containers")[0], container.pod


def _within(value: Any, where: str, key: str) -> Iterator[Container | NotKnown]:
    """Yields the containers within a value that stands under a key."""
    if isinstance(value, NotKnown):
        if key in _HOLDERS:
            yield value
        return
    is_pod = False
    if isinstance(value, Mapping):
        for container in _of_pod(mapping(value), where, key):
            is_pod = True
            yield container
    for name, inner in members(value):
        # Of a pod only the workers of a model are left: they are pods again.
        if not is_pod or name == "workerSpec":
            place = name if isinstance(value, Mapping) else key
            yield from _within(inner, f"{where}.{name}", place)


def _of_pod(pod: Properties, where: str, key: str) -> Iterator[Container | NotKnown]:
    for name, found in members(pod):
        if name in _LISTS:
            if isinstance(found, NotKnown):
                yield found
            for index, it in members(found):
                if isinstance(it, NotKnown):
                    yield it
                elif isinstance(it, Mapping):
                    container = mapping(cast("Any", it))
                    # One that restarts is a sidecar: it runs as long as the others.
                    ends = name == "initContainers" and container.get("restartPolicy") != "Always"
                    yield Container(f"{where}.{name}.{index}", container, pod, is_init=ends)
        elif key in COMPONENTS and name in _MODELS:
            if isinstance(found, NotKnown):
                yield found
            elif isinstance(found, Mapping):
                model = mapping(cast("Any", found))
                yield Container(f"{where}.{name}", model, pod, is_model=True)
