"""Evidence on measured quantities keeps its levels, whatever their distribution, and finds harm."""

# pyright: basic
from __future__ import annotations

import numpy as np
import pytest

from rollout.judge.bounds import mean_differences
from rollout.judge.means import Direction, mean_harm_evidence, mean_margin_evidence
from rollout.judge.series import Values
from tests.rollout.judge.arms import ALPHA, BETA, allowed, crossed, delay, values_of

LOOKS = 60
RUNS = 300
NORMAL = (lambda rng, shape: rng.normal(10, 3, shape), 3.0)
EXPONENTIAL = (lambda rng, shape: rng.exponential(2, shape), 2.0)
SKEWED = (lambda rng, shape: rng.lognormal(0, 1, shape), 2.16)
YES_OR_NO = (lambda rng, shape: (rng.random(shape) < 0.1) * 1.0, 0.3)


def harmed(
    law, sizes: tuple[int, int], worse: float, margin: float, direction: Direction, runs: int = RUNS
) -> np.ndarray:
    """Returns the evidence of harm of some rollouts; worse is the true harm in deviations."""
    draw, deviation = law
    rng = np.random.default_rng(1)
    shift = worse * deviation * (-1 if direction == "decrease" else 1)
    return np.array(
        [
            mean_harm_evidence(
                values_of(draw(rng, (LOOKS, sizes[0]))),
                values_of(draw(rng, (LOOKS, sizes[1])) + shift),
                margin * deviation,
                direction,
                ALPHA,
            )
            for _ in range(runs)
        ]
    )


@pytest.mark.parametrize(
    ("law", "sizes", "direction"),
    [
        pytest.param(NORMAL, (450, 50), "increase", id="normal"),
        pytest.param(NORMAL, (450, 50), "decrease", id="normal, less is worse"),
        pytest.param(NORMAL, (450, 50), "either", id="normal, both ways"),
        pytest.param(NORMAL, (50, 50), "increase", id="normal, as many"),
        pytest.param(YES_OR_NO, (450, 50), "increase", id="yes or no"),
        pytest.param(SKEWED, (50, 50), "decrease", id="very skewed, as many"),
        pytest.param(SKEWED, (450, 50), "increase", id="very skewed, more is worse"),
        pytest.param(
            YES_OR_NO,
            (450, 50),
            "decrease",
            id="yes or no, less is worse",
        ),
        pytest.param(
            EXPONENTIAL,
            (450, 50),
            "decrease",
            id="exponential, less is worse",
        ),
        pytest.param(
            SKEWED,
            (450, 50),
            "decrease",
            id="very skewed, less is worse",
        ),
        pytest.param(
            SKEWED,
            (450, 50),
            "either",
            id="very skewed, both ways",
        ),
    ],
)
def test_healthy_quantities_revert_at_most_alpha_of_the_time(law, sizes, direction):
    # At 1%, 8 of 300 have a probability above 1%.
    false = crossed(harmed(law, sizes, 0.0, 0.0, direction), ALPHA).sum()
    assert false <= allowed(RUNS, ALPHA)


@pytest.mark.parametrize("direction", ["increase", "decrease"])
def test_worse_by_exactly_the_margin_is_healthy(direction):
    false = crossed(harmed(NORMAL, (450, 50), 0.2, 0.2, direction), ALPHA).sum()
    assert false <= allowed(RUNS, ALPHA)


def passed(law, sizes: tuple[int, int], direction: Direction, runs: int = RUNS) -> int:
    """Counts how many that are worse by exactly the margin, 0.2 deviations, pass."""
    draw, deviation = law
    rng = np.random.default_rng(2)
    shift = 0.2 * deviation * (-1 if direction == "decrease" else 1)
    return sum(
        bool(
            crossed(
                mean_margin_evidence(
                    values_of(draw(rng, (LOOKS, sizes[0]))),
                    values_of(draw(rng, (LOOKS, sizes[1])) + shift),
                    0.2 * deviation,
                    direction,
                ),
                BETA,
            )
        )
        for _ in range(runs)
    )


