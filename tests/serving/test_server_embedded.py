"""The real server process with a real MLflow model, through every way a request can end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from models.digest import artifact_digest
from models.names import VERSION_HEADER
from models.reference_profile import build_profile

pytestmark = pytest.mark.embedded

START_SECONDS = 120
PREDICT = "/v1/models/demo:predict"
INFER = "/v2/models/demo/infer"
FEEDBACK = "/v2/models/demo/feedback"

# Sums its two columns; what it does besides, the first one says.
MODEL_CODE = """
import time
import mlflow

class Demo(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        a = model_input["a"].iloc[0]
        if a == -1:
            raise RuntimeError("cannot handle 4711")
        if a < -1:
            time.sleep(-a / 10)
        return (model_input["a"] + model_input["b"]).to_numpy()

mlflow.models.set_model(Demo())
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    (folder / "code.py").write_text(MODEL_CODE)
    # In a process of its own: MLflow takes seconds to import, which the other tests need not pay.
    script = """
import sys
import mlflow.pyfunc
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
schema = Schema([ColSpec("double", "a"), ColSpec("double", "b")])
mlflow.pyfunc.save_model(sys.argv[2], python_model=sys.argv[1], pip_requirements=["mlflow"],
                         signature=ModelSignature(schema, Schema([ColSpec("double")])))
"""
    subprocess.run(
        [sys.executable, "-c", script, str(folder / "code.py"), str(folder / "model")],
        check=True,
        timeout=START_SECONDS,
    )
    build_profile(
        {"a": np.arange(10.0), "b": np.arange(10.0)},
        np.arange(10.0) * 2,
        data_hash="sha256:" + "0" * 64,
        created_at=datetime.now(UTC),
        classification=False,
        buckets=2,
    ).write(folder / "model")
    return folder / "model"


@contextmanager
def running(
    model: Path, log: Path, *more: str
) -> Generator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "serving", "--model_name=demo", "--model_version=1.2.0"),
                *(f"--model_dir={model}", f"--digest={artifact_digest(model)}"),
                *("--http_host=127.0.0.1", f"--http_port={port}", "--drain_seconds=1", *more),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        try:
            wait_until_ready(client, process, log)
            yield client, process
        finally:
            process.kill()
            process.wait(10)


def wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            if client.get("/v2/health/ready").is_success:
                return
        except httpx.ConnectError:
            time.sleep(0.1)
    pytest.fail(f"not ready after {START_SECONDS} s: {log.read_text()[-2000:]}")


Server = tuple[httpx.Client, Path]


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    log = tmp_path_factory.mktemp("log") / "server.log"
    limits = ("--timeout_seconds=0.5", "--max_body_bytes=20000", "--max_concurrency=2")
    with running(model, log, *limits) as (client, _process):
        yield client, log


def counter(client: httpx.Client, series: str) -> float:
    for line in client.get("/metrics").text.splitlines():
        name, _, value = line.rpartition(" ")
        if name == series:
            return float(value)
    raise AssertionError(f"no series {series}")


def requests_total(client: httpx.Client, outcome: str, protocol: str = "v1") -> float:
    series = f'modelramp_requests_total{{outcome="{outcome}",protocol="{protocol}"}}'
    return counter(client, series)


@contextmanager
def counted_once(client: httpx.Client, outcome: str, protocol: str = "v1") -> Generator[None]:
    before = requests_total(client, outcome, protocol)
    yield
    assert requests_total(client, outcome, protocol) == before + 1


def test_version_1_protocol(server: Server) -> None:
    client, _ = server
    with counted_once(client, "ok"):
        answer = client.post(PREDICT, json={"instances": [[1, 2.5], [3, 4]]})
    assert answer.json() == {"predictions": [3.5, 7.0]}
    assert answer.headers[VERSION_HEADER] == "1.2.0"


def test_version_2_protocol(server: Server) -> None:
    client, _ = server
    tensor = {"name": "x", "shape": [2, 2], "datatype": "FP64", "data": [[1, 2.5], [3, 4]]}
    with counted_once(client, "ok", "v2"):
        answer = client.post(INFER, json={"id": "mine", "inputs": [tensor]}).json()
    assert answer["id"] == "mine"
    assert answer["model_version"] == "1.2.0"
    (output,) = answer["outputs"]
    assert (output["shape"], output["datatype"], output["data"]) == ([2], "FP64", [3.5, 7.0])


def test_readiness_of_both_protocols_with_the_version(server: Server) -> None:
    client, _ = server
    for path in ("/v2/health/ready", "/v2/models/demo/ready", "/v1/models/demo"):
        answer = client.get(path)
        assert answer.is_success
        assert answer.headers[VERSION_HEADER] == "1.2.0"
    assert client.get("/v1/models/other").status_code == 404
    assert client.get("/docs").status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/v2/repository/models/demo/unload", "/v1/models/other:predict", "/v1/models/demo:explain"],
)
def test_other_posts_are_not_served(server: Server, path: str) -> None:
    client, _ = server
    assert client.post(path, json={"instances": [[1, 2]]}).status_code == 404
    assert client.get("/v2/models/demo/ready").is_success


@pytest.mark.parametrize("given", ["abc-123", "bad id\twith blanks", None])
def test_a_request_id_is_kept_or_made(server: Server, given: str | None) -> None:
    client, _ = server
    headers = {"x-request-id": given} if given else {}
    answer = client.post(PREDICT, json={"instances": [[1, 2]]}, headers=headers)
    found = answer.headers.get_list("x-request-id")
    assert len(found) == 1
    if given == "abc-123":
        assert found == [given]
    else:
        assert len(found[0]) == 32


