"""Amounts of which only bounds are sure, and of which some are unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Range:
    """An amount; None is unknown, and what is made of it is unknown too.

    Attributes:
        least: it is never less.
        expected: what the declaration comes to.
        most: it is never more.
    """

    least: float | None
    expected: float | None
    most: float | None

    @property
    def amounts(self) -> tuple[float | None, float | None, float | None]:
        """The three, from least to most."""
        return self.least, self.expected, self.most

    def times(self, factor: float) -> Range:
        """Returns so many times the amount."""
        return each(lambda it: multiplied(factor, it), self)


UNKNOWN: Final = Range(None, None, None)


def each(function: Callable[..., float | None], *ranges: Range) -> Range:
    """Returns a function's values of all least amounts, of all expected and of all most."""
    return Range(
        function(*(it.least for it in ranges)),
        function(*(it.expected for it in ranges)),
        function(*(it.most for it in ranges)),
    )


def multiplied(count: float | None, amount: float | None) -> float | None:
    """Returns the product; none of an unknown amount is nothing."""
    if count == 0:
        return 0.0
    return None if count is None or amount is None else count * amount


def added(amounts: Iterable[float | None]) -> float | None:
    """Returns the sum."""
    total = 0.0
    for it in amounts:
        if it is None:
            return None
        total += it
    return total


def total(ranges: Iterable[Range]) -> Range:
    """Returns the sum of all."""
    return each(lambda *them: added(them), *ranges)


def known_part(ranges: Iterable[Range]) -> Range:
    """Returns the sum of what is known; what is unknown comes on top."""
    return each(lambda *them: sum(it or 0.0 for it in them), *ranges)


def written(amount: float | None) -> str:
    """Writes an amount of money, without its currency."""
    return "unknown" if amount is None else f"{amount:,.0f}"


def counted(number: float | None) -> str:
    """Writes a number of GPUs, of which there may be a half."""
    return "unknown" if number is None else f"{number:g}"
