"""YAML read by libyaml, several times as fast as by ruamel.yaml, with the same values.

What ruamel.yaml makes of YAML 1.2 is what stack files mean, so scalars stay its business; only
the text is taken apart in C. Comments and lines are lost.
"""

from __future__ import annotations

from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode

# libyaml is a choice at PyYAML's build; its wheels have it.
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PREFIX = "tag:yaml.org,2002:"


class _Loader(_BASE):
    """Resolves and makes scalars as ruamel.yaml does; refuses a key that is there twice."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        ruamel: Any = YAML(typ="safe", pure=True)
        self._ruamel_constructor = ruamel.constructor
        # What may be no text, by its first character.
        self._patterns = ruamel.resolver.versioned_resolver

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        """Returns the tag of a node that has none."""
        if kind is yaml.ScalarNode and implicit[0]:
            # As ruamel.yaml's VersionedResolver.resolve, which makes an object of each tag.
            patterns = (*self._patterns.get(value[:1], ()), *self._patterns.get(None, ()))
            found = (tag for tag, pattern in patterns if pattern.match(value))
            return str(next(found, f"{_PREFIX}str"))
        return super().resolve(kind, value, implicit)

    def scalar(self, node: yaml.ScalarNode) -> Any:
        """Returns the value of a scalar that is no text."""
        name = node.tag.removeprefix(_PREFIX)
        same = ScalarNode(node.tag, node.value)
        try:
            return getattr(self._ruamel_constructor, f"construct_yaml_{name}")(same)
        except ValueError as error:  # `._` is a float to its resolver alone
            raise yaml.constructor.ConstructorError(None, None, str(error)) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Returns a mapping."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if not _merges(key)]
        made = super().construct_mapping(node, deep=deep)
        if len(set(keys)) < len(keys):
            raise yaml.constructor.ConstructorError(None, None, "a key is there twice")
        return made


def _merges(key: yaml.Node) -> bool:
    return key.tag == f"{_PREFIX}merge"


for _name in ("bool", "int", "float", "timestamp"):
    _Loader.add_constructor(f"{_PREFIX}{_name}", _Loader.scalar)


def load_yaml(text: str) -> Any:
    """Returns a document, its one.

    Raises:
        yaml.YAMLError: it cannot be read so; ruamel.yaml may say why, or read it.
    """
    if "%YAML" in text:
        raise yaml.YAMLError("says its version, by which scalars would differ")
    return yaml.load(text, Loader=_Loader)  # noqa: S506  it is a safe loader
