"""Is an object ready? What each kind's controller says, or what the user wants to see.

Pure functions of the object and, for a Service and a volume claim, of what belongs to it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from local.plugins.jsonpath import compile_path
from local.plugins.manifests import SKIP_AWAIT, WAIT_FOR, annotation_of, metadata_of
from local.plugins.properties import Properties, is_unknown

# Reads other objects: (apiVersion, kind, namespace, selectors) -> objects.
Lister: TypeAlias = Callable[..., list[Properties]]
_JSON_PATH = re.compile(r"\{\s*(?P<path>[^}]*?)\s*\}(?:=(?P<value>.+))?")
_SLICE = "kubernetes.io/service-name"


@dataclass(frozen=True)
class Readiness:
    """How far an object is.

    Attributes:
        state: failed means that waiting longer is useless.
        message: what it waits for, or why it failed.
    """

    state: Literal["ready", "waiting", "failed"]
    message: str = ""


READY = Readiness("ready")
Check: TypeAlias = Callable[[Properties, Lister], Readiness]


def check_of(manifest: Properties) -> Check | None:
    """Returns how to tell that an object is ready, or None if there is nothing to wait for.

    Raises:
        ValueError: the annotation `pulumi.com/waitFor` is wrong.
    """
    if annotation_of(manifest, SKIP_AWAIT) == "true":
        return None
    wanted = annotation_of(manifest, WAIT_FOR)
    if wanted and not is_unknown(wanted):
        return _all_of([_wanted(expression) for expression in _expressions(wanted)])
    built_in = built_in_check(manifest)
    if built_in is None and os.environ.get("PULUMI_K8S_AWAIT_ALL") == "true":
        return _generic
    return built_in


def built_in_check(manifest: Properties) -> Check | None:
    """Returns how to tell that an object of Kubernetes' own kinds is ready, or None."""
    return _BUILT_IN.get((str(manifest.get("apiVersion")), str(manifest.get("kind"))))


def condition_of(live: Properties, name: str) -> Properties:
    """Returns one of the object's status conditions, empty if it has none of that type."""
    for condition in (live.get("status") or {}).get("conditions") or []:
        if str(condition.get("type")).lower() == name.lower():
            return condition
    return {}


def _expressions(text: str) -> list[str]:
    try:
        loaded: object = json.loads(text)
    except ValueError:
        return [text]
    if not isinstance(loaded, list) or not all(isinstance(entry, str) for entry in loaded):
        return [text]
    if not loaded:
        raise ValueError(f"{WAIT_FOR} is an empty list")
    return [str(entry) for entry in loaded]


def _wanted(expression: str) -> Check:
    if expression.startswith("condition="):
        name, _, status = expression.removeprefix("condition=").partition("=")
        return _condition(name, status or "True")
    if expression.startswith("jsonpath="):
        return _json_path(expression.removeprefix("jsonpath="))
    raise ValueError(f'{WAIT_FOR} must begin with "condition=" or "jsonpath=", not {expression!r}')


def _all_of(checks: list[Check]) -> Check:
    def check(live: Properties, lister: Lister) -> Readiness:
        for one in checks:
            found = one(live, lister)
            if found.state != "ready":
                return found
        return READY

    return check


def _condition(name: str, wanted: str) -> Check:
    def check(live: Properties, _: Lister) -> Readiness:
        condition = condition_of(live, name)
        if not condition:
            return Readiness("waiting", f"it has no condition {name} yet")
        if _is_stale(live, condition):
            return Readiness("waiting", f"its condition {name} is of an older generation")
        status = str(condition.get("status"))
        if status.lower() == wanted.lower():
            return READY
        return Readiness("waiting", f"{name} is {status}, not {wanted}{_because(condition)}")

    return check


def _json_path(text: str) -> Check:
    match = _JSON_PATH.fullmatch(text)
    if match is None:
        raise ValueError(f"{WAIT_FOR}: jsonpath must be {{.path}} or {{.path}}=value, not {text!r}")
    inside, wanted = match["path"], match["value"]
    select = compile_path(inside)

    def check(live: Properties, _: Lister) -> Readiness:
        if _is_stale(live, {}):
            return Readiness("waiting", "its status is of an older generation")
        for value in select(live):
            found = value if isinstance(value, str) else json.dumps(value)
            if wanted is None or found == wanted:
                return READY
            return Readiness("waiting", f"{{{inside}}} is {found[:200]}, not {wanted}")
        return Readiness("waiting", f"{{{inside}}} selects nothing yet")

    return check


