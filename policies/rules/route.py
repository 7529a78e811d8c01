"""What a route says of a rollout, in annotations that `ModelService` writes, and what it does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rules.policy import RISKS
from rules.reading import Declared, Properties, at, mapping, mappings, number, texts

PREFIX = "modelramp.dev/"
ROUTES = frozenset({"httproute", "grpcroute"})
"""Kinds that a `ModelService` makes; the routes of its gateway."""

SERVICE_KIND = "inferenceservice"
VERSION_HEADER = "x-model-version"
NO_VERSION = "none"
"""Value of that header which no request has: its route only keeps versions known to the gateway."""

STRATEGIES = ("canary", "linear", "blue-green", "shadow", "ab-test", "all-at-once")

_USERS = 100
_FIGURE = r"(?:[0-9]|\[[0-9]-[0-9]\])"
_BUCKETS = re.compile(rf"{_FIGURE}{{1,2}}(?:\|{_FIGURE}{{1,2}})*")
"""A pattern of numbers from 0 to 99 and of nothing else: another could take every browser."""

_SECONDS = re.compile(r"(\d+)s")


@dataclass(frozen=True)
class Move:
    """One change of the candidate's percentage.

    Attributes:
        percent: from then on.
        at: when it was decided.
    """

    percent: float
    at: datetime


@dataclass(frozen=True)
class Rollout:
    """What the annotations of a route say.

    Attributes:
        service: the model service.
        risk: low, medium or high.
        strategy: one of `STRATEGIES`, or empty.
        stable: the version that is the yardstick.
        candidate: the version under test, or empty at rest.
        previous: the last stable version, or empty.
        moves: every change of the candidate's percentage, in order.
        owner: the team that answers for it, or empty.
        contact: whom the model card names to ask, or empty without a card.
        group: services of a group are rolled out one at a time; or empty.
        staging: the stack that a version has to pass first, or empty.
        keep_previous_seconds: how long the last stable version goes on running; None if not said.
        is_taken_back: whether the candidate was taken back for good.
    """

    service: str
    risk: str
    strategy: str
    stable: str
    candidate: str
    previous: str
    moves: tuple[Move, ...]
    owner: str
    contact: str
    group: str
    staging: str
    keep_previous_seconds: float | None
    is_taken_back: bool

    @property
    def percent(self) -> float:
        """The candidate's percentage that is declared now."""
        return self.moves[-1].percent if self.moves else 0

    @property
    def is_withdrawn(self) -> bool:
        """Whether this is a move back to 0, not a rollout that begins there."""
        if not self.moves or self.percent > 0:
            return False
        return self.is_taken_back or len(self.moves) > 1

    @property
    def versions(self) -> frozenset[str]:
        """The versions that it names."""
        return frozenset({self.stable, self.candidate, self.previous} - {""})


def read_rollout(annotations: Mapping[str, Any]) -> Rollout | None:
    """Returns what annotations say, or None if they are not those of a rollout.

    Raises:
        ValueError: they are ours but incomplete or malformed; says what is wrong.
    """
    if f"{PREFIX}service" not in annotations and f"{PREFIX}stable" not in annotations:
        return None

    def said(key: str) -> str:
        return str(annotations.get(f"{PREFIX}{key}") or "").strip()

    for key in ("service", "stable", "risk"):
        if not said(key):
            raise ValueError(f"the annotation {PREFIX}{key} is missing")
    _one_of("risk", said("risk"), RISKS)
    if said("strategy"):
        _one_of("strategy", said("strategy"), STRATEGIES)
    moves = _moves(said("moves") or "[]")
    if bool(moves) != bool(said("candidate")):
        raise ValueError(f"{PREFIX}candidate and {PREFIX}moves come together: one is missing")
    keep = _SECONDS.fullmatch(said("keep-previous"))
    return Rollout(
        service=said("service"),
        risk=said("risk"),
        strategy=said("strategy"),
        stable=said("stable"),
        candidate=said("candidate"),
        previous=said("previous"),
        moves=moves,
        owner=said("owner"),
        contact=said("model-card"),
        group=said("group"),
        staging=said("staging"),
        keep_previous_seconds=float(keep[1]) if keep else None,
        is_taken_back=said("taken-back") == "true",
    )


def rollout_of(declared: Declared) -> Rollout | None:
    """Returns the rollout that a route, or an InferenceService under Knative, is annotated with.

    Raises:
        ValueError: its annotations are malformed.
    """
    if declared.kind not in (*ROUTES, SERVICE_KIND):
        return None
    return read_rollout(declared.annotations)


@dataclass(frozen=True)
class Sent:
    """Who gets the requests that one rule of a route takes.

    Attributes:
        is_pinned: whether requests ask for a version by header: the door for smoke tests.
        takes_nothing: whether no request is ever taken.
        users: whose requests it takes, by their number from 0 to 99; all, but in an A/B test.
        weights: by name of the backend.
        others: backends that are no Service of the route's own namespace.
    """

    is_pinned: bool
    takes_nothing: bool
    users: frozenset[int]
    weights: Mapping[str, float]
    others: frozenset[str]


