"""The first ten lines of the document: sentences whose numbers come from the results."""

from __future__ import annotations

from scripts.benchmark.cells import HEADLINE_REQUESTS
from scripts.benchmark.compare import Comparison
from scripts.benchmark.judges import (
    ALL_ON,
    ALL_ON_BARE,
    LIMIT,
    ONE,
    ONE_BARE,
    PEERS,
    Judge,
)
from scripts.benchmark.measure import Result, corrected_mistake, exceeds
from scripts.benchmark.rollouts import Outcome


def findings(
    results: list[Result], outcomes: list[Outcome], comparisons: list[Comparison]
) -> list[str]:
    """Returns one sentence or two per line."""
    healthy = [result for result in results if result.kind == "healthy"]
    own = [result for result in healthy if result.cause_in_one_arm]
    covered = [result for result in healthy if not result.cause_in_one_arm]
    return [
        _levels(results, covered, (ONE, ALL_ON)),
        _levels(results, covered, PEERS),
        *(_headline(results, count) for count in HEADLINE_REQUESTS),
        _limit(results),
        *(_score(comparisons, reference) for reference in (ONE, ALL_ON)),
        _inflation(results, own),
        _price(results),
        _whole(outcomes),
    ]


def _levels(results: list[Result], cells: list[Result], judges: tuple[Judge, ...]) -> str:
    mistake = corrected_mistake(results)
    parts: list[str] = []
    for judge in judges:
        broken, worst = _broken(cells, judge, mistake)
        parts.append(f"{judge.name} {broken} (highest {worst:.2%}, level {judge.level:.2%})")
    return (
        f"False reverts, in {len(cells)} healthy cells without causes in one arm alone. Cells in "
        f"which the level is broken: {'; '.join(parts)}."
    )


def _broken(cells: list[Result], judge: Judge, mistake: float) -> tuple[int, float]:
    """Returns in how many cells a judge breaks its level, and its highest share of reverts."""
    readings = [cell.readings[judge.name] for cell in cells]
    broken = sum(exceeds(reading, judge, mistake) for reading in readings)
    return broken, max(reading.share for reading in readings)


def _headline(results: list[Result], requests: int) -> str:
    """Compares detection in a headline cell, between the judges that keep their level there."""
    mistake = corrected_mistake(results)
    here = {each.harm: each for each in results if each.headline and each.requests == requests}
    healthy, twice = here[""], here["2x"]
    judges = (ONE, ALL_ON, *PEERS, LIMIT)
    broken = [each for each in judges if exceeds(healthy.readings[each.name], each, mistake)]
    kept = [f"{each.name} {_found(twice, each)}" for each in judges if each not in broken]
    return (
        f"{twice.rate:.0%} to {twice.rate * twice.harm_factor:.0%} errors, {requests} requests per "
        f"interval, {twice.split} split, {twice.looks} looks: {'; '.join(kept)}. Left out, as "
        f"they break their level: {', '.join(each.name for each in broken) or 'none'}."
    )


def _found(result: Result, judge: Judge) -> str:
    reading = result.readings[judge.name]
    return f"{reading.detected:.1%}{f' (median {reading.median:g})' if reading.median else ''}"


def _limit(results: list[Result]) -> str:
    parts: list[str] = []
    for judge in (ONE, ALL_ON):
        ratios = [
            result.ratio[judge.name]
            for result in results
            if result.ratio and result.group != "dependence"
        ]
        exact = sorted(ratio for ratio, bound in ratios if not bound)
        if exact:
            parts.append(
                f"{judge.name} {exact[len(exact) // 2]:.1f} times in the median and "
                f"{exact[-1]:.1f} at most over {len(exact)} cells, and misses over 5% in "
                f"{len(ratios) - len(exact)} more"
            )
    return f"Harm served against Wald's test told both true rates: {'; '.join(parts)}."


def _score(comparisons: list[Comparison], reference: Judge) -> str:
    parts: list[str] = []
    for judge in PEERS:
        scores = [
            each.score
            for each in comparisons
            if each.judge is judge and each.reference is reference
        ]
        if scores:
            parts.append(
                f"{judge.name} {scores.count('won')}, {scores.count('even')}, "
                f"{scores.count('lost')} of {len(scores)}"
            )
    return f"Harmful cells won, even, lost by {reference.name}: {'; '.join(parts)}."


def _inflation(results: list[Result], cells: list[Result]) -> str:
    mistake = corrected_mistake(results)
    parts: list[str] = []
    for judge in (ONE_BARE, ONE, ALL_ON_BARE, ALL_ON):
        broken, worst = _broken(cells, judge, mistake)
        parts.append(f"{judge.name} {broken}, up to {worst:.1%}")
    return (
        f"Alpha is not promised where causes hit one arm alone. Of {len(cells)} such cells, the "
        f"level is broken in: {'; '.join(parts)}."
    )


def _price(results: list[Result]) -> str:
    cells = [
        result
        for result in results
        if result.kind == "harmful" and result.group != "dependence" and result.ratio
    ]
    parts: list[str] = []
    for judge, bare in ((ONE, ONE_BARE), (ALL_ON, ALL_ON_BARE)):
        ratios = sorted(cell.ratio[judge.name][0] / cell.ratio[bare.name][0] for cell in cells)
        if ratios:
            parts.append(
                f"{judge.name} {ratios[len(ratios) // 2]:.2f} times in the median, "
                f"{ratios[-1]:.2f} at most"
            )
    return (
        "What the dispersion step costs where requests are independent, in harm served: "
        f"{'; '.join(parts)}."
    )


def _whole(outcomes: list[Outcome]) -> str:
    beyond = [outcome for outcome in outcomes if outcome.plan.beyond]
    worst = max(outcome.passed / outcome.rollouts for outcome in beyond)
    healthy = [
        f"{outcome.passed / outcome.rollouts:.1%} at {outcome.plan.requests} requests within "
        f"{outcome.plan.horizon} intervals"
        for outcome in outcomes
        if not outcome.plan.worse
    ]
    return (
        f"Whole rollouts: of those worse by the margin or more at most {worst:.2%} reached 100%; "
        f"of healthy ones {', '.join(healthy)}."
    )
