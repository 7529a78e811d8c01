# pyright: basic
"""The stand-in's cluster mode without a cluster; on a real one: tests/cluster/test_provider.py."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import ssl
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import grpc
import httpx
import pytest
import yaml

from local.cluster.layout import ENDPOINTS, HOST_ADDRESS
from local.plugins import cluster_api, cluster_mode, first_contact, waiting
from local.plugins import kubeconfig as kubeconfig_module
from local.plugins.cluster_api import ClusterApi
from local.plugins.cluster_mode import ClusterMode, Options, UnreachableMode
from local.plugins.differences import differences
from local.plugins.jsonpath import compile_path
from local.plugins.kubeconfig import KubeconfigError, access, load, server_of
from local.plugins.kubernetes_provider import KubernetesProvider
from local.plugins.manifests import normalised
from local.plugins.mode import Call
from local.plugins.ownership import path_of, taken_over, without_ignored
from local.plugins.properties import (
    from_struct,
    secret,
    secret_texts,
    to_struct,
    with_secrets,
    without_secrets,
)
from local.plugins.protocol import provider_pb2, status_pb2
from local.plugins.readiness import built_in_check, check_of
from local.plugins.reasons import reasons
from local.plugins.refusals import (
    ApiError,
    CancelledError,
    RefusedError,
    UnreachableError,
    explain,
)
from local.plugins.waiting import NotReadyError, timeout_of, until_gone, until_ready

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
Manifest = dict[str, Any]
cluster_api_pause = cluster_api._pause


def widget(name: str = "w", **fields: Any) -> Manifest:
    metadata = {"name": name, "namespace": "models"} | fields.pop("metadata", {})
    return {"apiVersion": "demo/v1", "kind": "Widget", "metadata": metadata} | fields


def annotated(**annotations: str) -> Manifest:
    return {"annotations": {f"pulumi.com/{key}": value for key, value in annotations.items()}}


def condition(name: str, status: str, **more: Any) -> Manifest:
    return {"type": name, "status": status} | more


def refused(status: int, reason: str = "", message: str = "no", **details: Any) -> RefusedError:
    return RefusedError(status, {"reason": reason, "message": message, "details": details})


class FakeApi:
    """An API server that keeps widgets, and does not always answer.

    Attributes:
        objects: by name.
        requests: method and path of what has arrived.
        faults: consumed one a request, but for discovery: a status, or "cut" (the answer is lost),
            "drop" (the request is).
    """

    def __init__(self) -> None:
        self.objects: dict[str, Manifest] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.all_headers: list[list[tuple[str, str]]] = []  # also those that come twice
        self.faults: list[int | str] = []
        self.kinds = [{"name": "widgets", "kind": "Widget", "namespaced": True}]
        self.on_apply: Callable[[Manifest], tuple[int, Manifest] | None] = lambda _: None
        self.versions = 0
        self.is_away = threading.Event()  # while set, all is answered with 503
        self.connections: list[socket.socket] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet

            def setup(self) -> None:
                super().setup()
                fake.connections.append(self.connection)

            def log_message(self, *_: Any) -> None:
                pass

            def do(self) -> None:
                fake.serve(self)

        for method in ("GET", "POST", "PATCH", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.do)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("Content-Length") or 0)
        body = json.loads(request.rfile.read(length)) if length else None
        url = urlsplit(request.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        is_discovery = url.path in {"/version", "/apis/demo/v1", "/api/v1", "/apis/apps/v1"}
        fault = None if is_discovery or not self.faults else self.faults.pop(0)
        self.requests.append((request.command, url.path, query))
        self.headers.append(dict(request.headers.items()))
        self.all_headers.append(list(request.headers.items()))
        self.bodies.append(body)
        if fault == "drop":
            request.connection.close()
            request.close_connection = True
            return
        status, answer = (
            (fault, {"message": "not now"})
            if isinstance(fault, int)
            else self.answer(request.command, url.path, body, query)
        )
        if fault == "cut":
            request.connection.close()
            request.close_connection = True
            return
        payload = json.dumps(answer).encode()
        request.send_response(status)
        request.send_header("Content-Length", str(len(payload)))
        request.end_headers()
        request.wfile.write(payload)

    def answer(
        self, method: str, path: str, body: Any, query: dict[str, str]
    ) -> tuple[int, Manifest]:
        if self.is_away.is_set():
            return 503, {"message": "not now"}
        if path == "/version":
            return 200, {"gitVersion": "v1.2.3"}
        if path == "/apis/demo/v1":
            return 200, {"resources": self.kinds}
        prefix = "/apis/demo/v1/namespaces/models/widgets"
        if not path.startswith(prefix):
            return 404, {"message": "no such path", "reason": "NotFound"}
        name = path.removeprefix(prefix).strip("/")
        dry = "dryRun" in query
        if method == "GET" and name:
            found = self.objects.get(name)
            return (200, found) if found else (404, {"message": f"no {name}", "reason": "NotFound"})
        if method == "GET":
            return 200, {"items": list(self.objects.values())}
        if method == "DELETE":
            found = self.objects.get(name, {})
            if not found.get("metadata", {}).get("finalizers"):
                self.objects.pop(name, None)
            return (200, {}) if found else (404, {"message": "gone", "reason": "NotFound"})
        if method == "POST":
            name = body["metadata"]["name"]
            if name in self.objects:
                return 409, {"message": f"{name} already exists", "reason": "AlreadyExists"}
            return 201, self.keep(body, query["fieldManager"], "Update", dry=dry)
        refusal = self.on_apply(body)
        if refusal is not None:
            return refusal
        if isinstance(body, list):  # a JSON patch, of managedFields
            self.objects[name]["metadata"]["managedFields"] = body[0]["value"]
            return 200, self.objects[name]
        return 200, self.keep(body, query["fieldManager"], "Apply", dry=dry)

    def keep(self, body: Manifest, manager: str, operation: str, *, dry: bool) -> Manifest:
        name = body["metadata"]["name"]
        old = self.objects.get(name, {}).get("metadata", {})
        self.versions += 1
        entries = [
            entry
            for entry in old.get("managedFields", [])
            if (entry["manager"], entry["operation"]) != (manager, operation)
        ]
        kept = body | {
            "metadata": body["metadata"]
            | {
                "uid": old.get("uid", f"uid-{self.versions}"),
                "resourceVersion": str(self.versions),
                "generation": 1,
                "creationTimestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "managedFields": [
                    *entries,
                    {"manager": manager, "operation": operation, "fieldsV1": {"f:spec": {}}},
                ],
            }
        }
        if not dry:
            self.objects[name] = kept
        return kept

    def config(self) -> Manifest:
        return {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {"server": self.address}}],
            "users": [{"name": "u", "user": {}}],
        }

    def writes(self) -> list[tuple[str, str, dict[str, str]]]:
        return [entry for entry in self.requests if entry[0] != "GET"]


def bare_context(**_: Any) -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same waits, ten times as fast."""
    monkeypatch.setattr(cluster_api, "_pause", lambda state: cluster_api_pause(state) / 10)
    monkeypatch.setattr(cluster_mode, "_PAUSE_AFTER_CUT", 0.05)
    pauses = [pause / 10 for pause in cluster_mode._PAUSES_FOR_NEEDS]
    monkeypatch.setattr(cluster_mode, "_PAUSES_FOR_NEEDS", pauses)
    # Loading the machine's certificate authorities takes a while, and here is no TLS.
    monkeypatch.setattr(ssl, "create_default_context", bare_context)
    monkeypatch.setattr(waiting, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(waiting, "_LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(waiting, "_SECONDS_OF_SILENCE", 0)


@pytest.fixture
def fake() -> Iterator[FakeApi]:
    fake = FakeApi()
    yield fake
    fake.stop()


@pytest.fixture
def cancelled() -> threading.Event:
    return threading.Event()


@pytest.fixture
def api(fake: FakeApi, cancelled: threading.Event) -> ClusterApi:
    return ClusterApi(access(fake.config(), None, None), cancelled, patience=2)


@pytest.fixture
def mode(api: ClusterApi) -> ClusterMode:
    return ClusterMode(api, Options(namespace="models"))


def made(mode: ClusterMode, manifest: Manifest, **call: Any) -> Manifest:
    live = mode.create(manifest, Call(field_manager="pulumi-kubernetes-1", **call))
    assert live is not None
    return live


class TestKubeconfig:
    @pytest.fixture(autouse=True)
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.delenv("KUBECONFIG", raising=False)

    @staticmethod
    def config(server: Any = "https://a:6443", **user: Any) -> Manifest:
        return {
            "current-context": "one",
            "contexts": [
                {"name": "one", "context": {"cluster": "a", "user": "u", "namespace": "team"}},
                {"name": "two", "context": {"cluster": "b", "user": "u"}},
            ],
            "clusters": [
                {"name": "a", "cluster": {"server": server}},
                {"name": "b", "cluster": {"server": "https://b"}},
            ],
            "users": [{"name": "u", "user": user}],
        }

    def test_path_content_and_environment(self, tmp_path: Path) -> None:
        text = yaml.safe_dump(self.config())
        file = tmp_path / "config"
        file.write_text(text)
        listed = {"KUBECONFIG": str(file)}
        assert load(text, {}) == self.config()
        for found in (load(str(file), {}), load(None, listed), load(str(file), listed)):
            assert access(found, None, None).server == "https://a:6443"
        assert (
            load(None, {})
            == {
                "current-context": None,
                "clusters": [],
                "users": [],
                "contexts": [],
            }
            or load(None, {}) == {}
        )
        default = tmp_path / "home" / ".kube" / "config"
        default.parent.mkdir(parents=True)
        default.write_text(text)
        assert access(load(None, {}), None, None).server == "https://a:6443"

    def test_several_files_are_merged_the_first_wins(self, tmp_path: Path) -> None:
        first, second = self.config("https://first"), self.config("https://second")
        second["current-context"] = "three"
        second["contexts"].append({"name": "three", "context": {"cluster": "c"}})
        second["clusters"].append({"name": "c", "cluster": {"server": "https://c"}})
        files = [tmp_path / "1", tmp_path / "2"]
        for file, config in zip(files, (first, second), strict=True):
            file.write_text(yaml.safe_dump(config))
        merged = load(None, {"KUBECONFIG": os.pathsep.join(map(str, files))})
        assert access(merged, None, None).server == "https://first"
        assert access(merged, "three", None).server == "https://c"

    def test_context_cluster_and_namespace_are_chosen(self) -> None:
        config = self.config()
        found = access(config, None, None)
        assert (found.server, found.namespace) == ("https://a:6443", "team")
        assert access(config, "two", None).server == "https://b"
        assert access(config, "one", "b").server == "https://b"
        assert server_of(config, "two", None) == "https://b"
        with pytest.raises(KubeconfigError, match=r"no context 'x' \(it has one, two\)"):
            access(config, "x", None)
        with pytest.raises(KubeconfigError, match="no current-context"):
            access({}, None, None)

    def test_files_are_relative_to_the_kubeconfig(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("secret\n")
        file = tmp_path / "config"
        file.write_text(yaml.safe_dump(self.config(tokenFile="token")))
        found = access(load(str(file), {}), None, None)
        assert found.credentials.authorization() == "Bearer secret"

    @pytest.mark.parametrize(
        ("user", "header"),
        [
            ({}, None),
            ({"token": "t"}, "Bearer t"),
            ({"username": "u", "password": "p"}, "Basic dTpw"),
        ],
    )
    def test_credentials(self, user: Manifest, header: str | None) -> None:
        found = access(self.config(**user), None, None)
        assert found.credentials.authorization() == header

    def test_command_is_run_once_until_its_token_expires(self, tmp_path: Path) -> None:
        script = tmp_path / "token.py"
        script.write_text(
            "import json, os, sys\n"
            "with open(sys.argv[1], 'a') as file: file.write(os.environ['PROFILE'])\n"
            "runs = os.path.getsize(sys.argv[1])\n"
            "assert json.loads(os.environ['KUBERNETES_EXEC_INFO'])['kind'] == 'ExecCredential'\n"
            "status = {'token': f't{runs}', 'expirationTimestamp': sys.argv[2]}\n"
            "print(json.dumps({'status': status}))\n"
        )
        log = tmp_path / "log"

        def credentials(until: str) -> kubeconfig_module.Credentials:
            command = {
                "command": sys.executable,
                "args": [str(script), str(log), until],
                "env": [{"name": "PROFILE", "value": "p"}],
            }
            return access(self.config(exec=command), None, None).credentials

        lasting = credentials("2099-01-01T00:00:00Z")
        assert [lasting.authorization() for _ in range(3)] == ["Bearer t1"] * 3
        assert lasting.forget()
        assert lasting.authorization() == "Bearer t2"
        brief = credentials("2020-01-01T00:00:00Z")
        assert [brief.authorization() for _ in range(2)] == ["Bearer t3", "Bearer t4"]

    def test_failing_command_shows_no_output_but_its_complaint(self, tmp_path: Path) -> None:
        code = "import sys; print('half-a-token'); sys.exit('expired session')"
        command = {"command": sys.executable, "args": ["-c", code]}
        with pytest.raises(KubeconfigError, match="expired session") as caught:
            access(self.config(exec=command), None, None)
        assert "half-a-token" not in str(caught.value)
        with pytest.raises(KubeconfigError, match="gave no credential: JSONDecodeError"):
            access(self.config(exec=command | {"args": ["-c", "print('x')"]}), None, None)

    def test_errors_do_not_quote_the_file(self, tmp_path: Path) -> None:
        file = tmp_path / "config"
        file.write_text("users: [{user: {token: hush, x: ]}]\n")
        with pytest.raises(KubeconfigError, match=r"config is no valid YAML, line 1") as caught:
            load(str(file), {})
        assert "hush" not in str(caught.value)
        with pytest.raises(KubeconfigError, match="neither a kubeconfig nor the path of one"):
            load("/no/such/file", {})

    def test_inside_of_a_pod(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pod = tmp_path / "pod"
        pod.mkdir()
        (pod / "token").write_text("t")
        (pod / "namespace").write_text("team")
        monkeypatch.setattr(kubeconfig_module, "_POD", pod)
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
        found = access({}, None, None)
        assert (found.server, found.namespace) == ("https://[fd00::1]:6443", "team")
        assert found.credentials.authorization() == "Bearer t"
        assert access(self.config(), None, None).server == "https://a:6443"

    def test_keys_lie_on_disk_for_a_moment_and_for_us_alone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[tuple[Path, int, bytes]] = []

        def load_cert_chain(_: ssl.SSLContext, file: Path) -> None:
            seen.append((file, stat.S_IMODE(file.parent.stat().st_mode), file.read_bytes()))

        monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", load_cert_chain)
        pair = {
            "client-certificate-data": base64.b64encode(b"CERT").decode(),
            "client-key-data": base64.b64encode(b"KEY").decode(),
        }
        access(self.config(**pair), None, None)
        ((file, mode, content),) = seen
        assert (mode, content) == (0o700, b"CERT\nKEY")
        assert not file.exists()

    def test_token_in_a_file_wins(self, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.write_text("rotated\n")
        user = {"token": "old", "tokenFile": str(file)}
        found = access(self.config(**user), None, None).credentials
        assert found.authorization() == "Bearer rotated"
        assert found.forget()
        file.unlink()
        assert found.authorization() == "Bearer old"
        with pytest.raises(KubeconfigError, match="cannot be read"):
            access(self.config(tokenFile=str(file)), None, None).credentials.authorization()

    def test_acting_as_somebody_else_needs_a_name(self) -> None:
        for user in ({"as-uid": "7"}, {"as-groups": ["a"]}, {"as-user-extra": {"a": ["b"]}}):
            with pytest.raises(KubeconfigError, match="not whom to act as"):
                access(self.config(**user), None, None)

    def test_what_is_not_supported_is_said(self) -> None:
        with pytest.raises(KubeconfigError, match="use exec"):
            access(self.config(**{"auth-provider": {"name": "gcp"}}), None, None)


class TestApi:
    def test_pauses_grow_and_the_server_may_name_one(self) -> None:
        def pause(number: int, retry_after: float | None = None) -> float:
            state: Any = SimpleNamespace(
                attempt_number=number,
                outcome=SimpleNamespace(exception=lambda: RefusedError(429, {}, retry_after)),
            )
            return cluster_api_pause(state)

        assert [pause(number) for number in (1, 2, 3, 9)] == [0.1, 0.2, 0.4, 2.0]
        assert (pause(1, 3), pause(1, 60)) == (3, 5)

    def test_reads_ride_out_refusals_and_broken_connections(
        self, api: ClusterApi, fake: FakeApi
    ) -> None:
        fake.objects["w"] = widget(spec={"a": 1})
        fake.faults = [503, "drop", 429]
        assert api.get(widget()) == fake.objects["w"]
        assert fake.faults == []

    def test_apply_is_repeated_whatever_broke(self, api: ClusterApi, fake: FakeApi) -> None:
        fake.faults = ["cut", 503]
        live = api.apply(widget(spec={"a": 1}), "me", force=False, dry_run=False)
        assert live["spec"] == {"a": 1}
        assert [query for _, _, query in fake.writes()] == [
            {"fieldManager": "me", "force": "false"}
        ] * 3

    def test_create_is_not_repeated_when_it_may_have_arrived(
        self, api: ClusterApi, fake: FakeApi
    ) -> None:
        fake.faults = ["cut"]
        with pytest.raises(UnreachableError) as caught:
            api.create(widget(), "me", dry_run=False)
        assert caught.value.may_have_arrived
        assert len(fake.writes()) == 1

    def test_create_is_repeated_when_it_cannot_have_arrived(
        self, api: ClusterApi, fake: FakeApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        send, broken = (
            api._client.request,
            [httpx.ConnectError("refused"), httpx.ConnectTimeout("")],
        )

        def request(*arguments: Any, **more: Any) -> httpx.Response:
            if arguments[0] == "POST" and broken:
                raise broken.pop()
            return send(*arguments, **more)

        monkeypatch.setattr(api._client, "request", request)
        assert api.create(widget(spec={"a": 1}), "me", dry_run=False)["spec"] == {"a": 1}
        assert broken == []
        assert len(fake.writes()) == 1

    def test_deletes_are_repeated_and_may_find_nothing(
        self, api: ClusterApi, fake: FakeApi
    ) -> None:
        fake.objects["w"] = widget()
        fake.faults = ["cut"]
        api.delete(widget(), "Foreground")
        assert fake.objects == {}
        assert fake.bodies[-1] == {"propagationPolicy": "Foreground"}

    def test_refusals_are_not_asked_again(self, api: ClusterApi, fake: FakeApi) -> None:
        fake.faults = [403, 500]
        for status in (403, 500):
            with pytest.raises(RefusedError) as caught:
                api.get(widget())
            assert caught.value.status == status
        assert len([path for _, path, _ in fake.requests if path.endswith("/w")]) == 2

    def test_patience_ends_and_the_address_is_named(
        self, fake: FakeApi, cancelled: threading.Event
    ) -> None:
        api = ClusterApi(access(fake.config(), None, None), cancelled, patience=0.3)
        fake.stop()
        started = time.monotonic()
        with pytest.raises(UnreachableError, match=re.escape(fake.address)):
            api.get(widget())
        assert 0.2 < time.monotonic() - started < 30

    def test_cancelling_ends_the_asking(self, fake: FakeApi, cancelled: threading.Event) -> None:
        api = ClusterApi(access(fake.config(), None, None), cancelled, patience=60)
        fake.stop()
        threading.Timer(0.1, cancelled.set).start()
        started = time.monotonic()
        with pytest.raises(CancelledError):
            api.get(widget())
        assert time.monotonic() - started < 30

    def test_kinds_that_come_later_are_found(self, api: ClusterApi, fake: FakeApi) -> None:
        assert api.resource("demo/v1", "Gadget") is None
        fake.kinds.append({"name": "gadgets", "kind": "Gadget", "namespaced": False})
        fake.kinds.append({"name": "gadgets/status", "kind": "Gadget", "namespaced": False})
        found = api.resource("demo/v1", "Gadget")
        assert found is not None
        assert (found.plural, found.namespaced) == ("gadgets", False)
        before = len(fake.requests)
        api.resource("demo/v1", "Gadget")
        assert len(fake.requests) == before

    def test_refused_token_is_renewed_once(
        self, fake: FakeApi, cancelled: threading.Event, tmp_path: Path
    ) -> None:
        token = tmp_path / "token"
        token.write_text("old")
        config = fake.config()
        config["users"][0]["user"] = {"tokenFile": str(token)}
        api = ClusterApi(access(config, None, None), cancelled, patience=1)
        api.resource("demo/v1", "Widget")
        fake.objects["w"] = widget()
        token.write_text("new")
        fake.faults = [401]
        assert api.get(widget()) == fake.objects["w"]
        sent = [headers["Authorization"] for headers in fake.headers]
        assert sent == ["Bearer old", "Bearer old", "Bearer new"]

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            (ENDPOINTS["kubernetes"], None),
            (ENDPOINTS["prometheus"], None),
            (f"https://{HOST_ADDRESS}", None),
            ("https://127.0.0.1:6443", None),
            ("https://[::1]:6443", None),
            ("https://localhost", None),
            ("https://198.20.0.1", "http://secure:9"),
            ("http://198.20.0.1", "http://plain:9"),
            ("https://10.0.0.1", "http://secure:9"),
            ("https://10.1.2.3", None),
            ("https://[fd00::1]", None),
            ("https://[fe00::1]", "http://secure:9"),
            ("https://api.example.com:6443", "http://secure:9"),
            ("https://api.internal.example.com:6443", None),
        ],
    )
    def test_a_proxy_is_for_real_clusters(
        self,
        cancelled: threading.Event,
        monkeypatch: pytest.MonkeyPatch,
        url: str,
        expected: str | None,
    ) -> None:
        for name in ("http_proxy", "https_proxy", "no_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTP_PROXY", "http://plain:9")
        monkeypatch.setenv("HTTPS_PROXY", "secure:9")
        monkeypatch.setenv("NO_PROXY", "internal.example.com, 10.1.0.0/16,fd00::/8")
        given: list[Any] = []
        client = httpx.Client

        def recorded(**options: Any) -> httpx.Client:
            given.append((options["proxy"], options["trust_env"]))
            return client(**options)

        monkeypatch.setattr(httpx, "Client", recorded)
        found = access(TestKubeconfig.config(url), None, None)
        ClusterApi(found, cancelled)
        ClusterApi(replace(found, proxy="http://said:9"), cancelled)
        assert given == [(expected, False), ("http://said:9", False)]

    def test_every_request_acts_as_whom_the_kubeconfig_names(
        self, fake: FakeApi, cancelled: threading.Event
    ) -> None:
        config = fake.config()
        config["users"][0]["user"] = {
            "token": "t",
            "as": "jané",
            "as-groups": ["developers", "admins"],
            "as-uid": "7",
            "as-user-extra": {"example.com/scopes": ["view", "edit"], "reason%": ["a"]},
        }
        api = ClusterApi(access(config, None, None), cancelled, patience=1)
        api.create(widget(), "me", dry_run=False)
        api.get(widget())
        api.delete(widget(), "Foreground")
        assert len(fake.requests) >= 4
        for headers in fake.all_headers:
            assert headers.count(("User-Agent", "modelramp")) == 1
            assert headers.count(("Authorization", "Bearer t")) == 1
            assert [pair for pair in headers if pair[0].startswith("Impersonate-")] == [
                ("Impersonate-User", "jané".encode().decode("latin-1")),
                ("Impersonate-Group", "developers"),
                ("Impersonate-Group", "admins"),
                ("Impersonate-Uid", "7"),
                ("Impersonate-Extra-example.com%2Fscopes", "view"),
                ("Impersonate-Extra-example.com%2Fscopes", "edit"),
                ("Impersonate-Extra-reason%25", "a"),
            ]


class TestRefusals:
    def test_conflict_names_object_fields_and_managers(self) -> None:
        causes = [
            {
                "reason": "FieldManagerConflict",
                "message": f'conflict with "{manager}" using demo/v1',
                "field": field,
            }
            for manager, field in (
                ("hpa", ".spec.replicas"),
                ("hpa", ".spec.min"),
                ("kubectl-edit", ".spec.weight"),
            )
        ]
        text = explain(refused(409, "Conflict", causes=causes), widget())
        assert text.startswith("Widget models/w: others own fields")
        assert "  .spec.replicas, .spec.min: set by hpa\n" in text
        assert "  .spec.weight: set by kubectl-edit\n" in text
        assert 'pulumi.com/patchForce: "true"' in text

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (refused(409, "AlreadyExists"), "Widget models/w is in the cluster already"),
            (refused(404, "NotFound", kind="namespaces"), "there is no namespace models"),
            (refused(422, "Invalid", "spec.a: Required"), "refused by the API server: spec.a"),
            (UnreachableError("no answer", may_have_arrived=True), "Widget models/w: no answer"),
        ],
    )
    def test_others_name_the_object(self, error: ApiError, expected: str) -> None:
        assert expected in explain(error, widget())

    def test_fixed_fields_are_those_the_server_calls_so(self) -> None:
        causes = [
            {"field": "spec.a", "message": "Invalid value: 1: field is immutable"},
            {"field": "spec.b", "message": "Invalid value: 1: must be less than 1"},
            {"field": "spec", "message": "Forbidden: updates to statefulset spec for fields other"},
        ]
        assert refused(422, "Invalid", causes=causes).fixed_fields() == ["spec.a", "spec"]
        assert refused(409, "Conflict", causes=causes).fixed_fields() == []


class TestOwnership:
    def test_what_the_create_set_is_given_to_the_applying_manager(self) -> None:
        entries = [
            {
                "manager": "pulumi-kubernetes",
                "operation": "Update",
                "fieldsV1": {"f:spec": {"f:a": {}}},
            },
            {"manager": "mine", "operation": "Apply", "fieldsV1": {"f:spec": {"f:b": {"f:c": {}}}}},
            {"manager": "hpa", "operation": "Update", "fieldsV1": {"f:spec": {"f:d": {}}}},
            {
                "manager": "pulumi-kubernetes",
                "operation": "Update",
                "subresource": "status",
                "fieldsV1": {"f:status": {}},
            },
        ]
        live = widget(metadata={"managedFields": entries})
        assert taken_over(live, "mine") == [
            {
                "manager": "mine",
                "operation": "Apply",
                "fieldsV1": {"f:spec": {"f:a": {}, "f:b": {"f:c": {}}}},
            },
            *entries[2:],
        ]
        assert taken_over(widget(metadata={"managedFields": entries[1:]}), "mine") is None
        only = taken_over(widget(metadata={"managedFields": entries[:1]}), "mine")
        assert only == [entries[0] | {"manager": "mine", "operation": "Apply"}]

    @pytest.mark.parametrize(
        ("managers", "ignored", "expected"),
        [
            (["hpa"], "spec.replicas", {"image": "new"}),
            (["hpa", "mine"], "spec.replicas", {"image": "new", "replicas": 7}),
            ([], "spec.replicas", {"image": "new", "replicas": 7}),
            (["hpa"], "spec.missing", {"image": "new", "replicas": 3}),
            (["hpa"], "spec.rules[0].weight", {"image": "new", "replicas": 3}),
        ],
    )
    def test_ignored_fields_stay_as_they_are(
        self, managers: list[str], ignored: str, expected: Manifest
    ) -> None:
        live = widget(
            spec={"image": "old", "replicas": 7},
            metadata={
                "managedFields": [
                    {"manager": name, "fieldsV1": {"f:spec": {"f:replicas": {}}}}
                    for name in managers
                ]
            },
        )
        declared = widget(spec={"image": "new", "replicas": 3})
        sent = without_ignored(declared, live, "mine", [ignored])
        assert sent["spec"] == expected
        assert declared["spec"] == {"image": "new", "replicas": 3}

    def test_paths(self) -> None:
        text = 'metadata.annotations["a.b/c"].rules[2].x[*]'
        assert path_of(text) == ("metadata", "annotations", "a.b/c", "rules", 2, "x", "*")


class TestSecrets:
    def test_marks_follow_what_was_declared(self) -> None:
        marked = widget(spec={"a": secret("x"), "list": [{"v": secret("y")}, {"v": "z"}], "b": "b"})
        live = widget(spec={"a": "x", "list": [{"v": "z"}, {"v": "y"}], "b": "b"}, status={})
        result = with_secrets(live, marked)
        assert result["spec"] == {
            "a": secret("x"),
            "list": secret([{"v": "z"}, {"v": "y"}]),
            "b": "b",
        }
        assert without_secrets(result) == live

    def test_a_secret_object_is_marked_by_itself(self) -> None:
        copy = "kubectl.kubernetes.io/last-applied-configuration"
        live = {
            "kind": "Secret",
            "metadata": {"annotations": {copy: "all of it", "b": "c"}},
            "data": {"k": "dg=="},
        }
        marked = live | {"metadata": {"annotations": {"b": secret("c")}}, "data": secret({})}
        result = with_secrets(live, marked)
        assert result["data"] == secret({"k": "dg=="})
        assert result["metadata"]["annotations"] == {copy: secret("all of it"), "b": secret("c")}

    def test_texts_cover_encodings(self) -> None:
        texts = secret_texts(
            {
                "kind": "Secret",
                "stringData": {"a": 'pass"word'},
                "data": {"b": base64.b64encode(b"other").decode()},
                "type": "Opaque",
            }
        )
        for text in ('pass"word', 'pass\\"word', base64.b64encode(b'pass"word').decode(), "other"):
            assert text in texts
        assert "Opaque" not in texts

    def test_neighbours_of_a_secret_are_no_secrets(self) -> None:
        containers = [{"name": "main", "env": [{"name": "A", "value": secret("hidden")}]}]
        assert "main" not in secret_texts(widget(spec={"containers": containers}))


class TestNormalised:
    def test_secrets_are_compared_as_the_cluster_keeps_them(self) -> None:
        declared = {
            "apiVersion": "v1",
            "kind": "Secret",
            "stringData": {"a": "x", "u": UNKNOWN},
            "data": {"a": "old", "b": "dm Fs\n"},
        }
        assert normalised(declared) == {
            "apiVersion": "v1",
            "kind": "Secret",
            "data": {"a": "eA==", "b": "dmFs", "u": UNKNOWN},
        }

    def test_definitions_lose_what_the_cluster_drops(self) -> None:
        declared = {
            "kind": "CustomResourceDefinition",
            "spec": {"group": "a", "preserveUnknownFields": False},
            "status": {},
        }
        assert normalised(declared) == {
            "kind": "CustomResourceDefinition",
            "spec": {"group": "a"},
        }

    @pytest.mark.parametrize(
        ("old", "new", "same"),
        [
            ("1", "1000m", True),
            ("1Gi", "1024Mi", True),
            ("500m", 0.5, True),
            ("1", 1, True),
            ("1G", "1Gi", False),
            ("1", "2", False),
            ("abc", "1", False),
        ],
    )
    def test_quantities_are_numbers(self, old: Any, new: Any, same: bool) -> None:
        def pod(value: Any, api_version: str = "v1") -> Manifest:
            limits = {"resources": {"limits": {"cpu": value}}}
            return {"apiVersion": api_version, "kind": "X", "spec": limits, "data": {"a": value}}

        changed = {found.text for found in differences(pod(old), pod(new))}
        assert changed == {"data.a"} | (set() if same else {"spec.resources.limits.cpu"})
        custom = differences(pod(old, "demo.dev/v1"), pod(new, "demo.dev/v1"))
        assert "spec.resources.limits.cpu" in {found.text for found in custom}

    def test_empty_values_that_the_cluster_drops_are_no_difference(self) -> None:
        new = widget(spec={"a": {}, "b": [], "c": 1})
        live = widget(spec={"c": 1})
        assert differences(live, new, declared=new) == []
        assert {found.text for found in differences(live, new, declared=live)} == {
            "spec.a",
            "spec.b",
        }

    @pytest.mark.parametrize(
        ("path", "replaces"), [("image", True), ("env", True), ("unheard", False)]
    )
    def test_fields_of_containers_that_replace_a_pod(self, path: str, replaces: bool) -> None:
        def pod(**container: Any) -> Manifest:
            return {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [container]}}

        (found,) = differences(pod(name="a", **{path: "1"}), pod(name="a", **{path: "2"}))
        assert found.replaces == replaces


class TestJsonPath:
    OBJECT: ClassVar[Manifest] = {
        "status": {
            "phase": "Running",
            "parts": [{"name": "a", "n": 1}, {"name": "b", "n": 2, "x": True}],
            "a.b": {"c-d": 5},
        }
    }

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            (".status.phase", ["Running"]),
            ("$.status.phase", ["Running"]),
            (".status.parts[*].name", ["a", "b"]),
            (".status.parts[-1].n", [2]),
            (".status.parts[7].n", []),
            (".status['a.b'].c-d", [5]),
            (".status.parts[?(@.name=='b')].n", [2]),
            ('.status.parts[?@.name == "b" || @.n < 2].n', [1, 2]),
            (".status.parts[?@.n >= 1 && !(@.name == 'a')].n", [2]),
            (".status.parts[?@.x].name", ["b"]),
            (".status.parts[?@.x == true].name", ["b"]),
            (".status.parts[?@.name > 1].n", []),
            (".status[?@ == 'Running' || @ == 'Succeeded']", ["Running"]),
            (".status.*[0].name", ["a"]),
            (".nothing.here", []),
        ],
    )
    def test_selects(self, path: str, expected: list[Any]) -> None:
        assert list(compile_path(path)(self.OBJECT)) == expected

    @pytest.mark.parametrize(
        "path", [".a[", ".a]", ".a[?]", "..a", ".a[?@.b ==]", ".a b", ".a[1:2]", "#"]
    )
    def test_refuses_what_it_does_not_know(self, path: str) -> None:
        with pytest.raises(ValueError, match="JSONPath"):
            compile_path(path)


