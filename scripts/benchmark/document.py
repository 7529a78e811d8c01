"""Turns the results into docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import jinja2

from scripts.benchmark.compare import Comparison, compare_all
from scripts.benchmark.constants import constants
from scripts.benchmark.findings import findings
from scripts.benchmark.judges import (
    ALL_ON,
    ALL_ON_BARE,
    ALPHA,
    JUDGES,
    LIMIT,
    ONE,
    ONE_BARE,
    PEERS,
    SHOWN,
    Judge,
)
from scripts.benchmark.measure import (
    MISTAKE,
    REFERENCES,
    Result,
    corrected_mistake,
    exact_interval,
    exceeds,
)
from scripts.benchmark.rollouts import BETA, Outcome

Rows = list[list[str]]
LETTERS = {"won": "W", "lost": "L", "even": "E", "both break": "B"}


@dataclass(frozen=True)
class Run:
    """All that was measured.

    Attributes:
        results: of cells.
        outcomes: of whole rollouts.
        rollouts: of each cell and of each kind of whole rollout.
        quick: whether it was a quick run.
        minutes: how long it took.
        processes: in how many processes.
        verdict_seconds: time of a verdict, None if not measured.
    """

    results: list[Result]
    outcomes: list[Outcome]
    rollouts: int
    quick: bool
    minutes: float
    processes: int
    verdict_seconds: float | None


def render(run: Run) -> str:
    """Returns the document."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(  # noqa: S701  Markdown from our own numbers
        loader=loader, undefined=jinja2.StrictUndefined
    )
    results, comparisons = run.results, compare_all(run.results)
    text = environment.get_template("benchmarks.md.j2").render(
        quick=run.quick,
        minutes=run.minutes,
        processes=run.processes,
        verdict_seconds=run.verdict_seconds,
        cells=len(results),
        null_cells=sum(result.kind != "harmful" for result in results),
        rollouts=f"{run.rollouts:,}",
        findings=findings(results, run.outcomes, comparisons),
        headline=[(count, _headline(results, count, _judges(False))) for count in _counts(results)],
        sweep=[(count, _headline(results, count, _judges(True))) for count in _counts(results)],
        false_reverts=_false_reverts(results),
        grids=[(judge.name, _grid(results, judge)) for judge in REFERENCES],
        score=_score(comparisons),
        lost=_lost(comparisons),
        dependence=_dependence(results),
        whole=_whole(run.outcomes),
        all_cells=[(group, _all_cells(results, comparisons, group)) for group in _groups(results)],
        **constants(),
    )
    return text.rstrip() + "\n"


def _headline(results: list[Result], requests: int, judges: list[Judge]) -> Rows:
    mistake = corrected_mistake(results)
    here = [result for result in results if result.headline and result.requests == requests]
    healthy = next(result for result in here if result.kind == "healthy")
    harmful = [result for result in here if result.kind == "harmful"]
    head = ["judge", "false reverts"]
    for result in harmful:
        head += [f"{result.harm}: found", "median", "90%", "harm served", "x limit"]
    rows = [head]
    for judge in judges:
        reading = healthy.readings[judge.name]
        row = [
            judge.name,
            _with_interval(reading.reverted, reading.rollouts, mistake),
        ]
        row[1] += " !" if exceeds(reading, judge, mistake) else ""
        for result in harmful:
            found = result.readings[judge.name]
            row += [
                _percent(found.detected),
                _number(found.median),
                _number(found.ninety),
                f"{found.exposure:.1f}" if found.exposure is not None else "-",
                _ratio(result, judge),
            ]
        rows.append(row)
    return rows


def _false_reverts(results: list[Result]) -> Rows:
    mistake = corrected_mistake(results)
    families = _families(results)
    rows = [["judge", *families]]
    for judge in _judges(False):
        row = [judge.name]
        for members in families.values():
            readings = [
                result.readings[judge.name] for result in members if judge.name in result.readings
            ]
            broken = sum(exceeds(reading, judge, mistake) for reading in readings)
            worst = max((reading.share for reading in readings), default=0.0)
            row.append(f"{broken} of {len(readings)}, {_percent(worst)}" if readings else "")
        rows.append(row)
    return rows


def _families(results: list[Result]) -> dict[str, list[Result]]:
    """Returns the cells without harm by what holds in them."""
    healthy = [result for result in results if result.kind == "healthy"]
    dependent = [result for result in healthy if result.group == "dependence"]
    return {
        **{
            group: [result for result in healthy if result.group == group]
            for group in ("grid", "horizons", "metrics")
        },
        "shared causes": [result for result in dependent if not result.cause_in_one_arm],
        "causes in one arm": [result for result in dependent if result.cause_in_one_arm],
        "at the margin": [result for result in results if result.kind == "border"],
    }


def _grid(results: list[Result], judge: Judge) -> Rows:
    mistake = corrected_mistake(results)
    grid = [result for result in results if result.group == "grid"]
    healthy = {result.law: result for result in grid if result.kind == "healthy"}
    twice = {result.law: result for result in grid if result.harm == "2x"}
    rows: dict[tuple[float, int], list[str]] = {}
    splits = list(dict.fromkeys(result.split for result in twice.values()))
    for law, result in twice.items():
        reading, false = result.readings[judge.name], healthy[law].readings[judge.name]
        mark = "!" if exceeds(false, judge, mistake) else ""
        row = rows.setdefault(
            (result.rate, result.requests), [f"{result.rate:.1%}", str(result.requests)]
        )
        row.append(
            f"{_percent(false.share)}{mark}; {_percent(reading.detected)}; "
            f"{_number(reading.median)}; {_ratio(result, judge)}"
        )
    return [["rate", "requests", *splits], *rows.values()]