@pytest.mark.parametrize(
    ("law", "sizes", "direction"),
    [
        pytest.param(NORMAL, (450, 50), "increase", id="normal"),
        pytest.param(NORMAL, (450, 50), "decrease", id="normal, less is worse"),
        pytest.param(NORMAL, (450, 50), "either", id="normal, both ways"),
        pytest.param(SKEWED, (50, 50), "increase", id="very skewed, as many"),
        pytest.param(
            YES_OR_NO,
            (450, 50),
            "increase",
            id="yes or no",
        ),
        pytest.param(
            EXPONENTIAL,
            (450, 50),
            "increase",
            id="exponential",
        ),
        pytest.param(
            SKEWED,
            (450, 50),
            "increase",
            id="very skewed",
        ),
    ],
)
def test_worse_by_the_margin_passes_at_most_beta_of_the_time(law, sizes, direction):
    # At 5%, 24 of 300 have a probability above 1%.
    assert passed(law, sizes, direction) <= allowed(RUNS, BETA)


def test_two_values_an_interval_revert_no_more_than_alpha():
    false = crossed(harmed(NORMAL, (200, 2), 0.0, 0.0, "either", 800), ALPHA).sum()
    assert false <= allowed(800, ALPHA)


def test_two_values_an_interval_pass_no_more_than_beta():
    assert passed(NORMAL, (200, 2), "increase") <= allowed(RUNS, BETA)


def test_an_interval_is_weighed_by_what_was_known_before_it():
    rng = np.random.default_rng(7)
    draws = rng.normal(10, 3, (2, 20, 50))
    wild = draws.copy()
    wild[:, 12] = rng.lognormal(0, 3, (2, 50))
    precision, other = (
        mean_differences(values_of(it[0]), values_of(it[1]))[1] for it in (draws, wild)
    )
    assert other[:13] == pytest.approx(precision[:13])
    assert precision[0] == 0  # nothing is known yet
    assert (precision[1:] > 0).all()
    assert (other[13:] < 0.9 * precision[13:]).all()


# One value an interval: signs.


def gauges(rng, looks: int, shift: float = 0.0) -> tuple[Values, Values]:
    """A level both arms share, which moves as it likes, and noise without a variance."""
    level = np.cumsum(rng.normal(0, 5, looks))[:, None]
    return (
        values_of(level + rng.standard_cauchy((looks, 1))),
        values_of(level + rng.standard_cauchy((looks, 1)) + shift),
    )


def test_gauges_without_a_variance_revert_at_most_alpha_of_the_time_and_harm_is_found():
    rng = np.random.default_rng(3)
    runs = 2000
    for direction in ("increase", "either"):
        healthy = [
            mean_harm_evidence(*gauges(rng, LOOKS), 0.0, direction, ALPHA) for _ in range(runs)
        ]
        assert crossed(np.array(healthy), ALPHA).sum() <= allowed(runs, ALPHA)
    harmful = [
        mean_harm_evidence(*gauges(rng, 120, 5.0), 1.0, "increase", ALPHA) for _ in range(200)
    ]
    assert crossed(np.array(harmful), ALPHA).mean() > 0.95


@pytest.mark.parametrize(("sizes", "direction"), [((50, 1), "decrease"), ((1, 50), "increase")])
def test_one_value_against_the_mean_of_many_is_no_fair_coin(sizes, direction):
    false = crossed(harmed(SKEWED, sizes, 0.0, 0.0, direction), ALPHA).sum()
    assert false <= allowed(RUNS, ALPHA)


@pytest.mark.parametrize("law", [NORMAL, SKEWED, EXPONENTIAL])
def test_two_gauges_of_one_law_revert_at_most_alpha_of_the_time(law):
    for direction in ("increase", "decrease"):
        false = crossed(harmed(law, (1, 1), 0.0, 0.0, direction), ALPHA).sum()
        assert false <= allowed(RUNS, ALPHA)