def _is_stale(live: Properties, condition: Properties) -> bool:
    """Whether the controller has not seen the present generation: its status is the old one's."""
    observed = condition.get("observedGeneration")
    if observed is None:
        observed = (live.get("status") or {}).get("observedGeneration")
    generation = metadata_of(live).get("generation")
    return observed is not None and generation is not None and observed < generation


def _because(condition: Properties) -> str:
    parts = [str(condition[key]) for key in ("reason", "message") if condition.get(key)]
    return f" ({': '.join(parts)})" if parts else ""


def _generic(live: Properties, _: Lister) -> Readiness:
    """The convention that many controllers follow (kstatus)."""
    if _is_stale(live, {}):
        return Readiness("waiting", "its controller has not seen it yet")
    stalled, moving = condition_of(live, "Stalled"), condition_of(live, "Reconciling")
    if stalled.get("status") == "True":
        return Readiness("failed", f"it is stalled{_because(stalled)}")
    if moving.get("status") == "True":
        return Readiness("waiting", f"it is being reconciled{_because(moving)}")
    ready = condition_of(live, "Ready")
    if ready and ready.get("status") != "True":
        return Readiness("waiting", f"Ready is {ready.get('status')}{_because(ready)}")
    return READY


def _number(values: Properties, key: str, default: int = 0) -> int:
    value = values.get(key)
    return value if isinstance(value, int) else default


def _deployment(live: Properties, _: Lister) -> Readiness:
    status = live.get("status") or {}
    wanted = _number(live.get("spec") or {}, "replicas", 1)
    if _number(status, "observedGeneration") < _number(metadata_of(live), "generation"):
        return Readiness("waiting", "its controller has not seen it yet")
    if _number(status, "updatedReplicas") < wanted:
        return _replicas(status, "updatedReplicas", wanted)
    if _number(status, "replicas") > _number(status, "updatedReplicas"):
        return Readiness("waiting", "old replicas are still there")
    if _number(status, "availableReplicas") < wanted:
        return _replicas(status, "availableReplicas", wanted)
    return READY


def _stateful_set(live: Properties, _: Lister) -> Readiness:
    status, spec = live.get("status") or {}, live.get("spec") or {}
    wanted = _number(spec, "replicas", 1)
    strategy = spec.get("updateStrategy") or {}
    partition = _number(strategy.get("rollingUpdate") or {}, "partition")
    if _number(status, "observedGeneration") < _number(metadata_of(live), "generation"):
        return Readiness("waiting", "its controller has not seen it yet")
    if strategy.get("type") != "OnDelete":
        if _number(status, "updatedReplicas") < wanted - partition:
            return _replicas(status, "updatedReplicas", wanted - partition)
        if not partition and status.get("currentRevision") != status.get("updateRevision"):
            return Readiness("waiting", "old replicas are still there")
    if _number(status, "readyReplicas") < wanted:
        return _replicas(status, "readyReplicas", wanted)
    return READY


def _daemon_set(live: Properties, _: Lister) -> Readiness:
    status = live.get("status") or {}
    wanted = _number(status, "desiredNumberScheduled")
    if _number(status, "observedGeneration") < _number(metadata_of(live), "generation"):
        return Readiness("waiting", "its controller has not seen it yet")
    strategy = (live.get("spec") or {}).get("updateStrategy") or {}
    if strategy.get("type") != "OnDelete" and _number(status, "updatedNumberScheduled") < wanted:
        return _replicas(status, "updatedNumberScheduled", wanted)
    if _number(status, "numberAvailable") < wanted:
        return _replicas(status, "numberAvailable", wanted)
    return READY


def _replication_controller(live: Properties, _: Lister) -> Readiness:
    wanted = _number(live.get("spec") or {}, "replicas", 1)
    status = live.get("status") or {}
    if _number(status, "availableReplicas") < wanted:
        return _replicas(status, "availableReplicas", wanted)
    return READY


def _replicas(status: Properties, key: str, wanted: int) -> Readiness:
    return Readiness("waiting", f"{key} is {_number(status, key)} of {wanted}")


def _pod(live: Properties, _: Lister) -> Readiness:
    phase = (live.get("status") or {}).get("phase")
    ready = condition_of(live, "Ready")
    if phase == "Succeeded" or ready.get("status") == "True":
        return READY
    if phase == "Failed":
        return Readiness("failed", "it has failed")
    return Readiness("waiting", f"it is {phase or 'new'}{_because(ready)}")


