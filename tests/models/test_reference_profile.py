from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.errors import ConfigError
from models.reference_profile import (
    PROFILE_FILE,
    CategoricalDistribution,
    FeatureIndex,
    NumericDistribution,
    ReferenceProfile,
    build_profile,
    category,
    describe,
    describe_categories,
)

NOW = datetime(2026, 11, 23, tzinfo=UTC)
HASH = "sha256:" + "0" * 64
FLOATS = arrays(
    np.float64,
    st.integers(1, 40),
    elements=st.floats(-1e6, 1e6) | st.just(float("nan")) | st.integers(0, 2).map(float),
)


def profile() -> ReferenceProfile:
    return build_profile(
        {
            "size": np.array([1.0, 2, 3, 4]),
            "colour": np.array(["red", "red", "blue", None], object),
        },
        np.array([0, 1, 1, 1]),
        data_hash=HASH,
        created_at=NOW,
        classification=True,
        buckets=4,
    )


def test_quantile_buckets_hold_equal_shares() -> None:
    size = describe("size", np.arange(1.0, 101.0), buckets=4)
    assert isinstance(size, NumericDistribution)
    assert size.edges == (26.0, 51.0, 76.0)
    assert size.shares == (0.26, 0.25, 0.25, 0.24, 0.0)
    assert size.labels == ("(-Inf,26]", "(26,51]", "(51,76]", "(76,+Inf]", "missing")


def test_an_edge_belongs_to_the_bucket_below() -> None:
    size = NumericDistribution(name="size", edges=(1, 2), shares=(1, 0, 0, 0))
    values = np.array([-np.inf, 1, 1.5, 2, 2.5, np.inf, np.nan])
    assert size.index(values).tolist() == [0, 0, 1, 1, 2, 2, 3]


def test_few_distinct_values_give_a_bucket_each() -> None:
    flag = describe("flag", np.array([0.0] * 70 + [1.0] * 30))
    assert isinstance(flag, NumericDistribution)
    assert flag.edges == (0.0, 1.0)
    assert flag.shares == (0.7, 0.3, 0.0, 0.0)


def test_a_column_without_a_value_is_all_missing() -> None:
    nothing = describe("nothing", np.array([np.nan, np.nan]))
    assert nothing.labels == ("(-Inf,+Inf]", "missing")
    assert nothing.shares == (0.0, 1.0)


def test_categories_by_frequency_then_other_and_missing() -> None:
    colour = describe_categories("colour", np.array(["b", "a", "a", None, "missing"], object))
    assert colour.labels == ("a", "b", "other", "missing")
    assert colour.shares == pytest.approx((0.4, 0.2, 0.2, 0.2))
    assert colour.index(np.array(["a", "zzz", None], object)).tolist() == [0, 2, 3]


@pytest.mark.parametrize("value", [1, 1.0, True, np.int64(1), np.float32(1), np.bool_(True), "1"])
def test_a_class_is_the_same_from_every_library(value: object) -> None:
    assert category(value) == "1"


@given(FLOATS)
def test_every_row_is_in_exactly_one_bucket(values: np.ndarray) -> None:
    column = describe("x", values, buckets=5)
    found = column.index(values)
    assert found.min() >= 0
    assert found.max() < len(column.labels)
    assert np.bincount(found, minlength=len(column.labels)) / len(values) == pytest.approx(
        column.shares
    )


@given(st.lists(FLOATS, min_size=1, max_size=4), st.data())
def test_all_columns_at_once_as_one_by_one(columns: list[np.ndarray], data: st.DataObject) -> None:
    described = [describe(str(i), column, buckets=3 + i) for i, column in enumerate(columns)]
    numeric = [column for column in described if isinstance(column, NumericDistribution)]
    rows = data.draw(
        arrays(
            np.float64,
            (3, len(numeric)),
            elements=st.floats(-10, 10) | st.sampled_from([float("nan"), float("inf"), 1.0]),
        )
    )
    together = FeatureIndex(numeric).buckets(rows)
    for position, column in enumerate(numeric):
        assert together[:, position].tolist() == column.index(rows[:, position]).tolist()


def test_file_round_trip(tmp_path: Path) -> None:
    path = profile().write(tmp_path)
    assert path == tmp_path / PROFILE_FILE
    assert ReferenceProfile.read(path) == profile()


def test_predictions_as_classes_or_as_quantiles() -> None:
    assert isinstance(profile().predictions, CategoricalDistribution)
    prices = build_profile(
        {}, np.array([1.0, 2.0]), data_hash=HASH, created_at=NOW, classification=False
    )
    assert isinstance(prices.predictions, NumericDistribution)


def test_a_wrong_file_names_all_problems(tmp_path: Path) -> None:
    path = tmp_path / PROFILE_FILE
    path.write_text(profile().model_dump_json().replace('"rows":4', '"rows":0,"extra":1'))
    with pytest.raises(ConfigError) as caught:
        ReferenceProfile.read(path)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("edges", "shares", "message"),
    [
        ((1.0,), (1.0, 0.0), "2 shares for 3 buckets"),
        ((1.0,), (0.5, 0.0, 0.0), "add up"),
        ((2.0, 1.0), (1.0, 0.0, 0.0, 0.0), "ascend"),
        ((1.0, float("inf")), (1.0, 0.0, 0.0, 0.0), "finite"),
    ],
)
def test_impossible_distributions_are_refused(
    edges: tuple[float, ...], shares: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        NumericDistribution(name="x", edges=edges, shares=shares)


def test_no_rows_or_ragged_columns_are_refused() -> None:
    for features, predictions in [({}, np.array([])), ({"x": np.ones(2)}, np.ones(3))]:
        with pytest.raises(ValueError, match="at least one row"):
            build_profile(
                features, predictions, data_hash=HASH, created_at=NOW, classification=False
            )
