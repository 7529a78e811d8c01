"""Writes objects to a cluster, as the official provider does in its server-side-apply mode.

An object is made by a plain create, so that one which is there already is noticed rather than
overwritten, and changed by server-side apply, so that what others set is left to them.
"""

# ruff: noqa: ARG002 (the methods are those of `Mode`)

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass

from local.plugins.cluster_api import ClusterApi, is_owned_by_request
from local.plugins.manifests import (
    PATCH_FORCE,
    PROPAGATION,
    SKIP_AWAIT,
    annotation_of,
    dashed,
    metadata_of,
    name_of,
    underscored,
)
from local.plugins.mode import Call, guessed_namespace
from local.plugins.ownership import CREATOR, entries_to_take, taken_over, without_ignored
from local.plugins.properties import UNKNOWN, Properties, has_unknown
from local.plugins.readiness import READY, built_in_check, check_of
from local.plugins.refusals import (
    ApiError,
    CancelledError,
    RefusedError,
    UnreachableError,
    explain,
    first_line,
)
from local.plugins.waiting import NotReadyError, check_safely, timeout_of, until_gone, until_ready

_PROPAGATION = {"orphan": "Orphan", "background": "Background"}  # by annotation; else Foreground
# Deleted without waiting when annotated with skipAwait; the official provider has this for the
# kinds that had it in its first versions only.
_SKIP_AWAIT_OF_DELETE = frozenset(
    {
        "DaemonSet",
        "Deployment",
        "Job",
        "Namespace",
        "Pod",
        "ReplicationController",
        "StatefulSet",
    }
)
# A dry run makes these up; what uses them must not be shown as if they were known.
_UNKNOWN_OF_NEW = ("creationTimestamp", "resourceVersion", "uid")
_UNKNOWN_OF_CHANGED = ("resourceVersion",)
# Seconds between tries while what a new object needs (namespace, CRD) may still be on its way.
_PAUSES_FOR_NEEDS = (0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8)
_TRIES_OF_RACES = 5
_PAUSE_AFTER_CUT = 0.5  # seconds; the next try itself waits for a server that restarts


@dataclass(frozen=True)
class Options:
    """The provider's options.

    Attributes:
        namespace: of objects that name none.
        patch_force: take over fields that others own, always.
        upsert: creating what is there already changes it.
        delete_unreachable: forget what lies in a cluster that cannot be reached.
    """

    namespace: str = "default"
    patch_force: bool = False
    upsert: bool = False
    delete_unreachable: bool = False


