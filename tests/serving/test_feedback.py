from __future__ import annotations

from typing import Any

import pytest

from serving.errors import Refusal
from serving.feedback import PredictionMemory


def memory(capacity: int = 10) -> PredictionMemory:
    made = PredictionMemory(capacity)
    made.remember("r1", [1, 0])
    return made


def label(request_id: str, row: int, value: object) -> dict[str, Any]:
    return {"id": request_id, "row": row, "label": value}


def test_each_label_is_judged_once() -> None:
    counts = memory().take(
        {
            "labels": [
                label("r1", 0, 1),
                label("r1", 1, 1),
                label("r1", 0, 1),
                label("r1", 2, 1),
                label("r1", -1, 1),
                label("other", 0, 1),
            ]
        }
    )
    assert counts == {"correct": 1, "incorrect": 1, "duplicate": 1, "unmatched": 3}


@pytest.mark.parametrize("value", [1, 1.0, "1", True])
def test_a_class_is_the_same_as_number_or_text(value: object) -> None:
    assert memory().judge("r1", 0, value) == "correct"


def test_the_row_may_be_left_out() -> None:
    assert memory().take({"labels": [{"id": "r1", "label": 1}]}) == {"correct": 1}


def test_the_oldest_requests_are_forgotten() -> None:
    small = memory(capacity=1)
    small.remember("r2", [1])
    assert small.judge("r1", 0, 1) == "unmatched"
    assert small.judge("r2", 0, 1) == "correct"


@pytest.mark.parametrize("payload", [None, [], {}, {"labels": {}}, {"labels": "x"}])
def test_another_form_is_refused(payload: object) -> None:
    with pytest.raises(Refusal, match="labels"):
        memory().take(payload)


def test_one_wrong_label_refuses_all_and_each_is_named() -> None:
    kept = memory()
    wrong = [label("r1", 0, 1), {"id": 1, "label": 1}, {"id": "r1"}, label("r1", 0, []), "x"]
    with pytest.raises(Refusal) as caught:
        kept.take({"labels": wrong})
    assert [problem["row"] for problem in caught.value.problems] == [1, 2, 3, 4]
    assert kept.judge("r1", 0, 1) == "correct"
