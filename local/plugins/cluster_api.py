"""The HTTP interface of one Kubernetes API server.

httpx is used rather than the `kubernetes` package: that takes 0.2 to 0.8 s to import, httpx 0.05,
and all that is needed here is JSON at a handful of paths.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
import tenacity

from local.plugins.kubeconfig import Access
from local.plugins.properties import Properties
from local.plugins.refusals import CancelledError, RefusedError, UnreachableError

_APPLY = "application/apply-patch+yaml"
_JSON_PATCH = "application/json-patch+json"
_MERGE = "application/json"
# A write may wait for admission webhooks (at most 30 s each); the server itself gives up at 60 s.
_TIMEOUTS = httpx.Timeout(65.0, connect=5.0, pool=None)
_READ_TIMEOUTS = httpx.Timeout(20.0, connect=5.0, pool=None)
PATIENCE = 60.0  # seconds that an API server may be away, to restart
_CLOCK_SECONDS = 60  # by which the server's clock may differ from ours
# Addresses of the local cluster, of a range that no real network has (RFC 2544). Not taken from
# `local.cluster.layout`, which takes 12 ms to import.
_LOCAL_CLUSTER = ip_network("198.18.0.0/15")
# Every wait holds a connection only for moments, but there may be many at once.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=32)


@dataclass(frozen=True)
class Resource:
    """Where objects of one kind are found.

    Attributes:
        plural: the path's last part.
        namespaced: whether they lie in namespaces.
    """

    plural: str
    namespaced: bool


class ClusterApi:
    """Reads and writes objects.

    Args:
        access: the cluster.
        cancelled: set when the user wants all to end.
        patience: seconds for which an API server that does not answer is asked again; else
            `PATIENCE`.
    """

    def __init__(
        self, access: Access, cancelled: threading.Event, patience: float | None = None
    ) -> None:
        self.server = access.server
        self._access = access
        self._cancelled = cancelled
        self._patience = PATIENCE if patience is None else patience
        self._resources: dict[str, dict[str, Resource]] = {}
        self._client = httpx.Client(
            base_url=access.server,
            verify=access.tls,
            proxy=access.proxy or environment_proxy(access.server),
            timeout=_READ_TIMEOUTS,
            limits=_LIMITS,
            headers=[(b"User-Agent", b"modelramp"), *access.impersonation],
            trust_env=False,
        )

    def version(self) -> str:
        """Returns the server's version, such as `v1.34.4`; the cheapest question there is.

        Raises:
            ApiError: there is no answer, or a refusal.
        """
        return str(self._request("GET", "/version").get("gitVersion"))

    def resource(self, api_version: str, kind: str) -> Resource | None:
        """Returns where a kind is found, or None if the cluster does not have it (yet).

        A kind that is not known is asked for each time: its definition may be new.
        """
        known = self._resources.get(api_version, {})
        if kind not in known:
            known = self._resources[api_version] = self._discover(api_version)
        return known.get(kind)

    def get(self, manifest: Properties) -> Properties | None:
        """Returns the object of this identity, or None if there is none."""
        try:
            return self._request("GET", self._path(manifest))
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    def list(
        self, api_version: str, kind: str, namespace: str | None, **selectors: str
    ) -> list[Properties]:
        """Returns all objects of a kind in a namespace.

        Args:
            api_version: of the kind.
            kind: of the objects.
            namespace: where to look; None for all, or for kinds without.
            selectors: `labelSelector` and `fieldSelector`.
        """
        found = self.resource(api_version, kind)
        if found is None:
            return []
        path = _collection(api_version, found, namespace)
        items = self._request("GET", path, params=selectors).get("items") or []
        return [{"apiVersion": api_version, "kind": kind} | item for item in items]

    def create(self, manifest: Properties, field_manager: str, *, dry_run: bool) -> Properties:
        """Makes an object that must not be there yet.

        Raises:
            UnreachableError: among others when the connection broke after the request was sent; the
                object may then be there.
        """
        found = self._found(manifest)
        path = _collection(manifest["apiVersion"], found, _namespace(manifest))
        # Not repeated if it may have arrived: the second time it would be there already.
        return self._request(
            "POST",
            path,
            body=manifest,
            params=_parameters(field_manager, dry_run=dry_run),
            idempotent=dry_run,
        )

    def apply(
        self, manifest: Properties, field_manager: str, *, force: bool, dry_run: bool
    ) -> Properties:
        """Makes the declared fields so, and ours (server-side apply).

        Raises:
            RefusedError: among others a conflict with other field managers, without `force`.
        """
        parameters = _parameters(field_manager, dry_run=dry_run) | {"force": str(force).lower()}
        # A cut-off apply may have been done or not. It says what shall be, not what to change, so
        # doing it a second time changes nothing more: it is repeated like a read.
        return self._request(
            "PATCH", self._path(manifest), body=manifest, params=parameters, content_type=_APPLY
        )

    def replace(self, manifest: Properties, field_manager: str, *, dry_run: bool) -> Properties:
        """Puts a whole object in the place of the one with the same resourceVersion.

        Raises:
            RefusedError: with reason Conflict when it has changed meanwhile, or when an earlier try
                that was cut off has done it.
        """
        return self._request(
            "PUT",
            self._path(manifest),
            body=manifest,
            params=_parameters(field_manager, dry_run=dry_run),
        )

    def patch(self, manifest: Properties, operations: list[Properties]) -> Properties:
        """Changes an object by a JSON patch, which should test or set the resourceVersion."""
        return self._request(
            "PATCH", self._path(manifest), body=operations, content_type=_JSON_PATCH
        )

    def delete(self, manifest: Properties, propagation: str) -> None:
        """Asks to delete an object; one that is gone, or whose kind is gone, is no error."""
        if self.resource(manifest["apiVersion"], manifest["kind"]) is None:
            return
        try:
            # Repeated when cut off: what the first try has deleted cannot be deleted again.
            self._request("DELETE", self._path(manifest), body={"propagationPolicy": propagation})
        except RefusedError as error:
            if error.status != 404:
                raise

    def sleep(self, seconds: float) -> None:
        """Waits, unless all is to end.

        Raises:
            CancelledError: the user wants it to.
        """
        if self._cancelled.wait(seconds):
            raise CancelledError("cancelled")

    def _found(self, manifest: Properties) -> Resource:
        found = self.resource(manifest["apiVersion"], manifest["kind"])
        if found is None:
            raise RefusedError(
                404,
                {
                    "message": f"the cluster has no {manifest['kind']} in "
                    f"{manifest['apiVersion']}: is its definition (CRD) installed?",
                    "reason": "NoSuchKind",
                },
            )
        return found

    def _path(self, manifest: Properties) -> str:
        found = self._found(manifest)
        collection = _collection(manifest["apiVersion"], found, _namespace(manifest))
        return f"{collection}/{quote(manifest['metadata']['name'])}"

    def _discover(self, api_version: str) -> dict[str, Resource]:
        try:
            listed = self._request("GET", _group(api_version))
        except RefusedError as error:
            if error.status == 404:
                return {}
            raise
        return {
            entry["kind"]: Resource(entry["name"], entry["namespaced"])
            for entry in listed.get("resources") or []
            if "/" not in entry["name"]  # sub-resources such as pods/log
        }

    def _request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: dict[str, str] | None = None,
        content_type: str = _MERGE,
        idempotent: bool = True,
    ) -> Properties:
        """Asks until there is an answer, or patience is at an end."""

        def ask_again(error: BaseException) -> bool:
            if isinstance(error, UnreachableError):
                return not error.permanent and (idempotent or not error.may_have_arrived)
            return isinstance(error, RefusedError) and _is_passing(error, method)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(ask_again),
            wait=_pause,
            stop=tenacity.stop_after_delay(self._patience),
            sleep=self.sleep,
            reraise=True,
        )
        return retrying(self._ask, method, path, body, params, content_type)

    def _ask(
        self, method: str, path: str, body: Any, params: dict[str, str] | None, content_type: str
    ) -> Properties:
        if self._cancelled.is_set():
            raise CancelledError("cancelled")
        response = self._send(method, path, body, params, content_type)
        if response.status_code == 401 and self._access.credentials.forget():
            response = self._send(method, path, body, params, content_type)
        return _answer(response)

    def _send(
        self, method: str, path: str, body: Any, params: dict[str, str] | None, content_type: str
    ) -> httpx.Response:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = content_type
        authorization = self._access.credentials.authorization()
        if authorization:
            headers["Authorization"] = authorization
        name = self._access.server_name
        try:
            return self._client.request(
                method,
                path,
                content=None if body is None else json.dumps(body),
                params=params,
                headers=headers,
                timeout=_READ_TIMEOUTS if method == "GET" else _TIMEOUTS,
                extensions={"sni_hostname": name} if name else {},
            )
        except httpx.TransportError as error:
            raise _unreachable(error, self.server) from None


def environment_proxy(url: str) -> str | None:
    """Returns the proxy that the environment names for a URL, in the words that kubectl knows.

    None is meant for this machine itself, and the local cluster is on this machine too, whatever
    its addresses. httpx does not know of ranges in NO_PROXY, and fails for those of IPv6.
    """
    named, parts = getproxies(), urlsplit(url)
    proxy, host = named.get(parts.scheme) or named.get("all"), parts.hostname or ""
    if not proxy or host == "localhost" or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    with suppress(ValueError):  # it is a name
        address = ip_address(host)
        exempt = (_LOCAL_CLUSTER, *_networks(named.get("no", "")))
        if address.is_loopback or any(address in network for network in exempt):
            return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _networks(listed: str) -> Generator[IPv4Network | IPv6Network]:
    for part in listed.split(","):
        with suppress(ValueError):
            yield ip_network(part.strip(), strict=False)


def is_owned_by_request(live: Properties, field_manager: str, started: float) -> bool:
    """Whether an object is what a request of ours, whose answer was lost, has made.

    Args:
        live: the object.
        field_manager: what the request gave.
        started: when it was sent, in seconds since the epoch.
    """
    metadata = live.get("metadata") or {}
    created = datetime.fromisoformat(metadata["creationTimestamp"]).timestamp()
    is_new = created >= started - _CLOCK_SECONDS
    return is_new and any(
        entry.get("manager") == field_manager for entry in metadata.get("managedFields") or []
    )


def _group(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _collection(api_version: str, resource: Resource, namespace: str | None) -> str:
    inside = f"/namespaces/{quote(namespace)}" if namespace and resource.namespaced else ""
    return f"{_group(api_version)}{inside}/{resource.plural}"


def _namespace(manifest: Properties) -> str:
    return manifest["metadata"].get("namespace") or "default"


def _parameters(field_manager: str, *, dry_run: bool) -> dict[str, str]:
    return {"fieldManager": field_manager} | ({"dryRun": "All"} if dry_run else {})


def _is_passing(error: RefusedError, method: str) -> bool:
    """Whether the server was only busy or starting: with these it has not begun to do it."""
    if error.status in {429, 503}:
        return True
    # What a read got from a proxy, or from an API server whose etcd elects a leader.
    return method == "GET" and (error.status in {502, 504} or "etcdserver" in str(error))


def _pause(state: tenacity.RetryCallState) -> float:
    """0.1 s, doubled each time up to 2 s, or what the server asks for, up to 5 s."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, RefusedError) else None
    return min(asked, 5.0) if asked else min(0.1 * 2 ** (state.attempt_number - 1), 2.0)


def _unreachable(error: httpx.TransportError, server: str) -> UnreachableError:
    never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError)
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    if cause is not None:
        return UnreachableError(
            f"{server} has a certificate that the kubeconfig does not trust: {cause}",
            may_have_arrived=False,
            permanent=True,
        )
    return UnreachableError(
        f"no answer from the Kubernetes API server at {server} ({error or type(error).__name__})",
        may_have_arrived=not never_sent,
        permanent=isinstance(error, httpx.UnsupportedProtocol),
    )


def _answer(response: httpx.Response) -> Properties:
    try:
        body: Any = response.json()
    except ValueError:
        body = {}
    if not isinstance(body, dict):
        body = {}
    if response.is_success:
        return body
    seconds = response.headers.get("Retry-After", "")
    raise RefusedError(
        response.status_code,
        body or {"message": f"{response.status_code} {response.reason_phrase}"},
        float(seconds) if seconds.isdigit() else None,
    )
