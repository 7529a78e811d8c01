"""Reading what a stack declares: Kubernetes objects and AWS resources, however they were declared.

A value that a preview cannot know raises `UnknownValueError` when it is read. What is read here is
read piece by piece, so that one unknown value never hides what is known beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from pulumi_policy.proxy import UnknownValueError

T = TypeVar("T")
Properties = Mapping[str, Any]

_KUBERNETES_TYPE = re.compile(r"^(?!aws)[\w-]+:[\w.-]+/v\d\w*:(\w+)$")
_AWS_TYPE = re.compile(r"^aws(?:-native)?:([\w-]+)(?:/\w+)?:(\w+?)(?:V2)?$")


@dataclass(frozen=True)
class NotKnown:
    """Something that a preview cannot know, or that nobody told.

    Attributes:
        reason: what it is, in words.
    """

    reason: str


Finding = str | NotKnown
"""What is wrong, or why that could not be checked."""


@dataclass(frozen=True)
class Declared:
    """One resource of a stack.

    Attributes:
        type: Pulumi's type token.
        name: logical name.
        urn: of the resource.
        props: inputs, or outputs where the rule is about the whole stack.
        is_protected: whether Pulumi refuses to delete it.
        provider: inputs of its provider.
        made_from: URNs of the resources that a property is made from, by property.
    """

    type: str
    name: str
    urn: str
    props: Properties
    is_protected: bool = False
    provider: Properties = field(default_factory=dict[str, Any])
    made_from: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])

    @property
    def kind(self) -> str:
        """Kubernetes's kind in lower case, that of the object for a patch; empty if it is none.

        It counts whatever package the resource is from: SDKs made from CRDs have other tokens.
        """
        kind = _known_text(self.props, "kind")
        if kind and _known_text(self.props, "apiVersion"):
            return kind.lower()
        found = _KUBERNETES_TYPE.match(self.type)
        return found[1].removesuffix("Patch").lower() if found else ""

    @property
    def aws(self) -> str:
        """Service and kind of an AWS resource, such as `s3/Bucket`, whatever its version."""
        found = _AWS_TYPE.match(self.type)
        return f"{found[1]}/{found[2]}" if found else ""

    @property
    def is_patch(self) -> bool:
        """Whether it only changes an object that is there."""
        return bool(self.kind) and self.type.endswith("Patch")

    @property
    def object_name(self) -> str:
        """Name of the object in the cluster; the logical name where that is not known yet."""
        return _known_text(self.props, "metadata", "name") or self.name

    @property
    def namespace(self) -> str:
        """Namespace of the object, empty where it is the provider's or not known yet."""
        return _known_text(self.props, "metadata", "namespace")

    @property
    def annotations(self) -> Properties:
        """Annotations of the object."""
        return mapping(at(self.props, "metadata", "annotations"))

    @property
    def labels(self) -> Properties:
        """Labels of the object."""
        return mapping(at(self.props, "metadata", "labels"))

    @property
    def spec(self) -> Properties:
        """Spec of the object."""
        return mapping(self.props.get("spec"))


def mapping(value: Any) -> Properties:
    """Returns a mapping as it is, and an empty one for everything else."""
    return cast("Properties", value) if isinstance(value, Mapping) else {}


def mappings(value: Any) -> list[Properties]:
    """Returns the mappings of a list; none for everything else."""
    return [mapping(it) for it in sequence(value) if isinstance(it, Mapping)]


def sequence(value: Any) -> Sequence[Any]:
    """Returns a list as it is, and an empty one for everything else."""
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return cast("Sequence[Any]", value) if is_list else ()


def at(value: Any, *path: str) -> Any:
    """Returns what a path of keys leads to, None where there is nothing."""
    for key in path:
        value = mapping(value).get(key)
    return value


def _known_text(value: Any, *path: str) -> str:
    """Returns the text that a path of keys leads to, empty where there is none or not yet."""
    try:
        found = at(value, *path)
    except UnknownValueError:
        return ""
    return found if isinstance(found, str) else ""


def number(value: Any, default: float) -> float:
    """Returns a number, also one that is written as text, or a default for everything else."""
    try:
        return default if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return default


def each(
    subjects: Iterable[T | NotKnown], check: Callable[[T], Iterable[Finding]]
) -> Iterator[Finding]:
    """Applies a check to each subject: what is unknown of one does not hide what another has."""
    iterator = iter(subjects)
    while True:
        try:
            subject = next(iterator, None)
            if subject is None:
                return
            if isinstance(subject, NotKnown):
                yield subject
                continue
            yield from check(subject)
        except UnknownValueError as unknown:
            yield NotKnown(unknown.message)


def members(value: Any) -> Iterator[tuple[str, Any]]:
    """Yields keys and values of a mapping or list, `NotKnown` for a value that is unknown."""
    keys: Iterable[Any] = mapping(value) or range(len(sequence(value)))
    for key in keys:
        try:
            yield str(key), value[key]
        except UnknownValueError as unknown:
            yield str(key), NotKnown(unknown.message)


def texts(value: Any) -> Iterator[str | NotKnown]:
    """Yields every text within a value."""
    if isinstance(value, str | NotKnown):
        yield value
        return
    for _, inner in members(value):
        yield from texts(inner)
