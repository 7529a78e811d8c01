"""The reference profile: how features and predictions were distributed at training time.

It is stored inside the model's artifact folder (`PROFILE_FILE`), so it travels with the model: the
digest covers it, and KServe's storage initializer brings it along.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.errors import ConfigError, Problem

PROFILE_FILE = "reference_profile.json"
MISSING = "missing"
OTHER = "other"
DEFAULT_BUCKETS = 10
MAX_CATEGORIES = 50

Column = npt.NDArray[Any]
Share = Annotated[float, Field(ge=0, le=1)]


class _Distribution(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    shares: tuple[Share, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The buckets' names in the order of `shares`; the last one is `missing`."""
        raise NotImplementedError

    def index(self, values: Column) -> npt.NDArray[np.intp]:
        """Returns each value's bucket, an index into `labels` and `shares`, of the shape (n,)."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.shares) != len(self.labels):
            raise ValueError(
                f"{len(self.shares)} shares for {len(self.labels)} buckets; one share a bucket"
            )
        if not math.isclose(sum(self.shares), 1, abs_tol=1e-6):
            raise ValueError(f"shares add up to {sum(self.shares):g}; they must add up to 1")
        return self


class NumericDistribution(_Distribution):
    """A numeric column in buckets, each open below and closed above: `(low, high]`.

    Attributes:
        edges: the finite edges, ascending; below the first and above the last are the outer
            buckets. n edges make n + 1 buckets, and one more for missing values.
    """

    kind: Literal["numeric"] = "numeric"
    edges: tuple[float, ...]

    @cached_property
    def labels(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """`(-Inf,1.5]`, `(1.5,2]`, `(2,+Inf]`, `missing`."""
        bounds = ["-Inf", *(f"{edge:.6g}" for edge in self.edges), "+Inf"]
        return (*(f"({low},{high}]" for low, high in pairwise(bounds)), MISSING)

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if not all(map(math.isfinite, self.edges)):
            raise ValueError("edges must be finite; the outer buckets are implied")
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError("edges must ascend, without repetition")
        return self

    def index(self, values: Column) -> npt.NDArray[np.intp]:
        """Returns each value's bucket, of the shape (n,); NaN and None are `missing`."""
        numbers = np.asarray(values, dtype=np.float64)
        found = np.searchsorted(self.edges, numbers, side="left")
        return np.where(np.isnan(numbers), len(self.edges) + 1, found)