def nothing(*_: Any, **__: Any) -> list[Manifest]:
    return []


def state_of(live: Manifest, lister: Callable[..., list[Manifest]] = nothing) -> str:
    check = built_in_check(live)
    assert check is not None
    return check(live, lister).state


SEEN = {"observedGeneration": 1}
SET = SEEN | {
    "updatedReplicas": 1,
    "readyReplicas": 1,
    "currentRevision": "a",
    "updateRevision": "a",
}
EVERYWHERE = SEEN | {
    "desiredNumberScheduled": 2,
    "updatedNumberScheduled": 2,
    "numberAvailable": 2,
}
ROLLED_OUT = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
ADDRESS = {"loadBalancer": {"ingress": [{}]}}
PARTITIONED = {"updateStrategy": {"rollingUpdate": {"partition": 1}}}
SETS, DAEMONS, JOBS = "apps/v1 StatefulSet", "apps/v1 DaemonSet", "batch/v1 Job"
DEFINITIONS = "apiextensions.k8s.io/v1 CustomResourceDefinition"
CLAIMS = "v1 PersistentVolumeClaim"


class TestReadiness:
    @pytest.mark.parametrize(
        ("wanted", "status", "state"),
        [
            ("condition=Ready", {"conditions": [condition("Ready", "True")]}, "ready"),
            ("condition=ready", {"conditions": [condition("Ready", "true")]}, "ready"),
            ("condition=Ready", {"conditions": [condition("Ready", "False")]}, "waiting"),
            ("condition=Ready=False", {"conditions": [condition("Ready", "False")]}, "ready"),
            ("condition=Ready", {"conditions": None}, "waiting"),
            (
                "condition=Ready",
                {"observedGeneration": 1, "conditions": [condition("Ready", "True")]},
                "waiting",
            ),
            (
                "condition=Ready",
                {"conditions": [condition("Ready", "True", observedGeneration=1)]},
                "waiting",
            ),
            (
                "condition=Ready",
                {"observedGeneration": 2, "conditions": [condition("Ready", "True")]},
                "ready",
            ),
            ("jsonpath={.status.phase}=Done", {"phase": "Done"}, "ready"),
            ("jsonpath={.status.phase}=Done", {"phase": "Doing"}, "waiting"),
            ("jsonpath={.status.phase}", {"phase": "Doing"}, "ready"),
            ("jsonpath={.status.phase}", {}, "waiting"),
            ("jsonpath={ .status.n }=3", {"n": 3}, "ready"),
            ("jsonpath={.status.ok}=true", {"ok": True}, "ready"),
            (
                "jsonpath={.status.phase}=Done",
                {"phase": "Done", "observedGeneration": 1},
                "waiting",
            ),
            ("jsonpath={.status.a[?(@.t=='x')].s}=1", {"a": [{"t": "x", "s": "1"}]}, "ready"),
            ('["condition=A", "condition=B"]', {"conditions": [condition("A", "True")]}, "waiting"),
            (
                '["condition=A", "condition=B"]',
                {"conditions": [condition("A", "True"), condition("B", "True")]},
                "ready",
            ),
        ],
    )
    def test_wait_for(self, wanted: str, status: Manifest, state: str) -> None:
        live = widget(metadata=annotated(waitFor=wanted) | {"generation": 2}, status=status)
        check = check_of(live)
        assert check is not None
        assert check(live, nothing).state == state

    @pytest.mark.parametrize(
        "wanted",
        ["Ready", "[]", "jsonpath=.status", "jsonpath={.a}=", "jsonpath='{.a}'", "jsonpath={.a[}"],
    )
    def test_wrong_expressions(self, wanted: str) -> None:
        with pytest.raises(ValueError, match=r"waitFor|JSONPath"):
            check_of(widget(metadata=annotated(waitFor=wanted)))

    def test_skip_await_beats_all_and_custom_resources_are_ready_at_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        both = annotated(waitFor="condition=Ready", skipAwait="true")
        assert check_of(widget(metadata=both)) is None
        assert check_of(widget()) is None
        monkeypatch.setenv("PULUMI_K8S_AWAIT_ALL", "true")
        check = check_of(widget())
        assert check is not None
        states = [
            check(widget(status={"conditions": conditions}), nothing).state
            for conditions in (
                [],
                [condition("Ready", "True")],
                [condition("Ready", "Unknown")],
                [condition("Reconciling", "True")],
                [condition("Stalled", "True")],
            )
        ]
        assert states == ["ready", "ready", "waiting", "waiting", "failed"]

    @pytest.mark.parametrize(
        ("status", "state"),
        [
            ({}, "waiting"),
            (ROLLED_OUT, "ready"),
            (ROLLED_OUT | SEEN, "waiting"),
            (ROLLED_OUT | {"replicas": 3, "availableReplicas": 3}, "waiting"),
            (ROLLED_OUT | {"updatedReplicas": 1}, "waiting"),
            (ROLLED_OUT | {"availableReplicas": 1}, "waiting"),
        ],
    )
    def test_deployment(self, status: Manifest, state: str) -> None:
        live = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"generation": 2},
            "spec": {"replicas": 2},
            "status": status,
        }
        assert state_of(live) == state

    @pytest.mark.parametrize(
        ("kind", "spec", "status", "state"),
        [
            (SETS, {}, SET, "ready"),
            (SETS, {}, SET | {"readyReplicas": 0}, "waiting"),
            (SETS, {}, SET | {"updateRevision": "b"}, "waiting"),
            (SETS, {"replicas": 2}, SET | {"readyReplicas": 2}, "waiting"),
            (SETS, {"replicas": 2} | PARTITIONED, SET | {"readyReplicas": 2}, "ready"),
            (SETS, {"updateStrategy": {"type": "OnDelete"}}, SEEN | {"readyReplicas": 1}, "ready"),
            (DAEMONS, {}, EVERYWHERE, "ready"),
            (DAEMONS, {}, EVERYWHERE | {"updatedNumberScheduled": 1}, "waiting"),
            (DAEMONS, {}, EVERYWHERE | {"numberAvailable": 1}, "waiting"),
            (JOBS, {}, {"active": 1}, "waiting"),
            (JOBS, {}, {"conditions": [condition("Complete", "True")]}, "ready"),
            (JOBS, {}, {"conditions": [condition("Failed", "True")]}, "failed"),
            (DEFINITIONS, {}, {"conditions": [condition("Established", "True")]}, "ready"),
            (DEFINITIONS, {}, {"conditions": [condition("NamesAccepted", "False")]}, "failed"),
            (DEFINITIONS, {}, {}, "waiting"),
            ("v1 ReplicationController", {"replicas": 2}, {"availableReplicas": 1}, "waiting"),
            ("v1 ReplicationController", {"replicas": 2}, {"availableReplicas": 2}, "ready"),
            ("v1 Pod", {}, {"phase": "Succeeded"}, "ready"),
            ("v1 Pod", {}, {"conditions": [condition("Ready", "True")]}, "ready"),
            ("v1 Pod", {}, {"conditions": [condition("Ready", "False")]}, "waiting"),
            ("v1 Pod", {}, {"phase": "Failed"}, "failed"),
            ("v1 Namespace", {}, {"phase": "Active"}, "ready"),
            ("v1 Namespace", {}, {"phase": "Terminating"}, "waiting"),
            ("v1 PersistentVolume", {}, {"phase": "Available"}, "ready"),
            ("v1 PersistentVolume", {}, {"phase": "Pending"}, "waiting"),
            (CLAIMS, {}, {"phase": "Bound"}, "ready"),
            (CLAIMS, {"storageClassName": "late"}, {"phase": "Pending"}, "ready"),
            (CLAIMS, {"storageClassName": "now"}, {"phase": "Pending"}, "waiting"),
            ("v1 ResourceQuota", {"hard": {"pods": "1"}}, {"hard": {"pods": "1"}}, "ready"),
            ("v1 ResourceQuota", {"hard": {"pods": "1"}}, {}, "waiting"),
            ("networking.k8s.io/v1 Ingress", {}, {}, "waiting"),
            ("networking.k8s.io/v1 Ingress", {}, ADDRESS, "ready"),
            ("v1 Service", {"type": "ExternalName", "selector": {"a": "b"}}, {}, "ready"),
            ("v1 Service", {"clusterIP": "None", "selector": {"a": "b"}}, {}, "ready"),
            ("v1 Service", {}, {}, "ready"),
            ("v1 Service", {"selector": {"a": "b"}}, {}, "waiting"),
            ("v1 Service", {"type": "LoadBalancer"}, {}, "waiting"),
            ("v1 Service", {"type": "LoadBalancer"}, ADDRESS, "ready"),
        ],
    )
    def test_built_ins(self, kind: str, spec: Manifest, status: Manifest, state: str) -> None:
        def lister(_: str, kind: str, *__: Any, **___: Any) -> list[Manifest]:
            late = {"metadata": {"name": "late"}, "volumeBindingMode": "WaitForFirstConsumer"}
            now = {"metadata": {"name": "now"}, "volumeBindingMode": "Immediate"}
            return [late, now] if kind == "StorageClass" else []

        api_version, _, kind = kind.partition(" ")
        live = {
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {"generation": 1},
            "spec": spec,
            "status": status,
        }
        assert state_of(live, lister) == state
        if "observedGeneration" in status:
            live["metadata"] = {"generation": 2}
            assert state_of(live, lister) == "waiting"

    @pytest.mark.parametrize(
        ("endpoints", "state"),
        [
            (None, "waiting"),
            ([{"conditions": {"ready": False}}], "waiting"),
            ([{"conditions": {"ready": False}}, {"conditions": {"ready": True}}], "ready"),
            ([{"addresses": ["192.0.2.1"]}], "ready"),
        ],
    )
    def test_service_wants_a_ready_endpoint(self, endpoints: Any, state: str) -> None:
        asked: list[Any] = []

        def lister(*arguments: Any, **selectors: Any) -> list[Manifest]:
            asked.append((arguments, selectors))
            return [{"endpoints": endpoints}]

        live = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "s", "namespace": "n"},
            "spec": {"selector": {"a": "b"}},
        }
        assert state_of(live, lister) == state
        assert asked == [
            (
                ("discovery.k8s.io/v1", "EndpointSlice", "n"),
                {"labelSelector": "kubernetes.io/service-name=s"},
            )
        ]

    def test_token_of_a_service_account(self) -> None:
        token = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/service-account-token",
        }
        assert state_of(token) == "waiting"
        assert state_of(token | {"data": {"token": "dA=="}}) == "ready"


