"""Kubernetes objects as plain values: their identity, and a resource's state in Pulumi."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import Any

from local.plugins.properties import Properties, is_unknown, without_secrets

AUTONAMED = "pulumi.com/autonamed"
PATCH_FIELD_MANAGER = "pulumi.com/patchFieldManager"
PATCH_FORCE = "pulumi.com/patchForce"
PROPAGATION = "pulumi.com/deletionPropagationPolicy"
SKIP_AWAIT = "pulumi.com/skipAwait"
TIMEOUT = "pulumi.com/timeoutSeconds"
WAIT_FOR = "pulumi.com/waitFor"
FIELD_MANAGER = "__fieldManager"

_BOOKKEEPING = ("__inputs", "__initialApiVersion", FIELD_MANAGER)
_SET_BY_CLUSTER = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "uid",
)


def metadata_of(manifest: Properties) -> Properties:
    """Returns the object's metadata, empty if there are none or they are unknown yet."""
    metadata = manifest.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def annotation_of(manifest: Properties, key: str) -> str:
    """Returns the value of an annotation, empty if there is none."""
    annotations = metadata_of(manifest).get("annotations")
    return str(annotations.get(key, "")) if isinstance(annotations, dict) else ""


def name_of(manifest: Properties) -> str:
    """Returns kind, namespace and name, as a person reads it: `Deployment models/fraud`."""
    return f"{manifest.get('kind')} {id_of(manifest)}"


def id_of(manifest: Properties) -> str:
    """Returns the resource's id: `namespace/name`, or `name` alone."""
    metadata = metadata_of(manifest)
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata.get('name')}" if namespace else str(metadata.get("name"))


def identity_of(type_token: str, resource_id: str) -> Properties:
    """Returns the least object of a type and id: apiVersion, kind, name and namespace."""
    namespace, _, name = resource_id.rpartition("/")
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return kind_of(type_token) | {"metadata": metadata}


def kind_of(type_token: str) -> Properties:
    """Returns apiVersion and kind of a Pulumi type such as `kubernetes:core/v1:ConfigMap`."""
    _, api_version, kind = type_token.split(":")
    return {"apiVersion": api_version.removeprefix("core/"), "kind": kind}


def without_set_by_cluster(manifest: Properties) -> Properties:
    """Returns the object without the metadata that nobody can declare."""
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict):
        return dict(manifest)
    kept = {key: value for key, value in metadata.items() if key not in _SET_BY_CLUSTER}
    return manifest | {"metadata": kept}


def normalised(manifest: Properties) -> Properties:
    """Returns the object as a cluster would keep it, so that it can be compared with what is there.

    A Secret's `stringData` becomes `data`, and its base64 the usual one; a CRD loses its status
    and `preserveUnknownFields: false`.
    """
    if (manifest.get("apiVersion"), manifest.get("kind")) == ("v1", "Secret"):
        return _normalised_secret(manifest)
    if manifest.get("kind") == "CustomResourceDefinition":
        spec = manifest.get("spec")
        without_status = {key: value for key, value in manifest.items() if key != "status"}
        if isinstance(spec, dict) and spec.get("preserveUnknownFields") is False:
            kept = {key: value for key, value in spec.items() if key != "preserveUnknownFields"}
            return without_status | {"spec": kept}
        return without_status
    return manifest


def dashed(value: Any) -> Any:
    """Pulumi's schemas write `x_kubernetes_...` where Kubernetes wants `x-kubernetes-...`."""
    return _renamed(value, "x_kubernetes_", "_", "-")


def underscored(value: Any) -> Any:
    """Undoes `dashed`."""
    return _renamed(value, "x-kubernetes-", "-", "_")


def split_state(state: Properties) -> tuple[Properties, Properties]:
    """Splits a resource's state into what was declared and what is there, both without marks."""
    state = without_secrets(state)
    live = {key: value for key, value in state.items() if key not in _BOOKKEEPING}
    return state.get("__inputs", {}), live


def state_of(
    live: Properties, inputs: Properties, api_version: str, field_manager: str
) -> Properties:
    """Returns a resource's state as the official provider keeps it.

    Args:
        live: what is there, with marks on what is secret.
        inputs: what was declared, with marks.
        api_version: what the object was first made with.
        field_manager: who owns the declared fields in server-side apply.
    """
    bookkeeping = (inputs, api_version, field_manager)
    return live | dict(zip(_BOOKKEEPING, bookkeeping, strict=True))


def _normalised_secret(manifest: Properties) -> Properties:
    data, texts = manifest.get("data"), manifest.get("stringData")
    if not isinstance(data, dict | None) or not isinstance(texts, dict | None):
        return manifest  # unknown yet
    if not data and not texts:
        return manifest
    encoded = {key: _normalised_base64(value) for key, value in (data or {}).items()}
    encoded |= {
        key: value if is_unknown(value) else base64.b64encode(str(value).encode()).decode()
        for key, value in (texts or {}).items()
    }
    return {key: value for key, value in manifest.items() if key != "stringData"} | {
        "data": encoded
    }


def _normalised_base64(text: Any) -> Any:
    if is_unknown(text):
        return text
    with suppress(ValueError):
        return base64.b64encode(base64.b64decode(str(text))).decode()
    return text


def _renamed(value: Any, prefix: str, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {
            key.replace(old, new) if str(key).startswith(prefix) else key: _renamed(
                child, prefix, old, new
            )
            for key, child in value.items()
        }
    if isinstance(value, list):
        return [_renamed(child, prefix, old, new) for child in value]
    return value
