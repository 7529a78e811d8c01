"""From a registered version to a candidate: what is known of it, its gates, the edit, the log."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from models.errors import ConfigError, RegistryError, StackFileError
from models.offline_evidence import Evaluation
from models.service import Service
from models.stack import Stack, find_service, load_stack
from rollout import history
from rollout.declare import start_rollout
from rollout.gates import Candidate, Gate, Rehearsal, check_gates, force, may_force
from rollout.registry import (
    RegisteredVersion,
    connect,
    find_number,
    parse_registry_uri,
    parse_tags,
    resolve,
)
from rollout.registry_evidence import Missing, read_logged

VERDICT = "deploy"
"""In the deployment log."""


@dataclass(frozen=True)
class Deployment:
    """A version that is to become a candidate.

    Attributes:
        stack: name of the stack.
        file: `Pulumi.<stack>.yaml`.
        service: name of the model service.
        version: semantic version.
        registered: what the registry has, with the digest that was computed.
        before: the stack as it is declared.
        after: as it would be; None where the stack file does not accept the version.
        gates: all of them, the stack file's own rules among them.
        why: in a sentence, for the file.
        forced: why a person passes what failed; None if nobody does.
    """

    stack: str
    file: Path
    service: str
    version: str
    registered: RegisteredVersion
    before: Stack
    after: Stack | None
    gates: tuple[Gate, ...]
    why: str
    forced: str | None

    @property
    def is_allowed(self) -> bool:
        """Whether nothing is failed."""
        return not any(gate.state == "failed" for gate in self.gates)

    @property
    def to_percent(self) -> int:
        """The candidate's share of traffic to begin with; the first version of all has 100."""
        rollout = self.after.services[self.service].rollout if self.after else None
        return 0 if rollout is None else rollout.percent if rollout.candidate else 100


def prepare(
    file: Path,
    stack: str,
    service: str,
    version: str,
    *,
    tracking_uri: str,
    model: str,
    now: datetime,
    reason: str | None = None,
) -> Deployment:
    """Finds a version in the registry and checks all that a rollout of it needs; writes nothing.

    Args:
        file: the stack file.
        stack: its name.
        service: the model service.
        version: semantic version, as the registry has it tagged.
        tracking_uri: of the MLflow server.
        model: name of the registered model.
        now: time of the decision.
        reason: why a person passes failed gates; they stay failed if absent.

    Raises:
        ConfigError: the stack file is wrong, or declares no such service.
        RegistryError: the version is not there, or its files are not those that were registered.
    """
    before = load_stack(file)
    declared = find_service(before, service, file)
    number = find_number(tracking_uri, model, version)
    registered = resolve(tracking_uri, model, number)
    candidate = _candidate(tracking_uri, file, service, declared, registered)
    gates = check_gates(service, before, candidate, now)
    failed = [gate.name for gate in gates if gate.state == "failed"]
    forced = reason if failed and may_force(declared) else None
    if forced:
        gates = force(gates)
    why = f"deployed from {registered.registry_uri}"
    if forced:
        why += f", forced past {', '.join(failed)}: {forced}"
    after, accepted = _rehearse(file, service, version, registered, now, why)
    return Deployment(
        stack=stack,
        file=file,
        service=service,
        version=version,
        registered=registered,
        before=before,
        after=after,
        gates=(accepted, *gates),
        why=why,
        forced=forced,
    )


def start(deployment: Deployment, now: datetime) -> Stack:
    """Writes the candidate into the stack file, and a line into the log.

    Raises:
        StackFileError: a gate failed, or the file was changed meanwhile and accepts it no longer.
    """
    if not deployment.is_allowed:
        raise StackFileError(f"{deployment.file}: a gate failed; nothing was written")
    registered, name = deployment.registered, deployment.service
    if load_stack(deployment.file).services.get(name) != deployment.before.services[name]:
        raise StackFileError(
            f"{deployment.file}: {name} was changed while the gates were checked; run it again"
        )
    entry = entry_of(registered)
    after = start_rollout(
        deployment.file, name, deployment.version, entry, now=now, why=deployment.why
    )
    rollout = after.services[name].rollout
    line = history.line_of(
        now,
        name,
        (rollout.stable, rollout.candidate) if rollout else (None, None),
        (0, rollout.percent if rollout and rollout.candidate else 100),
        {"verdict": VERDICT, "reason": deployment.why, **evidence_of(deployment)},
        by=history.who(),
        digest=registered.digest,
        commit=history.head_commit(deployment.file),
    )
    history.append(history.history_path(deployment.file, deployment.stack, name), line)
    return after


def entry_of(registered: RegisteredVersion) -> dict[str, Any]:
    """Returns what a stack file declares of a registered version."""
    entry: dict[str, Any] = {
        "uri": registered.artifact_uri,
        "digest": registered.digest,
        "registry": registered.registry_uri,
    }
    sides = {"inputs": registered.inputs, "outputs": registered.outputs}
    return entry | {side: types for side, types in sides.items() if types}


def evidence_of(deployment: Deployment) -> dict[str, Any]:
    """Returns what a deployment rests on, for the log and for machines."""
    registered = deployment.registered
    return {
        "registry": registered.registry_uri,
        "run": registered.run_id,
        "gitCommit": registered.git_commit,
        "dataHash": registered.data_hash,
        "gates": [{"gate": it.name, "state": it.state, "says": it.says} for it in deployment.gates],
        **({"forced": deployment.forced} if deployment.forced else {}),
    }


def _rehearse(
    file: Path,
    service: str,
    version: str,
    registered: RegisteredVersion,
    now: datetime,
    why: str,
) -> tuple[Stack | None, Gate]:
    """Tries the edit on a copy: the rules of stack files, which nobody can force, are gates too."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(file, folder))
        try:
            after = start_rollout(copy, service, version, entry_of(registered), now=now, why=why)
        except (ConfigError, StackFileError) as error:
            return None, Gate("stackFile", "failed", str(error).replace(str(copy), file.name))
    return after, Gate("stackFile", "passed", "accepts the version, its digest and signature")


def _candidate(
    tracking_uri: str,
    file: Path,
    name: str,
    service: Service,
    registered: RegisteredVersion,
) -> Candidate:
    gates, stable = service.gates, service.rollout and service.versions[service.rollout.stable]
    rehearsal = gates.staging and _rehearsal(file, name, gates.staging.stack)
    evaluation = None
    if gates.better_than_stable and stable:
        evaluation = _evaluation_of(tracking_uri, stable.registry)
    return Candidate(
        digest=registered.digest,
        has_profile=registered.has_profile,
        logged=read_logged(tracking_uri, registered.tags),
        stable=evaluation,
        stable_digest=stable.digest if stable else None,
        rehearsal=rehearsal,
    )


def _evaluation_of(tracking_uri: str, registry: str) -> Evaluation | Missing:
    """Returns what was logged of the stable version; a failure here is one of the gate only."""
    try:
        name, number = parse_registry_uri(registry)
        with connect(tracking_uri) as client:
            tags = parse_tags(registry, client.get_model_version(name, number).tags)
        return read_logged(tracking_uri, tags).evaluation
    except RegistryError as error:
        return Missing(str(error))


def _rehearsal(file: Path, service: str, staging: str) -> Rehearsal:
    there = file.with_name(f"Pulumi.{staging}.yaml")
    log = history.lines(history.history_path(there, staging, service))
    try:
        return Rehearsal(load_stack(there), log)
    except ConfigError as error:
        return Rehearsal(Missing(str(error)), log)
