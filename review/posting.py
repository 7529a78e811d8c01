"""One comment a stack on a pull request, changed in place."""

from __future__ import annotations

from typing import Literal

from models.errors import GitError
from review.comment import marker
from rollout.forge import Comment, Forge, UnsureError

_TRIES = 3


def post(forge: Forge, number: int, stack: str, body: str) -> Literal["made", "changed", "same"]:
    """Makes or changes the stack's comment; there is never a second one.

    Where it is not sure that a comment was made, all comments are looked at again.

    Args:
        forge: of the repository.
        number: of the pull request.
        stack: its name.
        body: begins with the stack's marker.

    Raises:
        ForbiddenError: the token may not.
        GitError: the server refused, or did not answer.
    """
    for left in reversed(range(_TRIES)):
        there = _own(forge.comments(number), stack)
        try:
            if there is None:
                forge.comment(number, body)
                return "made"
            if there.body.replace("\r\n", "\n").strip() == body.strip():
                return "same"
            forge.change_comment(number, there, body)
        except UnsureError:
            if not left:
                raise
        else:
            return "changed"
    raise GitError("no comment could be made")


def _own(comments: list[Comment], stack: str) -> Comment | None:
    """Returns the stack's comment: anybody may write a marker, so a bot's comes first."""
    found = [it for it in comments if it.body.startswith(marker(stack))]
    return next(iter(sorted(found, key=lambda it: not it.by_bot)), None)
