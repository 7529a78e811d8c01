"""Messages to the engine that started this plugin, which shows them beside the resource."""

from __future__ import annotations

from contextlib import suppress

import grpc

from local.plugins.protocol import engine_pb2, engine_pb2_grpc

_SECONDS = 5


class EngineLog:
    """Tells the engine; what it does not hear is no reason to fail.

    Args:
        address: host and port of the engine, or None to say nothing.
    """

    def __init__(self, address: str | None) -> None:
        self._stub = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address)) if address else None

    def status(self, urn: str, message: str) -> None:
        """Shows what a resource is doing, until the next message."""
        self._send(
            engine_pb2.LogRequest(
                severity=engine_pb2.INFO, urn=urn, message=message, ephemeral=True
            )
        )

    def warn(self, urn: str, message: str) -> None:
        """Shows a warning that stays."""
        self._send(engine_pb2.LogRequest(severity=engine_pb2.WARNING, urn=urn, message=message))

    def _send(self, request: engine_pb2.LogRequest) -> None:
        if self._stub is not None:
            with suppress(grpc.RpcError):
                self._stub.Log(request, timeout=_SECONDS)
