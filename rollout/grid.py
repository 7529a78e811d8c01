"""The intervals that a rollout is counted in: at most 500 of them, however long it takes.

Epoch 0, 1, 2, ... has intervals of the declared width times 1, 4, 16, ..., and is used while the
rollout is not older than 500 of them. In each epoch the grid covers everything from the first move
on, in equal intervals, so that no look depends on a width that was chosen after seeing data. The
evidence of one epoch is valid on its own; by the union bound it is so of all together where epoch
j spends a share `0.8 * 0.2**j` of alpha and beta, shares that add up to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MOST_INTERVALS = 500
_WIDER = 4
_FIRST_SHARE = 0.8
_SMALLER = 0.2


@dataclass(frozen=True)
class Grid:
    """Equal intervals one after the other.

    Attributes:
        start: the first edge.
        intervals: how many.
        step_seconds: width of each.
        budget_share: the part of alpha and beta that may be spent on what is counted in them.
    """

    start: datetime
    intervals: int
    step_seconds: float
    budget_share: float

    @property
    def end(self) -> datetime:
        """The last edge."""
        return self.start + timedelta(seconds=self.step_seconds * self.intervals)


def grid_at(first_move: datetime, now: datetime, interval_seconds: float) -> Grid:
    """Returns the grid of a rollout at an age: all whole intervals until now, at least one.

    Args:
        first_move: when the rollout began.
        now: the time of the look.
        interval_seconds: the declared width.
    """
    age_seconds = (now - first_move).total_seconds()
    epoch, step_seconds = 0, interval_seconds
    while age_seconds > MOST_INTERVALS * step_seconds:
        epoch, step_seconds = epoch + 1, step_seconds * _WIDER
    return even_grid(first_move, now, step_seconds, _FIRST_SHARE * _SMALLER**epoch)


def even_grid(
    start: datetime, end: datetime, step_seconds: float, share: float = _FIRST_SHARE
) -> Grid:
    """Returns a grid with edges at multiples of its width since 1970, which services share.

    It begins at `start` or less than one interval before, and ends at `end` or less than one
    before; if that leaves no interval, it is the last one before `end`.

    Args:
        start: the first time of interest.
        end: the last one.
        step_seconds: width of an interval.
        share: see `Grid.budget_share`.
    """
    last = math.floor(end.timestamp() / step_seconds)
    first = min(math.floor(start.timestamp() / step_seconds), last - 1)
    begin = datetime.fromtimestamp(first * step_seconds, UTC)
    return Grid(begin, last - first, step_seconds, share)
