# pyright: basic
"""Commands that fail, hang or are not there."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from local.commands import run
from models.errors import ToolError


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


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


def test_what_takes_too_long_is_ended_with_its_children(tmp_path: Path):
    child = "import time; time.sleep(60)"
    code = (
        "import pathlib, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "pathlib.Path('pid').write_text(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    with pytest.raises(ToolError, match="not done after 2 seconds"):
        run(python(code), folder=tmp_path, timeout_seconds=2)
    pid = int((tmp_path / "pid").read_text())
    limit = time.monotonic() + 5
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < limit
        time.sleep(0.05)