class ClusterMode:
    """Writes to one cluster.

    Args:
        api: the cluster.
        options: the provider's.
    """

    def __init__(self, api: ClusterApi, options: Options) -> None:
        self._api = api
        self._options = options

    def problem(self, marked: Properties) -> str | None:
        """Refuses a wrong `pulumi.com/waitFor` before anything is made."""
        try:
            check_of(marked)
        except ValueError as error:
            return str(error)
        return None

    def namespace(
        self, manifest: Properties, declared: str | None, old: Properties | None = None
    ) -> str | None:
        """Asks the cluster; a kind that it does not have yet is taken for a namespaced one."""
        found = self._api.resource(manifest["apiVersion"], manifest["kind"])
        if found is not None and not found.namespaced:
            return None
        return declared or self._options.namespace

    def fixed(self, live: Properties, new: Properties, field_manager: str) -> list[str]:
        """Tries the update without doing it: the server knows what may not change."""
        if has_unknown(new) or not self._exists(new):
            return []
        with _naming(new):
            try:
                self._api.apply(dashed(new), field_manager, force=True, dry_run=True)
            except RefusedError as error:
                return error.fixed_fields()
        return []

    def create(self, manifest: Properties, call: Call) -> Properties | None:
        """Makes the object and waits until it is ready.

        Raises:
            ApiError: it was not made.
            NotReadyError: it was made, but is not ready.
        """
        manifest = self._placed(manifest)
        if call.preview:
            return self._previewed(manifest, lambda: self._made(manifest, call), _UNKNOWN_OF_NEW)
        with _naming(manifest):
            live = self._with_needs(manifest, call)
        return self._awaited(live, manifest, call)

    def read(self, identity: Properties) -> Properties | None:
        """Returns the object, or None if it or its kind is gone."""
        with _naming(identity):
            identity = self._placed(identity)
            live = self._api.get(identity) if self._exists(identity) else None
        return None if live is None else underscored(live)

    def check(self, live: Properties) -> None:
        """Looks once whether an object of Kubernetes' own kinds is ready."""
        check = None if annotation_of(live, SKIP_AWAIT) == "true" else built_in_check(live)
        found = READY if check is None else check_safely(check, live, self._api)
        if found.state != "ready":
            raise NotReadyError(f"{name_of(live)} is not ready: {found.message}", live, [])

    def update(self, old: Properties, manifest: Properties, call: Call) -> Properties | None:
        """Applies the object and waits until it is ready.

        Raises:
            ApiError: it was not changed.
            NotReadyError: it was changed, but is not ready.
        """
        manifest = self._placed(manifest)
        if call.preview:
            return self._previewed(
                manifest, lambda: self._changed(manifest, call), _UNKNOWN_OF_CHANGED
            )
        with _naming(manifest):
            live = self._changed(manifest, call)
        return self._awaited(live, manifest, call)

    def delete(self, live: Properties, inputs: Properties, call: Call) -> None:
        """Deletes the object and waits until it is gone."""
        propagation = annotation_of(inputs, PROPAGATION).lower()
        skips = annotation_of(inputs, SKIP_AWAIT) == "true"
        with _naming(live):
            live = self._placed(live)
            if not self._exists(live):
                return
            self._api.delete(live, _PROPAGATION.get(propagation, "Foreground"))
            if not (skips and live["kind"] in _SKIP_AWAIT_OF_DELETE):
                until_gone(self._api, live, timeout_of(inputs, call.seconds), call.tell)

    def _exists(self, manifest: Properties) -> bool:
        return self._api.resource(manifest["apiVersion"], manifest["kind"]) is not None

    def _placed(self, manifest: Properties) -> Properties:
        """Returns the object with or without namespace, now that its kind may be known."""
        metadata = dict(metadata_of(manifest))
        namespace = self.namespace(manifest, metadata.pop("namespace", None))
        if namespace:
            metadata["namespace"] = namespace
        return manifest | {"metadata": metadata}

    def _previewed(
        self, manifest: Properties, do: Callable[[], Properties], unknown: Iterable[str]
    ) -> Properties | None:
        """Asks the server what it would do; None where it cannot know."""
        if has_unknown(manifest) or not self._exists(manifest):
            return None
        try:
            live = do()
        except RefusedError as error:
            # The namespace comes with the same update; the old object goes before the new one
            # comes; or the user may not write, or a webhook not be tried.
            if (
                error.is_missing_namespace
                or error.reason == "AlreadyExists"
                or error.status == 403
                or error.is_without_dry_run
            ):
                return None
            raise ApiError(explain(error, manifest)) from None
        except (CancelledError, UnreachableError) as error:
            raise ApiError(explain(error, manifest)) from None
        # Without a status, what is read from it stays unknown, which it is.
        shown = {key: value for key, value in live.items() if key != "status"}
        metadata = metadata_of(live) | dict.fromkeys(unknown, UNKNOWN)
        return underscored(shown | {"metadata": metadata})

    def _with_needs(self, manifest: Properties, call: Call) -> Properties:
        """Makes the object, giving what it needs some time to come, and its predecessor to go."""
        pauses = iter(_PAUSES_FOR_NEEDS)
        while True:
            try:
                return self._made(self._placed(manifest), call)
            except RefusedError as error:
                pause = next(pauses, None)
                if pause is None:
                    raise
                if error.status == 404:
                    call.tell(f"waiting for what it needs: {first_line(error)}")
                    self._api.sleep(pause)
                elif error.reason != "AlreadyExists" or not self._is_going(manifest, call):
                    raise

    def _is_going(self, manifest: Properties, call: Call) -> bool:
        """Waits for an object that is being deleted (not awaited with skipAwait) to be gone."""
        live = self._api.get(manifest)
        if live is None or "deletionTimestamp" not in metadata_of(live):
            return live is None
        until_gone(self._api, live, timeout_of(manifest, call.seconds), call.tell)
        return True

    def _made(self, manifest: Properties, call: Call) -> Properties:
        sent = dashed(manifest)
        if self._options.upsert:
            force = call.preview or self._forces(manifest)
            return self._api.apply(sent, call.field_manager, force=force, dry_run=call.preview)
        started = time.time()
        cut_off = False
        for _ in range(_TRIES_OF_RACES):
            try:
                return self._api.create(sent, CREATOR, dry_run=call.preview)
            except UnreachableError as error:
                if not error.may_have_arrived or error.permanent:
                    raise
                cut_off = True
                self._api.sleep(_PAUSE_AFTER_CUT)
            except RefusedError as error:
                live = self._api.get(sent) if cut_off and error.reason == "AlreadyExists" else None
                if live is None or not is_owned_by_request(live, CREATOR, started):
                    raise
                return live  # the try that was cut off had made it
        raise ApiError(
            f"{name_of(manifest)}: the connection to {self._api.server} broke again and again; "
            "whether it was made is not known"
        )

    def _changed(self, manifest: Properties, call: Call) -> Properties:
        for _ in range(_TRIES_OF_RACES):
            live = self._api.get(manifest)
            if live is None:
                raise ApiError(
                    f"{name_of(manifest)} is gone from the cluster: pulumi refresh, or "
                    "pulumi up --refresh, makes it anew"
                )
            try:
                return self._written(manifest, live, call)
            except RefusedError as error:
                # Somebody else was faster, or an earlier try of ours was cut off.
                if error.reason != "Conflict" or error.is_conflict:
                    raise
        raise ApiError(f"{name_of(manifest)} is changed by others all the time")

    def _written(self, manifest: Properties, live: Properties, call: Call) -> Properties:
        if manifest["kind"] == "CustomResourceDefinition":
            # Replaced as a whole, as the official provider does: versions that are not declared
            # any more shall go.
            version = {"resourceVersion": metadata_of(live)["resourceVersion"]}
            new = dashed(manifest) | {"metadata": metadata_of(manifest) | version}
            return self._api.replace(new, call.field_manager, dry_run=call.preview)
        entries = taken_over(live, call.field_manager)
        if entries is not None and not call.preview:
            live = self._hand_over(live, entries)
        sent = without_ignored(dashed(manifest), live, call.field_manager, call.ignored)
        force = self._forces(manifest) or not metadata_of(live).get("managedFields")
        try:
            return self._api.apply(sent, call.field_manager, force=force, dry_run=call.preview)
        except RefusedError as error:
            # A preview hands nothing over, so it sees conflicts that the update will not have.
            given = {str(entry.get("manager")) for entry in entries_to_take(live)}
            if call.preview and error.is_conflict and error.managers() <= given:
                return self._api.apply(sent, call.field_manager, force=True, dry_run=True)
            raise

    def _hand_over(self, live: Properties, entries: list[Properties]) -> Properties:
        """Gives the fields that the create has set to the field manager that applies."""
        version = metadata_of(live)["resourceVersion"]
        operations = [
            {"op": "replace", "path": "/metadata/managedFields", "value": entries},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
        ]
        return self._api.patch(live, operations)

    def _forces(self, manifest: Properties) -> bool:
        return self._options.patch_force or annotation_of(manifest, PATCH_FORCE) == "true"

    def _awaited(self, live: Properties, manifest: Properties, call: Call) -> Properties:
        check = check_of(manifest)
        if check is not None:
            seconds = timeout_of(manifest, call.seconds)
            live = until_ready(self._api, live, check, seconds, call.tell)
        return underscored(live)


