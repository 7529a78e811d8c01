"""Rounds of drift-check, and what follows each: commits, notices, `pulumi up`, the registry."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from local.home import Home
from models.errors import GitError, ModelrampError, StackFileError
from models.rollout import Rollout
from models.stack import Cluster, Stack, load_stack, parse_stack
from rollout import history
from rollout.collect import Metrics
from rollout.drift_check import Outcome, drift_check
from rollout.evidence_page import commit_message
from rollout.extends import extends
from rollout.forge import forge_of
from rollout.git import Repository
from rollout.proposal import Proposal
from rollout.requests import Requests
from scripts.endpoints import gateway_url, prometheus_url
from scripts.notify import tell
from scripts.pulumi_cli import Pulumi
from scripts.registry import follow_move, warn
from scripts.screen import ERRORS, ToolProgress

Show = Callable[[Sequence[Outcome]], None]


@dataclass(frozen=True)
class PullRequests:
    """How moves are proposed.

    Attributes:
        base: the branch they go to; the remote's default one if None.
        push_reverts: push a revert to it, without a request.
        evidence_url: of a page with plots, if there is one.
    """

    base: str | None
    push_reverts: bool
    evidence_url: str | None


@dataclass(frozen=True)
class Rounds:
    """What each round does.

    Attributes:
        home: the project.
        stack: name of the stack.
        file: the stack file.
        only: this service alone; all if None.
        dry_run: decide, but do nothing.
        commit: a commit for each edit.
        up: run `pulumi up` after an edit.
        pull_requests: propose moves of the base branch's file, and edit nothing here.
        plots: a page to write, with plots of what was decided on.
    """

    home: Home
    stack: str
    file: Path
    only: str | None
    dry_run: bool
    commit: bool
    up: bool
    pull_requests: PullRequests | None
    plots: Path | None

    def run(self, show: Show, *, up_is_due: bool = False) -> None:
        """Does one round.

        Args:
            show: is given what was decided, also where a later service ended the round.
            up_is_due: run `pulumi up` whether or not anything is edited: the last one failed.

        Raises:
            ModelrampError: something is wrong; what was edited and committed before it stays.
        """
        if self.pull_requests:
            self._propose(self.pull_requests, show)
            return
        repository = Repository.of(self.file.parent) if self.commit else None
        if repository:
            repository.check_committable([self.file, self.file.parent / "history" / self.stack])
        if self.up:
            check_goes_on(self.file)
        declared = load_stack(self.file)
        outcomes: list[Outcome] = []
        try:
            for outcome in self._decide(self.file, declared.cluster, dry_run=self.dry_run):
                outcomes.append(outcome)
                if repository and outcome.edit:
                    log = history.history_path(self.file, self.stack, outcome.service)
                    repository.commit([self.file, log], commit_message(outcome))
            self._draw(outcomes, declared)
        finally:
            show(outcomes)
            if not self.dry_run:
                tell(self.home, self.stack, declared, outcomes)
        edited = any(outcome.edit for outcome in outcomes)
        if self.up and (edited or up_is_due):
            progress = ToolProgress(ERRORS)
            Pulumi.of_user(self.home, self.stack, declared.cluster, progress).up()
        if edited and not self.dry_run:
            follow_move(self.home, self.file, self.stack)

    def _propose(self, wanted: PullRequests, show: Show) -> None:
        requests = requests_of(self.file, wanted.base)
        proposal = Proposal(
            requests, self.file, self.stack, wanted.push_reverts, wanted.evidence_url
        )

        def dry_run(file: Path) -> list[Outcome]:
            declared = load_stack(file)
            outcomes = list(self._decide(file, declared.cluster, dry_run=True))
            self._draw(outcomes, declared)
            return outcomes

        outcomes, proposed = proposal.make(dry_run)
        show(outcomes)
        for it in proposed:
            where = f"{it.what} {it.url or f'to {requests.base}'}"
            ERRORS.print(f"{it.service}: {where}", highlight=False, soft_wrap=True)
        # Of a move people hear by its request.
        still = [outcome for outcome in outcomes if not outcome.edit]
        tell(self.home, self.stack, load_stack(self.file), still)

    def _draw(self, outcomes: Sequence[Outcome], declared: Stack) -> None:
        """Writes the page of plots, if one is wanted."""
        if self.plots is None:
            return
        from rollout.plots_page import plots_page  # noqa: PLC0415  it imports matplotlib

        metrics, now = self._metrics(declared.cluster), datetime.now(UTC)
        page = plots_page(outcomes, declared, self.stack, metrics, now)
        self.plots.parent.mkdir(parents=True, exist_ok=True)
        self.plots.write_text(page, encoding="utf-8")

    def _metrics(self, cluster: Cluster) -> Metrics:
        from rollout.prometheus import Prometheus  # noqa: PLC0415  its client imports pandas

        return Prometheus(prometheus_url(self.home, cluster), cluster.prometheus_access)

    def _decide(self, file: Path, cluster: Cluster, *, dry_run: bool) -> Iterator[Outcome]:
        """Runs drift-check on a stack file, by the metrics and the gateway of its cluster."""
        return drift_check(
            file,
            self.stack,
            self._metrics(cluster),
            only=self.only,
            dry_run=dry_run,
            gateway_url=gateway_url(self.home, cluster),
        )

    def repeat(self, seconds: float, show: Show, show_error: Callable[[str], None]) -> None:
        """Does rounds until SIGINT or SIGTERM, which let a round that is under way end.

        Args:
            seconds: between two rounds.
            show: is given what each one decided.
            show_error: is given what was wrong with one; the next goes on.
        """
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        up_is_due = False
        while not stop.is_set():
            edited = False

            def note(outcomes: Sequence[Outcome]) -> None:
                nonlocal edited
                edited = any(outcome.edit for outcome in outcomes)
                show(outcomes)

            try:
                self.run(note, up_is_due=up_is_due)
            except ModelrampError as error:
                up_is_due = self.up and (up_is_due or edited)
                show_error(str(error))
            else:
                up_is_due = False
            stop.wait(seconds)


def requests_of(file: Path, base: str | None) -> Requests:
    """Returns where requests of a stack file are opened.

    Args:
        file: the stack file.
        base: the branch they go to; the remote's default one if None.

    Raises:
        ConfigError: there is no token, or nobody knows whose it would be.
        GitError: there is no remote `origin`, or it does not answer.
    """
    repository = Repository.of(file.parent)
    forge = forge_of(os.environ, repository.run("remote", "get-url", "origin"))
    return Requests(repository, forge, base or repository.default_branch())


def check_goes_on(file: Path) -> None:
    """Refuses a stack file that lacks what is merged; warns where that can't be known.

    Raises:
        StackFileError: it does not go on from the remote's default branch.
    """
    try:
        merged = Repository.of(file.parent).merged(file)
    except GitError as error:
        warn(f"{file.name} is not compared with what is merged: {error}")
        return
    if merged is None:
        return
    branch, text = merged
    if lacks := lacking(parse_stack(text, f"{branch}:{file.name}"), load_stack(file)):
        raise StackFileError(
            f"{file.name} does not go on from {branch}, so it is not applied; pull first:\n"
            + "\n".join(lacks)
        )


def lacking(merged: Stack, here: Stack) -> list[str]:
    """Returns what a stack file lacks of the rollouts that are merged, a sentence a service."""
    found: list[str] = []
    for name, service in here.services.items():
        before = merged.services[name].rollout if name in merged.services else None
        if before and (why := _why(before, service.rollout)):
            found.append(f"{name}: {why}")
    return found


def _why(before: Rollout, after: Rollout | None) -> str | None:
    return extends(before, after) if after else "its rollout is missing"
