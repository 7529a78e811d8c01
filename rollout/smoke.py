"""Smoke tests: declared requests, sent past the split to a candidate that is still at 0."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import httpx

from models.names import VERSION_HEADER
from models.service import Service
from models.smoke import SmokeRequest
from rollout.loopback import is_loopback

TIMEOUT_SECONDS = 10.0
ATTEMPTS = 3
"""A version is judged by what it does each time, not by one answer that got lost."""

Send = Callable[[str, SmokeRequest], str]
"""Sends a request to a version; returns "" where it was answered well, or else what happened."""


@dataclass(frozen=True)
class Smoked:
    """What came of it.

    Attributes:
        result: `passed`; `failed` where only the candidate fails; else `unknown`.
        reason: in a sentence.
    """

    result: Literal["passed", "failed", "unknown"]
    reason: str


NO_GATEWAY = Smoked("unknown", "smoke: the gateway is not up")


def smoke_test(
    name: str, service: Service, requests: Sequence[SmokeRequest], gateway_url: str
) -> Smoked:
    """Sends requests to the candidate, and to stable those that it fails.

    Args:
        name: of the service.
        service: with a candidate.
        requests: as its strategy declares them.
        gateway_url: where the gateway answers.
    """
    rollout = service.rollout
    assert rollout is not None  # noqa: S101  the caller has a candidate
    assert rollout.candidate is not None  # noqa: S101
    direct = is_loopback(httpx.URL(gateway_url).host)
    with httpx.Client(
        base_url=gateway_url, timeout=TIMEOUT_SECONDS, trust_env=not direct
    ) as client:

        def send(version: str, request: SmokeRequest) -> str:
            path = request.path_of(name, service.runtime.speaks)
            try:
                answer = client.post(path, json=request.body, headers={VERSION_HEADER: version})
            except httpx.ReadTimeout:
                return f"nothing in {TIMEOUT_SECONDS:g} s"
            if answer.headers.get(VERSION_HEADER) != version:
                raise httpx.ProtocolError(f"{answer.status_code}, not by {version}")
            return "" if answer.is_success else str(answer.status_code)

        try:
            return compare(rollout.stable, rollout.candidate, requests, send)
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
            return Smoked("unknown", f"smoke: the gateway at {gateway_url} did not answer: {said}")


def compare(stable: str, candidate: str, requests: Sequence[SmokeRequest], send: Send) -> Smoked:
    """Returns what the answers of both versions say.

    Args:
        stable: version.
        candidate: version.
        requests: in their order.
        send: asks a version.
    """
    for number, request in enumerate(requests, 1):
        if not (wrong := _wrong(candidate, request, send)):
            continue
        which = f"smoke: {candidate} answered {wrong} to request {number} of {len(requests)}"
        if also := send(stable, request):
            return Smoked("unknown", f"{which}, and {stable} {also}: is the request right?")
        return Smoked("failed", f"{which}, which {stable} answers")
    return Smoked("passed", f"{len(requests)} of {len(requests)} smoke requests answered")


def _wrong(version: str, request: SmokeRequest, send: Send) -> str:
    wrong = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(1)
        if not (wrong := send(version, request)):
            return ""
    return wrong
