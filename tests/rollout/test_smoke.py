# pyright: basic
"""Smoke tests against a real HTTP server that answers as the gateway does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from models.errors import ConfigError
from models.names import VERSION_HEADER
from models.stack import parse_stack
from models.strategy import BlueGreen
from rollout import smoke
from rollout.drift_check import drift_check
from rollout.smoke import smoke_test
from tests.rollout.test_collect import Recorded, labels
from tests.rollout.test_drift_check import NOW
from tests.stacks import LOCAL

BLUE_GREEN = LOCAL.replace(
    "{kind: canary, steps: [1, 5, 25, 100], bake: 10m}",
    "{kind: blue-green, bake: 10m, smoke:"
    " [{body: {instances: [[1.0]]}}, {body: {x: 2}, path: /v1/models/fraud}]}",
).replace(
    """- {percent: 1, at: "2026-11-23T08:00:00Z"}
          - {percent: 5, at: "2026-11-23T09:00:00Z", why: "no harm in 41,200 requests"}""",
    """- {percent: 0, at: "2026-11-23T08:00:00Z"}""",
)
Answer = Callable[[str, str, dict], int]
"""From version, path and body to a status."""


class Gateway:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict]] = []
        self.answer: Answer = lambda version, path, body: 200
        self.pins = True
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                version = self.headers[VERSION_HEADER]
                gateway.seen.append((version, self.path, body))
                self.send_response(gateway.answer(version, self.path, body))
                if gateway.pins:
                    self.send_header(VERSION_HEADER, version)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Generator[Gateway]:
    monkeypatch.setattr(smoke.time, "sleep", lambda seconds: None)
    made = Gateway()
    threading.Thread(target=made.server.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.server.shutdown()
    made.server.server_close()


FRAUD = parse_stack(BLUE_GREEN, "x").services["fraud"]
REQUESTS = FRAUD.strategy.smoke if isinstance(FRAUD.strategy, BlueGreen) else ()


def test_each_request_goes_to_the_candidate_alone(gateway: Gateway):
    assert smoke_test("fraud", FRAUD, REQUESTS, gateway.url).result == "passed"
    assert gateway.seen == [
        ("1.5.0", "/v1/models/fraud:predict", {"instances": [[1.0]]}),
        ("1.5.0", "/v1/models/fraud", {"x": 2}),
    ]


def test_what_only_the_candidate_fails_is_its_failure(gateway: Gateway):
    gateway.answer = lambda version, path, body: (
        500 if (version, "x" in body) == ("1.5.0", True) else 200
    )
    smoked = smoke_test("fraud", FRAUD, REQUESTS, gateway.url)
    assert smoked.result == "failed"
    assert smoked.reason == "smoke: 1.5.0 answered 500 to request 2 of 2, which 1.4.0 answers"


def test_an_answer_that_got_lost_once_is_no_failure(gateway: Gateway):
    gateway.answer = lambda version, path, body: 503 if len(gateway.seen) == 1 else 200
    assert smoke_test("fraud", FRAUD, REQUESTS, gateway.url).result == "passed"


def test_what_stable_fails_too_is_not_known(gateway: Gateway):
    gateway.answer = lambda version, path, body: 422
    smoked = smoke_test("fraud", FRAUD, REQUESTS, gateway.url)
    assert smoked.result == "unknown"
    assert smoked.reason.endswith("and 1.4.0 422: is the request right?")


def test_an_answer_by_another_version_tells_nothing(gateway: Gateway):
    gateway.pins = False
    assert smoke_test("fraud", FRAUD, REQUESTS, gateway.url).reason.endswith("200, not by 1.5.0")


def test_a_gateway_that_is_away_tells_nothing():
    assert smoke_test("fraud", FRAUD, REQUESTS, "http://127.0.0.1:9").result == "unknown"


class Waiting(Recorded):
    """The candidate is at 0 and Ready."""

    def samples(self, query, start, end, step_seconds):
        edges = round((end - start).total_seconds() / step_seconds) + 1
        if query.startswith("modelramp:declared_percent"):
            each = {"1.4.0": 100.0, "1.5.0": 0.0}
            return {
                labels(service="fraud", version=it, namespace="models"): np.full(edges, percent)
                for it, percent in each.items()
            }
        if "membership_healthy" in query:
            name = {"envoy_cluster_name": "service/models/fraud-v1-5-0-predictor/80/http"}
            return {labels(**name): np.ones(edges)}
        return {}


@pytest.mark.parametrize(
    ("status", "kind", "percent"), [(200, "advance", 100), (500, "revert", 0), (None, "hold", 0)]
)
def test_the_switch_depends_on_them(gateway: Gateway, tmp_path, status, kind, percent):
    gateway.answer = lambda version, path, body: status if version == "1.5.0" else 200
    file = tmp_path / "Pulumi.local.yaml"
    file.write_text(BLUE_GREEN)
    url = None if status is None else gateway.url
    (outcome,) = drift_check(
        file, "local", Waiting(), only="fraud", gateway_url=url, clock=lambda: NOW
    )
    assert outcome.verdict is not None
    assert (outcome.verdict.kind, outcome.to_percent) == (kind, percent)
    assert "smoke" in outcome.verdict.reason


def test_smoke_needs_a_gateway_and_a_path():
    text = BLUE_GREEN.replace("kind: mlflow", "kind: vllm, gpu: {pool: a}").replace(
        "target: embedded,", "target: cluster, prometheus: 'http://p',"
    )
    with pytest.raises(ConfigError) as wrong:
        parse_stack(text, "x")
    said = str(wrong.value)
    assert "needs gatewayUrl of modelramp:cluster" in said
    assert "strategy.smoke.0:" in said
    assert "strategy.smoke.1:" not in said
