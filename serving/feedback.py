"""True labels that arrive later, matched with the predictions they belong to."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any, Final, Literal

from models.reference_profile import category
from serving.errors import Refusal, invalid

LabelOutcome = Literal["correct", "incorrect", "unmatched", "duplicate"]
LABEL_OUTCOMES: Final[tuple[LabelOutcome, ...]] = (
    "correct",
    "incorrect",
    "unmatched",
    "duplicate",
)


class PredictionMemory:
    """The last requests' predictions, until their labels come.

    Only the process that served a request knows it: with several replicas behind one address a
    label may reach another pod and is then counted as unmatched. The prediction log's sink, which
    sees all of them, will replace this.
    """

    def __init__(self, capacity: int) -> None:
        """Makes an empty memory.

        Args:
            capacity: how many requests it holds; the oldest are forgotten first.
        """
        self._capacity = capacity
        self._predictions: OrderedDict[str, list[Any]] = OrderedDict()

    def remember(self, request_id: str, predictions: Sequence[Any]) -> None:
        """Keeps a request's predictions, one a row; a repeated id (a retry) keeps the later."""
        self._predictions[request_id] = list(predictions)
        if len(self._predictions) > self._capacity:
            self._predictions.popitem(last=False)

    def judge(self, request_id: str, row: int, label: object) -> LabelOutcome:
        """Compares a label with what was predicted; classes 1, 1.0 and "1" are the same."""
        predictions = self._predictions.get(request_id)
        if predictions is None or not 0 <= row < len(predictions):
            return "unmatched"
        predicted, predictions[row] = predictions[row], _LABELLED
        if predicted is _LABELLED:
            return "duplicate"
        return "correct" if category(predicted) == category(label) else "incorrect"

    def take(self, payload: object) -> Counter[LabelOutcome]:
        """Judges the labels of `{"labels": [{"id": request id, "row": 0, "label": ...}, ...]}`.

        Raises:
            Refusal: 400; then no label was taken.
        """
        labels = payload.get("labels") if isinstance(payload, dict) else None
        if not isinstance(labels, list):
            raise Refusal(400, "client_error", 'the body must be {"labels": [...]}')
        problems = [
            {
                "row": position,
                "problem": "is not a label",
                "allowed": '{"id": request id, "row": row of that request, 0 by default,'
                ' "label": text, number, true or false}',
            }
            for position, label in enumerate(labels)
            if not _is_label(label)
        ]
        if problems:
            raise invalid(problems)
        return Counter(
            self.judge(label["id"], label.get("row", 0), label["label"]) for label in labels
        )


_LABELLED = object()


def _is_label(item: object) -> bool:
    return (
        isinstance(item, dict)
        and isinstance(item.get("id"), str)
        and type(item.get("row", 0)) is int
        and isinstance(item.get("label"), str | int | float | bool)
    )