def sent(route: Declared, strategy: str) -> list[Sent]:
    """Returns what each rule of an HTTPRoute or GRPCRoute sends where.

    Args:
        route: as declared.
        strategy: with `ab-test`, a rule may take some users only.
    """
    return [_sent(it, strategy, route.namespace) for it in mappings(route.spec.get("rules"))]


def percent_of(backend: str, rules: list[Sent]) -> float:
    """Returns the largest share of users' requests that a backend may get, in percent.

    Rules differ in paths, so a user counts with the rule that sends most of theirs there.
    """
    shares = [
        max((_share(backend, it) for it in rules if user in it.users), default=0)
        for user in range(_USERS)
    ]
    return 100 * sum(shares) / _USERS


def _sent(rule: Properties, strategy: str, namespace: str) -> Sent:
    weights: dict[str, float] = {}
    filters = mappings(rule.get("filters"))
    references = mappings(rule.get("backendRefs"))
    for reference in references:
        name = str(reference.get("name"))
        weights[name] = weights.get(name, 0) + number(reference.get("weight"), 1)
        filters += mappings(reference.get("filters"))
    mirrored = [mapping(at(it, "requestMirror", "backendRef")) for it in filters]
    matches = mappings(rule.get("matches"))
    asked = {_asked_version(it) for it in matches} or {None}
    return Sent(
        is_pinned=None not in asked,
        takes_nothing=asked == {NO_VERSION},
        users=_users(matches) if strategy == "ab-test" else frozenset(range(_USERS)),
        weights=weights,
        others=frozenset(
            str(it.get("name"))
            for it in (*references, *mirrored)
            if it and not _is_own_service(it, namespace)
        ),
    )


def _share(backend: str, rule: Sent) -> float:
    total = sum(rule.weights.values())
    return rule.weights.get(backend, 0) / total if total else 0


_MODEL_SERVICE = re.compile(
    r"(?:^|[/@.])([a-z0-9-]+-(?:predictor|transformer|explainer)(?:-\d{5}|-default|-canary)?"
    r"|[a-z][a-z0-9-]*-v\d+-\d+-\d+(?:-[a-z0-9-]+)?)(?:[.:/]|$)",
    re.IGNORECASE,
)


def model_names(value: Any) -> Iterator[Any]:
    """Yields the names of models' Services, or of our InferenceServices, within a value."""
    for text in texts(value):
        if not isinstance(text, str):
            yield text
        elif found := _MODEL_SERVICE.search(text):
            yield found[1]


def service_name(service: str, version: str) -> str:
    """Returns the InferenceService of a version, as `models.names` has it."""
    return f"{service}-v{version.replace('.', '-').lower()}"


def predictor_name(service: str, version: str) -> str:
    """Returns the Service that KServe makes for a version, as `models.names` has it."""
    return f"{service_name(service, version)}-predictor"


def newest(moves: Sequence[Move], now: datetime) -> Move | None:
    """Returns the last move of several rollouts; one that is dated in the future is not the last.

    A day is allowed for clocks that differ.
    """
    past = [it for it in moves if it.at <= now + timedelta(days=1)]
    # Of two at one time the one to 0: it must never wait.
    return max(past, key=lambda it: (it.at, -it.percent), default=None)


def _moves(text: str) -> tuple[Move, ...]:
    try:
        moves = tuple(_move(it) for it in json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{PREFIX}moves must be a JSON list like "
            '[{"percent": 5, "at": "2026-11-23T08:00:00Z"}]'
        ) from error
    if not all(0 <= it.percent <= 100 for it in moves):
        raise ValueError(f"{PREFIX}moves has a percentage that is not between 0 and 100")
    return moves


def _move(said: Mapping[str, Any]) -> Move:
    # Without a time zone it is UTC: times are compared with those of other services.
    at = datetime.fromisoformat(said["at"])
    return Move(float(said["percent"]), at if at.tzinfo else at.replace(tzinfo=UTC))


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{PREFIX}{key} is {value!r}, allowed: {', '.join(allowed)}")


def _is_own_service(reference: Properties, namespace: str) -> bool:
    kind, group = reference.get("kind") or "Service", reference.get("group") or ""
    is_service = kind == "Service" and group in ("", "core")
    return is_service and reference.get("namespace") in (None, namespace)


def _asked_version(match: Properties) -> str | None:
    """Returns the version that a match asks for by header, None where it asks for none."""
    for header in mappings(match.get("headers")):
        is_exact = (header.get("type") or "Exact") == "Exact"
        if is_exact and str(header.get("name")).lower() == VERSION_HEADER:
            return str(header.get("value"))
    return None


def _users(matches: list[Properties]) -> frozenset[int]:
    """Returns the users, by number, whom one of the matches takes."""
    everyone = frozenset(range(_USERS))
    return frozenset[int]().union(*map(_bucket, matches)) if matches else everyone


def _bucket(match: Properties) -> frozenset[int]:
    for header in mappings(match.get("headers")):
        pattern = str(header.get("value"))
        if header.get("type") == "RegularExpression" and _BUCKETS.fullmatch(pattern):
            try:
                return frozenset(it for it in range(_USERS) if re.fullmatch(pattern, str(it)))
            except re.error:
                break
    return frozenset(range(_USERS))
