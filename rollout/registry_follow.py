"""The model registry follows the stack files: tags, aliases, archive. Nothing is ever deleted.

- Tag `modelramp.stack.<stack>`: a `StackTag` for each version that the stack declares, or once did.
- Aliases `champion` (stable) and `challenger` (candidate): there is one of each a registered model,
  so they follow the one stack that says `cluster.registryAliases: true`.
- Tag `modelramp.archived`: since when a version is archived that no stack names any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from models.errors import ModelrampError, RegistryError
from models.registry_tags import ARCHIVED, STACK_PREFIX, Role, StackTag
from models.service import Service
from models.stack import Stack, load_stack
from models.version import Version
from rollout.registry import connect, parse_registry_uri, registered_versions, registry_uri

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"


@dataclass(frozen=True)
class Registered:
    """What the registry knows of one registered model.

    Attributes:
        name: of the model.
        tags: of its versions, by the registry's own number.
        aliases: number by alias.
    """

    name: str
    tags: Mapping[str, Mapping[str, str]]
    aliases: Mapping[str, str]


@dataclass(frozen=True)
class Change:
    """One tag or alias to set, or to remove where there is no value.

    Attributes:
        model: name of the registered model.
        number: of the version that is tagged, or that an alias is set to or taken from.
        name: of the tag or alias.
        value: of the tag; `set` for an alias; None to remove it.
        is_alias: whether it is one.
    """

    model: str
    number: str
    name: str
    value: str | None
    is_alias: bool = False

    @property
    def uri(self) -> str:
        """The registered version."""
        return registry_uri(self.model, self.number)


def follow(
    file: Path, stack: str, tracking_uri: str, now: datetime, *, dry_run: bool = False
) -> list[Change]:
    """Brings the registry to what a stack declares; run again, it finds nothing to do.

    Args:
        file: the stack file; the others lie beside it.
        stack: its name.
        tracking_uri: of the MLflow server.
        now: time of what changes.
        dry_run: return the changes, make none.

    Raises:
        ConfigError: a stack file is wrong.
        RegistryError: the server failed, or two stacks want the aliases.
    """
    declared, now = load_stack(file), now.replace(microsecond=0)
    others = {
        it.name.removeprefix("Pulumi.").removesuffix(".yaml"): load_stack(it)
        for it in sorted(file.parent.glob("Pulumi.*.yaml"))
        if it != file
    }
    _refuse_two(stack, declared, others)
    named = {it.registry for other in others.values() for it in _versions(other)}
    found: list[Change] = []
    with connect(tracking_uri) as client:
        for model in sorted({parse_registry_uri(it.registry)[0] for it in _versions(declared)}):
            registered = _read(client, model)
            changes = [*changes_of(registered, stack, declared, named, now)]
            for change in () if dry_run else changes:
                _apply(client, change)
            found += changes
    return found


def follow_quietly(
    file: Path, stack: str, tracking_uri: str, now: datetime, warn: Callable[[str], None]
) -> None:
    """The same after a move, which stands whatever becomes of the registry: it only warns."""
    try:
        follow(file, stack, tracking_uri, now)
    except ModelrampError as error:
        warn(f"the registry does not follow yet, run modelramp registry sync: {error}")


def changes_of(
    registered: Registered, stack: str, declared: Stack, named: set[str], now: datetime
) -> Iterator[Change]:
    """Yields what is to change for one registered model; pure.

    Args:
        registered: as the registry has it.
        stack: name of the stack that it follows.
        declared: that stack.
        named: URIs of all registered versions that other stacks declare.
        now: time of what changes.
    """
    model, tag = registered.name, f"{STACK_PREFIX}{stack}"
    services = [it for it in declared.services.values() if model in _models(it)]
    roles = {number: it for service in services for number, it in _roles(model, service, now)}
    keep_seconds = max(it.retention.archive_after_seconds for it in services)
    if declared.cluster.registry_aliases:
        yield from _aliases(registered, services)
    for number, tags in registered.tags.items():
        role = roles.get(number)
        if role is not None or tag in tags:
            wanted = role or StackTag(role="none", percent=0, since=now)
            if _is_other(wanted, _parsed(tags.get(tag))):
                yield Change(model, number, tag, wanted.model_dump_json())
        is_named = role is not None or registry_uri(model, number) in named
        if is_named and ARCHIVED in tags:
            yield Change(model, number, ARCHIVED, None)
        if not is_named and ARCHIVED not in tags and _is_due(tags, keep_seconds, now):
            yield Change(model, number, ARCHIVED, now.isoformat(timespec="seconds"))
            for alias in (CHAMPION, CHALLENGER):
                if registered.aliases.get(alias) == number:
                    yield Change(model, number, alias, None, is_alias=True)


def _roles(model: str, service: Service, now: datetime) -> Iterator[tuple[str, StackTag]]:
    """Yields the number and the role of each version of a service that the model has."""
    rollout = service.rollout
    percents = service.percents()
    for version, entry in service.versions.items():
        name, number = parse_registry_uri(entry.registry)
        if name != model:
            continue
        role: Role = "declared"
        since = now
        if rollout and version == rollout.stable:
            role = "stable"
        elif rollout and version == rollout.candidate:
            role = "rejected" if service.is_taken_back else "candidate"
            since = rollout.moves[-1].at
        elif rollout and rollout.previous and version == rollout.previous.version:
            role = "previous"
        yield number, StackTag(role=role, percent=percents.get(version, 0), since=since)


def _aliases(registered: Registered, services: list[Service]) -> Iterator[Change]:
    if len(services) > 1:
        raise RegistryError(
            f"models:/{registered.name}: {len(services)} services of this stack serve it, and "
            "champion can be only one; register it under another name for each"
        )
    (service,) = services
    rollout = service.rollout
    candidate = None if rollout is None or service.is_taken_back else rollout.candidate
    wanted = {CHAMPION: rollout.stable if rollout else None, CHALLENGER: candidate}
    for alias, version in wanted.items():
        number = parse_registry_uri(service.versions[version].registry)[1] if version else None
        now = registered.aliases.get(alias)
        if number and number != now:
            yield Change(registered.name, number, alias, "set", is_alias=True)
        elif now and not number:
            yield Change(registered.name, now, alias, None, is_alias=True)


def _is_other(wanted: StackTag, known: StackTag | None) -> bool:
    """Whether role or share changed; the time stays as long as they do."""
    return known is None or (known.role, known.percent) != (wanted.role, wanted.percent)


def _is_due(tags: Mapping[str, str], keep_seconds: float, now: datetime) -> bool:
    """Whether every stack that once declared a version has let it go for long enough."""
    left = [_parsed(value) for name, value in tags.items() if name.startswith(STACK_PREFIX)]
    return bool(left) and all(
        it and it.role == "none" and (now - it.since).total_seconds() > keep_seconds for it in left
    )


def _parsed(value: str | None) -> StackTag | None:
    """Reads a tag's value; None for what is not ours, which is written anew."""
    try:
        return StackTag.model_validate_json(value or "")
    except ValidationError:
        return None


