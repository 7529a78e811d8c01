"""A command that is told to end takes what it started with it."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def terminable() -> Generator[None]:
    """Turns SIGTERM and a closed terminal into an exception, so that what was started is ended."""

    def leave(*_: object) -> None:
        raise KeyboardInterrupt

    before = {it: signal.signal(it, leave) for it in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