class TestReasons:
    @staticmethod
    def owned(kind: str, name: str, owner: Manifest | None = None, **fields: Any) -> Manifest:
        metadata: Manifest = {"name": name, "namespace": "models", "uid": f"{kind}-{name}"}
        if owner is not None:
            metadata["ownerReferences"] = [{"uid": owner["metadata"]["uid"]}]
        metadata |= fields.pop("metadata", {})
        return {"kind": kind, "metadata": metadata} | fields

    @staticmethod
    def lister(*objects: Manifest) -> Callable[..., list[Manifest]]:
        def listed(_: str, kind: str, namespace: str, **__: Any) -> list[Manifest]:
            assert namespace == "models"
            return [found for found in objects if found["kind"] == kind]

        return listed

    def pod(self, owner: Manifest | None = None, **status: Any) -> Manifest:
        return self.owned("Pod", "p", owner, status={"phase": "Pending"} | status)

    def why(self, **status: Any) -> list[str]:
        top = self.owned("Deployment", "d")
        return reasons(top, self.lister(self.pod(top, **status)))

    def test_image_that_cannot_be_pulled(self) -> None:
        waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
        assert self.why(containerStatuses=[{"name": "main", "state": {"waiting": waiting}}]) == [
            "pod p, container main: ImagePullBackOff: no such image"
        ]

    def test_crash_loop_says_exit_code_and_last_words(self) -> None:
        waiting = {"reason": "CrashLoopBackOff", "message": "back-off 10s"}
        last = {"exitCode": 137, "reason": "OOMKilled", "message": "loading model\nout of memory\n"}
        (line,) = self.why(
            containerStatuses=[
                {"name": "main", "state": {"waiting": waiting}, "lastState": {"terminated": last}}
            ]
        )
        assert line == (
            "pod p, container main: CrashLoopBackOff: back-off 10s; before that it ended with exit "
            "code 137 (OOMKilled), saying: loading model\nout of memory"
        )

    def test_init_container_comes_first(self) -> None:
        ended = {"exitCode": 1, "reason": "Error", "message": "no such bucket"}
        starting = {"waiting": {"reason": "PodInitializing"}}
        assert self.why(
            initContainerStatuses=[
                {"name": "done", "state": {"terminated": {"exitCode": 0}}},
                {"name": "storage", "state": {"terminated": ended}},
            ],
            containerStatuses=[{"name": "main", "state": starting}],
        ) == ["pod p, init container storage: ended with exit code 1, saying: no such bucket"]

    def test_not_scheduled(self) -> None:
        scheduled = condition(
            "PodScheduled", "False", reason="Unschedulable", message="0/1 nodes: Insufficient cpu"
        )
        assert self.why(conditions=[scheduled]) == [
            "pod p is not scheduled: Unschedulable: 0/1 nodes: Insufficient cpu"
        ]

    def test_running_but_not_ready_and_evicted(self) -> None:
        (line,) = self.why(
            phase="Running", containerStatuses=[{"name": "main", "state": {"running": {}}}]
        )
        assert "not ready (readiness probe)" in line
        assert self.why(phase="Failed", reason="Evicted", message="low on disk") == [
            "pod p: Evicted: low on disk"
        ]

    def test_ready_pods_are_not_mentioned(self) -> None:
        restarted = {
            "name": "main",
            "state": {"running": {}},
            "lastState": {"terminated": {"exitCode": 1}},
        }
        ready = [condition("Ready", "True")]
        assert self.why(conditions=ready, containerStatuses=[restarted]) == []
        assert self.why(phase="Succeeded") == []
        top = self.owned("Deployment", "d")
        bad = [{"name": "main", "state": {"waiting": {"reason": "Bad"}}}]
        going = self.pod(top, containerStatuses=bad)
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        assert reasons(top, self.lister(going)) == []

    def test_pods_are_found_through_all_owners_and_no_others(self) -> None:
        top = self.owned("InferenceService", "fraud")
        deployment = self.owned("Deployment", "d", top)
        replica_set = self.owned("ReplicaSet", "r", deployment)
        bad = [{"name": "c", "state": {"waiting": {"reason": "Bad"}}}]
        mine = self.pod(replica_set, containerStatuses=bad)
        labelled = self.pod(containerStatuses=bad)
        labelled["metadata"] |= {
            "name": "labelled",
            "labels": {"serving.kserve.io/inferenceservice": "fraud"},
        }
        other = self.pod(containerStatuses=bad)
        other["metadata"] |= {
            "name": "other",
            "labels": {"serving.kserve.io/inferenceservice": "churn"},
        }
        found = reasons(top, self.lister(deployment, replica_set, mine, labelled, other))
        assert [line.split(",")[0] for line in found] == ["pod labelled", "pod p"]

    def test_service_asks_the_pods_it_selects(self) -> None:
        service = self.owned("Service", "s", apiVersion="v1", spec={"selector": {"app": "a"}})
        waiting = [{"name": "c", "state": {"waiting": {"reason": "Bad"}}}]
        mine, other = (self.pod(containerStatuses=waiting) for _ in range(2))
        mine["metadata"] |= {"labels": {"app": "a", "more": "b"}}
        other["metadata"] |= {"name": "other", "labels": {"app": "b"}}
        assert reasons(service, self.lister(mine, other)) == ["pod p, container c: Bad"]

    def test_own_conditions_and_the_models_failure(self) -> None:
        top = widget(
            status={
                "conditions": [
                    condition("Ready", "False", reason="Failing", message="no endpoints"),
                    condition("Routes", "Unknown"),
                    condition("Stopped", "False", reason="Running"),
                    condition("Stalled", "True", message="for ever"),
                    condition("Fine", "True", reason="Good"),
                ],
                "modelStatus": {"lastFailureInfo": {"reason": "ModelLoadFailed", "message": "bad"}},
            }
        )
        assert reasons(top, self.lister()) == [
            "condition Ready is False: Failing: no endpoints",
            "condition Routes is Unknown: no reason given",
            "condition Stalled is True: for ever",
            "the model failed: ModelLoadFailed: bad",
        ]

    def test_recent_warnings_newest_first_and_only_of_the_family(self) -> None:
        top = self.owned("Deployment", "d")
        replica_set = self.owned("ReplicaSet", "r", top)

        def event(about: Manifest, at: str, message: str) -> Manifest:
            return {
                "kind": "Event",
                "involvedObject": {
                    "kind": about["kind"],
                    "name": about["metadata"]["name"],
                    "uid": about["metadata"]["uid"],
                },
                "lastTimestamp": at,
                "reason": "FailedCreate",
                "message": message,
            }

        events = [
            event(replica_set, "2026-01-01", "old"),
            event(replica_set, "2026-01-02", "quota"),
        ]
        events.append(event(self.owned("Pod", "x"), "2026-01-03", "other"))
        assert reasons(top, self.lister(replica_set, *events)) == [
            "warning about ReplicaSet r: FailedCreate: quota",
            "warning about ReplicaSet r: FailedCreate: old",
        ]

    def test_many_alike_are_cut_short(self) -> None:
        top = self.owned("Deployment", "d")
        statuses = [
            {"name": f"c{index}", "state": {"waiting": {"reason": "Bad"}}} for index in range(9)
        ]
        found = reasons(top, self.lister(self.pod(top, containerStatuses=statuses)))
        assert len(found) == 7
        assert found[-1] == "and 3 more like these"

    def test_what_may_not_be_read_is_left_out(self) -> None:
        top = self.owned("Deployment", "d", status={"conditions": [condition("A", "Unknown")]})

        def lister(_: str, kind: str, *__: Any, **___: Any) -> list[Manifest]:
            if kind != "Pod":
                raise refused(403, "Forbidden")
            waiting = {"waiting": {"reason": "Bad"}}
            return [self.pod(top, containerStatuses=[{"name": "c", "state": waiting}])]

        assert reasons(top, lister) == [
            "pod p, container c: Bad",
            "condition A is Unknown: no reason given",
        ]

        def gone(*_: Any, **__: Any) -> list[Manifest]:
            raise UnreachableError("no answer", may_have_arrived=True)

        assert reasons(top, gone) == ["condition A is Unknown: no reason given"]


