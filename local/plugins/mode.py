"""What the provider does with objects: render them as YAML, or write them to a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from local.plugins.properties import Properties

_CLUSTER_SCOPED = frozenset(
    {
        "APIService",
        "CSIDriver",
        "CSINode",
        "CertificateSigningRequest",
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "FlowSchema",
        "IngressClass",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "PriorityLevelConfiguration",
        "RuntimeClass",
        "StorageClass",
        "ValidatingWebhookConfiguration",
        "VolumeAttachment",
    }
)


@dataclass(frozen=True)
class Call:
    """What the engine says beside the object.

    Attributes:
        preview: nothing may be changed.
        field_manager: who owns the declared fields.
        seconds: the resource's custom time-out for this operation; 0 if there is none.
        ignored: paths of fields that the user wants left alone.
        tell: shows the resource's status.
        warn: shows a warning that stays.
    """

    preview: bool = False
    field_manager: str = ""
    seconds: float = 0
    ignored: list[str] = field(default_factory=list)
    tell: Callable[[str], None] = lambda _: None
    warn: Callable[[str], None] = lambda _: None


class Mode(Protocol):
    """One way to make objects real. All objects are without marks of secrets."""

    def problem(self, marked: Properties) -> str | None:
        """Says why an object, still with its marks, must not or cannot be made."""
        ...

    def namespace(
        self, manifest: Properties, declared: str | None, old: Properties | None = None
    ) -> str | None:
        """Returns the namespace that an object shall lie in, or None.

        Args:
            manifest: the object, without namespace.
            declared: what the program says.
            old: metadata of what was declared before, as checked; tells whether the kind has
                namespaces, where there is nobody to ask.
        """
        ...

    def fixed(self, live: Properties, new: Properties, field_manager: str) -> list[str]:
        """Returns paths of fields that an update would be refused for; the object is replaced."""
        ...

    def create(self, manifest: Properties, call: Call) -> Properties | None:
        """Makes an object and returns it; None where a preview cannot tell."""
        ...

    def read(self, identity: Properties) -> Properties | None:
        """Returns the object of this identity, or None if it is gone."""
        ...

    def check(self, live: Properties) -> None:
        """Raises `NotReadyError` for what has been read, if it is not as it should be."""
        ...

    def update(self, old: Properties, manifest: Properties, call: Call) -> Properties | None:
        """Changes an object and returns it; None where a preview cannot tell."""
        ...

    def delete(self, live: Properties, inputs: Properties, call: Call) -> None:
        """Removes an object; one that is gone is no error."""
        ...


def guessed_namespace(manifest: Properties, declared: str | None, default: str) -> str | None:
    """Returns the namespace of an object where no cluster can be asked for the kind's scope.

    Kubernetes' own kinds are known; others are taken for namespaced ones.
    """
    return declared if declared or manifest["kind"] in _CLUSTER_SCOPED else default
