"""The part of JSONPath (RFC 9535) that conditions on Kubernetes objects use.

Names, indices, wildcards and comparing filters: `.status.conditions[?@.type == 'Ready'].status`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

Step: TypeAlias = Callable[[Any], Iterator[Any]]

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<number>-?\d+(?:\.\d+)?)
    | (?P<sign>==|!=|<=|>=|&&|\|\||[.\[\]()?@$*!<>])
    | (?P<name>[A-Za-z_\u0080-\uffff][\w\u0080-\uffff-]*)
    )""",
    re.VERBOSE,
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WORDS = {"true": True, "false": False, "null": None}
_NOTHING = object()


def compile_path(text: str) -> Step:
    """Returns a function that yields all values a path selects in an object.

    Args:
        text: such as `$.status.phase`; the `$` may be left out.

    Raises:
        ValueError: it is no path, or one of a kind that is not supported.
    """
    parser = _Parser(text)
    parser.skip("$")
    path = parser.path()
    if parser.peek():
        raise parser.error()
    return path


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._at = 0

    def peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def next(self) -> str:
        token = self.peek()
        self._at += 1
        return token

    def skip(self, token: str) -> bool:
        if self.peek() != token:
            return False
        self._at += 1
        return True

    def expect(self, token: str) -> None:
        if not self.skip(token):
            raise self.error()

    def error(self) -> ValueError:
        found = self.peek() or "the end"
        return ValueError(f"{self._text!r} is no supported JSONPath: unexpected {found}")

    def path(self) -> Step:
        steps: list[Step] = []
        while self.peek() in {".", "["}:
            steps.append(self._dotted() if self.skip(".") else self._bracketed())
        return lambda value: _follow(steps, value)

    def _dotted(self) -> Step:
        if self.peek() == "[":  # kubectl also takes `.items.[0]`
            return self._bracketed()
        if self.skip("*"):
            return _children
        if not re.match(r"[^\W\d]", self.peek()):
            raise self.error()
        return _member(self.next())

    def _bracketed(self) -> Step:
        self.expect("[")
        if self.skip("?"):
            test = self._any()
            step: Step = lambda value: (child for child in _children(value) if test(child))  # noqa: E731
        elif self.skip("*"):
            step = _children
        elif self.peek()[:1] in {"'", '"'}:
            step = _member(_unquoted(self.next()))
        elif re.fullmatch(r"-?\d+", self.peek()):
            step = _element(int(self.next()))
        else:
            raise self.error()
        self.expect("]")
        return step

    def _any(self) -> Callable[[Any], bool]:
        tests = [self._all()]
        while self.skip("||"):
            tests.append(self._all())
        return lambda value: any(test(value) for test in tests)

    def _all(self) -> Callable[[Any], bool]:
        tests = [self._one()]
        while self.skip("&&"):
            tests.append(self._one())
        return lambda value: all(test(value) for test in tests)

    def _one(self) -> Callable[[Any], bool]:
        if self.skip("!"):
            test = self._one()
            return lambda value: not test(value)
        if self.skip("("):
            test = self._any()
            self.expect(")")
            return test
        left = self._operand()
        if self.peek() not in _COMPARE:
            return lambda value: next(left(value), _NOTHING) is not _NOTHING
        compare, right = _COMPARE[self.next()], self._operand()
        return lambda value: _compared(
            compare, next(left(value), _NOTHING), next(right(value), _NOTHING)
        )

    def _operand(self) -> Step:
        if self.skip("@"):
            return self.path()
        token = self.next()
        if token[:1] in {"'", '"'}:
            constant: Any = _unquoted(token)
        elif token in _WORDS:
            constant = _WORDS[token]
        elif re.fullmatch(r"-?\d+(\.\d+)?", token):
            constant = float(token)
        else:
            self._at -= 1
            raise self.error()
        return lambda _: iter([constant])


def _tokens(text: str) -> Iterator[str]:
    at, text = 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"{text!r} is no JSONPath: unexpected {text[at:]!r}")
        yield match.group().strip()
        at = match.end()


def _unquoted(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1])


def _follow(steps: Iterable[Step], value: Any) -> Iterator[Any]:
    values: Iterator[Any] = iter([value])
    for step in steps:
        values = _each(step, values)
    return values


def _each(step: Step, values: Iterator[Any]) -> Iterator[Any]:
    for value in values:
        yield from step(value)


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _member(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _element(index: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= index < len(value):
            yield value[index]

    return step


def _compared(compare: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    try:
        return compare(left, right)
    except TypeError:  # no order between a text and a number
        return False
