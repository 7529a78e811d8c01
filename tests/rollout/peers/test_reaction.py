# pyright: basic
from __future__ import annotations

import numpy as np

from rollout.judge.series import Counts
from rollout.peers.reaction import error_rates, passes_at_end, running_totals, whichever_first

INF, NAN = np.inf, np.nan


def test_the_first_of_two_events_stops():
    reaction = whichever_first(np.array([3, 5, INF, INF, 4.0]), np.array([5, 3, 2, INF, 4.0]))
    np.testing.assert_array_equal(reaction.reverted_at, [3, INF, INF, INF, 4])
    np.testing.assert_array_equal(reaction.passed_at, [INF, 3, 2, INF, INF])


def test_what_is_never_rejected_passes_at_the_end():
    rejected = np.array([[False, True, True], [False, False, False], [False, False, True]])
    reaction = passes_at_end(rejected)
    np.testing.assert_array_equal(reaction.reverted_at, [1, INF, 2])
    np.testing.assert_array_equal(reaction.passed_at, [INF, 2, INF])


def test_rates_and_totals_of_what_is_known():
    counts = Counts.of([1, NAN, 0, 5, 3], [10, NAN, 0, 4, 12])  # 5 of 4 is impossible
    np.testing.assert_array_equal(error_rates(counts), [0.1, NAN, NAN, NAN, 0.25])
    totals = running_totals(counts)
    np.testing.assert_array_equal(totals.bad, [1, 1, 1, 1, 4])
    np.testing.assert_array_equal(totals.total, [10, 10, 10, 10, 22])
