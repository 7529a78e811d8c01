"""The figures of the benchmark, drawn from its results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts.benchmark.judges import (
    ALL_ON,
    ALL_ON_BARE,
    ALPHA,
    LIMIT,
    LIMIT_TWO_ARMS,
    ONE,
    ONE_BARE,
    PEERS,
    SHOWN,
    Judge,
)
from scripts.benchmark.measure import Reading, Result, corrected_mistake, exact_interval, exceeds

_ORDER = (0, 2, 1, 3, 6, 7, 8, 9, 4, 10, 12, 14, 15, 13)
COLOURS = {
    judge.name: mpl.colormaps["tab20"](place) for judge, place in zip(SHOWN, _ORDER, strict=True)
}
GROUPS = ("grid", "horizons", "metrics", "dependence")
FLOOR = 1e-4
"""Shares below this are drawn here: a logarithmic axis has no zero."""


def draw_all(results: list[Result], folder: Path) -> list[str]:
    """Draws every figure and returns the names of the files."""
    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Callable[[list[Result], Path], None]] = {
        "false_reverts.png": _false_reverts,
        "detection.png": _detection,
        "delay.png": _delay,
        "dispersion.png": _dispersion,
    }
    for name, draw in figures.items():
        draw(results, folder / name)
    return list(figures)


def _false_reverts(results: list[Result], file: Path) -> None:
    """One panel per group of cells, one column per judge, one point with interval per cell."""
    mistake = corrected_mistake(results)
    figure, panels = plt.subplots(len(GROUPS), 1, figsize=(11, 13), sharex=True)
    judges = [judge for judge in SHOWN if judge is not LIMIT_TWO_ARMS]
    for axes, group in zip(panels, GROUPS, strict=True):
        cells = [each for each in results if each.group == group and each.kind == "healthy"]
        for column, judge in enumerate(judges):
            readings = [each.readings[judge.name] for each in cells if judge.name in each.readings]
            _strip(axes, column, judge, readings, mistake)
        axes.axhline(ALPHA, color="black", linewidth=0.8, linestyle="--")
        axes.set_yscale("log")
        axes.set_ylim(FLOOR / 1.5, 1.2)
        axes.set_ylabel("share reverted")
        axes.set_title(f"{group}: {len(cells)} healthy cells", fontsize=10)
    panels[-1].set_xticks(range(len(judges)), [judge.name for judge in judges], rotation=40)
    for label in panels[-1].get_xticklabels():
        label.set_horizontalalignment("right")
    _save(figure, file, "False reverts per cell; dashed: alpha; zero is drawn at 0.01%")


def _strip(axes: Axes, column: int, judge: Judge, readings: list[Reading], mistake: float) -> None:
    for place, reading in enumerate(sorted(readings, key=lambda each: each.share)):
        x = column + 0.7 * ((place + 0.5) / len(readings) - 0.5)
        low, high = exact_interval(reading.reverted, reading.rollouts, mistake)
        axes.plot(
            [x, x], [max(low, FLOOR), high], color=COLOURS[judge.name], linewidth=0.6, alpha=0.5
        )
        axes.plot(x, max(reading.share, FLOOR), ".", color=COLOURS[judge.name], markersize=4)


def _detection(results: list[Result], file: Path) -> None:
    """Share reverted against time, in the headline cells."""
    cells = [each for each in results if each.headline]
    rows = sorted({each.requests for each in cells})
    harms = ["", *sorted({each.harm for each in cells if each.harm})]
    figure, panels = plt.subplots(len(rows), len(harms), figsize=(14, 8), squeeze=False)
    judges = [judge for judge in SHOWN if judge not in {ALL_ON_BARE, ONE_BARE, LIMIT_TWO_ARMS}]
    for each in cells:
        axes = panels[rows.index(each.requests)][harms.index(each.harm)]
        for judge in judges:
            curve = each.readings[judge.name].curve
            axes.plot(
                range(1, len(curve) + 1),
                curve,
                drawstyle="steps-post",
                color=COLOURS[judge.name],
                label=judge.name,
                linestyle="--" if judge is LIMIT else "-",
            )
        axes.set_xscale("log")
        axes.set_ylim(-0.02, 1.02)
        rate = f"{each.rate:.0%} to {each.rate * each.harm_factor:.0%}"
        axes.set_title(f"{each.requests} requests, {rate if each.harm else 'healthy'}", fontsize=10)
        axes.set_xlabel("intervals")
        axes.set_ylabel("share reverted")
    panels[0][0].legend(fontsize=7)
    _save(figure, file, "Share reverted by the end of each interval, 10% split")


def _delay(results: list[Result], file: Path) -> None:
    """Harm served, divided by that of the limit, against how fast harm shows."""
    figure, axes = plt.subplots(figsize=(11, 6))
    for judge in (ALL_ON, ONE, *PEERS):
        cells = _cells_with_level(results, judge)
        for bound, marker in ((False, "o"), (True, "^")):
            here = [each for each in cells if each.ratio[judge.name][1] == bound]
            axes.scatter(
                [_bad_per_interval(each) for each in here],
                [each.ratio[judge.name][0] for each in here],
                s=14,
                marker=marker,
                color=COLOURS[judge.name],
                label=None if bound else f"{judge.name}: {len(cells)} cells",
            )
    axes.axhline(1, color="black", linewidth=0.8, linestyle="--")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("bad answers of the harmful candidate per interval, expected")
    axes.set_ylabel("harm served / harm served by Wald's test")
    axes.legend(fontsize=8)
    title = "Delay against the limit, where a judge keeps its level"
    _save(figure, file, f"{title}; triangle: at least so much (found in under 95%)")


def _cells_with_level(results: list[Result], judge: Judge) -> list[Result]:
    """Returns the harmful cells with a limit in whose healthy twin a judge keeps its level."""
    mistake = corrected_mistake(results)
    kept = {
        each.law
        for each in results
        if each.kind == "healthy" and not exceeds(each.readings[judge.name], judge, mistake)
    }
    return [
        each
        for each in results
        if each.law in kept and judge.name in each.ratio and each.group != "dependence"
    ]


def _bad_per_interval(result: Result) -> float:
    """Returns the expected number; for steps, at the mean percentage of the four."""
    percent = 20.25 if result.split == "steps" else float(result.split.rstrip("%"))
    return result.requests * percent / 100 * result.rate * result.harm_factor


def _dispersion(results: list[Result], file: Path) -> None:
    """False reverts with and without the dispersion step, where requests depend on each other."""
    cells = [each for each in results if each.group == "dependence" and each.kind == "healthy"]
    mistake = corrected_mistake(results)
    figure, panels = plt.subplots(1, 2, figsize=(13, 0.32 * len(cells) + 2), sharey=True)
    for axes, (judge, bare) in zip(panels, ((ONE, ONE_BARE), (ALL_ON, ALL_ON_BARE)), strict=True):
        for shift, (each, colour) in zip((-0.17, 0.17), ((bare, "C3"), (judge, "C0")), strict=True):
            for row, cell in enumerate(cells):
                reading = cell.readings[each.name]
                low, high = exact_interval(reading.reverted, reading.rollouts, mistake)
                y = row + shift
                axes.plot([max(low, FLOOR), high], [y, y], color=colour, linewidth=1)
                axes.plot(max(reading.share, FLOOR), y, "o", color=colour, markersize=4)
            axes.plot([], [], "o", color=colour, label=each.name)
        axes.axvline(judge.level, color="black", linewidth=0.8, linestyle="--")
        axes.set_xscale("log")
        axes.set_xlabel("share of healthy rollouts reverted")
        axes.legend(fontsize=8)
    panels[0].set_yticks(range(len(cells)), [each.law for each in cells], fontsize=8)
    panels[0].invert_yaxis()
    _save(figure, file, "Inflation by dependence, with and without the dispersion step")


def _save(figure: Figure, file: Path, title: str) -> None:
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(file, dpi=100)
    plt.close(figure)