def _job(live: Properties, _: Lister) -> Readiness:
    failed = condition_of(live, "Failed")
    if failed.get("status") == "True":
        return Readiness("failed", f"it has failed{_because(failed)}")
    if condition_of(live, "Complete").get("status") == "True":
        return READY
    status = live.get("status") or {}
    counts = ", ".join(f"{_number(status, key)} {key}" for key in ("active", "succeeded", "failed"))
    return Readiness("waiting", f"it is not complete: {counts}")


def _service(live: Properties, lister: Lister) -> Readiness:
    spec = live.get("spec") or {}
    balancer = (live.get("status") or {}).get("loadBalancer") or {}
    if spec.get("type") == "LoadBalancer" and not balancer.get("ingress"):
        return Readiness("waiting", "it has no external address yet")
    if spec.get("type") == "ExternalName" or spec.get("clusterIP") == "None":
        return READY
    if not spec.get("selector"):
        return READY
    metadata = metadata_of(live)
    slices = lister(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        metadata.get("namespace"),
        labelSelector=f"{_SLICE}={metadata.get('name')}",
    )
    endpoints = [endpoint for found in slices for endpoint in found.get("endpoints") or []]
    # An endpoint that does not say whether it is ready is to be taken for ready.
    if any((endpoint.get("conditions") or {}).get("ready") is not False for endpoint in endpoints):
        return READY
    selector = ",".join(f"{key}={value}" for key, value in spec["selector"].items())
    return Readiness("waiting", f"no pod with {selector} is ready")


def _ingress(live: Properties, _: Lister) -> Readiness:
    if ((live.get("status") or {}).get("loadBalancer") or {}).get("ingress"):
        return READY
    return Readiness("waiting", "it has no external address yet")


def _volume_claim(live: Properties, lister: Lister) -> Readiness:
    phase = (live.get("status") or {}).get("phase")
    if phase == "Bound":
        return READY
    storage = (live.get("spec") or {}).get("storageClassName")
    for found in lister("storage.k8s.io/v1", "StorageClass", None):
        late = found.get("volumeBindingMode") == "WaitForFirstConsumer"
        if metadata_of(found).get("name") == storage and late and phase == "Pending":
            return READY  # it will be bound when a pod wants it
    return Readiness("waiting", f"it is {phase or 'new'}, not Bound")


def _phase(*wanted: str) -> Check:
    def check(live: Properties, _: Lister) -> Readiness:
        phase = (live.get("status") or {}).get("phase")
        return READY if phase in wanted else Readiness("waiting", f"it is {phase or 'new'}")

    return check


def _definition(live: Properties, _: Lister) -> Readiness:
    names = condition_of(live, "NamesAccepted")
    if names.get("status") == "False":
        return Readiness("failed", f"its names are not accepted{_because(names)}")
    established = condition_of(live, "Established")
    if established.get("status") == "True":
        return READY
    return Readiness("waiting", f"it is not established{_because(established)}")


def _quota(live: Properties, _: Lister) -> Readiness:
    wanted: Any = (live.get("spec") or {}).get("hard")
    if wanted == (live.get("status") or {}).get("hard"):
        return READY
    return Readiness("waiting", "its controller has not seen it yet")


def _secret(live: Properties, _: Lister) -> Readiness:
    if live.get("type") == "kubernetes.io/service-account-token" and not live.get("data"):
        return Readiness("waiting", "it has no token yet")
    return READY


_BUILT_IN: dict[tuple[str, str], Check] = {
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"): _definition,
    ("apps/v1", "DaemonSet"): _daemon_set,
    ("apps/v1", "Deployment"): _deployment,
    ("apps/v1", "StatefulSet"): _stateful_set,
    ("batch/v1", "Job"): _job,
    ("networking.k8s.io/v1", "Ingress"): _ingress,
    ("v1", "Namespace"): _phase("Active"),
    ("v1", "PersistentVolume"): _phase("Available", "Bound"),
    ("v1", "PersistentVolumeClaim"): _volume_claim,
    ("v1", "Pod"): _pod,
    ("v1", "ReplicationController"): _replication_controller,
    ("v1", "ResourceQuota"): _quota,
    ("v1", "Secret"): _secret,
    ("v1", "Service"): _service,
}
