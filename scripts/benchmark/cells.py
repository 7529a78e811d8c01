"""Which rollouts are simulated: one cell is one law, healthy or with one harm."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from rollout.simulate import (
    Bursts,
    Day,
    Outages,
    Scenario,
    Streams,
    Users,
    accuracy_scenario,
    latency_scenario,
    simulate,
)

Kind = Literal["healthy", "harmful", "border"]
Group = Literal["grid", "horizons", "metrics", "dependence", "late"]

SEED = 20261123
CHUNK_VALUES = 60_000
"""Rollouts are drawn in chunks of this many intervals altogether."""

RATES = (0.002, 0.005, 0.008, 0.01, 0.03)
REQUESTS = (10, 50, 100, 500, 5000)
SPLITS = ("1%", "5%", "10%", "50%", "steps")
LOOKS = 60
HORIZONS = (10, 240)
HEADLINE_REQUESTS = (500, 5000)
HEADLINE_HARMS = (2.0, 5.0)
MARGIN_SHARE = 0.2
"""The margin declared, as a share of stable's rate: 0.2 points at 1%."""

ACCURACY_MARGIN = 0.01
RATE_SWING = 0.7
TRAFFIC_SWING = 0.5
STEPS = (1.0, 5.0, 25.0, 50.0)
WRONG = (0.22, 0.25, 0.3)
LABELS = (50, 500)
MORE_HARMS = (1.5, 3.0, 5.0)
SLO_SHARE = 2.0
"""The SLO declared, as a multiple of stable's rate."""

DEPENDENCES: dict[str, Scenario] = {
    name: replace(Scenario(rate=0.01, requests=500, looks=LOOKS), **parts)
    for name, parts in {
        "bursts in both arms, 1 interval": {"shared_bursts": Bursts(0.05, 10)},
        "bursts in both arms, 5 intervals": {"shared_bursts": Bursts(0.02, 10, intervals=5)},
        "outages of both arms": {"outages": Outages(0.05, rate=0.3, intervals=3)},
        "bursts in one arm, 1 interval": {"own_bursts": Bursts(0.05, 10)},
        "bursts in one arm, 5 intervals": {"own_bursts": Bursts(0.02, 10, intervals=5)},
        "ICC 0.005": {"icc": 0.005},
        "ICC 0.02": {"icc": 0.02},
        "sticky users, 3,000": {"users": Users(3000, 0.5, 0.02)},
        "sticky users, 1,000, some busy": {"users": Users(1000, 1.0, 0.02)},
    }.items()
}
LONG_DEPENDENCES = ("bursts in one arm, 1 interval", "bursts in one arm, 5 intervals", "ICC 0.02")
SHARED_CAUSES = ("bursts in both arms", "outages of both arms")
"""How the names of those begin that hit both arms at the same time."""


@dataclass(frozen=True)
class Cell:
    """One law of rollouts, and how it is judged.

    Attributes:
        group: the table that it belongs to.
        law: what holds also without harm; the same for a healthy cell and its harmful ones.
        split: name of the candidate's percentages.
        scenario: the law.
        kind: healthy, harmful, or border: worse by exactly the margin.
        harm: what a harmful candidate does, else empty.
        margin: by how much the candidate may be worse, where a judge knows margins.
        headline: whether every judge gets many rollouts.
    """

    group: Group
    law: str
    split: str
    scenario: Scenario
    kind: Kind
    harm: str
    margin: float
    headline: bool = False

    @property
    def key(self) -> str:
        """A name of its own."""
        return f"{self.group}, {self.law}, {self.harm or self.kind}"

    @property
    def slo(self) -> float:
        """The share of bad answers that the SLO allows."""
        return SLO_SHARE * self.scenario.rate


def draw(cell: Cell, rollouts: int) -> Iterator[Streams]:
    """Draws a cell's rollouts in chunks."""
    return _chunks(cell, rollouts, cell.key, harmful=cell.kind != "healthy")


def draw_to_tune(cell: Cell, rollouts: int) -> Iterator[Streams]:
    """Draws healthy rollouts of a cell's law, other ones than `draw` does."""
    return _chunks(cell, rollouts, f"tuning on {cell.law}", harmful=False)


def _chunks(cell: Cell, rollouts: int, name: str, *, harmful: bool) -> Iterator[Streams]:
    """The first rollouts are the same however many are asked for."""
    size = CHUNK_VALUES // cell.scenario.looks
    for chunk, done in enumerate(range(0, rollouts, size)):
        seed = (SEED, zlib.crc32(name.encode()), chunk)
        streams = simulate(cell.scenario, size, seed, harmful=harmful)
        yield streams.first(min(size, rollouts - done))


def all_cells() -> list[Cell]:
    """Returns the cells of the whole benchmark."""
    return [*_grid(RATES, REQUESTS, SPLITS), *_borders(RATES, REQUESTS), *_horizons(), *_rest()]


