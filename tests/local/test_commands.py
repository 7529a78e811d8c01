# pyright: basic
"""Commands that fail, hang or are not there."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from local import commands
from local.commands import run
from models.errors import ToolError


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_standard_output_is_returned(tmp_path: Path):
    code = "import os; print(os.getcwd(), os.environ['A'])"
    said = run(python(code), folder=tmp_path, timeout_seconds=20, environment={"A": "b"})
    assert said == f"{tmp_path} b\n"


def test_a_failure_tells_what_the_command_said_last(tmp_path: Path):
    code = "import sys; sys.exit('the disk is full')"
    with pytest.raises(ToolError, match="the disk is full"):
        run(python(code), folder=tmp_path, timeout_seconds=20)


def test_a_program_that_is_not_there(tmp_path: Path):
    with pytest.raises(ToolError, match="no-such-program"):
        run(["no-such-program"], folder=tmp_path, timeout_seconds=20)


def test_what_takes_too_long_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(commands, "_GRACE_SECONDS", 0.5)
    child = (
        "import pathlib, signal, sys, time\n"
        "if sys.argv[1] == 'stubborn': signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "time.sleep(60)\n"
    )
    code = (
        "import pathlib, subprocess, sys, time\n"
        "names = ('obedient', 'stubborn')\n"
        f"started = [subprocess.Popen([sys.executable, '-c', {child!r}, it]) for it in names]\n"
        "while not all(pathlib.Path(it).exists() for it in names): time.sleep(0.01)\n"
        "pathlib.Path('pids').write_text(' '.join(str(it.pid) for it in started))\n"
        "time.sleep(60)\n"
    )
    with pytest.raises(ToolError, match="not done after 3 seconds"):
        run(python(code), folder=tmp_path, timeout_seconds=3)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    limit = time.monotonic() + 20
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < limit
        time.sleep(0.05)