REMAINING = {"conditions": [condition("ContentRemaining", "True", message="one left")]}


class TestWaiting:
    READY: ClassVar[Manifest] = {"conditions": [condition("Ready", "True")]}

    def live(self, fake: FakeApi) -> Manifest:
        manifest = widget(metadata=annotated(waitFor="condition=Ready"))
        return fake.keep(manifest, "me", "Apply", dry=False)

    def wait(
        self, api: ClusterApi, live: Manifest, seconds: float = 5
    ) -> tuple[Manifest, list[str]]:
        told: list[str] = []
        check = check_of(live)
        assert check is not None
        return until_ready(api, live, check, seconds, told.append), told

    def test_until_ready(self, api: ClusterApi, fake: FakeApi) -> None:
        live = self.live(fake)
        threading.Timer(0.1, lambda: fake.objects["w"].update(status=self.READY)).start()
        ready, told = self.wait(api, live)
        assert ready["status"] == self.READY
        assert told == ["waiting: it has no condition Ready yet", ""]

    def test_server_that_is_away_is_ridden_out(self, api: ClusterApi, fake: FakeApi) -> None:
        live = self.live(fake)
        fake.faults = [503, "drop"]
        threading.Timer(0.1, lambda: fake.objects["w"].update(status=self.READY)).start()
        assert self.wait(api, live)[0]["status"] == self.READY

    def test_time_out_keeps_what_was_seen_last(self, api: ClusterApi, fake: FakeApi) -> None:
        live = self.live(fake)
        failing = {"conditions": [condition("Ready", "False", reason="NoPods")]}
        fake.objects["w"]["status"] = failing
        with pytest.raises(NotReadyError) as caught:
            self.wait(api, live, seconds=0.1)
        assert caught.value.live["status"] == failing
        state = "Ready is False, not True (NoPods)"
        assert caught.value.reasons == [
            f"Widget models/w is there, but not ready after 0.1 s: {state}",
            "condition Ready is False: NoPods",
        ]

    def test_server_that_stays_away_loses_no_object(
        self, fake: FakeApi, cancelled: threading.Event
    ) -> None:
        api = ClusterApi(access(fake.config(), None, None), cancelled, patience=0.3)
        live = self.live(fake)
        api.resource("demo/v1", "Widget")
        fake.stop()
        with pytest.raises(NotReadyError, match=r"cannot be seen.*no answer") as caught:
            self.wait(api, live)
        assert caught.value.live == live

    def test_cancel_ends_at_once_and_loses_no_object(
        self, api: ClusterApi, fake: FakeApi, cancelled: threading.Event
    ) -> None:
        live = self.live(fake)
        threading.Timer(0.1, cancelled.set).start()
        started = time.monotonic()
        with pytest.raises(NotReadyError, match="the wait was cancelled"):
            self.wait(api, live, seconds=60)
        assert time.monotonic() - started < 30

    def test_cancel_at_the_first_look_loses_no_object(
        self, api: ClusterApi, cancelled: threading.Event
    ) -> None:
        live = widget(spec={"selector": {"a": "b"}}) | {"apiVersion": "v1", "kind": "Service"}
        cancelled.set()
        with pytest.raises(NotReadyError, match="the wait was cancelled") as caught:
            self.wait(api, live)
        assert caught.value.live == live

    @pytest.mark.parametrize("again", [False, True])
    def test_deleted_meanwhile(self, api: ClusterApi, fake: FakeApi, again: bool) -> None:
        live = self.live(fake)
        del fake.objects["w"]
        if again:
            self.live(fake)
        with pytest.raises(NotReadyError, match="was deleted while it was awaited"):
            self.wait(api, live)

    def test_failure_is_not_waited_for(
        self, api: ClusterApi, fake: FakeApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PULUMI_K8S_AWAIT_ALL", "true")
        stalled = {"conditions": [condition("Stalled", "True", message="for ever")]}
        live = fake.keep(widget(status=stalled), "me", "Apply", dry=False)
        started = time.monotonic()
        with pytest.raises(NotReadyError, match="it is stalled"):
            self.wait(api, live, seconds=60)
        assert time.monotonic() - started < 30

    def test_gone(self, api: ClusterApi, fake: FakeApi) -> None:
        live = self.live(fake)
        threading.Timer(0.1, fake.objects.clear).start()
        told: list[str] = []
        until_gone(api, live, 5, told.append)
        assert told == ["deleting: it waits for what belongs to it to go first", ""]
        self.live(fake)  # another one of that name
        until_gone(api, live, 5, told.append)

    @pytest.mark.parametrize(
        ("kind", "fields", "expected"),
        [
            ("Widget", {"metadata": {"finalizers": ["a/b", "foregroundDeletion"]}}, ": a/b$"),
            (
                "Namespace",
                {"spec": {"finalizers": ["kubernetes"]}, "status": REMAINING},
                "one left$",
            ),
            ("Widget", {"status": REMAINING}, "go first$"),
        ],
    )
    def test_hanging_delete_says_what_holds_it(
        self, api: ClusterApi, fake: FakeApi, kind: str, fields: Manifest, expected: str
    ) -> None:
        live = widget()
        fake.objects["w"] = widget(**fields) | {"kind": kind}
        with pytest.raises(ApiError, match=rf"Widget models/w is not gone 0.1 s.*{expected}"):
            until_gone(api, live, 0.1, lambda _: None)

    @pytest.mark.parametrize(
        ("custom", "annotation", "expected"),
        [(0, None, 600), (0, "30", 30), (5, "30", 5), (0, "soon", 600)],
    )
    def test_time_outs(self, custom: float, annotation: str | None, expected: float) -> None:
        metadata = annotated(timeoutSeconds=annotation) if annotation else {}
        assert timeout_of(widget(metadata=metadata), custom) == expected


class TestClusterMode:
    def test_create_posts_and_update_applies_what_was_taken_over(
        self, mode: ClusterMode, fake: FakeApi
    ) -> None:
        live = made(mode, widget(spec={"a": 1}))
        assert live["spec"] == {"a": 1}
        updated = mode.update(live, widget(spec={"a": 2}), Call(field_manager="mine"))
        assert updated is not None
        assert [
            (method, query.get("fieldManager"), query.get("force"))
            for method, _, query in fake.writes()
        ] == [
            ("POST", "pulumi-kubernetes", None),
            ("PATCH", None, None),
            ("PATCH", "mine", "false"),
        ]
        managers = [entry["manager"] for entry in fake.objects["w"]["metadata"]["managedFields"]]
        assert managers == ["mine"]

    def test_create_that_was_cut_off_finds_its_own_object(
        self, mode: ClusterMode, fake: FakeApi
    ) -> None:
        fake.faults = ["cut"]
        assert made(mode, widget(spec={"a": 1}))["spec"] == {"a": 1}
        assert [method for method, _, _ in fake.writes()] == ["POST", "POST"]

    @pytest.mark.parametrize("fault", ["other manager", "older"])
    def test_create_that_was_cut_off_takes_nobody_elses(
        self, mode: ClusterMode, fake: FakeApi, fault: str
    ) -> None:
        manager = "kubectl" if fault == "other manager" else "pulumi-kubernetes"
        fake.keep(widget(), manager, "Update", dry=False)
        if fault == "older":
            fake.objects["w"]["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
        fake.faults = ["drop"]
        with pytest.raises(ApiError, match="is in the cluster already"):
            made(mode, widget())

    def test_create_waits_for_kind_and_namespace(self, mode: ClusterMode, fake: FakeApi) -> None:
        fake.kinds = []
        threading.Timer(
            0.1,
            lambda: fake.kinds.append({"name": "widgets", "kind": "Widget", "namespaced": True}),
        ).start()
        told: list[str] = []
        made(mode, widget(), tell=told.append)
        assert "the cluster has no Widget in demo/v1" in told[0]

    def test_create_waits_for_the_old_object_to_go(self, mode: ClusterMode, fake: FakeApi) -> None:
        fake.keep(widget(spec={"a": 1}), "x", "Update", dry=False)
        fake.objects["w"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        threading.Timer(0.1, fake.objects.clear).start()
        assert made(mode, widget(spec={"a": 2}))["spec"] == {"a": 2}

    def test_upsert_applies(self, api: ClusterApi, fake: FakeApi) -> None:
        fake.keep(widget(spec={"a": 1}), "x", "Update", dry=False)
        made(ClusterMode(api, Options(upsert=True)), widget(spec={"a": 2}))
        assert fake.writes()[-1][2] == {"fieldManager": "pulumi-kubernetes-1", "force": "false"}
        assert fake.objects["w"]["spec"] == {"a": 2}

    def test_preview_writes_nothing_and_leaves_open_what_it_cannot_know(
        self, mode: ClusterMode, fake: FakeApi
    ) -> None:
        shown = made(mode, widget(spec={"a": 1}, status={"x": 1}), preview=True)
        assert fake.objects == {}
        assert shown["spec"] == {"a": 1}
        assert "status" not in shown
        assert shown["metadata"]["uid"] == UNKNOWN
        fake.keep(widget(spec={"a": 1}), "pulumi-kubernetes", "Update", dry=False)
        call = Call(field_manager="mine", preview=True)
        changed = mode.update(widget(), widget(spec={"a": 2}), call)
        assert changed is not None
        assert changed["spec"] == {"a": 2}
        assert changed["metadata"]["uid"] == fake.objects["w"]["metadata"]["uid"]
        assert fake.objects["w"]["spec"] == {"a": 1}
        assert all(query.get("dryRun") == "All" for _, _, query in fake.writes())

    @pytest.mark.parametrize(
        "answer",
        [
            (404, {"reason": "NotFound", "details": {"kind": "namespaces"}}),
            (409, {"reason": "AlreadyExists"}),
            (403, {"reason": "Forbidden"}),
            (400, {"message": "admission webhook x does not support dry run"}),
        ],
    )
    def test_preview_falls_back_to_what_is_declared(
        self, api: ClusterApi, fake: FakeApi, answer: tuple[int, Manifest]
    ) -> None:
        fake.on_apply = lambda _: answer
        mode = ClusterMode(api, Options(upsert=True))
        assert mode.create(widget(), Call(preview=True)) is None

    def test_preview_of_an_update_falls_back_too(self, mode: ClusterMode, fake: FakeApi) -> None:
        fake.keep(widget(), "x", "Apply", dry=False)
        fake.on_apply = lambda _: (403, {"reason": "Forbidden"})
        assert mode.update(widget(), widget(), Call(preview=True)) is None

    def test_errors_name_the_object(
        self, api: ClusterApi, mode: ClusterMode, fake: FakeApi, cancelled: threading.Event
    ) -> None:
        fake.keep(widget(), "x", "Apply", dry=False)
        api.resource("demo/v1", "Widget")
        api._patience = 0
        calls: list[Callable[[], object]] = [
            lambda: mode.create(widget(), Call()),
            lambda: mode.create(widget(), Call(preview=True)),
            lambda: mode.read(widget()),
            lambda: mode.update(widget(), widget(), Call()),
            lambda: mode.update(widget(), widget(), Call(preview=True)),
            lambda: mode.delete(widget(), widget(), Call()),
            lambda: mode.fixed(widget(), widget(), "mine"),
        ]
        fake.stop()
        for call in calls:
            with pytest.raises(ApiError, match=r"^Widget models/w: no answer"):
                call()
        cancelled.set()
        for call in calls:
            with pytest.raises(ApiError, match=r"^Widget models/w: cancelled"):
                call()

    def test_preview_of_unknown_values_and_kinds_asks_nobody(
        self, mode: ClusterMode, fake: FakeApi
    ) -> None:
        assert mode.create(widget(spec={"a": UNKNOWN}), Call(preview=True)) is None
        fake.kinds = []
        mode._api._resources.clear()
        assert mode.create(widget(), Call(preview=True)) is None
        assert fake.writes() == []

    def test_preview_shows_other_refusals(self, mode: ClusterMode, fake: FakeApi) -> None:
        fake.faults = [422]
        with pytest.raises(ApiError, match="Widget models/w was refused"):
            mode.create(widget(), Call(preview=True))

    @pytest.mark.parametrize(("manager", "fails"), [("pulumi-kubernetes", False), ("hpa", True)])
    def test_preview_forces_only_what_the_update_takes_over(
        self, mode: ClusterMode, fake: FakeApi, manager: str, fails: bool
    ) -> None:
        fake.keep(widget(), "pulumi-kubernetes", "Update", dry=False)
        cause = {"reason": "FieldManagerConflict", "message": f'conflict with "{manager}"'}
        conflict = (409, {"reason": "Conflict", "details": {"causes": [cause]}})
        fake.on_apply = lambda _: conflict if fake.requests[-1][2].get("force") == "false" else None
        call = Call(field_manager="mine", preview=True)
        if fails:
            with pytest.raises(ApiError, match="set by hpa"):
                mode.update(widget(), widget(), call)
        else:
            assert mode.update(widget(), widget(), call) is not None

    def test_force_by_annotation_option_or_age(self, api: ClusterApi, fake: FakeApi) -> None:
        def forced(manifest: Manifest, options: Options = Options()) -> str:  # noqa: B008
            ClusterMode(api, options).update(widget(), manifest, Call(field_manager="mine"))
            return fake.writes()[-1][2]["force"]

        fake.keep(widget(), "x", "Apply", dry=False)
        assert forced(widget()) == "false"
        assert forced(widget(metadata=annotated(patchForce="true"))) == "true"
        assert forced(widget(), Options(patch_force=True)) == "true"
        fake.objects["w"]["metadata"]["managedFields"] = []
        assert forced(widget()) == "true"

    def test_update_of_what_is_gone_says_how_to_go_on(self, mode: ClusterMode) -> None:
        with pytest.raises(ApiError, match="gone from the cluster: pulumi refresh"):
            mode.update(widget(), widget(), Call(field_manager="mine"))

    def test_update_that_lost_a_race_is_repeated(self, mode: ClusterMode, fake: FakeApi) -> None:
        fake.keep(widget(), "pulumi-kubernetes", "Update", dry=False)
        lost = [(409, {"reason": "Conflict", "message": "modified"})]
        fake.on_apply = lambda body: lost.pop() if lost and isinstance(body, list) else None
        assert mode.update(widget(), widget(spec={"a": 2}), Call(field_manager="mine")) is not None
        assert lost == []

    def test_fields_that_the_server_calls_fixed(self, mode: ClusterMode, fake: FakeApi) -> None:
        cause = {"field": "spec.a", "message": "field is immutable"}
        fake.on_apply = lambda _: (422, {"reason": "Invalid", "details": {"causes": [cause]}})
        assert mode.fixed(widget(), widget(spec={"a": 2}), "mine") == ["spec.a"]
        assert fake.writes()[-1][2] == {"fieldManager": "mine", "force": "true", "dryRun": "All"}
        assert mode.fixed(widget(), widget(spec={"a": UNKNOWN}), "mine") == []

    def test_namespaces(self, mode: ClusterMode, fake: FakeApi) -> None:
        fake.kinds.append({"name": "globes", "kind": "Globe", "namespaced": False})
        globe = {"apiVersion": "demo/v1", "kind": "Globe"}
        assert mode.namespace(widget(), None) == "models"
        assert mode.namespace(widget(), "other") == "other"
        assert mode.namespace(globe, "other") is None
        assert mode.namespace({"apiVersion": "demo/v1", "kind": "Unheard"}, None) == "models"

    @pytest.mark.parametrize(
        ("annotation", "policy"),
        [(None, "Foreground"), ("Background", "Background"), ("orphan", "Orphan")],
    )
    def test_delete(
        self, mode: ClusterMode, fake: FakeApi, annotation: str | None, policy: str
    ) -> None:
        fake.keep(widget(), "x", "Update", dry=False)
        inputs = widget(
            metadata=annotated(deletionPropagationPolicy=annotation) if annotation else {}
        )
        mode.delete(widget(), inputs, Call())
        assert fake.objects == {}
        assert fake.bodies[[method for method, _, _ in fake.requests].index("DELETE")] == {
            "propagationPolicy": policy
        }
        mode.delete(widget(), inputs, Call())
        fake.kinds = []
        mode._api._resources.clear()
        mode.delete(widget(), inputs, Call())

    def test_delete_waits_but_for_some_kinds_that_skip(
        self, mode: ClusterMode, fake: FakeApi
    ) -> None:
        fake.kinds.append({"name": "widgets", "kind": "Job", "namespaced": True})
        for kind, waits in (("Widget", True), ("Job", False)):
            held = widget(metadata=annotated(skipAwait="true") | {"finalizers": ["a/b"]})
            held["kind"] = kind
            fake.keep(held, "x", "Update", dry=False)
            if waits:
                with pytest.raises(ApiError, match="finalizers hold it"):
                    mode.delete(held, held, Call(seconds=0.1))
            else:
                mode.delete(held, held, Call(seconds=0.1))
        held["metadata"]["annotations"] = {}
        with pytest.raises(ApiError, match="finalizers hold it"):
            mode.delete(held, held, Call(seconds=0.1))

    def test_kind_that_is_gone_reads_as_gone(self, mode: ClusterMode, fake: FakeApi) -> None:
        fake.keep(widget(), "x", "Update", dry=False)
        assert mode.read(widget()) is not None
        fake.kinds = []
        mode._api._resources.clear()
        assert mode.read(widget()) is None


class Context(grpc.ServicerContext):
    """Remembers how a call was ended."""

    metadata: Any = ()

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise RuntimeError(details)

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        self.metadata = trailing_metadata

    def status(self) -> Any:
        ((name, status),) = self.metadata
        assert name == "grpc-status-details-bin"
        return status_pb2.Status.FromString(status)

    def init_failed(self) -> Any:
        detail = provider_pb2.ErrorResourceInitFailed()
        assert self.status().details[0].Unpack(detail)
        return detail


Context.__abstractmethods__ = frozenset()


class TestProvider:
    TYPE = "kubernetes:demo/v1:Widget"

    @pytest.fixture
    def context(self) -> Context:
        return Context()  # type: ignore[abstract]

    @pytest.fixture
    def provider(self, fake: FakeApi, context: Context) -> KubernetesProvider:
        provider = KubernetesProvider()
        self.configure(provider, context, kubeconfig=yaml.safe_dump(fake.config()))
        return provider

    @staticmethod
    def configure(provider: KubernetesProvider, context: Context, **options: str) -> None:
        variables = {f"kubernetes:config:{key}": value for key, value in options.items()}
        provider.Configure(provider_pb2.ConfigureRequest(variables=variables), context)

    def create(self, provider: KubernetesProvider, context: Context, inputs: Manifest) -> Any:
        request = provider_pb2.CreateRequest(properties=to_struct(inputs))
        return provider.Create(request, context)

    def test_check_marks_secrets_and_finds_the_namespace(
        self, provider: KubernetesProvider, context: Context
    ) -> None:
        def check(type_token: str, news: Manifest) -> Manifest:
            request = provider_pb2.CheckRequest(
                type=type_token, name="x", news=to_struct(news), randomSeed=b"seed"
            )
            response = provider.Check(request, context)
            assert list(response.failures) == []
            return from_struct(response.inputs)

        checked = check(self.TYPE, {"metadata": {"name": "w"}, "spec": {"a": secret("x")}})
        assert checked["metadata"] == {"name": "w", "namespace": "default"}
        assert checked["spec"] == {"a": secret("x")}
        named = {"metadata": {"name": "s"}, "stringData": {"k": "v"}}
        credentials = check("kubernetes:core/v1:Secret", named)
        assert credentials["stringData"] == secret({"k": "v"})

    def test_wrong_wait_is_a_check_failure(
        self, provider: KubernetesProvider, context: Context
    ) -> None:
        news = widget(metadata=annotated(waitFor="Ready"))
        request = provider_pb2.CheckRequest(type=self.TYPE, name="x", news=to_struct(news))
        (failure,) = provider.Check(request, context).failures
        assert "waitFor" in failure.reason

    def test_state_is_as_the_official_provider_keeps_it(
        self, provider: KubernetesProvider, context: Context, fake: FakeApi
    ) -> None:
        inputs = widget(spec={"a": secret("x")})
        created = self.create(provider, context, inputs)
        state = from_struct(created.properties)
        assert created.id == "models/w"
        assert state["__inputs"] == inputs
        assert state["__initialApiVersion"] == "demo/v1"
        assert re.fullmatch("pulumi-kubernetes-[0-9a-f]{8}", state["__fieldManager"])
        assert state["spec"] == {"a": secret("x")}
        assert state["metadata"]["uid"] == fake.objects["w"]["metadata"]["uid"]

    def test_state_of_an_annotated_field_manager(
        self, provider: KubernetesProvider, context: Context
    ) -> None:
        inputs = widget(metadata=annotated(patchFieldManager="team"))
        state = from_struct(self.create(provider, context, inputs).properties)
        assert state["__fieldManager"] == "team"

    def test_object_that_is_not_ready_is_kept_with_the_reasons(
        self, provider: KubernetesProvider, context: Context, fake: FakeApi
    ) -> None:
        failing = {"conditions": [condition("Ready", "False", message="token hush hushed")]}
        inputs = widget(
            metadata=annotated(waitFor="condition=Ready", timeoutSeconds="0"),
            status=failing,
            spec={"a": secret("hush")},
        )
        with pytest.raises(RuntimeError, match="not ready after 0 s"):
            self.create(provider, context, inputs)
        detail = context.init_failed()
        assert detail.id == "models/w"
        state = from_struct(detail.properties)
        assert state["metadata"]["uid"] == fake.objects["w"]["metadata"]["uid"]
        assert state["spec"] == {"a": secret("hush")}
        assert state["__fieldManager"].startswith("pulumi-kubernetes-")
        assert detail.reasons[-1] == "condition Ready is False: token [secret] hushed"
        assert "token [secret] hushed" in context.status().message

    def test_errors_hide_secrets(
        self, provider: KubernetesProvider, context: Context, fake: FakeApi
    ) -> None:
        fake.on_apply = lambda _: (422, {"message": 'Invalid value: "hush"', "reason": "Invalid"})
        state = self.create(provider, context, widget(spec={"a": 1})).properties
        request = provider_pb2.UpdateRequest(
            olds=state, news=to_struct(widget(spec={"a": secret("hush")}))
        )
        with pytest.raises(RuntimeError, match=r'Invalid value: "\[secret\]"'):
            provider.Update(request, context)

    def test_diff_replaces_what_the_server_calls_fixed(
        self, provider: KubernetesProvider, context: Context, fake: FakeApi
    ) -> None:
        state = self.create(provider, context, widget(spec={"a": 1, "b": 1})).properties
        causes = [{"field": "spec.a", "message": "field is immutable"}]

        def diff(**request: Any) -> Any:
            news = to_struct(widget(spec={"a": 2, "b": 2}))
            return provider.Diff(
                provider_pb2.DiffRequest(olds=state, news=news, **request), context
            )

        assert list(diff().replaces) == []
        fake.on_apply = lambda _: (422, {"reason": "Invalid", "details": {"causes": causes}})
        response = diff()
        assert (list(response.replaces), response.deleteBeforeReplace) == (["spec.a"], True)
        assert set(response.detailedDiff) == {"spec.a", "spec.b"}
        causes[0]["field"] = "spec.elsewhere"
        assert list(diff().replaces) == ["spec.a", "spec.b"]
        assert set(diff(ignoreChanges=["spec.b"]).detailedDiff) == {"spec.a"}
        assert diff(ignoreChanges=["spec"]).changes == provider_pb2.DiffResponse.DIFF_NONE

    def test_read_imports_and_refreshes(
        self, provider: KubernetesProvider, context: Context, fake: FakeApi
    ) -> None:
        copy = "kubectl.kubernetes.io/last-applied-configuration"
        manifest = widget(spec={"a": 1, "b": 2}, status={"c": 3})
        manifest["metadata"]["annotations"] = {copy: "{}"}
        fake.keep(manifest, "kubectl", "Update", dry=False)
        request = provider_pb2.ReadRequest(id="models/w", type=self.TYPE)
        found = provider.Read(request, context)
        assert from_struct(found.inputs) == widget(spec={"a": 1, "b": 2})

        declared = widget(spec={"a": secret(0)})
        request = provider_pb2.ReadRequest(
            id="models/w",
            type=self.TYPE,
            inputs=to_struct(declared),
            properties=to_struct(widget() | {"__inputs": declared, "__fieldManager": "mine"}),
        )
        read = provider.Read(request, context)
        assert from_struct(read.inputs) == widget(spec={"a": secret(1)})
        state = from_struct(read.properties)
        assert state["__fieldManager"] == "mine"
        assert state["spec"] == {"a": secret(1), "b": 2}
        fake.objects.clear()
        assert provider.Read(request, context).id == ""

    def test_cancel_ends_a_wait(self, provider: KubernetesProvider, context: Context) -> None:
        threading.Timer(0.1, lambda: provider.Cancel(None, context)).start()
        started = time.monotonic()
        with pytest.raises(RuntimeError, match="the wait was cancelled"):
            self.create(provider, context, widget(metadata=annotated(waitFor="condition=Ready")))
        assert time.monotonic() - started < 30
        assert context.init_failed().id == "models/w"

    def test_unreachable_cluster(
        self, context: Context, fake: FakeApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(first_contact, "SECONDS_FOR_PREVIEWS", 0.1)
        monkeypatch.setattr(cluster_api, "PATIENCE", 0.5)
        fake.stop()
        warned: list[str] = []
        provider = KubernetesProvider()
        provider._log.warn = lambda urn, message: warned.append(message)
        config = yaml.safe_dump(fake.config())
        self.configure(provider, context, kubeconfig=config)
        request = provider_pb2.CreateRequest(properties=to_struct(widget()), preview=True)
        assert from_struct(provider.Create(request, context).properties) == widget()
        provider.Create(request, context)
        (warning,) = warned
        assert warning.count(fake.address) == 1
        check = provider_pb2.CheckRequest(
            type="kubernetes:core/v1:Namespace",
            name="n",
            news=to_struct({"metadata": {"name": "n"}}),
        )
        assert from_struct(provider.Check(check, context).inputs)["metadata"] == {"name": "n"}
        with pytest.raises(RuntimeError, match=re.escape(fake.address)):
            self.create(provider, context, widget())
        read = provider_pb2.ReadRequest(
            id="models/w", type=self.TYPE, properties=to_struct(widget())
        )
        with pytest.raises(RuntimeError, match="PULUMI_K8S_DELETE_UNREACHABLE"):
            provider.Read(read, context)
        delete = provider_pb2.DeleteRequest(id="models/w", properties=to_struct(widget()))
        with pytest.raises(RuntimeError, match="PULUMI_K8S_DELETE_UNREACHABLE"):
            provider.Delete(delete, context)

        self.configure(provider, context, kubeconfig=config, deleteUnreachable="true")
        assert provider.Read(read, context).id == ""
        provider.Delete(delete, context)
        assert "forgotten" in warned[-1]

    def test_preview_soon_says_that_nobody_answers_and_an_update_waits(
        self, context: Context, fake: FakeApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(first_contact, "SECONDS_FOR_PREVIEWS", 0.1)
        fake.kinds.append({"name": "globes", "kind": "Globe", "namespaced": False})
        fake.is_away.set()
        warned: list[str] = []
        provider = KubernetesProvider()
        provider._log.warn = lambda urn, message: warned.append(message)
        self.configure(provider, context, kubeconfig=yaml.safe_dump(fake.config()))
        assert fake.requests == []  # an API server that is away now may be back when it is needed

        globe = {"apiVersion": "demo/v1", "kind": "Globe", "metadata": {"name": "g"}}
        widgets = {"news": to_struct(widget()), "type": self.TYPE}
        globes = {"news": to_struct(globe), "type": "kubernetes:demo/v1:Globe"}
        for kind, old, namespace in (
            (widgets, {}, "models"),
            (globes, {}, "default"),  # a guess
            (globes, globe, None),
        ):
            request = provider_pb2.CheckRequest(name="x", olds=to_struct(old), **kind)
            checked = from_struct(provider.Check(request, context).inputs)
            assert checked["metadata"].get("namespace") == namespace
        state = widget(spec={"a": 1}) | {"__inputs": widget(spec={"a": 1})}
        diff = provider_pb2.DiffRequest(
            olds=to_struct(state), news=to_struct(widget(spec={"a": 2}))
        )
        assert list(provider.Diff(diff, context).detailedDiff) == ["spec.a"]
        preview = provider_pb2.CreateRequest(properties=to_struct(widget()), preview=True)
        assert from_struct(provider.Create(preview, context).properties) == widget()
        assert "no answer" in warned[0]
        assert {path for _, path, _ in fake.requests} == {"/version"}

        threading.Timer(0.3, fake.is_away.clear).start()
        self.create(provider, context, widget(spec={"a": 1}))
        assert list(fake.objects) == ["w"]
        request = provider_pb2.CheckRequest(name="x", **globes)
        checked = from_struct(provider.Check(request, context).inputs)
        assert checked["metadata"] == {"name": "g"}
        assert len(warned) == 1

    @pytest.mark.parametrize("call", ["create", "update", "delete", "read"])
    def test_cancel_ends_the_first_contact(
        self, context: Context, fake: FakeApi, call: str
    ) -> None:
        fake.is_away.set()
        provider = KubernetesProvider()
        self.configure(provider, context, kubeconfig=yaml.safe_dump(fake.config()))
        threading.Timer(0.1, lambda: provider.Cancel(None, context)).start()
        state = to_struct(widget() | {"__inputs": widget()})
        calls: dict[str, Callable[[], Any]] = {
            "create": lambda: self.create(provider, context, widget()),
            "update": lambda: provider.Update(
                provider_pb2.UpdateRequest(olds=state, news=to_struct(widget())), context
            ),
            "delete": lambda: provider.Delete(
                provider_pb2.DeleteRequest(id="models/w", properties=state), context
            ),
            "read": lambda: provider.Read(
                provider_pb2.ReadRequest(id="models/w", type=self.TYPE, properties=state), context
            ),
        }
        with pytest.raises(RuntimeError, match="cancelled"):
            calls[call]()

    def test_no_cluster_configured(self, context: Context) -> None:
        provider = KubernetesProvider()
        self.configure(provider, context, kubeconfig="apiVersion: v1\nkind: Config\n")
        assert isinstance(provider._mode, UnreachableMode)
        with pytest.raises(RuntimeError, match="no current-context"):
            self.create(provider, context, widget())

    @pytest.mark.parametrize(
        ("change", "replaces"),
        [
            ({}, []),
            ({"namespace": "other"}, []),
            ({"context": "two"}, ["context"]),
            ({"context": "one"}, []),
            ({"cluster": "b"}, ["cluster"]),
            ({"kubeconfig": UNKNOWN}, ["kubeconfig"]),
            ({"renderYamlToDirectory": "out"}, ["renderYamlToDirectory"]),
            ({"context": "two", "clusterIdentifier": "same"}, []),
            ({"clusterIdentifier": "other"}, ["clusterIdentifier"]),
        ],
    )
    def test_another_cluster_means_other_objects(
        self, context: Context, change: Manifest, replaces: list[str]
    ) -> None:
        config = yaml.safe_dump(TestKubeconfig.config())
        olds = {"kubeconfig": config}
        if "clusterIdentifier" in change:
            olds["clusterIdentifier"] = "same"
        request = provider_pb2.DiffRequest(olds=to_struct(olds), news=to_struct(olds | change))
        assert list(KubernetesProvider().DiffConfig(request, context).replaces) == replaces

    def test_schema_is_refused_with_a_way_out(
        self, provider: KubernetesProvider, context: Context
    ) -> None:
        with pytest.raises(RuntimeError, match="--generate-code=false"):
            provider.GetSchema(None, context)