def quick_cells() -> list[Cell]:
    """Returns a few cells of each group."""
    requests = HEADLINE_REQUESTS
    return [
        *_grid((0.002, 0.01), requests, ("10%", "steps")),
        *_borders((0.01,), requests),
        *(cell for cell in (*_horizons(), *_rest()) if cell.scenario.looks <= LOOKS),
    ]


def _grid(
    rates: tuple[float, ...], requests: tuple[int, ...], splits: tuple[str, ...]
) -> Iterator[Cell]:
    for rate in rates:
        for count in requests:
            for split in splits:
                scenario = _split(Scenario(rate=rate, requests=count, looks=LOOKS), split)
                headline = rate == 0.01 and count in HEADLINE_REQUESTS and split == "10%"
                yield from _pair("grid", scenario, split, headline=headline)
                if headline:
                    yield from _more_harms(scenario, split)


def _more_harms(scenario: Scenario, split: str) -> Iterator[Cell]:
    for harm in MORE_HARMS:
        harmed = replace(scenario, harm=harm)
        yield _harmful("grid", harmed, split, f"{harm:g}x", headline=harm in HEADLINE_HARMS)


def _borders(rates: tuple[float, ...], requests: tuple[int, ...]) -> Iterator[Cell]:
    """Candidates worse by exactly the margin: no judge that knows of it may revert them."""
    for rate in rates:
        for count in requests:
            scenario = Scenario(rate=rate, requests=count, looks=LOOKS, harm=1 + MARGIN_SHARE)
            margin = MARGIN_SHARE * rate
            yield Cell("grid", _law(scenario, "10%"), "10%", scenario, "border", "", margin)


def _horizons() -> Iterator[Cell]:
    for looks in HORIZONS:
        for count in HEADLINE_REQUESTS:
            for split in ("10%", "steps"):
                scenario = _split(Scenario(rate=0.01, requests=count, looks=looks), split)
                yield from _pair("horizons", scenario, split)


def _rest() -> Iterator[Cell]:
    for count in HEADLINE_REQUESTS:
        yield from _pair("metrics", latency_scenario(count, LOOKS), "10%", name="latency")
        yield from _late(Scenario(rate=0.01, requests=count, looks=LOOKS, harm_from=LOOKS // 2))
        for name, scenario in DEPENDENCES.items():
            yield from _pair("dependence", replace(scenario, requests=count), "10%", name=name)
    for labels in LABELS:
        yield from _accuracy(labels)
    for name in LONG_DEPENDENCES:
        yield from _pair("dependence", replace(DEPENDENCES[name], looks=240), "10%", name=name)


def _late(scenario: Scenario) -> Iterator[Cell]:
    for harm in HEADLINE_HARMS:
        harmed = replace(scenario, harm=harm)
        yield _harmful("late", harmed, "10%", f"{harm:g}x from half time")


def _accuracy(labels: int) -> Iterator[Cell]:
    healthy, *_ = _pair("metrics", accuracy_scenario(0.25, labels, LOOKS), "10%", name="accuracy")
    yield replace(healthy, margin=ACCURACY_MARGIN)
    for wrong in WRONG:
        scenario = accuracy_scenario(wrong, labels, LOOKS)
        harm = f"20% to {wrong:.0%} wrong"
        cell = _harmful("metrics", scenario, "10%", harm, name="accuracy")
        yield replace(cell, margin=ACCURACY_MARGIN)


def _pair(
    group: Group, scenario: Scenario, split: str, *, name: str = "", headline: bool = False
) -> Iterator[Cell]:
    margin = MARGIN_SHARE * scenario.rate
    law = _law(scenario, split, name)
    yield Cell(group, law, split, scenario, "healthy", "", margin, headline)
    harm = f"{scenario.harm:g}x"
    yield _harmful(group, scenario, split, harm, name=name, headline=headline)


def _harmful(
    group: Group,
    scenario: Scenario,
    split: str,
    harm: str,
    *,
    name: str = "",
    headline: bool = False,
) -> Cell:
    margin = MARGIN_SHARE * scenario.rate
    law = _law(scenario, split, name)
    return Cell(group, law, split, scenario, "harmful", harm, margin, headline)


def _law(scenario: Scenario, split: str, name: str = "") -> str:
    base = f"{scenario.rate:.1%}, {scenario.requests} requests, {split}, {scenario.looks} looks"
    return f"{name}: {base}" if name else base


def _split(scenario: Scenario, split: str) -> Scenario:
    """Sets the percentages; steps come with a day in which rate and traffic change."""
    if split == "steps":
        bake, day = scenario.looks // len(STEPS), Day(scenario.looks, RATE_SWING, TRAFFIC_SWING)
        return replace(scenario, percents=STEPS, bake_intervals=max(bake, 1), day=day)
    return replace(scenario, percents=(float(split.rstrip("%")),))
