"""Tells those whom a stack names of what its rollouts did."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from local.home import Home
from models.stack import Stack
from rollout.drift_check import Outcome
from rollout.notices import notices
from rollout.plan import BOT
from scripts.registry import warn


def tell(
    home: Home, stack_name: str, stack: Stack, outcomes: Iterable[Outcome], *, by: str = BOT
) -> None:
    """Tells receivers of what was decided; whatever becomes of it, it only warns.

    Args:
        home: the project.
        stack_name: of the stack.
        stack: as it was when it was decided.
        outcomes: what was decided, and written.
        by: who or what decided.
    """
    if stack.notifications is None:
        return
    from rollout.notify import notify  # noqa: PLC0415  most stacks need no HTTP client for it

    found = notices(stack_name, stack, outcomes, datetime.now(UTC), by=by)
    memory = home.path / "notified" / f"{stack_name}.json"
    notify(stack.notifications.receivers, found, memory, warn)
