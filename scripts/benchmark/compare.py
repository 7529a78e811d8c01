"""Who won which cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from scripts.benchmark.judges import PEERS, Judge
from scripts.benchmark.measure import REFERENCES, Result, corrected_mistake, exceeds, is_sooner

Score = Literal["won", "lost", "even", "both break"]


@dataclass(frozen=True)
class Comparison:
    """Ours against another judge in a harmful cell, and in the healthy one of the same law."""

    reference: Judge
    judge: Judge
    harmful: Result
    score: Score


def compare_all(results: list[Result]) -> list[Comparison]:
    """Compares both of ours with every other judge in every harmful cell."""
    healthy = {result.law: result for result in results if result.kind == "healthy"}
    mistake = corrected_mistake(results)
    pairs = list(_pairs(results))
    return [
        Comparison(
            reference,
            judge,
            harmful,
            _score(reference, judge, healthy[harmful.law], harmful, mistake, len(pairs)),
        )
        for reference, judge, harmful in pairs
    ]


def _pairs(results: list[Result]) -> Iterator[tuple[Judge, Judge, Result]]:
    for result in results:
        if result.kind == "harmful":
            for reference in REFERENCES:
                for judge in PEERS:
                    if judge.name in result.readings:
                        yield reference, judge, result


def _score(
    reference: Judge,
    judge: Judge,
    healthy: Result,
    harmful: Result,
    mistake: float,
    comparisons: int,
) -> Score:
    ours_breaks, breaks = (
        exceeds(healthy.readings[each.name], each, mistake) for each in (reference, judge)
    )
    if ours_breaks or breaks:
        if ours_breaks and breaks:
            return "both break"
        return "lost" if ours_breaks else "won"
    sooner = is_sooner(harmful.readings[judge.name].leads[reference.name], comparisons)
    scores: dict[int, Score] = {1: "won", 0: "even", -1: "lost"}
    return scores[sooner]
