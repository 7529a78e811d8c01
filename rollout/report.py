"""The picture of a rollout: one HTML file with plots of what happened and why."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.service import Service
from rollout.collect import Asked, Metrics, read
from rollout.drift_check import Outcome
from rollout.grid import Grid
from rollout.judge.compare import PREDICTIONS
from rollout.judge.series import Categories, Counts, Floats

_COLOURS = ("#4c78a8", "#54a24b", "#e45756", "#b279a2", "#f58518")
_PANEL_HEIGHT_INCHES = 1.9
_FEWEST_TO_PLOT = 10
"""A share of fewer requests or labels in an interval is noise, not a point."""
_UNITS = ((2 * 86400.0, 86400.0, "days"), (2 * 3600.0, 3600.0, "hours"), (600.0, 60.0, "minutes"))
"""Of time, each with the span from which on it is used, and its seconds."""
_WIDEST_BOUNDS = (-15.0, 40.0)
"""In points; wider ones say nothing yet."""


@dataclass(frozen=True)
class Timeline:
    """What each version did, shape (T,) per series, NaN where there was nothing.

    Attributes:
        seconds: begin of each interval since the start.
        percent: declared share of traffic, percent.
        shares: share of failed, slow and wrong answers, by metric and version.
        predictions: share of each prediction.
    """

    seconds: Floats
    percent: dict[str, Floats]
    shares: dict[str, dict[str, Floats]]
    predictions: dict[str, dict[str, Floats]]


def read_timeline(
    name: str,
    service: Service,
    versions: Sequence[str],
    namespace: str,
    metrics: Metrics,
    *,
    start: datetime,
    grid: Grid,
) -> Timeline:
    """Reads versions of a service on a grid; seconds are counted from `start`.

    Raises:
        MetricsError: Prometheus could not be asked.
    """
    asked = [Asked(name, version, service, grid) for version in versions]
    found = {it.asked.version: it for it in read(asked, namespace, metrics).values()}
    arms = {version: it.arm() for version, it in found.items()}
    since = (grid.start - start).total_seconds()
    seconds: Floats = since + np.arange(0, grid.intervals, dtype=np.float64) * grid.step_seconds
    return Timeline(
        seconds=seconds,
        percent={version: it.percent()[:-1] for version, it in found.items()},
        shares={
            metric: {version: _share_of_bad(arm.metrics[metric]) for version, arm in arms.items()}
            for metric in ("errorRate", "latency", "accuracy")
        },
        predictions={
            version: _shares(arm.categories[PREDICTIONS]) for version, arm in arms.items()
        },
    )


def figure(
    timeline: Timeline,
    checks: Sequence[tuple[datetime, Outcome]],
    service: Service,
    start: datetime,
) -> Figure:
    """Draws weights, errors with their bounds, latency, accuracy and predictions over time."""
    drawn = Figure(figsize=(10, 6 * _PANEL_HEIGHT_INCHES), layout="constrained")
    axes: list[Axes] = list(drawn.subplots(6, 1, sharex=True))
    colours = dict(zip(timeline.percent, _COLOURS, strict=False))
    latency = service.slo.latency
    span = timeline.seconds[-1]
    unit, units = next(
        ((it, name) for least, it, name in _UNITS if span >= least), (1.0, "seconds")
    )
    times = timeline.seconds / unit
    for version, colour in colours.items():
        for panel, metric in zip(axes[2:5], ("errorRate", "latency", "accuracy"), strict=True):
            share = timeline.shares[metric][version]
            good = 1 - share if metric == "accuracy" else share
            _line(panel, times, 100 * good, colour)
        percent = timeline.percent[version]
        axes[0].step(times, percent, where="post", color=colour, label=version)
        for bucket, share in list(timeline.predictions[version].items())[:1]:
            _line(axes[5], times, 100 * share, colour)
            title = f"prediction {bucket}, % of requests"
            axes[5].set_title(title, loc="left", fontsize=9, parse_math=False)
    axes[0].legend(loc="lower center", ncols=len(colours), fontsize=8, bbox_to_anchor=(0.5, 1.0))
    axes[0].set_title("declared share of traffic, %", loc="left", fontsize=9)
    _draw_bounds(axes[1], checks, start, unit, colours)
    margin = 100 * service.margin.error_rate
    axes[1].axhline(margin, color="grey", linestyle=":", linewidth=1)
    axes[1].set_title(
        f"failed requests, candidate minus stable, points: bounds (dotted: margin {margin:g})",
        loc="left",
        fontsize=9,
    )
    axes[2].set_title("failed requests, %", loc="left", fontsize=9)
    axes[3].set_title(f"slower than {latency.threshold_ms:g} ms, %", loc="left", fontsize=9)
    axes[4].set_title("accuracy on labelled requests, %", loc="left", fontsize=9)
    axes[5].set_xlabel(units)
    for panel in axes:
        panel.grid(visible=True, alpha=0.25)
        panel.tick_params(labelsize=8)
    return drawn


def svg(drawn: Figure) -> Markup:
    """Returns a figure as a part of a page."""
    image = io.StringIO()
    drawn.savefig(image, format="svg")
    text = image.getvalue()
    # The drawing is our own and its texts are escaped by matplotlib.
    return Markup(text[text.index("<svg") :])  # noqa: S704


def page(template: str, **content: Any) -> str:
    """Returns a page; every text in it is escaped.

    Args:
        template: such as `report.html.j2`.
        content: what it names.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(template).render(**content)


def _share_of_bad(counts: Counts) -> Floats:
    return _share(counts.bad, counts.total)


def _shares(counted: Categories) -> dict[str, Floats]:
    whole = counted.counts.sum(axis=1)
    return {name: _share(counted.counts[:, k], whole) for k, name in enumerate(counted.names)}


def _share(part: Floats, whole: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole >= _FEWEST_TO_PLOT, part / whole, np.nan)


def _line(panel: Axes, seconds: Floats, values: Floats, colour: str) -> None:
    panel.plot(seconds, values, color=colour, linewidth=1.2, marker=".", markersize=3)


def _draw_bounds(
    panel: Axes,
    checks: Sequence[tuple[datetime, Outcome]],
    start: datetime,
    unit: float,
    colours: Mapping[str, str],
) -> None:
    """Draws, for each candidate, the anytime-valid bounds that each check stood on."""
    for version, colour in colours.items():
        rows = [
            ((at - start).total_seconds() / unit, 100 * metric.lower, 100 * metric.upper)
            for at, outcome in checks
            if outcome.candidate == version and outcome.verdict
            for metric in outcome.verdict.metrics
            if metric.name == "errorRate" and metric.lower is not None and metric.upper is not None
        ]
        if rows:
            at, *bounds = np.array(rows).T
            lower, upper = np.sort(bounds, axis=0)  # crossed where the difference changed in time
            panel.errorbar(
                at,
                (lower + upper) / 2,
                yerr=(upper - lower) / 2,
                fmt="none",
                ecolor=colour,
                capsize=3,
            )
    lowest, highest = panel.get_ylim()
    panel.set_ylim(max(lowest, _WIDEST_BOUNDS[0]), min(highest, _WIDEST_BOUNDS[1]))
