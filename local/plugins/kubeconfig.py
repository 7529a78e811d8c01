"""Which cluster, and as whom: kubeconfig files, or the service account inside a pod.

The official Python client reads these files too, but importing it costs 0.2 to 0.8 s in each
Pulumi command, for what a YAML parser and the standard library do in a few milliseconds.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from local.plugins.properties import Properties

_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
_EXEC_SECONDS = 60
_SAFE_IN_HEADER_NAMES = "!#$&'*+-.^_`|~"  # beside letters and digits; the rest as %XX
_TOKEN_SECONDS = 60  # tokens in files are rotated by the kubelet well before they expire


class KubeconfigError(ValueError):
    """The configuration names no cluster, or names it wrongly."""


@dataclass(frozen=True)
class Access:
    """How to reach one cluster.

    Attributes:
        server: the API server's address.
        namespace: what the context names, or None.
        tls: certificates of both sides.
        server_name: the name in the server's certificate, if it is not the address's.
        proxy: address of an HTTP proxy, or None.
        credentials: what proves who we are, beside a certificate.
        impersonation: headers that say as whom to act, if that is somebody else.
    """

    server: str
    namespace: str | None
    tls: ssl.SSLContext
    server_name: str | None
    proxy: str | None
    credentials: Credentials
    impersonation: tuple[tuple[bytes, bytes], ...] = ()


@dataclass
class Credentials:
    """What the `Authorization` header says; renewed when it expires.

    Attributes:
        user: the kubeconfig's.
        fresh: what the user's command has said just now, if it has run already.
    """

    user: Properties
    fresh: Properties = field(default_factory=dict)
    _header: str | None = None
    _until: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def authorization(self) -> str | None:
        """Returns the header's value, or None where a certificate is enough.

        Raises:
            KubeconfigError: the command of the kubeconfig gives no token.
        """
        with self._lock:
            if time.monotonic() >= self._until:
                self._header, self._until = self._renewed()
            return self._header

    def forget(self) -> bool:
        """Makes the next request ask anew, as the server refused the last token.

        Returns:
            Whether there can be another one.
        """
        with self._lock:
            self._until = 0.0
        return bool(self.user.get("exec") or self.user.get("tokenFile"))

    def _renewed(self) -> tuple[str | None, float]:
        user = self.user
        forever = float("inf")
        if user.get("tokenFile"):
            token = _token_in(user["tokenFile"], instead=user.get("token"))
            return f"Bearer {token}", time.monotonic() + _TOKEN_SECONDS
        if user.get("token"):
            return f"Bearer {user['token']}", forever
        if user.get("username"):
            pair = f"{user['username']}:{user.get('password', '')}"
            return f"Basic {base64.b64encode(pair.encode()).decode()}", forever
        if user.get("exec"):
            status, self.fresh = self.fresh or _run(user["exec"]), {}
            if not status.get("token"):
                return None, forever
            return f"Bearer {status['token']}", time.monotonic() + _seconds_left(status)
        return None, forever


def load(option: str | None, environment: Mapping[str, str] = os.environ) -> Properties:
    """Returns the kubeconfig, merged from several files if there are several; may be empty.

    Args:
        option: the provider's `kubeconfig`, a path or the content itself; else KUBECONFIG decides.
        environment: the environment variables.

    Raises:
        KubeconfigError: it cannot be read.
    """
    listed = environment.get("KUBECONFIG")
    if option and option != listed:
        if "\n" not in option and Path(option).expanduser().is_file():
            return _merged([_from_file(Path(option).expanduser())])
        return _parsed(option, "the provider's kubeconfig")
    if listed:
        files = [Path(name).expanduser() for name in listed.split(os.pathsep) if name]
    else:
        files = [Path.home() / ".kube" / "config"]
    return _merged([_from_file(file) for file in files if file.exists()])


def server_of(config: Properties, context: str | None, cluster: str | None) -> str | None:
    """Returns the address of the cluster that is chosen, or None."""
    try:
        _, entry, _ = _chosen(config, context, cluster)
    except KubeconfigError:
        return None
    return entry.get("server")


def access(config: Properties, context: str | None, cluster: str | None) -> Access:
    """Returns how to reach the chosen cluster; with an empty config, the cluster we run in.

    Args:
        config: a kubeconfig.
        context: one of its contexts; else its current one.
        cluster: one of its clusters; else the context's.

    Raises:
        KubeconfigError: nothing is chosen, or it is incomplete.
    """
    if not config.get("clusters") and (_POD / "token").exists():
        return _inside_pod()
    chosen, cluster_entry, user = _chosen(config, context, cluster)
    server = cluster_entry.get("server")
    if not server:
        raise KubeconfigError("the kubeconfig's cluster has no server address")
    if user.get("auth-provider"):
        raise KubeconfigError(
            "the kubeconfig's user has an auth-provider, which Kubernetes gave up: use exec"
        )
    issued = _run(user["exec"]) if user.get("exec") else {}
    return Access(
        server=server.rstrip("/"),
        namespace=chosen.get("namespace"),
        tls=_tls(cluster_entry, user, issued),
        server_name=cluster_entry.get("tls-server-name"),
        proxy=cluster_entry.get("proxy-url"),
        credentials=Credentials(user, issued),
        impersonation=_impersonation(user),
    )


def _chosen(
    config: Properties, context: str | None, cluster: str | None
) -> tuple[Properties, Properties, Properties]:
    """Returns the context, the cluster and the user."""
    name = context or config.get("current-context")
    if not name:
        raise KubeconfigError(
            "no cluster is configured: the kubeconfig (option kubeconfig, KUBECONFIG or "
            "~/.kube/config) is missing or has no current-context"
        )
    chosen = _named(config, "context", name)
    user = chosen.get("user")
    return (
        chosen,
        _named(config, "cluster", cluster or chosen.get("cluster")),
        _named(config, "user", user) if user else {},
    )


def _named(config: Properties, kind: str, name: Any) -> Properties:
    entries = config.get(f"{kind}s") or []
    for entry in entries:
        if entry.get("name") == name:
            return entry.get(kind) or {}
    names = ", ".join(sorted(str(entry.get("name")) for entry in entries)) or "none"
    raise KubeconfigError(f"the kubeconfig has no {kind} {name!r} (it has {names})")


def _parsed(text: str, source: str) -> Properties:
    try:
        loaded: object = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        # Not the parser's message: it would quote what may be a key or a token.
        raise KubeconfigError(f"{source} is no valid YAML{line}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise KubeconfigError(f"{source} is neither a kubeconfig nor the path of one")
    return loaded


def _from_file(file: Path) -> Properties:
    config = _parsed(_read(file), str(file))
    for kind in ("cluster", "user"):
        for entry in config.get(f"{kind}s") or []:
            values = entry.get(kind) or {}
            for key in _FILES:
                if values.get(key):  # relative paths are relative to the file
                    values[key] = str(file.parent / values[key])
    return config


def _merged(configs: list[Properties]) -> Properties:
    """The first file that names something wins, as for kubectl."""
    result: Properties = {}
    for config in configs:
        if not result.get("current-context"):
            result["current-context"] = config.get("current-context")
        for kind in ("clusters", "users", "contexts"):
            known = result.setdefault(kind, [])
            names = {entry.get("name") for entry in known}
            known += [entry for entry in config.get(kind) or [] if entry.get("name") not in names]
    return result


def _inside_pod() -> Access:
    host, port = (
        os.environ.get("KUBERNETES_SERVICE_HOST"),
        os.environ.get("KUBERNETES_SERVICE_PORT", "443"),
    )
    if not host:
        raise KubeconfigError("in a pod, but KUBERNETES_SERVICE_HOST is not set")
    host = f"[{host}]" if ":" in host else host
    return Access(
        server=f"https://{host}:{port}",
        namespace=_read(_POD / "namespace").strip() if (_POD / "namespace").exists() else None,
        tls=ssl.create_default_context(cafile=str(_POD / "ca.crt")),
        server_name=None,
        proxy=None,
        credentials=Credentials({"tokenFile": str(_POD / "token")}),
    )


def _impersonation(user: Properties) -> tuple[tuple[bytes, bytes], ...]:
    """Returns the headers by which a user who may do so acts as another one."""
    said = [
        ("Impersonate-User", user.get("as")),
        *(("Impersonate-Group", group) for group in user.get("as-groups") or []),
        ("Impersonate-Uid", user.get("as-uid")),
        *(
            (f"Impersonate-Extra-{quote(key, safe=_SAFE_IN_HEADER_NAMES)}", value)
            for key, values in (user.get("as-user-extra") or {}).items()
            for value in values or []
        ),
    ]
    headers = tuple((name.encode(), str(value).encode()) for name, value in said if value)
    if headers and not user.get("as"):
        raise KubeconfigError(
            "the kubeconfig's user has as-groups, as-uid or as-user-extra, but not whom to "
            "act as: as"
        )
    return headers


def _tls(cluster: Properties, user: Properties, issued: Properties) -> ssl.SSLContext:
    authority = _content(cluster, "certificate-authority")
    try:
        context = ssl.create_default_context(cadata=authority.decode() if authority else None)
        # Python 3.13 wants extensions that the authorities of many clusters do not have.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if cluster.get("insecure-skip-tls-verify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        pair = [
            _content(user, name) or str(issued.get(field) or "").encode()
            for name, field in (
                ("client-certificate", "clientCertificateData"),
                ("client-key", "clientKeyData"),
            )
        ]
        if pair[0]:
            with _in_file(b"\n".join(pair)) as file:
                context.load_cert_chain(file)
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise KubeconfigError(f"a certificate of the kubeconfig is not usable: {error}") from None
    return context


def _content(entry: Properties, name: str) -> bytes | None:
    if entry.get(f"{name}-data"):
        try:
            return base64.b64decode(entry[f"{name}-data"], validate=True)
        except ValueError:
            raise KubeconfigError(f"{name}-data of the kubeconfig is no base64") from None
    return _read(entry[name]).encode() if entry.get(name) else None


@contextmanager
def _in_file(content: bytes) -> Generator[Path]:
    """The `ssl` module takes a private key only from a file; ours lives for a moment."""
    with tempfile.TemporaryDirectory() as folder:  # readable by the user alone
        file = Path(folder, "pair.pem")
        file.write_bytes(content)
        yield file


def _read(file: str | Path) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KubeconfigError(f"{file} cannot be read: {error}") from None


def _token_in(file: str, instead: str | None) -> str:
    """Returns the token in a file; what stands in the kubeconfig only where there is none."""
    try:
        token = _read(file).strip()
    except KubeconfigError:
        if not instead:
            raise
        return instead
    return token or instead or ""


def _run(command: Properties) -> Properties:
    """Runs a credential command such as `aws eks get-token`, and returns its status."""
    version = command.get("apiVersion", "client.authentication.k8s.io/v1")
    request = {
        "apiVersion": version,
        "kind": "ExecCredential",
        "spec": {"interactive": False},
    }
    variables = {entry["name"]: entry["value"] for entry in command.get("env") or []}
    name = command.get("command", "")
    try:
        done = subprocess.run(
            [name, *(command.get("args") or [])],
            env=dict(os.environ) | variables | {"KUBERNETES_EXEC_INFO": json.dumps(request)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_EXEC_SECONDS,
            check=True,
        )
        status = json.loads(done.stdout)["status"]
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()[-500:]
        raise KubeconfigError(f"{name} of the kubeconfig gave no credential: {said}") from None
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        # Not the output: it may hold half a token.
        problem = type(error).__name__ if isinstance(error, ValueError | KeyError) else str(error)
        raise KubeconfigError(f"{name} of the kubeconfig gave no credential: {problem}") from None
    return status if isinstance(status, dict) else {}


def _seconds_left(status: Properties) -> float:
    """Until the credential expires, less some seconds in which a request may be on its way."""
    stamp = status.get("expirationTimestamp")
    if not stamp:
        return float("inf")
    return datetime.fromisoformat(stamp).timestamp() - time.time() - 10
