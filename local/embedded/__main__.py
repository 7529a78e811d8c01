"""The embedded target's controller as a process: `python -m local.embedded`, see `control.up`."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

import structlog
from filelock import FileLock, Timeout

from local.embedded.runtime import Binaries, Runtime
from local.home import Home


def main() -> int:
    """Runs the controller until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    for name in ("envoy", "prometheus", "versitygw"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    home = Home(arguments.root)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ]
    )
    lock = FileLock(home.path / "controller.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        sys.stderr.write("another controller runs for this folder\n")
        return 1
    runtime = Runtime(home, Binaries(arguments.envoy, arguments.prometheus, arguments.versitygw))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: runtime.stop())
    with lock:
        runtime.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