def test_signs_are_an_e_process_by_count():
    """All 2^8 courses of a fair coin: the expectation is 1."""
    courses = (np.arange(256)[:, None] >> np.arange(8)) & 1
    none = Values(np.zeros(8), np.zeros(8), np.ones(8))
    e_values = [
        np.exp(
            mean_harm_evidence(
                none, Values(2.0 * course - 1, np.ones(8), np.ones(8)), 0.0, "increase", ALPHA
            )
        )
        for course in courses
    ]
    assert np.mean(e_values, axis=0) == pytest.approx(np.ones(8))


# Of use, and of sense.


@pytest.mark.parametrize("law", [NORMAL, SKEWED])
def test_harm_is_found_soon(law):
    found = delay(harmed(law, (450, 50), 0.3, 0.0, "increase", 100), ALPHA)
    # One look at all of k intervals would need (2.33 + 0)^2 / 0.3^2 / 45 = 1.3 of them.
    assert np.median(found) <= 8
    assert np.isfinite(found).all()


def test_one_interval_is_never_enough():
    worst = values_of(np.full((1, 50), 1.0) + np.arange(50) * 1e-3)
    none = values_of(np.zeros((1, 50)) + np.arange(50) * 1e-3)
    assert mean_harm_evidence(none, worst, 0.0, "increase", ALPHA).max() < -np.log(ALPHA)


def test_an_equal_quantity_passes_with_enough_values():
    rng = np.random.default_rng(4)
    for direction in ("increase", "decrease", "either"):
        arms = values_of(rng.normal(10, 3, (60, 450))), values_of(rng.normal(10, 3, (60, 450)))
        assert mean_margin_evidence(*arms, 0.6, direction).max() >= -np.log(BETA)


def test_what_changes_for_both_is_no_harm_and_what_changes_for_one_at_random_is_damped():
    rng = np.random.default_rng(5)
    day = 10 * np.sin(np.arange(60) / 5)[:, None]
    runs = 200
    shared, own = [], []
    for _ in range(runs):
        stable, candidate = rng.normal(0, 3, (60, 450)) + day, rng.normal(0, 3, (60, 50)) + day
        shared.append(
            mean_harm_evidence(values_of(stable), values_of(candidate), 0.0, "increase", ALPHA)
        )
        moved = candidate + rng.normal(0, 2, (60, 1))
        own.append(mean_harm_evidence(values_of(stable), values_of(moved), 0.0, "increase", ALPHA))
    assert crossed(np.array(shared), ALPHA).sum() <= allowed(runs, ALPHA)
    # An interval's own error is 5 times that of its values; undamped, most would be reverted.
    assert crossed(np.array(own), ALPHA).mean() <= 0.1


def test_nothing_and_next_to_nothing_give_numbers():
    nothing = Values(np.zeros(5), np.zeros(5), np.zeros(5))
    once = values_of(np.full((5, 1), 1e6))
    constant = values_of(np.full((5, 10), 1e6))
    huge = Values(np.full(5, 1e15), np.full(5, 1e21) + 1e15, np.full(5, 1e9))
    for pair in (
        (nothing, nothing),
        (once, constant),
        (constant, constant),
        (huge, huge),
        (huge, once),
        (nothing, huge),
    ):
        for direction in ("increase", "decrease", "either"):
            with np.errstate(all="raise", under="ignore"):
                harm = mean_harm_evidence(*pair, 0.0, direction, ALPHA)
                margin = mean_margin_evidence(*pair, 0.1, direction)
            assert np.isfinite(harm).all()
            assert np.isfinite(margin).all()
            assert harm.max() < 1


def test_the_unit_of_a_quantity_does_not_matter():
    rng = np.random.default_rng(6)
    stable, candidate = rng.normal(10, 3, (60, 450)), rng.normal(10.5, 3, (60, 50))
    plain = mean_harm_evidence(values_of(stable), values_of(candidate), 0.1, "increase", ALPHA)
    in_other = mean_harm_evidence(
        values_of(1000 * stable), values_of(1000 * candidate), 100.0, "increase", ALPHA
    )
    assert in_other == pytest.approx(plain, rel=1e-6, abs=1e-6)
    upside_down = mean_harm_evidence(
        values_of(-stable), values_of(-candidate), 0.1, "decrease", ALPHA
    )
    assert upside_down == pytest.approx(plain)
