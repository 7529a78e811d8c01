"""Which judges are compared, each as a function from the same streams to the time of its revert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from rollout.judge.e_process import harm_evidence
from rollout.judge.series import Counts, Floats
from rollout.peers.argo import Phase, argo
from rollout.peers.flagger import flagger
from rollout.peers.growthbook import growthbook
from rollout.peers.kayenta import kayenta
from rollout.peers.naive import naive_z
from rollout.peers.reaction import first_interval
from rollout.peers.wald import wald, wald_two_arms
from rollout.simulate import Streams
from scripts.benchmark.cells import SLO_SHARE, Cell, draw_to_tune

ALPHA = 0.01
METRICS = 3
"""A rollout has so many metrics, which share alpha."""

ARGO_LIMITS = (0, 3)
FLAGGER_THRESHOLDS = (5, 10)
FLAGGER_STEPS = 10
CEILINGS = (1.2, 1.5, 2.0, 3.0)
"""Ceilings tried in headline cells, as multiples of stable's rate."""

TUNED_ON = 10_000
"""Healthy rollouts by which a ceiling is tuned."""

KAYENTA_EVERY = 10
"""Intervals, which are Kayenta's points, from one look to the next."""

KAYENTA_OTHER = (1, 50)
"""The same in headline cells; its source asks for at least 50 points."""

React = Callable[[Streams, Cell], Floats]


@dataclass(frozen=True)
class Judge:
    """One judge with its settings.

    Attributes:
        name: as the tables show it.
        react: returns the 0-based interval at whose end it reverts, inf for never, shape (R,).
        level: the probability of a false revert that it is held against.
        knows_margin: whether a candidate at the margin counts as healthy.
        sweep: another setting of a judge that is there already, run in headline cells only and
            shown in a table of its own.
    """

    name: str
    react: React = field(repr=False)
    level: float = ALPHA
    knows_margin: bool = False
    sweep: bool = False


@dataclass(frozen=True)
class Setting:
    """How our test is used.

    Attributes:
        alpha: of this one metric.
        margin: whether the cell's margin is declared, else 0.
        dispersion: whether dependence between requests is looked for.
        late: whether harm may begin late.
    """

    alpha: float
    margin: bool
    dispersion: bool
    late: bool


def harm_reverted_at(
    stable: Counts, candidate: Counts, margin: float, guess: float, setting: Setting
) -> Floats:
    """Returns when our judge reverts, shape (R,): the one place where its test is called."""
    evidence = harm_evidence(
        stable,
        candidate,
        margin,
        guess,
        setting.alpha,
        dispersed=setting.dispersion,
        late=setting.late,
    )
    return first_interval(evidence >= -np.log(setting.alpha))


def _ours(name: str, setting: Setting) -> Judge:
    def react(streams: Streams, cell: Cell) -> Floats:
        margin = cell.margin if setting.margin else 0.0
        return harm_reverted_at(streams.stable, streams.candidate, margin, cell.slo, setting)

    return Judge(name, react, level=setting.alpha, knows_margin=setting.margin)


def _argo(failure_limit: int, ceiling: float = SLO_SHARE) -> React:
    """One measurement each interval; `ceiling` is a multiple of stable's rate."""

    def react(streams: Streams, cell: Cell) -> Floats:
        limit, looks = ceiling * cell.scenario.rate, cell.scenario.looks
        return argo(streams.candidate, limit, count=looks, failure_limit=failure_limit).reverted_at

    return react


def _flagger(threshold: int, ceiling: float = SLO_SHARE, steps: int | None = None) -> React:
    """One check each interval; without `steps` it goes on for as long as the others do."""

    def react(streams: Streams, cell: Cell) -> Floats:
        limit, needed = ceiling * cell.scenario.rate, steps or cell.scenario.looks
        return flagger(
            streams.candidate, limit, steps_needed=needed, threshold=threshold
        ).reverted_at

    return react


def _argo_tuned(streams: Streams, cell: Cell) -> Floats:
    """Knows the healthy law, and is not told to fail where there are no requests."""
    ceiling, looks = tuned_ceiling(cell, ARGO_LIMITS[-1] + 1), cell.scenario.looks
    return argo(
        streams.candidate,
        ceiling,
        count=looks,
        failure_limit=ARGO_LIMITS[-1],
        undefined=Phase.SUCCESSFUL,
    ).reverted_at