@contextmanager
def _naming(manifest: Properties) -> Generator[None]:
    """Turns what the server says, or that it says nothing, into errors that name the object."""
    try:
        yield
    except (CancelledError, RefusedError, UnreachableError) as error:
        raise ApiError(explain(error, manifest)) from None


class UnreachableMode:
    """Stands for a cluster that cannot be reached, so that a preview still shows what is declared.

    Args:
        reason: why not, with the server's address.
        options: the provider's.
    """

    def __init__(self, reason: str, options: Options) -> None:
        self.explain(reason)
        self._options = options
        self._has_warned = False

    def explain(self, reason: str) -> None:
        """Says from now on why the cluster cannot be reached, with the server's address."""
        self._reason = f"the Kubernetes cluster cannot be reached: {reason}"

    def problem(self, marked: Properties) -> str | None:
        """Nothing can be said."""
        return None

    def namespace(
        self, manifest: Properties, declared: str | None, old: Properties | None = None
    ) -> str | None:
        """There is nobody to ask, but what was declared before tells what the kind has."""
        if old and "namespace" not in old:
            return None
        return guessed_namespace(manifest, declared, self._options.namespace)

    def fixed(self, live: Properties, new: Properties, field_manager: str) -> list[str]:
        """Nothing can be said."""
        return []

    def create(self, manifest: Properties, call: Call) -> Properties | None:
        """Fails, but for a preview, which warns."""
        return self._warned(call)

    def read(self, identity: Properties) -> Properties | None:
        """Fails, unless the user wants what cannot be reached forgotten."""
        if self._options.delete_unreachable:
            return None
        raise ApiError(f"{self._reason}\n{_FORGET}")

    def check(self, live: Properties) -> None:
        """Nothing can be said."""

    def update(self, old: Properties, manifest: Properties, call: Call) -> Properties | None:
        """Fails, but for a preview, which warns."""
        return self._warned(call)

    def delete(self, live: Properties, inputs: Properties, call: Call) -> None:
        """Fails, unless the user wants what cannot be reached forgotten."""
        if not self._options.delete_unreachable:
            raise ApiError(f"{self._reason}\n{_FORGET}")
        call.warn(f"{self._reason}; forgotten, not deleted")

    def _warned(self, call: Call) -> None:
        if not call.preview:
            raise ApiError(self._reason)
        if not self._has_warned:  # once is enough for all objects
            self._has_warned = True
            call.warn(f"{self._reason}; this preview shows what is declared only")


_FORGET = (
    "If the cluster is gone for good, PULUMI_K8S_DELETE_UNREACHABLE=true takes what was in it out "
    "of the state."
)
