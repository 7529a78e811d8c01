"""One query for many versions: selectors with alternations of names, and answers told apart.

No name can change a query: each is escaped as a regular expression, and the whole is quoted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from string import Template

_MATCHER = re.compile(r'(\w+)(=~|=)"([^"]*)"')

Names = Mapping[str, str]
"""What replaces the `$` of a template, such as `namespace`, `service` and `version`."""

Key = tuple[str, str]
"""A model service and a version."""


@dataclass(frozen=True)
class _Matcher:
    """A matcher of a template that names something, such as `model_version="$version"`."""

    label: str
    pattern: Template
    regex: bool

    def of(self, names: Names) -> str:
        """Returns the regular expression of the label's values, of Python's and Go's alike."""
        escaped = {key: re.escape(it) for key, it in names.items()}
        if self.regex:
            return self.pattern.substitute(escaped)
        return re.escape(self.pattern.substitute(names))


@dataclass(frozen=True)
class Batch:
    """What a template selects for many.

    Attributes:
        template: a selector whose matchers are of the forms `label="..."` and `label=~"..."`, with
            `$name` for names.
        names: by service and version.
    """

    template: str
    names: Mapping[Key, Names]

    @property
    def query(self) -> str:
        """The PromQL selector of all series of all of them, and of some others: see `owners`.

        Prometheus anchors regular expressions at both ends.
        """

        def alternatives(found: re.Match[str]) -> str:
            matcher = _matcher(found)
            if matcher is None:
                return found[0]
            every = sorted({matcher.of(names) for names in self.names.values()})
            return f"{matcher.label}=~{quoted('|'.join(every))}"

        return _MATCHER.sub(alternatives, self.template)

    def owners(self, labels: Mapping[str, str]) -> Iterable[Key]:
        """Returns whose series it is, by its labels; nobody's where only parts of names fit."""
        patterns = tuple(
            self._pattern_of(it.label, labels.get(it.label, "")) for it in self._matchers
        )
        return self._keys.get(patterns, ())

    @cached_property
    def _matchers(self) -> list[_Matcher]:
        every = (_matcher(it) for it in _MATCHER.finditer(self.template))
        return [it for it in every if it is not None]

    @cached_property
    def _keys(self) -> dict[tuple[str | None, ...], list[Key]]:
        keys: dict[tuple[str | None, ...], list[Key]] = {}
        for key, names in self.names.items():
            keys.setdefault(tuple(it.of(names) for it in self._matchers), []).append(key)
        return keys

    @cached_property
    def _patterns(self) -> dict[str, list[re.Pattern[str]]]:
        return {
            it.label: [re.compile(p, re.DOTALL) for p in {it.of(n) for n in self.names.values()}]
            for it in self._matchers
        }

    @cached_property
    def _known(self) -> dict[tuple[str, str], str | None]:
        return {}

    def _pattern_of(self, label: str, value: str) -> str | None:
        if (label, value) not in self._known:
            fits = (it.pattern for it in self._patterns[label] if it.fullmatch(value))
            self._known[label, value] = next(fits, None)
        return self._known[label, value]


def quoted(text: str) -> str:
    """Writes a string of PromQL, whose escapes are those of JSON and more."""
    return json.dumps(text, ensure_ascii=False)


def _matcher(found: re.Match[str]) -> _Matcher | None:
    if "$" not in found[3]:
        return None
    return _Matcher(found[1], Template(found[3]), found[2] == "=~")
