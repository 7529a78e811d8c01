"""What happens to a model service, in the words of a rollout: read from its route, old and new."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from models.names import API_PREFIX
from review.preview import State, Step

ROUTES: Final = ("HTTPRoute", "GRPCRoute", "InferenceService")
"""Kinds that carry a rollout's annotations; the last one where KServe owns the split."""


@dataclass(frozen=True)
class Rollout:
    """What the annotations of a route say.

    Attributes:
        service: the model service.
        stable: the version that is the yardstick.
        candidate: the version under test, or "".
        previous: the last stable version, or "".
        previous_until: when it may go; None if that is not said.
        strategy: such as canary, or "".
        percent: the candidate's share of traffic.
    """

    service: str
    stable: str
    candidate: str = ""
    previous: str = ""
    previous_until: datetime | None = None
    strategy: str = ""
    percent: int = 0

    @property
    def percents(self) -> dict[str, int]:
        """The share of traffic of each served version."""
        found = dict.fromkeys(filter(None, (self.stable, self.candidate, self.previous)), 0)
        found[self.stable] = 100 - self.percent
        if self.candidate:
            found[self.candidate] = self.percent
        return found


@dataclass(frozen=True)
class Change:
    """What happens to the rollout of a service.

    Attributes:
        service: its name.
        old: as it is; None if the service is new.
        new: as it is to be; None if it leaves.
    """

    service: str
    old: Rollout | None
    new: Rollout | None

    @property
    def moves_traffic(self) -> bool:
        """Whether a version gets another share."""
        was = self.old.percents if self.old else {}
        becomes = self.new.percents if self.new else {}
        return any(was.get(it, 0) != becomes.get(it, 0) for it in {*was, *becomes})


def rollout_of(state: State | None) -> Rollout | None:
    """Returns what a route's annotations say; None if they say nothing that can be read."""
    metadata: Any = state.inputs.get("metadata") if state else None
    annotations: Any = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    if not isinstance(annotations, Mapping):
        return None
    facts = {key: it for key, it in annotations.items() if isinstance(it, str)}

    def said(key: str) -> str:
        return facts.get(f"{API_PREFIX}/{key}", "")

    if not said("service") or not said("stable"):
        return None
    try:
        moves, until = json.loads(said("moves") or "[]"), said("previous-until")
        return Rollout(
            said("service"),
            said("stable"),
            said("candidate"),
            said("previous"),
            datetime.fromisoformat(until) if until else None,
            said("strategy"),
            int(moves[-1]["percent"]) if moves else 0,
        )
    except (ValueError, KeyError, TypeError, IndexError):
        return None


def changes_of(steps: Iterable[Step]) -> dict[str, Change]:
    """Returns what happens to rollouts, by service."""
    found: dict[str, Change] = {}
    for step in steps:
        if step.kind not in ROUTES:
            continue
        old, new = rollout_of(step.old), rollout_of(step.new)
        named = new or old
        if named and named.service not in found:
            found[named.service] = Change(named.service, old, new)
    return found


def sentence(change: Change) -> str:
    """Says a change in a line, without the service's name."""
    old, new = change.old, change.new
    if old is None:
        assert new is not None  # noqa: S101  one of them is there
        return f"new service, {_shares(new)}"
    if new is None:
        return f"the service leaves, {_shares(old)}"
    return "; ".join(_parts(old, new)) or "no move"


def _parts(old: Rollout, new: Rollout) -> Iterator[str]:
    if new.stable != old.stable:
        yield _stable_changes(old, new)
    elif new.candidate and new.candidate == old.candidate:
        if new.percent != old.percent:
            back = " taken back," if new.percent == 0 else ""
            candidate = f"candidate {new.candidate}{back} from {old.percent}% to {new.percent}%"
            stable = f"stable {new.stable} from {100 - old.percent}% to {100 - new.percent}%"
            yield f"{candidate}, {stable}"
    elif old.candidate:
        traffic = f"with {old.percent}% of" if old.percent else "without"
        yield f"candidate {old.candidate} leaves {traffic} traffic"
    if new.candidate and new.candidate != old.candidate:
        kind = f" ({new.strategy})" if new.strategy and new.percent == 0 else ""
        yield f"candidate {new.candidate} starts at {new.percent}%{kind}, {_stable(new)}"
    if old.previous and old.previous not in new.percents:
        yield f"previous {old.previous} leaves"


def _stable_changes(old: Rollout, new: Rollout) -> str:
    left = "becomes previous" if old.stable == new.previous else "leaves"
    if new.stable == old.candidate:
        return f"{new.stable} promoted from {old.percent}% to stable, {old.stable} {left}"
    back = "back to" if new.stable == old.previous else "at once to"
    return f"stable {old.stable} {back} {new.stable}, {old.stable} {left}"


def _stable(rollout: Rollout) -> str:
    return f"stable {rollout.stable} at {100 - rollout.percent}%"


def _shares(rollout: Rollout) -> str:
    candidate = (
        f", candidate {rollout.candidate} at {rollout.percent}%" if rollout.candidate else ""
    )
    return _stable(rollout) + candidate
