# pyright: basic
"""Access to a Prometheus behind TLS and credentials, on a real server."""

from __future__ import annotations

import base64
import http.server
import json
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from models.errors import ConfigError, MetricsError
from models.metrics_server import PrometheusAccess
from models.stack import parse_stack
from rollout.prometheus import Prometheus
from tests.stacks import LOCAL

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
TOKEN = "t0ken/with+signs="  # noqa: S105  of this server
BASIC = "Basic " + base64.b64encode(b"robot:pa:ss").decode()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.asked.append((self.path, parse_qs(body)))
        if "slow" in body:
            time.sleep(1.5)
        allowed = self.headers.get("Authorization") in self.server.accepted
        series = [{"metric": {"a": "b"}, "values": [[NOW.timestamp(), "7"]]}]
        answer = json.dumps({"data": {"result": series}}) if allowed else "go away"
        self.send_response(200 if allowed else 401)
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list = []
        self.accepted = {f"Bearer {TOKEN}", BASIC}
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.crt", folder / "server.key")
        context.load_verify_locations(folder / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, *_):
        pass


def certificates(folder: Path) -> None:
    """Writes an authority, and certificates of a server and a client that it has signed."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    for name in ("ca", "server", "client"):
        key = ca_key if name == "ca" else ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(ca_name if name == "ca" else subject)
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - timedelta(days=1))
            .not_valid_after(datetime.now(UTC) + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        )
        signed = builder.sign(ca_key, hashes.SHA256())
        (folder / f"{name}.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("tls")
    certificates(made)
    (made / "password").write_text("pa:ss\n")
    return made


@pytest.fixture
def server(folder: Path):
    with Server(folder) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def access(folder: Path, **declared: object) -> PrometheusAccess:
    tls = {
        "caFile": str(folder / "ca.crt"),
        "certFile": str(folder / "client.crt"),
        "keyFile": str(folder / "client.key"),
    }
    return PrometheusAccess.model_validate({"tlsConfig": tls, **declared})


def ask(server: Server, declared: PrometheusAccess, query: str = "up") -> list[list[float]]:
    prometheus = Prometheus(f"https://localhost:{server.server_port}", declared)
    return [it.tolist() for it in prometheus.samples(query, NOW, NOW, 1).values()]


BEARER = {"authorization": {"credentials": {"env": "PROMETHEUS_TOKEN"}}}


def test_a_token_from_the_environment_over_both_sides_certificates(folder, server, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_TOKEN", TOKEN + "\n")
    assert ask(server, access(folder, **BEARER)) == [[7]]
    ((path, form),) = server.asked
    assert path == "/api/v1/query_range"
    assert (form["query"], form["start"]) == (["up"], [f"{NOW.timestamp():.3f}"])


def test_a_password_from_a_file(folder, server):
    password = {"file": str(folder / "password")}
    basic = {"username": "robot", "password": password}
    assert ask(server, access(folder, basicAuth=basic)) == [[7]]


def test_a_netrc_file_does_not_replace_the_token(folder, server, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine localhost login other password wrong\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("PROMETHEUS_TOKEN", TOKEN)
    assert ask(server, access(folder, **BEARER)) == [[7]]


def test_a_wrong_token_is_a_metrics_error_that_does_not_tell_it(folder, server, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_TOKEN", "s3cret")
    with pytest.raises(MetricsError, match="401") as refused:
        ask(server, access(folder, **BEARER))
    assert "s3cret" not in str(refused.value)


def test_a_server_of_another_authority_is_not_trusted(folder, server, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_TOKEN", TOKEN)
    usual = PrometheusAccess.model_validate(BEARER)
    with pytest.raises(MetricsError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(server, usual)
    assert not server.asked


def test_without_a_certificate_of_ones_own_this_server_does_not_answer(folder, server):
    authority = {"caFile": str(folder / "ca.crt")}
    with pytest.raises(MetricsError):
        ask(server, PrometheusAccess.model_validate({"tlsConfig": authority}))
    assert not server.asked


def test_a_slow_answer_is_not_waited_for(folder, server, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_TOKEN", TOKEN)
    began = time.monotonic()
    with pytest.raises(MetricsError, match="timed out"):
        ask(server, access(folder, timeout="1s", **BEARER), "slow")
    assert time.monotonic() - began < 1.4


def test_everything_that_is_missing_is_told_at_once(folder, monkeypatch, tmp_path):
    monkeypatch.delenv("PROMETHEUS_TOKEN", raising=False)
    tls = {"caFile": "no-ca", "certFile": "no-crt", "keyFile": "no-key"}
    declared = access(folder, tlsConfig=tls, **BEARER)
    with pytest.raises(ConfigError) as wrong:
        Prometheus("https://localhost:1", declared)
    unset = "the environment variable PROMETHEUS_TOKEN is not set or empty"
    assert [str(it) for it in wrong.value.problems] == [
        f"modelramp:cluster.prometheusAccess: {it}"
        for it in (
            f"authorization.credentials: {unset}",
            "tlsConfig.caFile: no such file: no-ca",
            "tlsConfig.certFile: no such file: no-crt",
            "tlsConfig.keyFile: no such file: no-key",
        )
    ]
    (tmp_path / "two").write_text("s3cret\nmore")
    for content, what in (("missing", "cannot be read"), ("two", "more than one line")):
        place = {"credentials": {"file": str(tmp_path / content)}}
        declared = PrometheusAccess.model_validate({"authorization": place})
        with pytest.raises(ConfigError, match=what) as wrong:
            Prometheus("https://localhost:1", declared)
        assert "s3cret" not in str(wrong.value)


@pytest.mark.parametrize(
    ("declared", "what"),
    [
        ({"authorization": {"credentials": {}}}, "give one of env"),
        ({"authorization": {"credentials": {"env": "A", "file": "b"}}}, "give one of env"),
        ({"tlsConfig": {"certFile": "x"}}, "come together"),
        (
            {**BEARER, "basicAuth": {"username": "x", "password": {"env": "A"}}},
            "authorization or basicAuth",
        ),
        ({"authorization": {"credentials": "s3cret"}}, "must be a valid dictionary|Input should"),
    ],
)
def test_what_contradicts_itself_is_refused(declared, what):
    with pytest.raises(ValidationError, match=what):
        PrometheusAccess.model_validate(declared)


def test_a_stack_declares_it_beside_the_url():
    def cluster(text: str):
        mine = f"{{target: cluster, namespace: models, gateway: gateway/models, {text}}}"
        theirs = "{target: embedded, namespace: models, gateway: gateway/models}"
        return parse_stack(LOCAL.replace(theirs, mine), "x").cluster

    declared = "prometheusAccess: {timeout: 30s, tlsConfig: {caFile: ca.crt}}"
    found = cluster(f"prometheus: 'https://p', {declared}").prometheus_access
    assert found is not None
    assert found.timeout_seconds == 30
    with pytest.raises(ConfigError, match="tlsConfig needs an https URL"):
        cluster(f"prometheus: 'http://p', {declared}")
