"""What stands before KServe's own application, as ASGI middleware.

Limits, request ids, counting and the answers to errors are here, so that whatever goes wrong behind
it becomes an ordinary answer: Starlette closes the connection after an exception that reaches it,
and behind a proxy that costs further requests.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
import traceback
from collections.abc import MutableMapping
from typing import Any, Final

import orjson
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.names import VERSION_HEADER
from serving.errors import Outcome, Refusal
from serving.feedback import LABEL_OUTCOMES, PredictionMemory
from serving.metrics import ServerMetrics
from serving.options import Options

REQUEST_ID: Final = b"x-request-id"
_REQUEST_ID_FORM: Final = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_FEEDBACK: Final = "feedback"
_BAD_REQUEST, _SERVER_ERROR = 400, 500
# The body ahead of time is read whole, so a stalled client is let go.
_BODY_TIMEOUT_SECONDS: Final = 30

log = structlog.get_logger("serving")


class Draining:
    """Whether the server is on its way out: not ready any more, still answering."""

    def __init__(self) -> None:
        self.on = False


class Front:
    """The ASGI middleware."""

    def __init__(
        self,
        app: ASGIApp,
        options: Options,
        metrics: ServerMetrics,
        memory: PredictionMemory,
        draining: Draining,
    ) -> None:
        """Wraps an ASGI application.

        Args:
            app: KServe's.
            options: names, version and limits.
            metrics: where requests and labels are counted.
            memory: the predictions that labels are matched with.
            draining: read at every request.
        """
        self._app = app
        self._limit_bytes = options.max_body_bytes
        self._metrics = metrics
        self._memory = memory
        self._draining = draining
        self._version = options.model_version.encode()
        name = options.model_name
        self._guarded = {
            f"/v1/models/{name}:predict": "v1",
            f"/v2/models/{name}/infer": "v2",
            f"/v2/models/{name}/feedback": _FEEDBACK,
        }
        self._readiness = {"/v2/health/ready", f"/v2/models/{name}/ready", f"/v1/models/{name}"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start_seconds = time.perf_counter()
        request_id = _take_request_id(scope)
        answer = _Answer(send, request_id, self._version, close=self._draining.on)
        protocol = self._guarded.get(scope["path"]) if scope["method"] == "POST" else None
        try:
            if protocol is not None:
                await self._guard(protocol, scope, receive, answer)
            elif scope["method"] not in {"GET", "HEAD"}:
                # KServe would also take requests to unload the model, from anybody.
                await answer.json(404, {"error": f"not served; POST {', '.join(self._guarded)}"})
            elif self._draining.on and scope["path"] in self._readiness:
                await answer.json(503, {"ready": False, "error": "the server is stopping"})
            else:
                await self._app(scope, receive, answer)
            outcome = _outcome(answer.status)
        except Exception as error:  # noqa: BLE001  the last stop before Starlette's
            outcome = await self._refuse(error, answer, request_id)
        seconds = time.perf_counter() - start_seconds
        if protocol in {"v1", "v2"}:
            self._metrics.count_request(outcome, str(protocol), seconds)
            log.debug("request", request_id=request_id, outcome=outcome, seconds=seconds)

    async def _guard(self, protocol: str, scope: Scope, receive: Receive, answer: _Answer) -> None:
        _settle_content_type(scope)
        body = await self._read_body(scope, receive)
        if protocol == _FEEDBACK:
            await answer.json(200, self._feedback(body))
            return
        replayed = False

        async def replay() -> Message:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, answer)

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes:
        declared = _header(scope, b"content-length")
        if declared is not None and int(declared) > self._limit_bytes:
            raise self._too_large()
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(_BODY_TIMEOUT_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refusal(400, "client_error", "the client went away")
                    chunks.append(message.get("body", b""))
                    size += len(chunks[-1])
                    if size > self._limit_bytes:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except TimeoutError:
            raise Refusal(408, "client_error", "the body did not arrive in time") from None

    def _too_large(self) -> Refusal:
        return Refusal(
            413, "client_error", f"the body is too large; allowed are {self._limit_bytes} bytes"
        )

    def _feedback(self, body: bytes) -> dict[str, int]:
        try:
            payload = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise Refusal(400, "client_error", "the body is not JSON") from None
        outcomes = self._memory.take(payload)
        self._metrics.count_labels(outcomes)
        counts = {outcome: outcomes[outcome] for outcome in LABEL_OUTCOMES}
        return {
            "matched": counts["correct"] + counts["incorrect"],
            "unmatched": counts["unmatched"],
            "duplicate": counts["duplicate"],
        }

    async def _refuse(self, error: Exception, answer: _Answer, request_id: str) -> Outcome:
        if isinstance(error, Refusal):
            refusal = error
        else:
            refusal = Refusal(500, "error", "the server failed")
        if refusal.status >= _SERVER_ERROR:
            log.error(
                "request failed",
                request_id=request_id,
                outcome=refusal.outcome,
                reason=refusal.message,
                where=_where(error.__cause__ or error),
            )
        if answer.status:
            # Too late for another answer; uvicorn closes the connection, so the client sees it.
            raise error
        await answer.json(refusal.status, refusal.body(request_id))
        return refusal.outcome


class _Answer:
    """Sends an answer with our headers, and remembers its status (0: none yet)."""

    def __init__(self, send: Send, request_id: str, version: bytes, *, close: bool) -> None:
        self.status = 0
        self._send = send
        self._headers = [
            (REQUEST_ID, request_id.encode()),
            (VERSION_HEADER.encode(), version),
            # Proxies put away connections to a server that is on its way out.
            *([(b"connection", b"close")] if close else []),
        ]

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._headers]
        await self._send(message)

    async def json(self, status: int, content: object) -> None:
        body = orjson.dumps(content)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        if status == 503:
            headers.append((b"retry-after", b"1"))
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self({"type": "http.response.body", "body": body})


def _take_request_id(scope: Scope) -> str:
    """Returns the request's id; makes one, and puts it among the headers, if it has none."""
    given = _header(scope, REQUEST_ID)
    if given is not None and _REQUEST_ID_FORM.fullmatch(given):
        return given.decode()
    made = os.urandom(16).hex()
    _set_header(scope, REQUEST_ID, made.encode())
    return made


def _settle_content_type(scope: Scope) -> None:
    """Makes the content type exactly what KServe compares with.

    With any other, such as `application/json; charset=utf-8` or none at all, it would hand raw
    bytes to the model.

    Raises:
        Refusal: 415, for what is certainly not JSON.
    """
    given = (_header(scope, b"content-type") or b"application/json").split(b";")[0].strip().lower()
    if given == b"application/octet-stream" and _header(scope, b"inference-header-content-length"):
        return  # the binary tensors of the v2 protocol
    if given != b"application/json":
        raise Refusal(
            415, "client_error", "the content type is not served; allowed is application/json"
        )
    _set_header(scope, b"content-type", b"application/json")


def _header(scope: Scope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key == name:
            return value
    return None


def _set_header(scope: Scope, name: bytes, value: bytes) -> None:
    scope["headers"] = [*((k, v) for k, v in scope["headers"] if k != name), (name, value)]


def _outcome(status: int) -> Outcome:
    if status < _BAD_REQUEST:
        return "ok"
    return "client_error" if status < _SERVER_ERROR else "error"


def _where(error: BaseException) -> str:
    """Names an exception and the place it came from, without its text, which may hold values."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"
