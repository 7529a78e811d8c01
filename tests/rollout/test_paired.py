# pyright: basic
from __future__ import annotations

import numpy as np
import pytest

from rollout.paired import FEWEST_FOR_A_MEAN, compare


def arms(won: int, lost: int, same: int) -> tuple[np.ndarray, np.ndarray]:
    candidate = np.array([1.0] * won + [0.0] * lost + [1.0] * same)
    return candidate, np.array([0.0] * won + [1.0] * lost + [1.0] * same)


def test_mcnemar_is_the_sign_test_of_what_only_one_got_right():
    # 9 of 10 heads: (10 + 1) / 1024.
    said = compare(*arms(9, 1, 1000), 0.0, 0.05)
    assert "p 0.011" in said.why
    assert said.shown
    assert not compare(*arms(9, 1, 1000), 0.0, 0.01).shown
    assert not compare(*arms(0, 0, 1000), 0.0, 0.05).shown


def test_with_a_margin_equal_versions_pass_on_enough_examples_only():
    assert compare(*arms(10, 10, 4000), 0.01, 0.05).shown
    assert not compare(*arms(1, 1, 100), 0.01, 0.05).shown
    assert not compare(*arms(10, 60, 4000), 0.01, 0.05).shown


def test_no_lost_example_has_the_bound_of_clopper_and_pearson():
    # 1 - 0.025 ** (1 / n) is below 0.01 from 368 examples on.
    assert not compare(*arms(0, 0, 367), 0.01, 0.05).shown
    assert compare(*arms(0, 0, 368), 0.01, 0.05).shown


@pytest.mark.parametrize("sign", [1, -1])
def test_the_level_holds_where_differences_are_skewed(sign: int):
    generator = np.random.default_rng(7)
    draws = sign * (generator.exponential(1.0, (2000, FEWEST_FOR_A_MEAN)) - 1.0)
    passed = sum(compare(row, np.zeros(len(row)), 0.0, 0.05).shown for row in draws)
    # 100 are expected, the standard deviation is 10; the plain t test has 68 and 136 here.
    assert 70 <= passed <= 130


def test_a_mean_that_is_better_and_one_that_is_not():
    generator = np.random.default_rng(7)
    stable = generator.normal(size=500)
    noise = generator.normal(scale=0.1, size=500)
    assert compare(stable + 0.1 + noise, stable, 0.0, 0.05).shown
    assert not compare(stable - 0.1 + noise, stable, 0.0, 0.05).shown
    assert compare(stable - 0.1 + noise, stable, 0.2, 0.05).shown


def test_what_no_test_can_judge_is_not_shown():
    few = np.linspace(0, 1, FEWEST_FOR_A_MEAN - 1)
    assert "too few" in compare(few + 1, few, 0.0, 0.05).why
    constant = np.linspace(0, 1, 500)
    said = compare(constant + 0.25, constant, 0.0, 0.05)
    assert not said.shown
