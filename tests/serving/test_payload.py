from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import MAX_PROBLEMS, Refusal
from serving.payload import Tensor, rows_of_v1, rows_of_v2
from serving.signature import KINDS, Column, Signature

NUMBERS = Signature((Column("a", KINDS["double"]), Column("b", KINDS["double"])))
MIXED = Signature(
    (
        Column("size", KINDS["double"]),
        Column("count", KINDS["long"]),
        Column("name", KINDS["string"], required=False),
        Column("flag", KINDS["boolean"]),
    )
)
MATRIX = Signature((Column("column 0", KINDS["double"]),) * 2, named=False)


def problems_v1(payload: object, signature: Signature = NUMBERS) -> list[dict[str, Any]]:
    with pytest.raises(Refusal) as caught:
        rows_of_v1(payload, signature)
    assert caught.value.status == 400
    assert caught.value.outcome == "client_error"
    return [dict(problem) for problem in caught.value.problems]


def problems_v2(*tensors: Tensor, signature: Signature = NUMBERS) -> list[dict[str, Any]]:
    with pytest.raises(Refusal) as caught:
        rows_of_v2(tensors, signature)
    assert caught.value.status == 400
    return [dict(problem) for problem in caught.value.problems]


@given(
    st.lists(
        st.lists(st.floats(allow_nan=False) | st.integers(), min_size=2, max_size=2), min_size=1
    )
)
def test_both_protocols_and_all_forms_give_the_same_rows(rows: list[list[float]]) -> None:
    count = len(rows)
    objects = [{"b": row[1], "a": row[0], "unknown": "x"} for row in rows]
    flat = [value for row in rows for value in row]
    columns = list(zip(*rows, strict=True))
    forms = [
        rows_of_v1({"instances": rows}, NUMBERS),
        rows_of_v1({"instances": objects}, NUMBERS),
        rows_of_v2([Tensor("any", [count, 2], "FP64", rows)], NUMBERS),
        rows_of_v2([Tensor("any", [count, 2], "FP32", flat)], NUMBERS),
        rows_of_v2(
            [
                Tensor("b", [count], "FP64", list(columns[1])),
                Tensor("a", [count, 1], "INT64", [[value] for value in columns[0]]),
            ],
            NUMBERS,
        ),
    ]
    assert [[list(row) for row in form] for form in forms] == [rows] * len(forms)


def test_mixed_types_and_an_optional_column() -> None:
    rows = rows_of_v1({"instances": [{"size": 1, "count": 2, "flag": True}]}, MIXED)
    assert rows == [[1, 2, None, True]]
    assert rows_of_v1({"instances": [[None, 2, "x", False]]}, MIXED) == [[None, 2, "x", False]]


@pytest.mark.parametrize(
    "payload", [b"\0raw", None, [], {}, {"instances": []}, {"instances": "x"}, {"inputs": [[1, 2]]}]
)
def test_a_body_of_another_form_is_refused(payload: object) -> None:
    with pytest.raises(Refusal, match="instances") as caught:
        rows_of_v1(payload, NUMBERS)
    assert caught.value.status == 400


def test_all_problems_at_once_with_row_column_and_what_is_allowed() -> None:
    found = problems_v1({"instances": [["1", True], {"a": 1, "B": 2}, [1], 7, [1, 2]]})
    number = "a number or null"
    assert found == [
        {"row": 1, "column": "b", "problem": "missing; unknown columns here: B", "allowed": number},
        {"row": 2, "problem": "has 1 values", "allowed": "2 values: a, b"},
        {"row": 3, "problem": "is an integer", "allowed": "a list of values or {column: value}"},
        {"row": 0, "column": "a", "problem": "is text", "allowed": number},
        {"row": 0, "column": "b", "problem": "is true or false", "allowed": number},
    ]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("count", 1.5),
        ("count", True),
        ("count", 2**63),
        ("count", None),
        ("name", 1),
        ("flag", 0),
        ("flag", "true"),
        ("size", {}),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(column: str, value: object) -> None:
    row = {"size": 1.0, "count": 1, "name": "x", "flag": True, column: value}
    (problem,) = problems_v1({"instances": [row]}, MIXED)
    assert problem["column"] == column


def test_messages_hold_no_values() -> None:
    found = problems_v1({"instances": [["secret-4711", 1.0]]})
    assert "4711" not in str(found)


def test_many_problems_are_counted_and_the_first_listed() -> None:
    with pytest.raises(Refusal) as caught:
        rows_of_v1({"instances": [["x", "y"]] * 30}, NUMBERS)
    body = caught.value.body("id")
    assert body["error"] == "the input has 60 problems (the first 20 are listed, 40 more)"
    assert isinstance(body["problems"], list)
    assert len(body["problems"]) == MAX_PROBLEMS


def test_a_bare_matrix_takes_no_names() -> None:
    assert rows_of_v1({"instances": [[1, 2]]}, MATRIX) == [[1, 2]]
    assert problems_v1({"instances": [{"a": 1}]}, MATRIX)[0]["allowed"] == "a list of values"


@pytest.mark.parametrize(
    ("tensors", "what"),
    [
        ([], "missing"),
        ([Tensor("a", [1], "FP64", [1.0])], "missing"),
        ([Tensor("x", [2, 2], "FP64", [1, 2, 3])], "shape [2, 2] with 3 values"),
        ([Tensor("x", [0, 2], "FP64", [])], "shape [0, 2] with 0 values"),
        ([Tensor("x", [1, 2], "BYTES", ["1", "2"])], "has data type BYTES"),
        ([Tensor("x", [1, 2], "FP64", [1, "2"])], "is text"),
        (
            [Tensor("a", [2], "FP64", [1, 2]), Tensor("b", [1], "FP64", [1])],
            "shape [1] with 1 values",
        ),
        ([Tensor("a", [1], "FP64", [1])] * 2, "several tensors of one name"),
        ([Tensor("a", [], "FP64", []), Tensor("b", [], "FP64", [])], "shape [] with 0 values"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(tensors: list[Tensor], what: str) -> None:
    assert what in [problem["problem"] for problem in problems_v2(*tensors)]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abx"), inner),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(VALUES | st.fixed_dictionaries({"instances": VALUES}))
def test_whatever_comes_is_rows_or_a_refusal(payload: object) -> None:
    for signature in (NUMBERS, MIXED, MATRIX):
        try:
            rows = rows_of_v1(payload, signature)
        except Refusal:
            continue
        assert all(len(row) == len(signature.columns) for row in rows)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            Tensor,
            st.sampled_from("abx"),
            st.lists(st.integers(-1, 3), max_size=3),
            st.sampled_from(["FP64", "BYTES", "?"]),
            st.lists(VALUES, max_size=4),
        ),
        max_size=3,
    )
)
def test_whatever_tensors_come_are_rows_or_a_refusal(tensors: list[Tensor]) -> None:
    for signature in (NUMBERS, MIXED, MATRIX):
        try:
            rows = rows_of_v2(tensors, signature)
        except Refusal:
            continue
        assert all(len(row) == len(signature.columns) for row in rows)
