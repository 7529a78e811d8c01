# pyright: basic
from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from rollout.judge.series import Counts
from rollout.peers import naive_z
from tests.rollout.peers.test_growthbook import arms


def test_one_look_is_the_test_of_the_textbook():
    stable, candidate = Counts.of([20], [1000]), Counts.of([9], [200])
    observed = np.array([[20, 980], [9, 191]])
    expected = np.outer(observed.sum(axis=1), observed.sum(axis=0)) / observed.sum()
    # The square of z is the chi-squared statistic of the table.
    statistic = ((observed - expected) ** 2 / expected).sum()
    level = float(norm.sf(np.sqrt(statistic)))
    assert naive_z(stable, candidate, level * 1.001).reverted_at == 0
    assert naive_z(stable, candidate, level * 0.999).passed_at == 0
    better = Counts.of([0], [200])
    assert naive_z(stable, better, 0.49).passed_at == 0


def test_totals_so_far_decide():
    stable = Counts.of([10, 10, 10, 10], [1000, 1000, 1000, 1000])
    candidate = Counts.of([1, np.nan, 4, 9], [100, np.nan, 100, 100])
    # At the third look: 5 of 200 against 30 of 3000.
    z = (0.025 - 0.01) / np.sqrt(35 / 3200 * (1 - 35 / 3200) * (1 / 200 + 1 / 3000))
    level = float(norm.sf(z))
    assert naive_z(stable, candidate, level * 1.001).reverted_at == 2
    assert naive_z(stable, candidate, level * 0.999).reverted_at == 3
    assert naive_z(stable, candidate, 1e-9).passed_at == 3


def test_nothing_is_decided_without_requests_or_failures():
    none = Counts.of([np.nan, 0.0], [np.nan, 0.0])
    some = Counts.of([5.0, 5.0], [10.0, 10.0])
    assert naive_z(none, some, 0.05).passed_at == 1
    assert naive_z(some, none, 0.05).passed_at == 1
    clean = Counts.of([0.0, 0.0], [10.0, 10.0])
    assert naive_z(clean, clean, 0.05).passed_at == 1


@pytest.mark.parametrize(("rpm", "published"), [(100, 0.33), (500, 0.30), (5000, 0.26)])
def test_peeking_reverts_healthy_candidates(rpm, published):
    # shared/rollout-anchors.md, part 4: 60 looks at level .05, 600 repetitions.
    reverted_at = naive_z(*arms(0.01, rpm, 2000, 5), 0.05).reverted_at
    share = np.isfinite(reverted_at).mean()
    assert share == pytest.approx(published, abs=4 * np.sqrt(0.22 * (1 / 600 + 1 / 2000)))
