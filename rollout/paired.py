"""Whether a version is better than another one, from values of both on the same examples; pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, betaincinv, stdtr

Values = npt.NDArray[np.float64]

FEWEST_FOR_A_MEAN = 200
"""On fewer examples, what skewness is left could break the level of the test of a mean."""
ROUNDING = 1e-9
"""Differences that vary less than this share of their mean are the same."""


@dataclass(frozen=True)
class Paired:
    """What a paired test says.

    Attributes:
        test: its name.
        examples: how many there are.
        better: how much better the candidate is on average.
        shown: worse by the margin or more is refuted at the level.
        why: in words.
    """

    test: str
    examples: int
    better: float
    shown: bool
    why: str


def compare(candidate: Values, stable: Values, margin: float, alpha: float) -> Paired:
    """Tests "the candidate is worse by the margin, or more" on the mean difference of the pairs.

    Right or wrong (0 or 1) is tested exactly; without a margin by McNemar's test, on the examples
    that only one of both got right, else by Clopper-Pearson bounds of the shares of examples won
    and lost, at half of alpha each. Other values by the t statistic with Hall's correction for
    skewness, as losses have long tails.

    Args:
        candidate: a value an example, higher is better; shape (n,).
        stable: likewise, of the same examples in the same order.
        margin: by how much it may be worse; 0 asks for better.
        alpha: highest probability that "shown" is wrong.

    Source: McNemar 1947; Clopper, Pearson 1934; Hall 1992, "On the removal of skewness by
        transformation".
    """
    if {*np.unique(candidate), *np.unique(stable)} <= {0.0, 1.0}:
        won = int(np.sum(candidate > stable))
        lost = int(np.sum(candidate < stable))
        return _right_or_wrong(won, lost, len(candidate), margin, alpha)
    return _means(candidate - stable, margin, alpha)


def _right_or_wrong(won: int, lost: int, examples: int, margin: float, alpha: float) -> Paired:
    better = (won - lost) / examples
    counts = f"right where stable was wrong {won} times, wrong where stable was right {lost} times"
    if margin == 0:
        # Of so many wins or more, if both win alike: a tail of the binomial distribution.
        p = float(betainc(won, lost + 1, 0.5)) if won else 1.0
        return Paired("McNemar's exact test", examples, better, p <= alpha, f"{counts}; p {p:.2g}")
    least_won = float(betaincinv(won, examples - won + 1, alpha / 2)) if won else 0.0
    most_lost = (
        float(betaincinv(lost + 1, examples - lost, 1 - alpha / 2)) if lost < examples else 1.0
    )
    bound = least_won - most_lost
    return Paired(
        "Clopper-Pearson bounds",
        examples,
        better,
        bound > -margin,
        f"{counts}; better by {bound:+.3g} at least, the margin allows {-margin:+.3g}",
    )


def _means(differences: Values, margin: float, alpha: float) -> Paired:
    name, examples = "t test, corrected for skewness", len(differences)
    better, spread = float(np.mean(differences)), float(np.std(differences, ddof=1))
    if examples < FEWEST_FOR_A_MEAN:
        why = f"{examples} examples are too few for a mean, {FEWEST_FOR_A_MEAN} are needed"
        return Paired(name, examples, better, False, why)
    if spread <= ROUNDING * abs(better):
        why = "the difference is the same on every example, which no test can judge"
        return Paired(name, examples, better, False, why)
    p = _skewed_p(differences, margin, better, spread)
    why = f"better by {better:+.3g} on average; p {p:.2g} that it is worse by {margin:g} or more"
    return Paired(name, examples, better, p <= alpha, why)


def _skewed_p(differences: Values, margin: float, mean: float, spread: float) -> float:
    many = len(differences)
    skewness = float(np.mean(((differences - mean) / spread) ** 3))
    shift = (mean + margin) / spread
    corrected = (
        shift + skewness * shift**2 / 3 + skewness**2 * shift**3 / 27 + skewness / (6 * many)
    )
    return float(stdtr(many - 1, -np.sqrt(many) * corrected))
