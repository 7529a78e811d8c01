# pyright: basic
from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from local.embedded.manifests import digest_of, read_manifests
from local.processes import (
    ProcessSpec,
    Supervisor,
    end_marked_processes,
    free_port,
    marked_processes,
)
from models.errors import RuntimeTargetError

SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")
IGNORES = (
    sys.executable,
    "-c",
    (
        "import signal, time; signal.signal(15, signal.SIG_IGN);"
        "print('deaf', flush=True); time.sleep(600)"
    ),
)


@pytest.fixture
def home(tmp_path: Path):
    yield tmp_path / ".modelramp"
    end_marked_processes(tmp_path / ".modelramp", grace_seconds=0.1)


def tick_until(supervisor: Supervisor, reached) -> None:
    for _ in range(200):
        supervisor.tick()
        if reached():
            return
        time.sleep(0.05)
    raise AssertionError("not reached")


def test_a_process_that_dies_is_started_again(home: Path):
    supervisor = Supervisor(home)
    supervisor.apply([ProcessSpec("sleeper", SLEEPS)])
    tick_until(supervisor, lambda: supervisor.is_ready("sleeper"))
    (first,) = marked_processes(home)
    first.kill()
    tick_until(supervisor, lambda: any(it.pid != first.pid for it in marked_processes(home)))
    assert supervisor.processes["sleeper"].restarts == 1
    supervisor.shutdown()
    assert not list(marked_processes(home))


def test_a_changed_process_is_replaced_and_a_deaf_one_killed(home: Path):
    supervisor = Supervisor(home)
    supervisor.apply([ProcessSpec("it", IGNORES, grace_seconds=0.2)])
    process = supervisor.processes["it"]
    tick_until(supervisor, lambda: "deaf" in process.last_lines(5))
    supervisor.apply([ProcessSpec("it", SLEEPS)])
    tick_until(supervisor, lambda: supervisor.is_ready("it"))
    assert [it.cmdline()[-1] for it in marked_processes(home)] == [SLEEPS[-1]]
    supervisor.shutdown()


def test_what_a_killed_supervisor_left_is_found_and_ended(home: Path):
    supervisor = Supervisor(home)
    supervisor.apply([ProcessSpec(name, SLEEPS) for name in "ab"])
    tick_until(supervisor, lambda: supervisor.is_ready("a") and supervisor.is_ready("b"))
    assert end_marked_processes(home) == 2
    assert not list(marked_processes(home))


def test_a_process_without_an_answer_is_not_ready(home: Path):
    supervisor = Supervisor(home)
    url = f"http://127.0.0.1:{free_port()}/"
    supervisor.apply([ProcessSpec("mute", SLEEPS, ready_url=url)])
    for _ in range(5):
        supervisor.tick()
    assert supervisor.processes["mute"].alive
    assert not supervisor.is_ready("mute")
    supervisor.shutdown()


def test_a_manifest_that_can_not_run_here_is_said(tmp_path: Path):
    folder = tmp_path / "1-manifest"
    folder.mkdir()
    empty = digest_of(tmp_path)
    (folder / "x.yaml").write_text(
        "kind: InferenceService\nmetadata: {name: x}\n"
        "spec: {predictor: {model: {modelFormat: {name: pytorch}}}}\n"
    )
    assert digest_of(tmp_path) != empty
    with pytest.raises(RuntimeTargetError, match="runs MLflow models only"):
        read_manifests(tmp_path)
    (folder / "x.yaml").write_text("a: [")
    with pytest.raises(RuntimeTargetError, match="not a Kubernetes object"):
        read_manifests(tmp_path)
