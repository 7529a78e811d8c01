"""Moves as pull requests: one branch and one request a service, always base and one commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from models.stack import load_stack
from rollout import history
from rollout.declare import write_edit
from rollout.drift_check import Outcome
from rollout.edits import is_revert
from rollout.evidence_page import body, commit_message, title
from rollout.plan import BOT
from rollout.requests import Checkout, Requests, Text

Decide = Callable[[Path], Sequence[Outcome]]
"""Does a dry run of drift-check on a stack file."""


@dataclass(frozen=True)
class Proposed:
    """What became of a service.

    Attributes:
        service: its name.
        what: `pushed`: the move is on the base branch, without a request.
        url: of the request's page; None of `pushed`.
    """

    service: str
    what: Literal["opened", "updated", "closed", "pushed"]
    url: str | None


@dataclass(frozen=True)
class Proposal:
    """How moves of a stack are proposed.

    Attributes:
        requests: where they are opened.
        file: the stack file in the working tree that this runs in.
        stack: name of the stack.
        push_reverts: push a revert to the base branch, without a request.
        evidence_url: of a page with plots, if there is one.
    """

    requests: Requests
    file: Path
    stack: str
    push_reverts: bool = False
    evidence_url: str | None = None

    def make(self, decide: Decide) -> tuple[list[Outcome], list[Proposed]]:
        """Decides on the stack file as it is on the base branch now, and proposes what it gives.

        Reverts come first. What gives no move any more is closed.

        Raises:
            GitError: git or the server refused; what was proposed before stays.
        """
        with self.requests.checkout() as checkout:
            outcomes = list(decide(checkout.path(self.file)))
            moving = [it for it in outcomes if it.edit]
            moving.sort(key=lambda it: not (it.edit and is_revert(it.edit)))
            done = [self._propose(it, checkout) for it in moving]
            there = self.requests.branches(f"modelramp/{self.stack}/*")
            still = [it for it in outcomes if not it.edit and self._branch(it.service) in there]
            done += [found for it in still for found in self._withdraw(it.service, _why(it))]
        return outcomes, done

    def _branch(self, service: str) -> str:
        return f"modelramp/{self.stack}/{service}"

    def _propose(self, outcome: Outcome, checkout: Checkout) -> Proposed:
        assert outcome.edit is not None  # noqa: S101  chosen by it
        service, message = outcome.service, commit_message(outcome)
        commit = self._commit(outcome, message, checkout)
        if self.push_reverts and is_revert(outcome.edit) and self.requests.push_to_base(commit):
            self._withdraw(service, f"taken back by {commit}")
            return Proposed(service, "pushed", None)
        page = body(outcome, self.stack, self.evidence_url)
        text = Text(message, title(outcome, self.stack), page)
        put = self.requests.put(self._branch(service), commit, checkout.start, text)
        return Proposed(service, put.what, put.url)

    def _commit(self, outcome: Outcome, message: str, checkout: Checkout) -> str:
        """Returns a commit of the edit on top of the base branch."""
        assert outcome.edit is not None  # noqa: S101  chosen by it
        checkout.reset()
        file, name, now = checkout.path(self.file), outcome.service, datetime.now(UTC)
        seen, verdict = load_stack(file), outcome.verdict
        write_edit(file, self.stack, name, seen, outcome.edit, now, by=BOT, verdict=verdict)
        return checkout.commit([file, history.history_path(file, self.stack, name)], message)

    def _withdraw(self, service: str, why: str) -> list[Proposed]:
        closed = self.requests.withdraw(self._branch(service), why)
        return [Proposed(service, "closed", url) for url in closed]


def _why(outcome: Outcome) -> str:
    verdict = outcome.verdict
    said = f"{verdict.kind}: {verdict.reason}" if verdict else "no rollout is going on"
    return f"drift-check finds no move any more. {said}"
