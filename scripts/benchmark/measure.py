"""Runs the judges on a cell and counts: false reverts, detections, delays, with exact intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta, norm

from rollout.judge.series import Floats
from scripts.benchmark.cells import SHARED_CAUSES, Cell, Group, Kind, draw
from scripts.benchmark.judges import ALL_ON, JUDGES, LIMIT, ONE, Judge

MISTAKE = 0.01
"""The probability that any of the intervals of one judge, over all cells, misses its truth."""

REFERENCES = (ONE, ALL_ON)
"""Ours, as the others are compared with it."""

FOUND = 0.95
"""A judge that finds less of the harm has a mean delay that the horizon cuts off."""


@dataclass(frozen=True)
class Reading:
    """What one judge did in one cell.

    Attributes:
        rollouts: how many it saw.
        reverted: how many it reverted at any time.
        early: of these, before the harm began.
        median: intervals from the begin of harm to the end of that of the revert, over all not
            reverted early; None where less than half was.
        ninety: the same for nine of ten.
        exposure: how many intervals with harm were served on average, at most to the horizon,
            over all not reverted early; None where all were.
        leads: by name of a reference: this exposure minus the reference's on the same rollouts,
            and the standard error of that.
        curve: share reverted by the end of each interval; in headline cells only.
    """

    rollouts: int
    reverted: int
    early: int
    median: float | None
    ninety: float | None
    exposure: float | None
    leads: dict[str, tuple[float, float]]
    curve: list[float]

    @property
    def share(self) -> float:
        """The share reverted at any time."""
        return self.reverted / self.rollouts

    @property
    def detected(self) -> float:
        """The share reverted after the harm began, of those not reverted before."""
        left = self.rollouts - self.early
        return (self.reverted - self.early) / left if left else 0.0


@dataclass(frozen=True)
class Result:
    """What all judges did in one cell; see `Cell` for the attributes."""

    group: Group
    law: str
    split: str
    rate: float
    requests: int
    looks: int
    kind: Kind
    harm: str
    harm_factor: float
    harm_from: int
    headline: bool
    readings: dict[str, Reading]

    @property
    def cause_in_one_arm(self) -> bool:
        """Whether something hits single arms, so that they differ though none is worse."""
        return self.group == "dependence" and not self.law.startswith(SHARED_CAUSES)

    @property
    def ratio(self) -> dict[str, tuple[float, bool]]:
        """By judge: exposure divided by that of the limit, and whether that is a lower bound.

        Empty where the limit itself finds less than `FOUND`; a bound where the judge does.
        """
        limit = self.readings.get(LIMIT.name)
        if limit is None or self.kind != "harmful" or limit.detected < FOUND or not limit.exposure:
            return {}
        return {
            name: (reading.exposure / limit.exposure, reading.detected < FOUND)
            for name, reading in self.readings.items()
            if reading.exposure is not None
        }


def run_cell(work: tuple[Cell, int]) -> Result:
    """Draws so many rollouts of a cell and lets every judge that belongs there decide on them."""
    cell, rollouts = work
    reverted: dict[str, list[Floats]] = {judge.name: [] for judge in JUDGES if belongs(judge, cell)}
    for streams in draw(cell, rollouts):
        for judge in JUDGES:
            if judge.name in reverted:
                reverted[judge.name].append(judge.react(streams, cell))
    return _result(cell, {name: np.concatenate(parts) for name, parts in reverted.items()})


def belongs(judge: Judge, cell: Cell) -> bool:
    """Says whether a judge belongs in a cell."""
    if cell.kind == "border":
        return judge.knows_margin
    return cell.headline or not judge.sweep


def exact_interval(hits: int, runs: int, mistake: float) -> tuple[float, float]:
    """Returns Clopper and Pearson's interval of a probability, two-sided."""
    low = beta.ppf(mistake / 2, hits, runs - hits + 1) if hits else 0.0
    high = beta.ppf(1 - mistake / 2, hits + 1, runs - hits) if hits < runs else 1.0
    return float(low), float(high)


def corrected_mistake(results: Iterable[Result]) -> float:
    """Returns the error probability of each interval such that all together have `MISTAKE`."""
    return MISTAKE / max(sum(result.kind != "harmful" for result in results), 1)


def exceeds(reading: Reading, judge: Judge, mistake: float) -> bool:
    """Says whether false reverts are proved to be more frequent than the judge's level."""
    return exact_interval(reading.reverted, reading.rollouts, mistake)[0] > judge.level


def is_sooner(lead: tuple[float, float], comparisons: int) -> int:
    """Returns 1 where the reference serves less harm beyond chance, -1 where more, 0 else."""
    difference, error = lead
    needed = float(norm.isf(MISTAKE / 2 / comparisons)) * error
    return 0 if abs(difference) <= needed else int(math.copysign(1, difference))


def _result(cell: Cell, reverted: dict[str, Floats]) -> Result:
    scenario = cell.scenario
    begin = scenario.harm_from if cell.kind == "harmful" else 0
    return Result(
        group=cell.group,
        law=cell.law,
        split=cell.split,
        rate=scenario.rate,
        requests=scenario.requests,
        looks=scenario.looks,
        kind=cell.kind,
        harm=cell.harm,
        harm_factor=scenario.harm,
        harm_from=begin,
        headline=cell.headline,
        readings={name: _reading(cell, name, reverted, begin) for name in reverted},
    )


def _reading(cell: Cell, name: str, reverted: dict[str, Floats], begin: int) -> Reading:
    times, looks = reverted[name], cell.scenario.looks
    fair = times[times >= begin]
    return Reading(
        rollouts=len(times),
        reverted=int(np.isfinite(times).sum()),
        early=int((times < begin).sum()),
        median=_quantile(fair - begin + 1, 0.5),
        ninety=_quantile(fair - begin + 1, 0.9),
        exposure=float(_served(fair, begin, looks).mean()) if len(fair) else None,
        leads={
            reference.name: _lead(times, reverted[reference.name], begin, looks)
            for reference in REFERENCES
            if reference.name in reverted and name != reference.name
        },
        curve=[float(np.mean(times <= look)) for look in range(looks)] if cell.headline else [],
    )


def _served(times: Floats, begin: int, looks: int) -> Floats:
    """Returns how many intervals with harm were served."""
    return np.clip(times - begin + 1, 0, looks - begin)


def _lead(times: Floats, reference: Floats, begin: int, looks: int) -> tuple[float, float]:
    """Returns the mean difference of what was served, and its standard error.

    Over the rollouts that neither judge reverted before the harm.
    """
    fair = (times >= begin) & (reference >= begin)
    difference = _served(times[fair], begin, looks) - _served(reference[fair], begin, looks)
    if len(difference) < 2:
        return 0.0, 0.0
    return float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(len(difference)))


def _quantile(delays: Floats, share: float) -> float | None:
    if not len(delays):
        return None
    value = float(np.sort(delays)[math.ceil(share * len(delays)) - 1])
    return value if math.isfinite(value) else None
