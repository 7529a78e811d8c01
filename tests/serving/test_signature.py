from __future__ import annotations

import json
from typing import Any

import pytest

from models.errors import ConfigError
from serving.signature import Signature, read_signature


def read(*inputs: dict[str, Any]) -> Signature:
    return read_signature({"signature": {"inputs": json.dumps(inputs)}}, "MLmodel")


def test_columns_with_types_in_order() -> None:
    signature = read(
        {"type": "double", "name": "size", "required": True},
        {"type": "string", "name": "colour", "required": False},
    )
    assert signature.names == ("size", "colour")
    assert [column.required for column in signature.columns] == [True, False]
    assert signature.named
    assert not signature.only_doubles


def test_a_matrix_has_columns_without_names() -> None:
    signature = read({"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 3]}})
    assert len(signature.columns) == 3
    assert not signature.named
    assert signature.only_doubles


@pytest.mark.parametrize("mlmodel", [{}, {"signature": None}, {"signature": {"inputs": None}}])
def test_no_signature_is_an_error_that_says_what_to_do(mlmodel: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="log the model with one"):
        read_signature(mlmodel, "MLmodel")


@pytest.mark.parametrize("shape", [[-1], [-1, 2, 2], [5, 2], [-1, -1]])
def test_other_tensors_are_an_error(shape: list[int]) -> None:
    with pytest.raises(ConfigError, match="not served"):
        read({"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": shape}})


def test_all_columns_of_unknown_type_are_named() -> None:
    with pytest.raises(ConfigError) as caught:
        read({"type": "array", "name": "x"}, {"type": "double", "name": "y"}, {"type": "double"})
    assert [problem.where for problem in caught.value.problems] == [
        "MLmodel: signature.inputs.x",
        "MLmodel: signature.inputs.2",
    ]
