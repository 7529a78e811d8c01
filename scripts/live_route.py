"""Writes the weights of a stack file straight into the cluster: the one thing that can't wait."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes import config as kubeconfig
from kubernetes.client import CustomObjectsApi
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from components.from_stack.services import model_service_args
from components.model_service import ROUTE_API, routes
from models.errors import RuntimeTargetError
from models.names import API_PREFIX
from models.stack import Cluster, Stack

REQUEST_TIMEOUT_SECONDS = 5
ACCEPTED_TIMEOUT_SECONDS = 10
_PROVIDER = "pulumi-kubernetes"
"""How the field managers of Pulumi's provider begin; each object has one of its own."""

_APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True)
class LiveRoutes:
    """The routes of one model service, as they are in the cluster now.

    Attributes:
        cluster: where they are.
        objects: by kind.
    """

    cluster: Cluster
    objects: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, name: str, stack: Stack) -> LiveRoutes:
        """Asks the cluster.

        Raises:
            RuntimeTargetError: it did not answer, or there is no route.
        """
        api = _api(stack.cluster)
        kinds = [kind for kind, _, _ in _declared(name, stack).values()]
        return cls(stack.cluster, {kind: _get(api, stack.cluster, kind, name) for kind in kinds})

    def knows(self, version: str) -> bool:
        """Says whether any of them names a version as stable or candidate."""
        roles = (f"{API_PREFIX}/stable", f"{API_PREFIX}/candidate")
        return any(
            version in (it["metadata"].get("annotations", {}).get(role) for role in roles)
            for it in self.objects.values()
        )

    def apply(self, name: str, stack: Stack) -> None:
        """Makes them what the stack declares, and waits until the gateway has taken them.

        By server-side apply as the provider itself does, with its own field manager: the next
        `pulumi up` finds what it would have written.

        Raises:
            RuntimeTargetError: the cluster refused, or the gateway did not follow.
        """
        api = _api(self.cluster)
        for kind, metadata, spec in _declared(name, stack).values():
            live = self.objects[kind]
            body = {
                "apiVersion": ROUTE_API,
                "kind": kind,
                # What else its manager has put there would go if it were left out.
                "metadata": {
                    "name": name,
                    "labels": live["metadata"].get("labels", {}),
                    "annotations": {**_kept(live), **metadata["annotations"]},
                },
                "spec": spec,
            }
            written = _call(
                api.patch_namespaced_custom_object,
                **_address(self.cluster, kind, name),
                body=body,
                field_manager=_manager(live),
                force=True,
                _content_type=_APPLY,
            )
            _wait_accepted(api, self.cluster, kind, name, written["metadata"]["generation"])


def _declared(name: str, stack: Stack) -> dict[str, tuple[str, dict[str, Any], dict[str, Any]]]:
    return routes(name, model_service_args(name, stack.services[name], stack.cluster))


def _api(cluster: Cluster) -> CustomObjectsApi:
    try:
        client = kubeconfig.new_client_from_config(context=cluster.context)
    except ConfigException as error:
        raise RuntimeTargetError(f"no way to the cluster: {error}") from error
    return CustomObjectsApi(client)


def _address(cluster: Cluster, kind: str, name: str) -> dict[str, str]:
    group, version = ROUTE_API.split("/")
    plural = f"{kind.lower()}s"
    return {
        "group": group,
        "version": version,
        "namespace": cluster.namespace,
        "plural": plural,
        "name": name,
    }


def _get(api: CustomObjectsApi, cluster: Cluster, kind: str, name: str) -> dict[str, Any]:
    return _call(api.get_namespaced_custom_object, **_address(cluster, kind, name))


def _call(method: Any, **arguments: Any) -> dict[str, Any]:
    try:
        return method(**arguments, _request_timeout=REQUEST_TIMEOUT_SECONDS)
    except (ApiException, HTTPError) as error:
        said = getattr(error, "body", None) or error
        raise RuntimeTargetError(
            f"the cluster did not take the {arguments['plural']} {arguments['name']}: {said}"
        ) from error


def _kept(live: Mapping[str, Any]) -> dict[str, str]:
    """Returns the annotations that are not ours, which a new set of ours must not take along."""
    annotations: dict[str, str] = live["metadata"].get("annotations", {})
    return {key: it for key, it in annotations.items() if not key.startswith(f"{API_PREFIX}/")}


def _manager(live: Mapping[str, Any]) -> str:
    managers = {it["manager"] for it in live["metadata"].get("managedFields", ())}
    ours = sorted(it for it in managers if it.startswith(_PROVIDER))
    if not ours:
        raise RuntimeTargetError(
            f"the route {live['metadata']['name']} was not written by Pulumi but by "
            f"{', '.join(sorted(managers)) or 'nobody'}"
        )
    return ours[0]


def _wait_accepted(
    api: CustomObjectsApi, cluster: Cluster, kind: str, name: str, generation: int
) -> None:
    give_up_at = time.monotonic() + ACCEPTED_TIMEOUT_SECONDS
    while time.monotonic() < give_up_at:
        parents = _get(api, cluster, kind, name).get("status", {}).get("parents", [])
        seen = [it for parent in parents for it in parent["conditions"]]
        accepted = [it for it in seen if it["type"] == "Accepted"]
        if accepted and all(it.get("observedGeneration", 0) >= generation for it in accepted):
            return
        time.sleep(0.05)
    raise RuntimeTargetError(
        f"{kind} {name} is written, but the gateway has not taken it in "
        f"{ACCEPTED_TIMEOUT_SECONDS} s; is its controller up?"
    )
