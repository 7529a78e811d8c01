"""Waits until an object is ready, or gone, and says why if that does not come."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from local.plugins.cluster_api import ClusterApi
from local.plugins.manifests import TIMEOUT, annotation_of, metadata_of, name_of
from local.plugins.properties import Properties
from local.plugins.readiness import Check, Readiness
from local.plugins.reasons import reasons
from local.plugins.refusals import (
    ApiError,
    CancelledError,
    RefusedError,
    UnreachableError,
    first_line,
)

_DEFAULT_SECONDS = 600.0  # the official provider's
# Polled rather than watched: a read by name costs the server little, and after any failure the
# next one is as good as the first, whereas a broken watch has to be put together again.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
_SECONDS_BETWEEN_REASONS = 10.0
_SECONDS_OF_SILENCE = 0.5  # most objects are ready by then
_OF_KUBERNETES = frozenset({"foregroundDeletion", "kubernetes", "orphan"})  # finalizers


class NotReadyError(ApiError):
    """The object is there, but not as it should be.

    Attributes:
        live: what was seen last.
        reasons: why, the nearest to the cause first.
    """

    def __init__(self, message: str, live: Properties, why: list[str]) -> None:
        super().__init__("\n".join([message, *(f"  {line}" for line in why)]))
        self.live = live
        self.reasons = [message, *why]


def timeout_of(manifest: Properties, custom_seconds: float) -> float:
    """Returns for how many seconds to wait.

    Args:
        manifest: what is declared; `pulumi.com/timeoutSeconds` counts.
        custom_seconds: the resource's `custom_timeouts`, which come first; 0 if there are none.
    """
    if custom_seconds:
        return custom_seconds
    with suppress(ValueError):
        return float(int(annotation_of(manifest, TIMEOUT)))
    return _DEFAULT_SECONDS


def until_ready(
    api: ClusterApi, live: Properties, check: Check, seconds: float, tell: Callable[[str], None]
) -> Properties:
    """Waits until the object is ready, and returns it.

    Args:
        api: the cluster.
        live: the object as it was written.
        check: tells whether it is ready.
        seconds: for which to wait.
        tell: told what it waits for.

    Raises:
        NotReadyError: it is not in time, has failed, was deleted, or the wait was cancelled.
    """
    clock = _Clock(seconds, tell)
    latest, found = live, Readiness("waiting", "it was written just now")
    try:
        found = check_safely(check, live, api)
        while found.state == "waiting" and not clock.is_over():
            clock.tell(_progress(api, latest, found, clock))
            api.sleep(clock.pause())
            latest = _seen_again(api, latest)
            found = check_safely(check, latest, api)
    except CancelledError:
        message = f"{name_of(live)} is there, but not ready; the wait was cancelled"
        raise NotReadyError(f"{message}: {found.message}", latest, []) from None
    except (RefusedError, UnreachableError) as error:
        message = f"{name_of(live)} is there, but whether it is ready cannot be seen"
        raise NotReadyError(f"{message}: {error}", latest, []) from None
    if found.state != "ready":
        late = f"not ready after {seconds:g} s: " if found.state == "waiting" else ""
        message = f"{name_of(live)} is there, but {late}{found.message}"
        raise NotReadyError(message, latest, reasons(latest, api.list))
    clock.clear()
    return latest


def _seen_again(api: ClusterApi, live: Properties) -> Properties:
    seen = api.get(live)
    if seen is None or metadata_of(seen).get("uid") != metadata_of(live).get("uid"):
        raise NotReadyError(f"{name_of(live)} was deleted while it was awaited", live, [])
    return seen


def check_safely(check: Check, live: Properties, api: ClusterApi) -> Readiness:
    """Checks; where other objects must be read and cannot, the object is not ready yet."""
    try:
        return check(live, api.list)
    except CancelledError:
        raise
    except ApiError as error:
        return Readiness("waiting", str(error))


def until_gone(
    api: ClusterApi, manifest: Properties, seconds: float, tell: Callable[[str], None]
) -> None:
    """Waits until an object that is to be deleted is gone.

    Raises:
        ApiError: it is not in time; the message names the finalizers that hold it.
    """
    clock = _Clock(seconds, tell)
    uid = metadata_of(manifest).get("uid")
    while True:
        live = api.get(manifest)
        if live is None or (uid and metadata_of(live).get("uid") != uid):
            clock.clear()
            return
        held = _held_by(live)
        if clock.is_over():
            raise ApiError(
                f"{name_of(manifest)} is not gone {seconds:g} s after it was deleted: {held}"
            )
        clock.tell(f"deleting: {held}")
        api.sleep(clock.pause())


def _held_by(live: Properties) -> str:
    metadata = metadata_of(live)
    names = [*(metadata.get("finalizers") or []), *(live.get("spec") or {}).get("finalizers", [])]
    others = [name for name in names if name not in _OF_KUBERNETES]
    if others:
        return f"finalizers hold it, which their controllers must take away: {', '.join(others)}"
    inside = [
        str(condition.get("message"))
        for condition in (live.get("status") or {}).get("conditions") or []
        if condition.get("status") == "True" and live.get("kind") == "Namespace"
    ]
    return "; ".join(inside) or "it waits for what belongs to it to go first"


class _Clock:
    """How long it has been, how long to sleep next, and whether to say something."""

    def __init__(self, seconds: float, tell: Callable[[str], None]) -> None:
        now = time.monotonic()
        self._end = now + seconds
        self._pause = _FIRST_PAUSE
        self._next_reasons = now + _SECONDS_BETWEEN_REASONS
        self._quiet_until = now + _SECONDS_OF_SILENCE
        self._tell = tell
        self._told = ""

    def is_over(self) -> bool:
        return time.monotonic() >= self._end

    def pause(self) -> float:
        pause = min(self._pause, max(self._end - time.monotonic(), 0))
        self._pause = min(self._pause * 1.5, _LONGEST_PAUSE)
        return pause

    def is_time_for_reasons(self) -> bool:
        if time.monotonic() < self._next_reasons:
            return False
        self._next_reasons = time.monotonic() + _SECONDS_BETWEEN_REASONS
        return True

    def tell(self, message: str) -> None:
        if message != self._told and time.monotonic() >= self._quiet_until:
            self._tell(message)
            self._told = message

    def clear(self) -> None:
        if self._told:
            self._tell("")


def _progress(api: ClusterApi, live: Properties, found: Readiness, clock: _Clock) -> str:
    """Says what is waited for; now and then, for it costs some requests, also why so long."""
    if clock.is_time_for_reasons():
        why = reasons(live, api.list)
        if why:
            return f"waiting: {first_line(why[0])}"
    return f"waiting: {found.message}"
