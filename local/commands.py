"""Runs another program to its end, with a time limit, leaving no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from models.errors import ToolError

_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.05
_LAST_CHARACTERS = 2000


def run(
    command: Sequence[str | Path],
    *,
    folder: Path,
    timeout_seconds: float,
    environment: Mapping[str, str] | None = None,
    given: str = "",
) -> str:
    """Runs a command and returns what it wrote to standard output.

    It gets little of the processor when others want it, and messages are in English.

    Args:
        command: program and arguments.
        folder: the working directory.
        timeout_seconds: after which it is ended.
        environment: instead of this process's own.
        given: its standard input.

    Raises:
        ToolError: it cannot be started, failed or took too long; with the last that it said.
    """
    name = " ".join(str(part) for part in command[:2])
    with (
        tempfile.TemporaryFile() as source,
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
    ):
        source.write(given.encode())
        source.seek(0)
        try:
            # A session of its own, so that all its children can be ended at once.
            process = subprocess.Popen(
                ["nice", "-n", "10", *command],
                cwd=folder,
                env={**(os.environ if environment is None else environment), "LC_ALL": "C"},
                stdin=source,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        except OSError as error:
            raise ToolError(f"{name} cannot be started: {error}") from error
        try:
            code = process.wait(timeout_seconds)
        except subprocess.TimeoutExpired as error:
            _end(process)
            raise ToolError(f"{name} was not done after {timeout_seconds:g} seconds") from error
        except BaseException:
            _end(process)
            raise
        if code != 0:
            raise ToolError(f"{name} failed: {_text(errors)[-_LAST_CHARACTERS:].strip()}")
        return _text(output)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and its children, by force if they take long.

    The children may take longer than the process itself, or ignore what ends it.
    """
    limit = time.monotonic() + _GRACE_SECONDS
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
        while time.monotonic() < limit:
            os.killpg(process.pid, 0)  # fails when none is left
            time.sleep(_POLL_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")
