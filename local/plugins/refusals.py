"""What an API server can say no with, in words that tell what to do."""

from __future__ import annotations

import re
from typing import Any

from local.plugins.manifests import PATCH_FORCE, name_of
from local.plugins.properties import Properties

_OWNER = re.compile(r'conflict with "(?P<manager>[^"]*)"')
# How the API server's own validation says that a field may not change; rules of CRDs say it in
# words of their own, mostly with the same adjective.
_FIXED = ("immutable", "updates to", "may not change")


class ApiError(Exception):
    """The cluster did not do what was asked; the message is for the user."""


class CancelledError(ApiError):
    """The user wants the operation to end."""


class UnreachableError(ApiError):
    """There was no answer.

    Attributes:
        may_have_arrived: whether the server may have got, and done, what was asked.
        permanent: whether asking again is useless.
    """

    def __init__(self, message: str, *, may_have_arrived: bool, permanent: bool = False) -> None:
        super().__init__(message)
        self.may_have_arrived = may_have_arrived
        self.permanent = permanent


class RefusedError(ApiError):
    """The API server answered with an error.

    Attributes:
        status: of HTTP.
        reason: Kubernetes' word for it, such as `AlreadyExists`.
        causes: field, reason and message of each thing that is wrong.
        kind: of the object that the error is about, in plural, if the server says.
        retry_after: seconds after which to ask again, or None.
    """

    def __init__(self, status: int, body: Properties, retry_after: float | None = None) -> None:
        super().__init__(str(body.get("message") or f"HTTP status {status}"))
        details = body.get("details") or {}
        self.status = status
        self.reason = str(body.get("reason") or "")
        self.causes: list[Properties] = details.get("causes") or []
        self.kind = str(details.get("kind") or "")
        self.retry_after = retry_after

    @property
    def is_conflict(self) -> bool:
        """Whether other field managers own fields that are declared."""
        return any(cause.get("reason") == "FieldManagerConflict" for cause in self.causes)

    def managers(self) -> set[str]:
        """Returns the field managers that a conflict is with."""
        return {_manager(cause) for cause in self.causes}

    @property
    def is_missing_namespace(self) -> bool:
        """Whether the namespace is not there, rather than the object."""
        return self.status == 404 and self.kind == "namespaces"

    @property
    def is_without_dry_run(self) -> bool:
        """Whether a webhook makes a dry run impossible."""
        return self.status == 400 and "does not support dry run" in str(self)

    def fixed_fields(self) -> list[str]:
        """Returns the paths of fields that may not change on an object that exists."""
        if self.status not in {403, 422}:
            return []
        return [
            str(cause.get("field") or "")
            for cause in self.causes
            if any(word in str(cause.get("message")) for word in _FIXED)
        ]


def explain(error: ApiError, manifest: Properties) -> str:
    """Returns the message for the user, naming the object."""
    name = name_of(manifest)
    if not isinstance(error, RefusedError):
        return f"{name}: {error}"
    if error.is_conflict:
        return _conflict(error, name)
    if error.reason == "AlreadyExists":
        return (
            f"{name} is in the cluster already, and not by this resource. To take it into this "
            "stack, import it (ResourceOptions(import_=...) or pulumi import); if a resource of "
            "this stack has made it under another name, give that name as an alias; if it was "
            "left behind, delete it"
        )
    if error.is_missing_namespace:
        namespace = (manifest.get("metadata") or {}).get("namespace")
        return f"{name}: there is no namespace {namespace}; declare it, or depend on what makes it"
    return f"{name} was refused by the API server: {error}"


def _conflict(error: RefusedError, name: str) -> str:
    fields: dict[str, list[str]] = {}
    for cause in error.causes:
        fields.setdefault(_manager(cause), []).append(str(cause.get("field")))
    lines = [f"  {', '.join(paths)}: set by {manager}" for manager, paths in fields.items()]
    advice = (
        "Leave these fields out of the program (or name them in ignore_changes) if the other side "
        f"should keep them. To take them over, annotate the object with {PATCH_FORCE}: "
        '"true"; the other side will then have to stop setting them.'
    )
    return "\n".join(
        [
            f"{name}: others own fields that are declared here, so nothing was changed:",
            *lines,
            advice,
        ]
    )


def _manager(cause: Properties) -> str:
    found = _OWNER.search(str(cause.get("message")))
    return found["manager"] if found else "another field manager"


def first_line(text: Any) -> str:
    """Returns a message's first line, for a status that has only one."""
    return str(text).partition("\n")[0]