class CategoricalDistribution(_Distribution):
    """A column of categories: text, truth values, class labels.

    Attributes:
        categories: the known ones, most frequent first; all the rest falls into `other`.
    """

    kind: Literal["categorical"] = "categorical"
    categories: tuple[str, ...]

    @cached_property
    def labels(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The categories, then `other`, then `missing`."""
        return (*self.categories, OTHER, MISSING)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {category: position for position, category in enumerate(self.categories)}

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(
                f"categories must be distinct, and none may be named {OTHER} or {MISSING}"
            )
        return self

    def index(self, values: Column) -> npt.NDArray[np.intp]:
        """Returns each value's bucket, of the shape (n,)."""
        rest = len(self.categories)
        return np.array(
            [
                rest + 1 if _is_missing(value) else self._positions.get(category(value), rest)
                for value in values.tolist()
            ],
            dtype=np.intp,
        )


Distribution = Annotated[NumericDistribution | CategoricalDistribution, Field(discriminator="kind")]


class ReferenceProfile(BaseModel):
    """What a model saw and said at training time.

    Attributes:
        features: one distribution a column, in the order of the model's signature.
        predictions: the distribution of the model's own predictions on the same rows: a share a
            class, or quantile buckets of a regression.
        rows: how many training rows it was made from.
        created_at: when it was made, with a time zone.
        data_hash: the hash of the training data, as in the registry's tags.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    features: tuple[Distribution, ...]
    predictions: Distribution
    rows: Annotated[int, Field(gt=0)]
    created_at: datetime
    data_hash: str

    @classmethod
    def read(cls, path: Path) -> ReferenceProfile:
        """Reads a profile file.

        Raises:
            ConfigError: the file does not hold a valid profile; all problems at once.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise ConfigError(
                [
                    Problem(f"{path}: {'.'.join(map(str, item['loc'])) or 'whole'}", item["msg"])
                    for item in error.errors()
                ]
            ) from None

    def write(self, folder: Path) -> Path:
        """Writes the profile into a model's artifact folder and returns the file's path."""
        path = folder / PROFILE_FILE
        path.write_text(self.model_dump_json(indent=1) + "\n")
        return path


def build_profile(
    features: Mapping[str, Column],
    predictions: Column,
    *,
    data_hash: str,
    created_at: datetime,
    classification: bool,
    buckets: int = DEFAULT_BUCKETS,
) -> ReferenceProfile:
    """Makes the profile of training data and of the model's predictions on it.

    Args:
        features: by column name, arrays of the shape (rows,); numbers get quantile buckets,
            all else (text, truth values) categories. A pandas DataFrame passes as
            `{name: frame[name].to_numpy() for name in frame}`.
        predictions: of the shape (rows,).
        data_hash: the hash of the training data.
        created_at: the present time, with a time zone.
        classification: whether predictions are classes, even if these are numbers.
        buckets: how many quantile buckets a numeric column gets, before equal edges are merged.

    Raises:
        ValueError: no rows, or columns of different lengths.
    """
    rows = len(predictions)
    if rows == 0 or any(len(column) != rows for column in features.values()):
        raise ValueError("a profile needs at least one row, and columns of one length")
    return ReferenceProfile(
        features=tuple(
            describe(name, column, buckets=buckets) for name, column in features.items()
        ),
        predictions=(
            describe_categories("prediction", predictions)
            if classification
            else describe("prediction", predictions, buckets=buckets)
        ),
        rows=rows,
        created_at=created_at,
        data_hash=data_hash,
    )


def describe(name: str, values: Column, *, buckets: int = DEFAULT_BUCKETS) -> Distribution:
    """Returns the distribution of a column of the shape (n,): numeric if its values are numbers."""
    if not np.issubdtype(values.dtype, np.number):
        return describe_categories(name, values)
    numbers = values.astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    # `higher` gives edges that occur in the data, so a column of few distinct values (0 and 1)
    # gets one bucket a value instead of edges between them.
    quantiles = (
        np.quantile(finite, np.linspace(0, 1, buckets + 1)[1:-1], method="higher")
        if (finite.size)
        else np.empty(0)
    )
    edges = tuple(float(edge) for edge in np.unique(quantiles))
    empty = NumericDistribution(name=name, edges=edges, shares=_all_in_last(len(edges) + 2))
    return empty.model_copy(update={"shares": _shares(empty, numbers)})


def describe_categories(name: str, values: Column) -> CategoricalDistribution:
    """Returns the shares of the most frequent values of a column of the shape (n,)."""
    present = [category(value) for value in values.tolist() if not _is_missing(value)]
    names, counts = np.unique(np.array(present, dtype=np.str_), return_counts=True)
    reserved = {OTHER, MISSING}
    ranked = [str(names[position]) for position in np.argsort(-counts, kind="stable")]
    categories = tuple(name for name in ranked if name not in reserved)[:MAX_CATEGORIES]
    empty = CategoricalDistribution(
        name=name, categories=categories, shares=_all_in_last(len(categories) + 2)
    )
    return empty.model_copy(update={"shares": _shares(empty, values)})


def category(value: object) -> str:
    """Returns a value's category: classes 1, 1.0 and True from different libraries are one."""
    if isinstance(value, (bool, np.bool_)):
        return str(int(value))
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


class FeatureIndex:
    """Indexes whole rows at once; what a server calls for every request."""

    def __init__(self, features: Sequence[NumericDistribution]) -> None:
        """Prepares the index.

        Args:
            features: the numeric ones, in the order of the columns that `buckets` will get.
        """
        widest = max((len(feature.edges) for feature in features), default=0)
        # NaN as padding: no value is above it, so it never counts.
        self._edges = np.full((len(features), widest), np.nan)
        for row, feature in enumerate(features):
            self._edges[row, : len(feature.edges)] = feature.edges
        self._missing = np.array([len(feature.edges) + 1 for feature in features], dtype=np.intp)

    def buckets(self, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
        """Returns the buckets of values of the shape (n, features), in the same shape."""
        found = (rows[:, :, None] > self._edges).sum(axis=2)
        return np.where(np.isnan(rows), self._missing, found)


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _all_in_last(buckets: int) -> tuple[float, ...]:
    return (*([0.0] * (buckets - 1)), 1.0)


def _shares(distribution: Distribution, values: Column) -> tuple[float, ...]:
    counts = np.bincount(distribution.index(values), minlength=len(distribution.labels))
    return tuple(float(share) for share in counts / len(values))
