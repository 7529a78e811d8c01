"""Why is an object not ready? Its own conditions, its pods, and recent warnings about them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from local.plugins.manifests import metadata_of
from local.plugins.properties import Properties
from local.plugins.readiness import Lister, condition_of
from local.plugins.refusals import CancelledError, RefusedError, UnreachableError

# Kinds that make pods, or make what makes pods; custom resources own one of these at some depth.
_KINDS = (
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"),
    ("v1", "Pod"),
)
_KSERVE_LABEL = "serving.kserve.io/inferenceservice"
# Conditions that are good when they are False.
_BAD_WHEN_TRUE = frozenset(
    {"failed", "reconciling", "replicafailure", "stalled", "stopped", "suspended"}
)
_STARTING = frozenset({"ContainerCreating", "PodInitializing"})
_MOST = 6  # lines of one sort; the rest says the same
_LONGEST = 600  # characters of one message


def reasons(live: Properties, lister: Lister) -> list[str]:
    """Returns what stands in the way, the nearest to the cause first.

    What cannot be read, for want of rights or of a cluster, is left out.

    Args:
        live: the object that is not ready.
        lister: reads other objects.
    """
    pods: list[Properties] = []
    warnings: list[str] = []
    with suppress(CancelledError, UnreachableError):  # then the object's own conditions have to do
        family = _family(live, lister)
        pods = [member for member in family if member.get("kind") == "Pod"]
        warnings = list(_warnings(family, lister))
    return [
        *_most([line for pod in pods for line in _of_pod(pod)]),
        *_of_conditions(live),
        *_most(warnings),
    ]


def _family(live: Properties, lister: Lister) -> list[Properties]:
    """Returns the object and all it owns, at any depth, pods included."""
    namespace = metadata_of(live).get("namespace")
    if not namespace:
        return [live]
    family = [live]
    uids = {metadata_of(live).get("uid")}
    candidates = [found for kind in _KINDS for found in _listed(lister, *kind, namespace)]
    grown = True
    while grown:
        children = [found for found in candidates if _is_child(found, uids, live)]
        grown = bool(children)
        family += children
        uids |= {metadata_of(child).get("uid") for child in children}
        candidates = [found for found in candidates if found not in children]
    return family


def _is_child(found: Properties, uids: set[Any], top: Properties) -> bool:
    metadata = metadata_of(found)
    if any(owner.get("uid") in uids for owner in metadata.get("ownerReferences") or []):
        return True
    labels = metadata.get("labels") or {}
    name = metadata_of(top).get("name")
    if top.get("kind") == "InferenceService" and labels.get(_KSERVE_LABEL) == name:
        return True
    selector = (top.get("spec") or {}).get("selector")
    is_service = (top.get("apiVersion"), top.get("kind")) == ("v1", "Service")
    return (
        is_service
        and bool(selector)
        and found["kind"] == "Pod"
        and selector.items() <= labels.items()
    )


def _listed(
    lister: Lister, api_version: str, kind: str, namespace: str, **selectors: str
) -> list[Properties]:
    try:
        return lister(api_version, kind, namespace, **selectors)
    except RefusedError:
        return []


def _of_pod(pod: Properties) -> Iterator[str]:
    name = f"pod {metadata_of(pod).get('name')}"
    status = pod.get("status") or {}
    is_going = "deletionTimestamp" in metadata_of(pod)
    is_fine = (
        status.get("phase") == "Succeeded" or condition_of(pod, "Ready").get("status") == "True"
    )
    if is_going or is_fine:
        return
    if status.get("phase") == "Failed" and status.get("reason"):
        yield f"{name}: {_with_message(status['reason'], status)}"
    scheduled = condition_of(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        yield f"{name} is not scheduled: {_with_message(scheduled.get('reason'), scheduled)}"
    for key, word in (
        ("initContainerStatuses", "init container"),
        ("containerStatuses", "container"),
    ):
        for container in status.get(key) or []:
            problem = _of_container(container, is_init=word != "container")
            if problem:
                yield f"{name}, {word} {container.get('name')}: {problem}"


def _of_container(container: Properties, *, is_init: bool) -> str | None:
    state = container.get("state") or {}
    last = (container.get("lastState") or {}).get("terminated") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    if ended:
        return None if ended.get("exitCode") == 0 else _ended(ended)
    if waiting.get("reason") in _STARTING and not last:
        return None  # others stand in its way, or events tell what does
    if waiting:
        problem = _with_message(waiting.get("reason"), waiting)
        return f"{problem}; before that it {_ended(last)}" if last else problem
    if container.get("ready") or is_init:
        return None
    problem = "it runs, but is not ready (readiness probe)"
    return f"{problem}; before that it {_ended(last)}" if last else problem


def _ended(terminated: Properties) -> str:
    what = f"ended with exit code {terminated.get('exitCode')}"
    reason = terminated.get("reason")
    if reason and reason not in {"Error", "Completed"}:
        what = f"{what} ({reason})"
    message = str(terminated.get("message") or "").strip()
    # A container's last words stand at the end.
    return f"{what}, saying: {message[-_LONGEST:]}" if message else what


def _of_conditions(live: Properties) -> Iterator[str]:
    for condition in (live.get("status") or {}).get("conditions") or []:
        name, status = str(condition.get("type")), condition.get("status")
        bad = "True" if name.lower() in _BAD_WHEN_TRUE else "False"
        told = condition.get("reason") or condition.get("message")
        if (status == bad and told) or status == "Unknown":
            why = _with_message(condition.get("reason"), condition)
            yield f"condition {name} is {status}: {why}"
    failure = ((live.get("status") or {}).get("modelStatus") or {}).get("lastFailureInfo") or {}
    if failure:  # KServe's, of the model itself
        yield f"the model failed: {_with_message(failure.get('reason'), failure)}"


def _warnings(family: list[Properties], lister: Lister) -> Iterator[str]:
    """Yields the newest warnings first."""
    top = metadata_of(family[0])
    if not top.get("namespace"):
        return
    uids = {metadata_of(member).get("uid") for member in family}
    events = _listed(lister, "v1", "Event", top["namespace"], fieldSelector="type=Warning")
    for event in sorted(events, key=_when, reverse=True):
        about = event.get("involvedObject") or {}
        if about.get("uid") in uids:
            text = _with_message(event.get("reason"), event)
            yield f"warning about {about.get('kind')} {about.get('name')}: {text}"


def _when(event: Properties) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


def _with_message(reason: Any, told: Properties) -> str:
    message = str(told.get("message") or "").strip()[:_LONGEST]
    return ": ".join(str(part) for part in (reason, message) if part) or "no reason given"


def _most(lines: list[str]) -> list[str]:
    different = list(dict.fromkeys(lines))
    rest = len(different) - _MOST
    shown = different[:_MOST]
    return [*shown, f"and {rest} more like these"] if rest > 0 else shown
