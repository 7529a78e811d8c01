"""What a policy would have done on recorded counts, and when, beside the rules of others.

The judge keeps no state, so the past is judged as it was: at the end of each interval it gets what
had been counted until then, under the moves that had been made until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from models.rollout import Move, Rollout
from models.service import Service
from rollout.judge import Observations, Terms, Verdict, judge
from rollout.judge.terms import ERRORS
from rollout.peers import Reaction, argo, flagger, kayenta

KAYENTA_POINTS = 10
"""Its test says little on fewer points, and takes a single one for proof."""

TermsAt = Callable[[tuple[Move, ...]], Terms]


@dataclass(frozen=True)
class Look:
    """One look of the judge at the past.

    Attributes:
        at: when.
        percent: the candidate's percentage that was declared then.
        verdict: what the judge would have said.
    """

    at: datetime
    percent: int
    verdict: Verdict


@dataclass(frozen=True)
class Peer:
    """What another rule would have done.

    Attributes:
        name: of the rule, with its settings.
        reverted_at: when it would have taken the candidate back, None if never.
        passed_at: when it would have let it pass, None if never.
    """

    name: str
    reverted_at: datetime | None
    passed_at: datetime | None


def last_rollout(service: Service, log: Sequence[Mapping[str, Any]]) -> Rollout | None:
    """Returns the rollout that is going on, else the last one in the deployment log.

    Args:
        service: as declared now.
        log: lines of its history, oldest first.
    """
    if service.rollout and service.rollout.candidate:
        return service.rollout
    candidate = next((line["candidate"] for line in reversed(log) if line["candidate"]), None)
    if candidate is None:
        return None
    lines = [line for line in log if line["candidate"] == candidate]
    begun = max((k for k, line in enumerate(lines) if line["verdict"] == "start"), default=0)
    moves = [line for line in lines[begun:] if line["from"] != line["to"]]
    return Rollout.model_validate(
        {
            "stable": lines[-1]["stable"],
            "candidate": candidate,
            "moves": [{"percent": line["to"], "at": line["at"]} for line in moves],
        }
    )


def terms_of_service(service: Service, rollout: Rollout) -> TermsAt:
    """Returns what a service's rollout is held to after some of its moves."""

    def terms(moves: tuple[Move, ...]) -> Terms:
        at = rollout.model_copy(update={"moves": moves})
        return Terms.of(service.model_copy(update={"rollout": at}))

    return terms


def replay(terms_at: TermsAt, moves: tuple[Move, ...], seen: Observations) -> Iterator[Look]:
    """Judges the past, interval by interval.

    Args:
        terms_at: what the rollout is held to after some moves.
        moves: all that were made.
        seen: the whole record.
    """
    for known in range(1, len(seen.weights) + 1):
        now = seen.time_of(known)
        made = tuple(move for move in moves if move.at < now)
        if made:
            percent = made[-1].percent
            verdict = judge(terms_at(made), seen.until(known, percent), now)
            yield Look(now, percent, verdict)


def peers(seen: Observations, ceiling: float, steps: int, threshold: int) -> tuple[Peer, ...]:
    """Applies the rules of Flagger, Argo Rollouts and Kayenta to the error rates.

    They know no effective weights: they look at every interval in which the candidate had traffic.

    Args:
        seen: the whole record.
        ceiling: highest error rate of an interval that passes, for Flagger and Argo.
        steps: how many checks Flagger and Argo must pass.
        threshold: after how many failed checks Flagger takes the candidate back.
    """
    if any(ERRORS not in arm.metrics for arm in (seen.stable, seen.candidate)):
        return ()
    stable, candidate = seen.stable.metrics[ERRORS], seen.candidate.metrics[ERRORS]
    rules: tuple[tuple[str, Reaction], ...] = (
        (
            f"Flagger, {steps} steps, threshold {threshold}",
            flagger(candidate, ceiling, steps_needed=steps, threshold=threshold),
        ),
        (f"Argo Rollouts, count {steps}, failureLimit 0", argo(candidate, ceiling, count=steps)),
        (
            f"Kayenta, every {KAYENTA_POINTS} intervals",
            kayenta(stable, candidate, every=KAYENTA_POINTS),
        ),
    )
    return tuple(
        Peer(name, _when(seen, reaction.reverted_at), _when(seen, reaction.passed_at))
        for name, reaction in rules
    )


def _when(seen: Observations, interval: np.ndarray) -> datetime | None:
    index = float(interval)
    return seen.time_of(int(index) + 1) if np.isfinite(index) else None


def changes(looks: Sequence[Look]) -> list[Look]:
    """Returns the looks at which the percentage or the kind of the verdict changed."""
    return [
        look
        for before, look in zip((None, *looks), looks, strict=False)
        if before is None
        or (before.percent, before.verdict.kind) != (look.percent, look.verdict.kind)
    ]