def _flagger_tuned(streams: Streams, cell: Cell) -> Floats:
    ceiling, looks = tuned_ceiling(cell, FLAGGER_THRESHOLDS[0]), cell.scenario.looks
    return flagger(
        streams.candidate, ceiling, steps_needed=looks, threshold=FLAGGER_THRESHOLDS[0]
    ).reverted_at


def tuned_ceiling(cell: Cell, failures: int) -> float:
    """Returns the lowest ceiling that so many intervals exceed in at most `ALPHA` of rollouts."""
    return float(np.quantile(_highest_rates(cell)[:, -failures], 1 - ALPHA, method="higher"))


@lru_cache(maxsize=1)
def _highest_rates(cell: Cell) -> Floats:
    """Returns the highest rates of each of many healthy rollouts, ascending."""
    most = max(*ARGO_LIMITS, *FLAGGER_THRESHOLDS) + 1
    arms = [streams.candidate for streams in draw_to_tune(cell, TUNED_ON)]
    return np.concatenate(
        [np.sort(arm.bad / np.maximum(arm.total, 1), axis=1)[:, -most:] for arm in arms]
    )


def _sweep() -> list[Judge]:
    """Returns threshold judges and Kayenta with other settings."""
    settings: dict[str, React] = {}
    for ceiling in CEILINGS:
        shown = f"ceiling {ceiling:g}x"
        settings |= {
            f"Argo, limit {limit}, {shown}": _argo(limit, ceiling) for limit in ARGO_LIMITS
        }
        for threshold in FLAGGER_THRESHOLDS:
            name = f"Flagger, threshold {threshold}, {shown}"
            settings[name] = _flagger(threshold, ceiling)
            settings[f"{name}, {FLAGGER_STEPS} steps"] = _flagger(threshold, ceiling, FLAGGER_STEPS)
    for every in KAYENTA_OTHER:
        settings[f"Kayenta, a look every {every}"] = _kayenta(every)
    return [Judge(name, react, sweep=True) for name, react in settings.items()]


def _kayenta(every: int) -> React:
    def react(streams: Streams, cell: Cell) -> Floats:
        del cell
        return kayenta(streams.stable, streams.candidate, every=every).reverted_at

    return react


def _growthbook(streams: Streams, cell: Cell) -> Floats:
    del cell
    return growthbook(streams.stable, streams.candidate, ALPHA).reverted_at


def _naive_z(streams: Streams, cell: Cell) -> Floats:
    del cell
    return naive_z(streams.stable, streams.candidate, ALPHA).reverted_at


def _wald(streams: Streams, cell: Cell) -> Floats:
    del cell
    rates = streams.healthy_rates, streams.harmful_rates
    return wald(streams.candidate, *rates, ALPHA).reverted_at


def _wald_two_arms(streams: Streams, cell: Cell) -> Floats:
    del cell
    rates = streams.healthy_rates, streams.harmful_rates
    return wald_two_arms(streams.stable, streams.candidate, *rates, ALPHA).reverted_at


SHARE = ALPHA / METRICS
ALL_ON = _ours("ours, all on", Setting(SHARE, margin=True, dispersion=True, late=True))
ALL_ON_BARE = _ours(
    "ours, all on, no dispersion step", Setting(SHARE, margin=True, dispersion=False, late=True)
)
ONE = _ours("ours, one metric", Setting(ALPHA, margin=False, dispersion=True, late=False))
ONE_BARE = _ours(
    "ours, one metric, no dispersion step",
    Setting(ALPHA, margin=False, dispersion=False, late=False),
)
OURS = (ALL_ON, ONE, ALL_ON_BARE, ONE_BARE)
PEERS = (
    Judge("Argo, limit 0", _argo(0)),
    Judge("Argo, limit 3", _argo(3)),
    Judge("Flagger", _flagger(FLAGGER_THRESHOLDS[0])),
    Judge("Argo, tuned", _argo_tuned),
    Judge("Flagger, tuned", _flagger_tuned),
    Judge("Kayenta", _kayenta(KAYENTA_EVERY)),
    Judge("GrowthBook", _growthbook),
    Judge("naive z", _naive_z),
)
LIMIT = Judge("Wald, told both rates", _wald)
LIMIT_TWO_ARMS = Judge("Wald, two arms, told both rates", _wald_two_arms)
SHOWN = (*OURS, *PEERS, LIMIT, LIMIT_TWO_ARMS)
JUDGES = (*SHOWN, *_sweep())
