# pyright: basic
from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from rollout.grid import MOST_INTERVALS, even_grid, grid_at

BEGAN = datetime(2026, 11, 23, 8, 0, 30, tzinfo=UTC)


def test_the_width_is_the_declared_one_for_500_intervals_and_then_four_times_as_wide():
    ages = [500, 501, 2000, 2001, 8001]
    grids = [grid_at(BEGAN, BEGAN + timedelta(minutes=age), 60) for age in ages]
    assert [it.step_seconds for it in grids] == [60, 240, 240, 960, 3840]
    assert [round(it.budget_share, 5) for it in grids] == [0.8, 0.16, 0.16, 0.032, 0.0064]


def test_the_shares_of_all_epochs_are_the_whole():
    ages = [400 * 4**epoch for epoch in range(8)]
    shares = [grid_at(BEGAN, BEGAN + timedelta(minutes=age), 60).budget_share for age in ages]
    assert 0.999 < sum(shares) < 1


@given(st.floats(0, 1e9), st.sampled_from([0.5, 1.0, 2.0, 60.0, 300.0, 3600.0]))
def test_a_grid_is_whole_and_covers_everything_up_to_the_last_even_time(age: float, width: float):
    now = BEGAN + timedelta(seconds=age)
    grid = grid_at(BEGAN, now, width)
    step = timedelta(seconds=grid.step_seconds)
    assert 1 <= grid.intervals <= MOST_INTERVALS
    assert grid.start.timestamp() % grid.step_seconds == 0
    assert grid.start <= BEGAN
    assert now - step < grid.end <= now
    assert grid.intervals == 1 or BEGAN - step < grid.start


def test_a_rollout_that_has_just_begun_has_the_interval_before_it():
    grid = grid_at(BEGAN, BEGAN + timedelta(seconds=5), 60)
    assert (grid.intervals, grid.end) == (1, BEGAN.replace(second=0))


def test_services_with_the_same_width_share_edges():
    one = even_grid(BEGAN, BEGAN + timedelta(hours=1), 240)
    other = even_grid(BEGAN + timedelta(seconds=77), BEGAN + timedelta(hours=1), 240)
    assert (other.start - one.start).total_seconds() % 240 == 0
    assert one.end == other.end