@pytest.mark.parametrize("content_type", [None, "application/json; charset=utf-8"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PREDICT, {"instances": [[1, 2]]}),
        (INFER, {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}),
    ],
)
def test_json_is_json_under_whatever_name(
    server: Server, path: str, body: dict[str, Any], content_type: str | None
) -> None:
    client, _ = server
    headers = {"content-type": content_type} if content_type else {}
    assert client.post(path, content=json.dumps(body), headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "text"),
    [
        (PREDICT, b'{"instances": [["x", 1]]}', {}, 400, "is text"),
        (PREDICT, b'{"instances": [{"b": 1}]}', {}, 400, "missing"),
        (PREDICT, b"{broken", {}, 400, "error"),
        (PREDICT, b"\x00raw", {"content-type": "application/octet-stream"}, 415, "json"),
        (PREDICT, b"[" + b"1," * 10_000 + b"1]", {}, 413, "20000 bytes"),
        (INFER, b'{"inputs": [{"name": "x"}]}', {}, 400, "datatype"),
        (INFER, b"{broken", {}, 400, "error"),
        (INFER, b'{"inputs": []}', {}, 400, "missing"),
    ],
)
def test_the_clients_errors_count_as_the_clients(
    server: Server, path: str, body: bytes, headers: dict[str, str], status: int, text: str
) -> None:
    client, _ = server
    with counted_once(client, "client_error", "v1" if path == PREDICT else "v2"):
        answer = client.post(path, content=body, headers=headers)
    assert answer.status_code == status
    assert text in answer.text


def test_a_body_without_length_is_limited_too(server: Server) -> None:
    client, _ = server

    def endless() -> Generator[bytes]:
        for _ in range(50):
            yield b" " * 1000

    assert client.post(PREDICT, content=endless()).status_code == 413


def test_the_models_exception_is_its_error_and_keeps_the_connection(server: Server) -> None:
    client, log = server
    with counted_once(client, "error"):
        answer = client.post(
            PREDICT, json={"instances": [[-1, 0]]}, headers={"x-request-id": "failing-one"}
        )
    assert answer.status_code == 500
    assert answer.json() == {"error": "the model raised RuntimeError", "request_id": "failing-one"}
    assert answer.headers.get("connection") != "close"
    (line,) = [line for line in log.read_text().splitlines() if "failing-one" in line]
    entry = json.loads(line)
    assert entry["outcome"] == "error"
    assert "RuntimeError at" in entry["where"]
    assert "4711" not in log.read_text()


def test_a_slow_prediction_times_out(server: Server) -> None:
    client, _ = server
    with counted_once(client, "timeout"):
        answer = client.post(PREDICT, json={"instances": [[-8, 0]]})
    assert answer.status_code == 504
    time.sleep(0.5)  # it still runs: the next test needs its thread


def test_more_than_the_queue_holds_is_turned_away(server: Server) -> None:
    client, _ = server
    before = requests_total(client, "overload")
    statuses: list[int] = []

    def post() -> None:
        statuses.append(client.post(PREDICT, json={"instances": [[-2, 0]]}).status_code)

    run_together([post] * 5)
    assert statuses.count(200) == 2
    assert statuses.count(503) == 3
    assert requests_total(client, "overload") == before + 3


def test_feedback_is_matched_with_predictions(server: Server) -> None:
    client, _ = server
    instances = {"instances": [[1, 2], [3, 4]]}
    client.post(PREDICT, json=instances, headers={"x-request-id": "labelled"})
    labels = [
        {"id": "labelled", "row": 0, "label": 3},
        {"id": "labelled", "row": 1, "label": 8},
        {"id": "labelled", "row": 1, "label": 8},
        {"id": "never seen", "row": 0, "label": 1},
    ]
    answer = client.post(FEEDBACK, json={"labels": labels})
    assert answer.json() == {"matched": 2, "unmatched": 1, "duplicate": 1}
    for outcome in ("correct", "incorrect", "unmatched", "duplicate"):
        assert counter(client, f'modelramp_labels_total{{outcome="{outcome}"}}') == 1
    assert client.post(FEEDBACK, json={"labels": 1}).status_code == 400


def test_features_and_predictions_are_counted_by_bucket(server: Server) -> None:
    client, _ = server
    series = 'modelramp_feature_values_total{bucket="(5,+Inf]",feature="b"}'
    before = counter(client, series)
    client.post(PREDICT, json={"instances": [[1, 100], [1, 2]]})
    assert counter(client, series) == before + 1
    assert counter(client, "modelramp_reference_profile") == 1


def test_a_wrong_digest_ends_the_process_with_the_reason(model: Path, tmp_path: Path) -> None:
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "serving", "--model_name=demo", "--model_version=1.2.0"),
            *(f"--model_dir={model}", "--digest=sha256:" + "0" * 64),
        ],
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert ended.returncode == 1
    assert "declared is sha256:0000" in json.loads(ended.stdout.splitlines()[-1])["reason"]


def test_sigterm_under_load_fails_no_request(model: Path, tmp_path: Path) -> None:
    with running(model, tmp_path / "log") as (client, process):
        statuses: list[int] = []
        not_ready = threading.Event()

        def load() -> None:
            # As a proxy does: until readiness is off.
            while not not_ready.is_set():
                answer = client.post(PREDICT, json={"instances": [[-2, 0]]})
                statuses.append(answer.status_code)

        def stop() -> None:
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            while client.get("/v2/health/ready").is_success:
                time.sleep(0.01)
            not_ready.set()

        run_together([load, load, load, stop])
        assert len(statuses) >= 3
        assert set(statuses) == {200}
        assert process.wait(30) == 0


def run_together(jobs: list[Callable[[], None]]) -> None:
    with ThreadPoolExecutor(len(jobs)) as pool:
        for future in [pool.submit(job) for job in jobs]:
            future.result(60)  # raises what the job raised
