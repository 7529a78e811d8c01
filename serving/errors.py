"""What goes wrong with one request, as the client hears of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

Outcome = Literal["ok", "client_error", "error", "timeout", "overload"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("ok", "client_error", "error", "timeout", "overload")

MAX_PROBLEMS: Final = 20
"""More are counted, not listed."""


class Refusal(Exception):  # noqa: N818  it is an answer, not an accident
    """A request gets an error answer.

    Attributes:
        status: the HTTP status.
        outcome: as what the request is counted.
        message: one sentence for the client; never holds values of the request.
        problems: each thing wrong with the request: where, what, what is allowed.
    """

    def __init__(
        self,
        status: int,
        outcome: Outcome,
        message: str,
        problems: Sequence[Mapping[str, str | int]] = (),
    ) -> None:
        self.status = status
        self.outcome: Outcome = outcome
        self.message = message
        self.problems = problems
        super().__init__(message)

    def body(self, request_id: str) -> dict[str, object]:
        """Returns the JSON answer."""
        answer: dict[str, object] = {"error": self.message, "request_id": request_id}
        if self.problems:
            answer["problems"] = list(self.problems[:MAX_PROBLEMS])
        return answer


def invalid(problems: Sequence[Mapping[str, str | int]]) -> Refusal:
    """Returns the 400 for a payload with these problems."""
    more = len(problems) - MAX_PROBLEMS
    suffix = f" (the first {MAX_PROBLEMS} are listed, {more} more)" if more > 0 else ""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return Refusal(400, "client_error", f"the input has {count}{suffix}", problems)
