"""What all stand-ins share: a gRPC server on a free loopback port that ends with the engine."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import grpc

# Like the official plugins': a large chart in one message must pass.
_MAX_MESSAGE_BYTES = 400 * 1024 * 1024
# The engine asks for several objects per processor at once, and each of these calls may wait for
# minutes; the call that cancels them must never queue behind them. Threads are made as needed.
_MAX_CALLS = 512


def serve(
    register: Callable[[grpc.Server], None], on_stop: Callable[[], None] = lambda: None
) -> None:
    """Serves until the engine ends this process or disappears; does not return.

    The port goes to standard output, as the engine expects. Standard input is the engine's end of
    a pipe: its end of file means that the engine is gone, however it was killed.

    Args:
        register: adds the services to the server.
        on_stop: called once before this process ends, to end what it started.
    """
    server = grpc.server(
        ThreadPoolExecutor(max_workers=_MAX_CALLS),
        options=[
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        ],
    )
    register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=_wait_for_engine, args=(stopping,), daemon=True).start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()

    stopping.wait()
    on_stop()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: it would wait for the threads of calls under way, which nobody wants any more.
    os._exit(0)


def _wait_for_engine(stopping: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stopping.set()