def _models(service: Service) -> set[str]:
    return {parse_registry_uri(it.registry)[0] for it in service.versions.values()}


def _versions(stack: Stack) -> Iterator[Version]:
    for service in stack.services.values():
        yield from service.versions.values()


def _refuse_two(stack: str, declared: Stack, others: Mapping[str, Stack]) -> None:
    ours = declared.cluster
    # The embedded target has a registry of its own.
    if not ours.registry_aliases or ours.target == "embedded":
        return
    for name, other in others.items():
        theirs = other.cluster
        same = theirs.target != "embedded" and theirs.registry == ours.registry
        if theirs.registry_aliases and same:
            raise RegistryError(
                f"stacks {stack} and {name} both have cluster.registryAliases for one registry; "
                "aliases can follow only one of them"
            )


def _read(client: MlflowClient, model: str) -> Registered:
    aliases: Mapping[str, Any] = client.get_registered_model(model).aliases
    return Registered(
        model,
        {str(it.version): it.tags for it in registered_versions(client, model)},
        {alias: str(number) for alias, number in aliases.items()},
    )


def _apply(client: MlflowClient, change: Change) -> None:
    model, number, name = change.model, change.number, change.name
    if change.is_alias and change.value:
        client.set_registered_model_alias(model, name, number)
    elif change.is_alias:
        client.delete_registered_model_alias(model, name)
    elif change.value:
        client.set_model_version_tag(model, number, name, change.value)
    else:
        client.delete_model_version_tag(model, number, name)
