"""The model's signature, read from `MLmodel`: which columns it takes, of which types."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from models.errors import ConfigError, Problem

_INTEGER_TENSORS = frozenset(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
_NUMBER_TENSORS = _INTEGER_TENSORS | {"FP16", "FP32", "FP64"}


@dataclass(frozen=True)
class Kind:
    """A type of values.

    Attributes:
        allowed: in words, for error messages.
        accepts: whether a JSON value that is not null is of this type.
        nullable: whether null, a missing value, is allowed.
        tensors: the data types of the v2 protocol that it can come as.
        dtype: the numpy data type that the model gets.
    """

    allowed: str
    accepts: Callable[[Any], bool]
    nullable: bool
    tensors: frozenset[str]
    dtype: str


def _integer(bits: int) -> Kind:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1)
    return Kind(
        f"an integer of {bits} bits",
        lambda value: type(value) is int and low <= value < high,
        nullable=False,
        tensors=_INTEGER_TENSORS,
        dtype=f"int{bits}",
    )


def _number(dtype: str) -> Kind:
    return Kind(
        "a number or null",
        lambda value: type(value) is float or type(value) is int,
        nullable=True,
        tensors=_NUMBER_TENSORS,
        dtype=dtype,
    )


def _is_time(value: object) -> bool:
    try:
        datetime.fromisoformat(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        return False
    return True


NUMBER: Final = _number("float64")

# By the names of MLflow's column types.
KINDS: Final[Mapping[str, Kind]] = {
    "double": NUMBER,
    "float": _number("float32"),
    "long": _integer(64),
    "integer": _integer(32),
    "boolean": Kind(
        "true or false", lambda value: type(value) is bool, False, frozenset({"BOOL"}), "bool"
    ),
    "string": Kind(
        "text or null", lambda value: type(value) is str, True, frozenset({"BYTES"}), "object"
    ),
    "datetime": Kind("a time in ISO 8601", _is_time, False, frozenset({"BYTES"}), "datetime64[ns]"),
}


@dataclass(frozen=True)
class Column:
    """One column; one that is not required may be left out, which means null."""

    name: str
    kind: Kind
    required: bool = True

    def accepts(self, value: object) -> bool:
        """Whether a JSON value may stand in this column."""
        if value is None:
            return self.kind.nullable or not self.required
        return self.kind.accepts(value)


@dataclass(frozen=True)
class Signature:
    """The columns in the model's order.

    Attributes:
        columns: at least one.
        named: false for a model trained on a bare matrix, whose columns have no names.
    """

    columns: tuple[Column, ...]
    named: bool = True

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def only_doubles(self) -> bool:
        """Whether all columns are 64-bit numbers: the common case, which goes a faster way."""
        return all(column.kind is NUMBER for column in self.columns)


def read_signature(mlmodel: Mapping[str, Any], where: str) -> Signature:
    """Reads the signature of a parsed `MLmodel` file.

    Args:
        mlmodel: the file's content.
        where: the file's name, for error messages.

    Raises:
        ConfigError: no signature, or types that this server cannot take; all problems at once.
    """
    text = (mlmodel.get("signature") or {}).get("inputs")
    if not text:
        raise ConfigError(
            [Problem(where, "no signature; log the model with one, so inputs can be checked")]
        )
    inputs: list[dict[str, Any]] = json.loads(text)
    if len(inputs) == 1 and inputs[0].get("type") == "tensor":
        return _matrix(inputs[0]["tensor-spec"], where)
    problems = [
        Problem(
            f"{where}: signature.inputs.{item.get('name', position)}",
            f"type {item.get('type')} is not served; allowed are {', '.join(KINDS)}"
            " with a name, or one matrix of numbers",
        )
        for position, item in enumerate(inputs)
        if item.get("type") not in KINDS or "name" not in item
    ]
    if problems:
        raise ConfigError(problems)
    return Signature(
        tuple(
            Column(item["name"], KINDS[item["type"]], item.get("required", True)) for item in inputs
        )
    )


def _matrix(spec: Mapping[str, Any], where: str) -> Signature:
    shape: list[int] = spec["shape"]
    kind = KINDS.get(
        {"float64": "double", "float32": "float", "int64": "long"}.get(spec["dtype"], "")
    )
    if kind is None or len(shape) != 2 or shape[0] != -1 or shape[1] < 1:
        raise ConfigError(
            [
                Problem(
                    f"{where}: signature.inputs",
                    f"a tensor of {spec['dtype']} and shape {shape} is not served; allowed is a"
                    " matrix of float64, float32 or int64 and shape [-1, columns]",
                )
            ]
        )
    return Signature(
        tuple(Column(f"column {index}", kind) for index in range(shape[1])), named=False
    )
