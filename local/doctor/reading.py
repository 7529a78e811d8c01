"""Reads a cluster and its Prometheus; what cannot be read is an answer too, never an exception."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import httpx

from local.doctor.findings import Unreadable
from local.plugins.cluster_api import ClusterApi, environment_proxy
from local.plugins.kubeconfig import Access, KubeconfigError
from local.plugins.refusals import ApiError, RefusedError, UnreachableError

TIMEOUT_SECONDS = 5.0

_REACH = (
    "check the network, the VPN and the context; for the local cluster: "
    "modelramp local up --cluster"
)
_RIGHTS = "bind the role that docs/clusters.md#rights-to-look names to yourself"
_CREDENTIALS = "renew the credentials of the context; `kubectl auth whoami` tells whose they are"
_PROMETHEUS = "see docs/clusters.md#prometheus, on how to reach one inside a cluster"
_FORBIDDEN = re.compile(r'cannot (\w+) resource "([^"]+)"(?:.* in the namespace "([^"]+)")?')

Object = dict[str, Any]
_T = TypeVar("_T")


class Cluster(Protocol):
    """What is asked of a Kubernetes API server."""

    def version(self) -> str | Unreadable:
        """Returns the server's version, such as `v1.34.4`."""
        ...

    def has(self, api_version: str, kind: str) -> bool | Unreadable:
        """Whether there are objects of this kind."""
        ...

    def get(
        self, api_version: str, kind: str, name: str, namespace: str = ""
    ) -> Object | Unreadable | None:
        """Returns one object, or None if there is none."""
        ...

    def list(
        self, api_version: str, kind: str, namespace: str = "", labels: str = ""
    ) -> list[Object] | Unreadable:
        """Returns all objects of a kind, in one namespace or all; none if there is no such kind."""
        ...

    def may(self, verb: str, group: str, resource: str, namespace: str) -> bool | Unreadable:
        """Whether we are allowed to do something."""
        ...


class KubernetesCluster:
    """A real API server; once it has not answered, it is not asked again.

    Args:
        access: how to reach it, or why there is no way.
    """

    def __init__(self, access: Access | Unreadable) -> None:
        self._silent: Unreadable | None = None
        if isinstance(access, Unreadable):
            self._silent = access
            return
        # A read that waits for minutes tells nothing more than one that is given up.
        self._api = ClusterApi(access, threading.Event(), patience=0)
        self._silent = _silence(access)

    def version(self) -> str | Unreadable:
        """See `Cluster`."""
        return self._silent or self._read(self._api.version)

    def has(self, api_version: str, kind: str) -> bool | Unreadable:
        """See `Cluster`."""
        return self._read(lambda: self._api.resource(api_version, kind) is not None)

    def get(
        self, api_version: str, kind: str, name: str, namespace: str = ""
    ) -> Object | Unreadable | None:
        """See `Cluster`."""
        metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
        wanted = {"apiVersion": api_version, "kind": kind, "metadata": metadata}
        return self._read(lambda: self._api.get(wanted))

    def list(
        self, api_version: str, kind: str, namespace: str = "", labels: str = ""
    ) -> list[Object] | Unreadable:
        """See `Cluster`."""
        selectors = {"labelSelector": labels} if labels else {}
        return self._read(lambda: self._api.list(api_version, kind, namespace or None, **selectors))

    def may(self, verb: str, group: str, resource: str, namespace: str) -> bool | Unreadable:
        """See `Cluster`."""
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "metadata": {},
            "spec": {
                "resourceAttributes": {
                    "verb": verb,
                    "group": group,
                    "resource": resource,
                    "namespace": namespace,
                }
            },
        }
        # The question is put by creating it; nothing of it is kept.
        answer = self._read(lambda: self._api.create(review, "modelramp-doctor", dry_run=False))
        return answer if isinstance(answer, Unreadable) else bool(answer["status"]["allowed"])

    def _read(self, ask: Callable[[], _T]) -> _T | Unreadable:
        if self._silent:
            return self._silent
        try:
            return ask()
        except UnreachableError as error:
            self._silent = Unreadable(str(error), _REACH)
            return self._silent
        except RefusedError as error:
            return _refusal(error)
        except (ApiError, KubeconfigError) as error:
            return Unreadable(str(error), _CREDENTIALS)


def _refusal(error: RefusedError) -> Unreadable:
    if error.status == 401:
        return Unreadable("the API server does not accept our credentials", _CREDENTIALS)
    denied = _FORBIDDEN.search(str(error))
    if denied is None:
        return Unreadable(f"refused: {error}", _RIGHTS)
    verb, resource, namespace = denied.groups()
    where = f"in namespace {namespace}" if namespace else "in the whole cluster"
    return Unreadable(f"we may not {verb} {resource} {where}", _RIGHTS)


def _silence(access: Access) -> Unreadable | None:
    """Returns why there is no answer at all, soon: reads of single objects are given more time."""
    try:
        with httpx.Client(
            verify=access.tls,
            proxy=access.proxy or environment_proxy(access.server),
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
        ) as client:
            name = access.server_name
            extensions = {"sni_hostname": name} if name else {}
            client.get(f"{access.server}/version", extensions=extensions)
    except httpx.HTTPError as error:
        said = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in said:
            return Unreadable(
                f"{access.server} has a certificate that the kubeconfig does not trust: "
                "it is another cluster, or something between",
                _REACH,
            )
        return Unreadable(
            f"{access.server} does not answer in {TIMEOUT_SECONDS:g} s ({said})", _REACH
        )
    return None


class Metrics(Protocol):
    """What is asked of a Prometheus."""

    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        """Returns the data that `/api/v1/<path>` answers with, or `Unreadable`."""
        ...


class PrometheusMetrics:
    """A real Prometheus; once it has not answered, it is not asked again.

    Args:
        url: of the server.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._silent: Unreadable | None = None

    def ask(self, path: str, **parameters: str) -> Any:
        """See `Metrics`."""
        if self._silent:
            return self._silent
        try:
            answer = httpx.get(
                f"{self.url}/api/v1/{path}",
                params=parameters,
                timeout=TIMEOUT_SECONDS,
                proxy=environment_proxy(self.url),
                verify=httpx.create_ssl_context(),  # SSL_CERT_FILE counts
                trust_env=False,
            )
            content: dict[str, Any] = answer.json()
            if answer.is_success:
                return content["data"]
            return Unreadable(f"{answer.status_code}: {content.get('error')}", _PROMETHEUS)
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
            self._silent = Unreadable(f"{self.url} does not answer ({said})", _PROMETHEUS)
            return self._silent
        except (ValueError, KeyError, TypeError, AttributeError):  # some other server's page
            return Unreadable(f"{self.url} does not answer as a Prometheus does", _PROMETHEUS)
