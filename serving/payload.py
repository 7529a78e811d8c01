"""Requests of both protocols as rows of values that keep to the signature; pure functions.

A payload either becomes rows, each with one value a column in the signature's order, or is refused
with all its problems at once. Messages name types, never values: these may be personal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from serving.errors import Refusal, invalid
from serving.signature import Column, Signature

Row = Sequence[Any]
Report = dict[str, str | int]

_FAST = {float, int}
_MATRIX_RANK = 2
_JSON_NAMES: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "an integer",
    float: "a number with a fraction",
    type(None): "null",
}


class Tensor(NamedTuple):
    """One input of the v2 protocol."""

    name: str
    shape: Sequence[int]
    datatype: str
    data: Sequence[Any]


def rows_of_v1(payload: object, signature: Signature) -> list[Row]:
    """Reads `{"instances": [[value, ...], ...]}` or `{"instances": [{column: value}, ...]}`.

    Columns that the signature does not know are ignored, because one client sends one request to
    versions with different columns.

    Raises:
        Refusal: 400, with every problem's row, column and what is allowed.
    """
    instances = payload.get("instances") if isinstance(payload, dict) else None
    if not isinstance(instances, list) or not instances:
        raise Refusal(
            400,
            "client_error",
            'the body must be {"instances": [...]} with at least one row',
        )
    width = len(signature.columns)
    if signature.only_doubles and all(
        type(row) is list and len(row) == width and _FAST.issuperset(map(type, row))
        for row in instances
    ):
        return instances
    problems: list[Report] = []
    rows = [
        _row(number, instance, signature, problems) for number, instance in enumerate(instances)
    ]
    _check(rows, signature.columns, problems)
    if problems:
        raise invalid(problems)
    return [row for row in rows if row is not None]


def rows_of_v2(tensors: Sequence[Tensor], signature: Signature) -> list[Row]:
    """Reads one tensor a column, of shape [n] or [n, 1], or all columns as one of [n, columns].

    Raises:
        Refusal: 400, with every problem's row, column and what is allowed.
    """
    width = len(signature.columns)
    problems: list[Report] = []
    if (
        len(tensors) == 1
        and len(tensors[0].shape) == _MATRIX_RANK
        and (tensors[0].shape[1] == width or not signature.named)
    ):
        rows = _rows_of_matrix(tensors[0], signature, problems)
    else:
        rows = _rows_of_columns(tensors, signature, problems)
    if not problems:
        _check(rows, signature.columns, problems)
    if problems:
        raise invalid(problems)
    return rows


def _row(number: int, instance: object, signature: Signature, problems: list[Report]) -> Row | None:
    if isinstance(instance, list):
        if len(instance) == len(signature.columns):
            return instance
        problems.append(
            {
                "row": number,
                "problem": f"has {len(instance)} values",
                "allowed": f"{len(signature.columns)} values: {', '.join(signature.names)}",
            }
        )
        return None
    if isinstance(instance, dict) and signature.named:
        problems.extend(
            {
                "row": number,
                "column": column.name,
                "problem": "missing" + _strangers(instance, signature),
                "allowed": column.kind.allowed,
            }
            for column in signature.columns
            if column.required and column.name not in instance
        )
        return [instance.get(column.name, _absent(column)) for column in signature.columns]
    problems.append(
        {
            "row": number,
            "problem": f"is {_JSON_NAMES[type(instance)]}",
            "allowed": "a list of values" + (" or {column: value}" if signature.named else ""),
        }
    )
    return None


class _Absent:
    """Stands for a required value that is missing, which is reported already."""


_ABSENT = _Absent()


def _absent(column: Column) -> _Absent | None:
    return _ABSENT if column.required else None


def _strangers(instance: Mapping[str, object], signature: Signature) -> str:
    unknown = sorted(set(instance) - set(signature.names))[:5]
    return f"; unknown columns here: {', '.join(unknown)}" if unknown else ""


def _check(rows: Iterable[Row | None], columns: Sequence[Column], problems: list[Report]) -> None:
    for number, row in enumerate(rows):
        for column, value in zip(columns, row or (), strict=False):
            if value is not _ABSENT and not column.accepts(value):
                problems.append(
                    {
                        "row": number,
                        "column": column.name,
                        "problem": f"is {_JSON_NAMES[type(value)]}",
                        "allowed": column.kind.allowed,
                    }
                )


def _rows_of_matrix(tensor: Tensor, signature: Signature, problems: list[Report]) -> list[Row]:
    count, width = tensor.shape
    for column in signature.columns:
        _check_datatype(tensor, column, problems)
    values = _flat(tensor.data, _MATRIX_RANK)
    if width != len(signature.columns) or count < 1 or len(values) != count * width:
        problems.append(
            {
                "tensor": tensor.name,
                "problem": f"shape {list(tensor.shape)} with {len(values)} values",
                "allowed": f"shape [rows, {len(signature.columns)}], as many values, 1 row or more",
            }
        )
        return []
    return [values[start : start + width] for start in range(0, len(values), width)]


def _rows_of_columns(
    tensors: Sequence[Tensor], signature: Signature, problems: list[Report]
) -> list[Row]:
    by_name = {tensor.name: tensor for tensor in tensors}
    if len(by_name) != len(tensors):
        problems.append({"problem": "several tensors of one name", "allowed": "one a column"})
    count = max((tensor.shape[0] if tensor.shape else 0 for tensor in tensors), default=0)
    values: list[Sequence[Any]] = []
    for column in signature.columns:
        tensor = by_name.get(column.name)
        if tensor is not None:
            values.append(_column(tensor, column, count, problems))
        elif column.required:
            problems.append(
                {
                    "column": column.name,
                    "problem": "missing" + _strangers(by_name, signature),
                    "allowed": f"a tensor of shape [rows], {column.kind.allowed};"
                    " or all columns as one tensor of shape [rows, columns]",
                }
            )
        else:
            values.append([None] * count)
    return [] if problems else list(zip(*values, strict=True))


def _column(tensor: Tensor, column: Column, count: int, problems: list[Report]) -> Sequence[Any]:
    _check_datatype(tensor, column, problems)
    values = _flat(tensor.data, _MATRIX_RANK)
    if list(tensor.shape) not in ([count], [count, 1]) or len(values) != count or count < 1:
        problems.append(
            {
                "column": column.name,
                "problem": f"shape {list(tensor.shape)} with {len(values)} values",
                "allowed": f"shape [{max(count, 1)}] or [{max(count, 1)}, 1], as many values",
            }
        )
    return values


def _check_datatype(tensor: Tensor, column: Column, problems: list[Report]) -> None:
    if tensor.datatype not in column.kind.tensors:
        problems.append(
            {
                "column": column.name,
                "problem": f"has data type {tensor.datatype[:20]}",
                "allowed": ", ".join(sorted(column.kind.tensors)),
            }
        )


def _flat(data: Sequence[Any], depth: int) -> list[Any]:
    """Flattens nested lists: v2 allows both `[1, 2, 3, 4]` and `[[1, 2], [3, 4]]`."""
    if depth <= 1 or not any(type(item) is list for item in data):
        return list(data)
    return [
        value
        for item in data
        for value in (_flat(item, depth - 1) if type(item) is list else [item])
    ]
