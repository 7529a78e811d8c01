"""Tells receivers of rollouts by HTTP; one that cannot be told is a warning, never a failure."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import httpx

from models.notifications import Receiver
from rollout.loopback import is_loopback
from rollout.notices import Notice, slack_body, webhook_body
from rollout.secrets import read_secret

TIMEOUT_SECONDS = 10.0
_ONCE_A_STEP = ("hold", "approval")
_UNREACHED = (httpx.ConnectError, httpx.ConnectTimeout)
"""Only what surely was not heard is tried once more."""


def notify(
    receivers: Sequence[Receiver],
    notices: Iterable[Notice],
    memory: Path,
    warn: Callable[[str], None],
) -> None:
    """Tells each receiver of what it asks for.

    Args:
        receivers: as declared.
        notices: what there is to tell.
        memory: a file that remembers which holds and approvals were told, as JSON. Where it is
            gone, they are told again.
        warn: takes what could not be told, without any URL.
    """
    told = _remembered(memory)
    before = dict(told)
    for notice in notices:
        for receiver in receivers:
            key = f"{receiver.name} {notice.outcome.service} {notice.event}"
            step = notice.step_at.isoformat() if notice.step_at else ""
            once = notice.event in _ONCE_A_STEP
            if not _wants(receiver, notice) or (once and told.get(key) == step):
                continue
            if problem := _tell(receiver, notice):
                warn(f"{receiver.name} was not told of {notice.outcome.service}: {problem}")
            elif once:
                told[key] = step
    if told != before:
        try:
            memory.parent.mkdir(parents=True, exist_ok=True)
            memory.write_text(json.dumps(told, indent=2), encoding="utf-8")
        except OSError as error:
            warn(f"{memory} cannot be written, so holds are told again: {error.strerror}")


def _wants(receiver: Receiver, notice: Notice) -> bool:
    long_enough = notice.event != "hold" or notice.seconds_at_step >= receiver.hold_after_seconds
    return notice.event in receiver.on and long_enough


def _remembered(memory: Path) -> dict[str, str]:
    try:
        told = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _tell(receiver: Receiver, notice: Notice) -> str | None:
    """Sends a notice; returns why that failed, None where it did not."""
    try:
        url = httpx.URL(read_secret(receiver.url_from))
    except ValueError as error:
        return str(error)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        return f"{receiver.url_from.env or receiver.url_from.file} holds no http or https URL"
    body = slack_body(notice) if receiver.kind == "slack" else webhook_body(notice)
    return _post(url, body)


def _post(url: httpx.URL, body: object) -> str | None:
    # Both log addresses.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    problem = None
    with httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=not is_loopback(url.host)) as client:
        for _ in range(2):
            try:
                answer = client.post(url, json=body)
            except _UNREACHED as error:
                problem = type(error).__name__
            except httpx.HTTPError as error:
                return type(error).__name__
            else:
                return None if answer.is_success else f"it answered {answer.status_code}"
    return problem
