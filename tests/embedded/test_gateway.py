# pyright: basic
"""A real Envoy under load: weights, header rules and mirrors, changed without a failed request."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import aiohttp
import httpx
import pytest
from scipy.stats import binomtest

from local.embedded import envoy
from local.files import write_json
from local.processes import free_port
from local.tools import ensure

pytestmark = pytest.mark.embedded

RATE_PER_SECOND = 200


class Backend:
    """Answers with its name, and counts."""

    def __init__(self, name: str) -> None:
        self.count = 0
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                backend.count += 1
                self.send_response(200)
                self.send_header("content-length", str(len(name)))
                self.end_headers()
                self.wfile.write(name.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()


class Gateway:
    """Envoy on files, as `local.embedded.runtime` writes them."""

    def __init__(self, folder: Path, ports: dict[str, list[int]]) -> None:
        self._folder, self._ports = folder, ports
        self.admin, gateway = free_port(), free_port()
        self.url = f"http://127.0.0.1:{gateway}"
        write_json(folder / "bootstrap.yaml", envoy.bootstrap(folder, self.admin, gateway))
        self.route(0)
        self.process = subprocess.Popen(
            [ensure("envoy"), "-c", folder / "bootstrap.yaml", "--use-dynamic-base-id"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.until(lambda: self.stats("listener_manager.workers_started").endswith("1"))

    def route(self, percent: int, *filters: dict) -> None:
        path = {"path": {"type": "PathPrefix", "value": "/"}}
        pin = {"type": "Exact", "name": "x-model-version", "value": "b"}
        split = {
            "matches": [path],
            "backendRefs": [
                {"name": "a", "port": 80, "weight": 100 - percent},
                {"name": "b", "port": 80, "weight": percent},
            ],
            "filters": list(filters),
        }
        pinned = {
            "matches": [{**path, "headers": [pin]}],
            "backendRefs": [{"name": "b", "port": 80}],
        }
        route = {"metadata": {"name": "m", "namespace": "n"}, "spec": {"rules": [pinned, split]}}
        write_json(self._folder / "clusters.yaml", envoy.clusters([route], self._ports))
        response = envoy.route_configuration([route])
        write_json(self._folder / "routes.yaml", response)
        if hasattr(self, "process"):
            self.until(lambda: response["version_info"] in self.stats("routes.version_text"))

    def stats(self, name: str) -> str:
        try:
            return httpx.get(
                f"http://127.0.0.1:{self.admin}/stats", params={"filter": name}, timeout=2
            ).text.strip()
        except httpx.HTTPError:
            return ""

    def until(self, reached) -> None:
        give_up_at = time.monotonic() + 20
        while not reached():
            assert time.monotonic() < give_up_at
            time.sleep(0.05)


@pytest.fixture
def backends():
    made = {name: Backend(name) for name in "abc"}
    yield made
    for backend in made.values():
        backend.close()


@pytest.fixture
def gateway(tmp_path: Path, backends):
    made = Gateway(tmp_path, {name: [backend.port] for name, backend in backends.items()})
    yield made
    made.process.terminate()
    made.process.wait(timeout=10)


async def load(url: str, seconds: float) -> Counter:
    """Sends 200 requests a second; counts answers by body, failures by status or error."""
    seen: Counter = Counter()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session:

        async def one() -> None:
            try:
                async with session.get(url) as answer:
                    seen[await answer.text() if answer.status == 200 else answer.status] += 1
            except aiohttp.ClientError as error:
                seen[repr(error)] += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(int(seconds * RATE_PER_SECOND)):
                group.create_task(one())
                await asyncio.sleep(1 / RATE_PER_SECOND)
    return seen


def test_no_request_fails_while_weights_change(gateway: Gateway):
    result: list[Counter] = []
    under_load = threading.Thread(target=lambda: result.append(asyncio.run(load(gateway.url, 10))))
    under_load.start()
    for percent in (5, 25, 50, 100, 0, 5, 0, 100, 50, 5, 0, 50):
        gateway.route(percent)
        time.sleep(0.7)
    under_load.join()
    assert set(result[0]) == {"a", "b"}
    assert sum(result[0].values()) == 10 * RATE_PER_SECOND


def test_the_split_is_as_declared_and_the_header_goes_past_it(gateway: Gateway):
    gateway.route(5)
    seen = asyncio.run(load(gateway.url, 5))
    total = sum(seen.values())
    assert set(seen) == {"a", "b"}
    assert binomtest(seen["b"], total, 0.05).pvalue > 1e-4
    pinned = [
        httpx.get(gateway.url, headers={"x-model-version": "b"}, timeout=5).text for _ in range(50)
    ]
    assert set(pinned) == {"b"}
    routed = gateway.stats("^cluster.service/n/b/80/http.upstream_rq_completed$")
    assert routed == f"cluster.service/n/b/80/http.upstream_rq_completed: {seen['b']}"


def test_a_shadow_gets_copies_that_nobody_sees(gateway: Gateway, backends):
    mirror = {
        "type": "RequestMirror",
        "requestMirror": {"backendRef": {"name": "c", "port": 80}, "percent": 30},
    }
    gateway.route(0, mirror)
    seen = asyncio.run(load(gateway.url, 5))
    assert set(seen) == {"a"}
    gateway.until(lambda: backends["c"].count > 0)
    assert binomtest(backends["c"].count, seen["a"], 0.3).pvalue > 1e-4
    assert json.dumps(gateway.stats("^cluster.service/n/c")) == '""'


def test_copies_are_counted_as_requests_answers_and_times_of_their_own(gateway: Gateway):
    """What `rollout.collect` reads of a candidate that gets nothing but copies."""
    gateway.route(0, {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "b"}}})
    with httpx.Client() as client:
        for _ in range(50):
            assert client.get(gateway.url).text == "a"

    def counted(series: str) -> list[str]:
        text = httpx.get(f"http://127.0.0.1:{gateway.admin}/stats/prometheus", timeout=5).text
        mine = 'envoy_cluster_name="mirror/n/b/80/http"'
        lines = [it for it in text.splitlines() if it.startswith(f"{series}{{") and mine in it]
        return [it.rpartition(" ")[2] for it in lines]

    requests = "envoy_cluster_upstream_rq"
    gateway.until(lambda: counted(f"{requests}_time_count") == ["50"])  # flushed once a second
    assert counted(f"{requests}_total") == ["50"]
    assert counted(f"{requests}_xx") == ["50"]
    assert counted(f"{requests}_time_bucket")[-1] == "50"
