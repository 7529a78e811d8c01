"""Rules about what runs: images and models are pinned by their digest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pulumi_policy import Severity

from rules.pods import Container, Pod, containers, pods
from rules.policy import Options, resource_policy
from rules.reading import (
    Declared,
    Finding,
    NotKnown,
    at,
    each,
    mapping,
    mappings,
    members,
    sequence,
)
from rules.route import PREFIX, SERVICE_KIND

_TOPIC = "artifacts"
_IMAGE = re.compile(r"[^\s@]+@sha256:[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SERVING = frozenset({SERVICE_KIND, "llminferenceservice", "trainedmodel"})
_ARGUMENT = "--digest="
_VARIABLE = "MODEL_DIGEST"
_STORAGE_VARIABLE = "STORAGE_URI"


def _images(declared: Declared, _: Options) -> Iterator[Finding]:
    yield from each(containers(declared), _image)
    yield from each(pods(declared), _volumes)
    yield from each(_oci(declared), lambda it: _pinned(*it))


def _image(container: Container) -> Iterator[Finding]:
    image = container.props.get("image")
    if image is not None:
        yield from _pinned(f"{container.where}.image", str(image))


def _volumes(pod: Pod) -> Iterator[Finding]:
    for index, volume in enumerate(mappings(pod.spec.get("volumes"))):
        reference = at(volume, "image", "reference")
        if reference is not None:
            yield from _pinned(f"{pod.where}.volumes.{index}.image.reference", str(reference))


def _oci(declared: Declared) -> Iterator[tuple[str, str]]:
    """Yields models that are images: their path and address."""
    for where, uri in _addresses(declared):
        if isinstance(uri, str) and uri.lower().startswith("oci://"):
            yield where, uri[len("oci://") :]


def _pinned(where: str, image: str) -> Iterator[Finding]:
    if not _IMAGE.fullmatch(image):
        yield f"{where} is {image}, which is no name@sha256:<64 digits>"


def _models(declared: Declared, _: Options) -> Iterator[Finding]:
    addresses = [*_addresses(declared)]
    yield from (uri for _, uri in addresses if isinstance(uri, NotKnown))
    known = [(where, uri) for where, uri in addresses if isinstance(uri, str)]
    if not known:
        return
    yield from each([known], lambda it: _unpinned(declared, it))


def _unpinned(declared: Declared, addresses: list[tuple[str, str]]) -> Iterator[Finding]:
    said = declared.annotations.get(f"{PREFIX}digest")
    told = {
        digest
        for it in containers(declared)
        if isinstance(it, Container)
        for digest in _digests(it)
    }
    if said is not None and told - {str(said)}:
        yield f"the annotation says {said}, and the server is told {', '.join(sorted(told))}"
    if any(_DIGEST.fullmatch(str(it)) for it in (said, *told)):
        return
    for where, uri in addresses:
        if not uri.lower().startswith("oci://"):  # the digest of an image is another rule's
            yield f"{where} is {uri} without a digest: what lies there may change"


def _digests(container: Container) -> Iterator[str]:
    """Yields the digests that a server is told: it refuses another content."""
    for key in ("args", "command"):
        for it in map(str, sequence(container.props.get(key))):
            if it.startswith(_ARGUMENT):
                yield it.removeprefix(_ARGUMENT)
    for it in mappings(container.props.get("env")):
        if it.get("name") == _VARIABLE:
            yield str(it.get("value"))


def _addresses(declared: Declared) -> Iterator[tuple[str, Any]]:
    """Yields where a model lies: path and URI, `NotKnown` for one that is unknown."""
    if declared.kind not in _SERVING:
        return
    for key, value in members(declared.props):
        if key == "spec":
            yield from _addresses_within(value, key, key)


def _addresses_within(value: Any, where: str, key: str) -> Iterator[tuple[str, Any]]:
    if key in ("storageUri", "uri") and isinstance(value, str | NotKnown):
        yield where, value
        return
    inside = mapping(value)
    if key == "storage" and inside:
        # KServe's other way to say it: a key of a Secret and a path.
        for name, inner in members(inside):
            if name == "path":
                yield f"{where}.{name}", inner
        return
    for name, inner in members(value):
        yield from _addresses_within(inner, f"{where}.{name}", name)
    if any(name == "name" and inner == _STORAGE_VARIABLE for name, inner in members(inside)):
        yield from ((f"{where}.value", it) for name, it in members(inside) if name == "value")


POLICIES = [
    resource_policy(
        _TOPIC,
        _images,
        name="images-by-digest",
        title="Images by digest",
        description="Every image should be pinned by its digest, also those of init containers.",
        severity=Severity.HIGH,
        remediation="Write the image as name@sha256:<digest>; `docker buildx imagetools inspect` "
        "tells it.",
    ),
    resource_policy(
        _TOPIC,
        _models,
        name="models-by-digest",
        title="Models by digest",
        description="Every model should be pinned by the digest of its artifact.",
        severity=Severity.HIGH,
        remediation="Declare the version with its digest, as `modelramp deploy` does.",
    ),
]
