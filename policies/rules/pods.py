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
class Pod:
    """A pod, or a template of pods.

    Attributes:
        where: its spec is in its resource, as a path.
        spec: of the pod.
        around: what the spec stands in; its metadata are those of the pod.
    """

    where: str
    spec: Properties
    around: Properties

    def label(self, key: str) -> str:
        """Returns a label of the pod, empty without; a predictor holds them in itself."""
        is_component = self.where.rpartition(".")[2] in COMPONENTS
        labels = (self.spec if is_component else mapping(self.around.get("metadata"))).get("labels")
        return str(mapping(labels).get(key) or "")


@dataclass(frozen=True)
class Container:
    """One container.

    Attributes:
        where: in its resource, as a path.
        props: the container.
        pod: that it is of.
        is_init: whether it ends before others begin.
        is_model: whether KServe merges it with the container of a runtime.
    """

    where: str
    props: Properties
    pod: Pod
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
        yield Container("spec.container", own, Pod("spec", {}, declared.props), is_init=True)
        return
    for key, value in members(declared.props):
        if key not in _NOT_DECLARED and not key.startswith("__"):
            yield from _within(value, key, Pod(key, mapping(value), declared.props))


def pods(declared: Declared) -> Iterator[Pod | NotKnown]:
    """Yields every pod of a Kubernetes resource."""
    seen: set[str] = set()
    for container in containers(declared):
        if isinstance(container, NotKnown):
            yield container
        elif container.pod.where not in seen:
            seen.add(container.pod.where)
            yield container.pod


def _within(value: Any, key: str, place: Pod) -> Iterator[Container | NotKnown]:
    """Yields the containers within a value, which may be the pod of a place.

    Args:
        value: as declared.
        key: that it stands under, also through a list.
        place: where it is, and what is around it.
    """
    if isinstance(value, NotKnown):
        if key in _HOLDERS:
            yield value
        return
    is_pod = False
    if isinstance(value, Mapping):
        for container in _of_pod(place, key):
            is_pod = True
            yield container
    for name, inner in members(value):
        # Of a pod only the workers of a model are left: they are pods again.
        if not is_pod or name == "workerSpec":
            is_list = not isinstance(value, Mapping)
            around = place.around if is_list else place.spec
            inside = Pod(f"{place.where}.{name}", mapping(inner), around)
            yield from _within(inner, key if is_list else name, inside)


def _of_pod(pod: Pod, key: str) -> Iterator[Container | NotKnown]:
    for name, found in members(pod.spec):
        where = f"{pod.where}.{name}"
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
                    yield Container(f"{where}.{index}", container, pod, is_init=ends)
        elif key in COMPONENTS and name in _MODELS:
            if isinstance(found, NotKnown):
                yield found
            elif isinstance(found, Mapping):
                yield Container(where, mapping(cast("Any", found)), pod, is_model=True)
