"""Requests to a Prometheus server as a stack declares them: credentials, certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from requests import PreparedRequest, Response, Session
from requests.auth import AuthBase, HTTPBasicAuth

from models.errors import ConfigError, Problem
from models.metrics_server import PrometheusAccess, Secret
from rollout.secrets import read_secret

_WHERE = "modelramp:cluster.prometheusAccess"


class _FormSession(Session):
    """Sends parameters in the body: the names of many services do not fit in an address."""

    def request(self, method: str, url: str, params: Any = None, **options: Any) -> Response:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().request(method, url, data=params, **options)


class _Header(AuthBase):
    """A header; as an `auth`, because a ~/.netrc would win over a plain one."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        r.headers["Authorization"] = self._value
        return r


def session_of(access: PrometheusAccess) -> Session:
    """Returns a session that asks as it is declared.

    Raises:
        ConfigError: variables or files that are named are not there; all of them.
    """
    problems: list[Problem] = []

    def secret(place: Secret, key: str) -> str:
        try:
            return read_secret(place)
        except ValueError as error:
            problems.append(Problem(_WHERE, str(error), key))
            return ""

    def file(path: str | None, key: str) -> str | None:
        if path is not None and not Path(path).is_file():
            problems.append(Problem(_WHERE, f"no such file: {path}", f"tlsConfig.{key}"))
        return path

    session = _FormSession()
    if access.authorization:
        token = secret(access.authorization.credentials, "authorization.credentials")
        session.auth = _Header(f"{access.authorization.type} {token}")
    if access.basic_auth:
        password = secret(access.basic_auth.password, "basicAuth.password")
        session.auth = HTTPBasicAuth(access.basic_auth.username.encode(), password.encode())
    if tls := access.tls_config:
        session.verify = file(tls.ca_file, "caFile") or True
        certificate, key = file(tls.cert_file, "certFile"), file(tls.key_file, "keyFile")
        session.cert = (certificate, key) if certificate and key else None
    if problems:
        raise ConfigError(problems)
    return session