def _score(comparisons: list[Comparison]) -> Rows:
    rows = [["ours", "against", "won", "even", "lost", "both break"]]
    for reference in REFERENCES:
        for judge in PEERS:
            scores = [
                each.score
                for each in comparisons
                if each.judge is judge and each.reference is reference
            ]
            counts = [scores.count(score) for score in ("won", "even", "lost", "both break")]
            rows.append([reference.name, judge.name, *(str(count) for count in counts)])
    return rows


def _lost(comparisons: list[Comparison]) -> list[str]:
    cells_lost: dict[tuple[str, str], list[str]] = {}
    for each in comparisons:
        if each.score == "lost":
            cell = f"{each.harmful.law}, {each.harmful.harm}"
            cells_lost.setdefault((each.reference.name, cell), []).append(each.judge.name)
    return [
        f"{reference}: {cell}: to {', '.join(judges)}"
        for (reference, cell), judges in cells_lost.items()
    ]


def _dependence(results: list[Result]) -> Rows:
    mistake = corrected_mistake(results)
    dependent = [result for result in results if result.group == "dependence"]
    harmful = {result.law: result for result in dependent if result.kind == "harmful"}
    shown = (ONE_BARE, ONE, ALL_ON_BARE, ALL_ON)
    names = ["one, without", "one, with", "all on, without", "all on, with"]
    head = ["law", *names, *(f"found, {name}" for name in names), *(each.name for each in PEERS)]
    rows = [head]
    for result in dependent:
        if result.kind != "healthy":
            continue
        row = [result.law]
        for judge in shown:
            reading = result.readings[judge.name]
            mark = " !" if exceeds(reading, judge, mistake) else ""
            row.append(_with_interval(reading.reverted, reading.rollouts, mistake) + mark)
        row += [_percent(harmful[result.law].readings[judge.name].detected) for judge in shown]
        row += [_percent(result.readings[judge.name].share) for judge in PEERS]
        rows.append(row)
    return rows


def _whole(outcomes: list[Outcome]) -> Rows:
    rows = [
        [
            "requests",
            "horizon",
            "candidate",
            "reached 100%",
            "reverted",
            "held",
            "median",
        ]
    ]
    for outcome in outcomes:
        plan, mistake = outcome.plan, MISTAKE / len(outcomes)
        held = outcome.rollouts - outcome.passed - outcome.reverted
        worse = (
            f"{plan.worse} worse by {plan.margins:g} margin{'s' if plan.margins != 1 else ''}"
            if plan.worse
            else "healthy"
        )
        rows.append(
            [
                str(plan.requests),
                str(plan.horizon),
                worse,
                _with_limit(outcome.passed, outcome.rollouts, mistake, BETA if plan.beyond else 1),
                _with_limit(
                    outcome.reverted, outcome.rollouts, mistake, 1 if plan.margins > 1 else ALPHA
                ),
                _percent(held / outcome.rollouts),
                _number(outcome.median),
            ]
        )
    return rows


def _all_cells(results: list[Result], comparisons: list[Comparison], group: str) -> Rows:
    mistake = corrected_mistake(results)
    scores: dict[tuple[str, str, str], str] = {}
    for each in comparisons:
        key = each.harmful.law, each.harmful.harm, each.judge.name
        scores[key] = scores.get(key, "") + LETTERS[each.score]
    judges = _judges(False)
    rows = [["law", "candidate", *(judge.name for judge in judges)]]
    for result in results:
        if result.group == group:
            row = [result.law, result.harm or result.kind]
            for judge in judges:
                score = scores.get((result.law, result.harm, judge.name), "")
                row.append(_entry(result, judge, mistake, score))
            rows.append(row)
    return rows


def _entry(result: Result, judge: Judge, mistake: float, score: str) -> str:
    reading = result.readings.get(judge.name)
    if reading is None:
        return ""
    if result.kind == "harmful":
        return f"{_percent(reading.detected)}, {_number(reading.median)} {score}".rstrip()
    return _percent(reading.share) + ("!" if exceeds(reading, judge, mistake) else "")


def _judges(sweep: bool) -> list[Judge]:
    return [judge for judge in JUDGES if judge.sweep] if sweep else list(SHOWN)


def _counts(results: Iterable[Result]) -> list[int]:
    return sorted({result.requests for result in results if result.headline})


def _groups(results: Iterable[Result]) -> list[str]:
    return list(dict.fromkeys(result.group for result in results))


def _with_interval(hits: int, runs: int, mistake: float) -> str:
    low, high = exact_interval(hits, runs, mistake)
    return f"{_percent(hits / runs)} ({_percent(low)} to {_percent(high)})"


def _with_limit(hits: int, runs: int, mistake: float, level: float) -> str:
    """Marks a share that is proved to be above what is allowed."""
    mark = " !" if exact_interval(hits, runs, mistake)[0] > level else ""
    return _with_interval(hits, runs, mistake) + mark


def _ratio(result: Result, judge: Judge) -> str:
    if judge.name not in result.ratio or judge is LIMIT:
        return "1" if judge is LIMIT and result.ratio else "-"
    ratio, bound = result.ratio[judge.name]
    return f"{'> ' if bound else ''}{ratio:.1f}"


def _percent(share: float) -> str:
    """Shows small shares with more digits, and 0 and 100% only where they are exact."""
    if share in {0, 1}:
        return f"{share:.0%}"
    if share < 5e-5 or share > 1 - 5e-5:
        return "<0.01%" if share < 0.5 else ">99.99%"
    return f"{share:.{2 if share < 0.1 or share > 0.999 else 1}%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
