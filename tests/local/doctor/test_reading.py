# pyright: basic
"""Against small servers on loopback."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Generator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from local.cluster.layout import ENDPOINTS
from local.doctor import reading
from local.doctor.findings import Unreadable
from local.doctor.reading import KubernetesCluster, PrometheusMetrics
from local.plugins.kubeconfig import access

FORBIDDEN = {
    "message": 'deployments.apps is forbidden: User "somebody" cannot list resource "deployments" '
    'in API group "apps" at the cluster scope'
}
IN_NAMESPACE = {
    "message": 'configmaps "c" is forbidden: User "somebody" cannot get resource "configmaps" in '
    'API group "" in the namespace "kserve"'
}
LISTED = {"resources": [{"name": "deployments", "kind": "Deployment", "namespaced": True}]}
CORE = {"resources": [{"name": "configmaps", "kind": "ConfigMap", "namespaced": True}]}
REVIEWS = {
    "resources": [
        {
            "name": "selfsubjectaccessreviews",
            "kind": "SelfSubjectAccessReview",
            "namespaced": False,
        }
    ]
}
ANSWERS: dict[str, tuple[int, Any]] = {
    "/version": (200, {"gitVersion": "v1.34.4"}),
    "/apis/apps/v1": (200, LISTED),
    "/apis/apps/v1/deployments": (403, FORBIDDEN),
    "/api/v1": (200, CORE),
    "/api/v1/namespaces/kserve/configmaps/c": (403, IN_NAMESPACE),
    "/apis/authorization.k8s.io/v1": (200, REVIEWS),
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews": (
        201,
        {"status": {"allowed": True}},
    ),
    "/api/v1/query": (200, {"status": "success", "data": {"result": []}}),
    "/api/v1/other": (400, {"status": "error", "error": "parse error"}),
    "/api/v1/page": (200, "<html>"),
}


class Server:
    def __init__(self) -> None:
        self.answers = dict(ANSWERS)
        self.asked: list[tuple[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                outer.asked.append((self.command, path))
                size = int(self.headers.get("Content-Length", 0))
                self.rfile.read(size)
                status, body = outer.answers.get(path, (404, {"message": "not found"}))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Generator[Server]:
    made = Server()
    yield made
    made.close()


def cluster(url: str) -> KubernetesCluster:
    config = {
        "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "clusters": [{"name": "a", "cluster": {"server": url}}],
        "users": [{"name": "a", "user": {"token": "not-a-token"}}],
    }
    return KubernetesCluster(access(config, None, None))


def test_answers_and_refusals(server: Server):
    asked = cluster(server.url)
    assert asked.version() == "v1.34.4"
    assert asked.has("apps/v1", "Deployment") is True
    assert asked.has("serving.kserve.io/v1beta1", "InferenceService") is False
    denied = asked.list("apps/v1", "Deployment")
    assert denied == Unreadable("we may not list deployments in the whole cluster", reading._RIGHTS)
    denied = asked.get("v1", "ConfigMap", "c", "kserve")
    assert isinstance(denied, Unreadable)
    assert denied.why == "we may not get configmaps in namespace kserve"
    assert asked.get("v1", "ConfigMap", "other", "kserve") is None
    assert asked.list("serving.kserve.io/v1beta1", "InferenceService") == []


def test_rights_are_asked_for_without_keeping_anything(server: Server):
    asked = cluster(server.url)
    assert asked.may("create", "serving.kserve.io", "inferenceservices", "models") is True
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    server.answers[path] = (201, {"status": {"allowed": False}})
    assert asked.may("create", "serving.kserve.io", "inferenceservices", "models") is False
    assert {path for method, path in server.asked if method != "GET"} == {path}


def test_credentials_that_are_not_accepted(server: Server):
    server.answers["/version"] = (401, {"message": "Unauthorized"})
    answer = cluster(server.url).version()
    assert isinstance(answer, Unreadable)
    assert answer.why == "the API server does not accept our credentials"


def test_an_api_server_that_refuses_connections_is_asked_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        asked = cluster(url)
        for answer in (asked.version(), asked.list("v1", "Node"), asked.may("a", "b", "c", "d")):
            assert isinstance(answer, Unreadable)
            assert answer.why.startswith(f"{url} does not answer in 5 s")


def test_one_that_never_answers_is_given_up_and_not_asked_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading, "TIMEOUT_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        timeouts: list[float] = []
        client, get = httpx.Client, httpx.get

        def recorded(ask: Any, *arguments: Any, **options: Any) -> Any:
            timeouts.append(options["timeout"])
            return ask(*arguments, **options)

        monkeypatch.setattr(reading.httpx, "Client", partial(recorded, client))
        monkeypatch.setattr(reading.httpx, "get", partial(recorded, get))
        monkeypatch.setattr(reading, "ClusterApi", lambda *_, **__: None)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert isinstance(cluster(url).list("v1", "Node"), Unreadable)
        metrics = PrometheusMetrics(url)
        first = metrics.ask("query")
        assert isinstance(first, Unreadable)
        assert timeouts == [0.2, 0.2]
        monkeypatch.setattr(reading.httpx, "get", lambda *_, **__: pytest.fail("asked again"))
        assert metrics.ask("query") == first


def test_a_proxy_is_never_asked_for_this_machine(server: Server, monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert cluster(server.url).version() == "v1.34.4"
    assert PrometheusMetrics(server.url).ask("query") == {"result": []}


def test_a_proxy_is_never_asked_for_the_local_cluster(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("https_proxy", "http://proxy:9")
    monkeypatch.setenv("http_proxy", "http://proxy:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    asked: list[Any] = []

    def client(**options: Any) -> httpx.Client:
        asked.append((options["proxy"], options["trust_env"]))
        raise httpx.ConnectError("nobody is asked here")

    monkeypatch.setattr(reading.httpx, "Client", client)
    monkeypatch.setattr(reading, "ClusterApi", lambda *_, **__: None)
    cluster(ENDPOINTS["kubernetes"])
    cluster("https://api.example.com")
    monkeypatch.setattr(reading.httpx, "get", lambda _, **options: client(**options))
    PrometheusMetrics(ENDPOINTS["prometheus"]).ask("query")
    PrometheusMetrics("http://prometheus.example.com").ask("query")
    assert asked == [(None, False), ("http://proxy:9", False)] * 2


def test_without_a_way_to_the_cluster_every_answer_says_why():
    why = Unreadable("no context", "set KUBECONFIG")
    asked = KubernetesCluster(why)
    assert asked.version() == why
    assert asked.get("v1", "Node", "a") == why
    assert asked.has("v1", "Node") == why


def test_what_prometheus_says(server: Server):
    metrics = PrometheusMetrics(f"{server.url}/")
    assert metrics.url == server.url
    assert metrics.ask("query", query="up") == {"result": []}
    assert metrics.ask("other") == Unreadable("400: parse error", reading._PROMETHEUS)
    for path in ("page", "nowhere"):
        assert isinstance(metrics.ask(path), Unreadable)
