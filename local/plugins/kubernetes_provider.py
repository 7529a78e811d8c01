"""A stand-in for `pulumi-resource-kubernetes` that renders YAML, as the official one can.

It knows one mode, `renderYamlToDirectory`; for a cluster the official plugin is needed. What it
does there was taken from the official provider, state included, so that either can go on with the
other's stack. Two differences are meant: it refuses values that the rendered file would show in
clear but Pulumi keeps secret (the official one warns), and `refresh` reads the files again (the
official one needs a cluster to refresh).
"""

# ruff: noqa: ARG002, N802 (names and arguments are the protocol's)

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2

from local.plugins import rendered
from local.plugins.differences import differences, prune
from local.plugins.properties import (
    Properties,
    from_struct,
    is_unknown,
    signed_path,
    to_struct,
    without_secrets,
)
from local.plugins.protocol import plugin_pb2, provider_pb2, provider_pb2_grpc
from local.plugins.serve import serve

VERSION = "4.34.2"  # of the official provider that this stands in for
_OPTION = "kubernetes:config:"
_AUTONAMED = "pulumi.com/autonamed"
_BOOKKEEPING = ("__inputs", "__initialApiVersion", "__fieldManager")
_SET_BY_CLUSTER = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "uid",
)
_CLUSTER_SCOPED = frozenset(
    {
        "APIService",
        "CSIDriver",
        "CSINode",
        "CertificateSigningRequest",
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "FlowSchema",
        "IngressClass",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "PriorityLevelConfiguration",
        "RuntimeClass",
        "StorageClass",
        "ValidatingWebhookConfiguration",
        "VolumeAttachment",
    }
)


class KubernetesProvider(provider_pb2_grpc.ResourceProviderServicer):
    """Serves the `ResourceProvider` protocol to one engine."""

    def __init__(self) -> None:
        self._folder = Path()
        self._namespace = "default"
        self._always_render = False
        self._config_map_mutable = False

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Says which official version this stands in for."""
        return plugin_pb2.PluginInfo(version=VERSION)

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Does nothing: every call is over in milliseconds."""
        return empty_pb2.Empty()

    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Refuses what only the official provider can do."""
        news = from_struct(request.news)
        if news.get("renderYamlToDirectory"):
            failures = [
                provider_pb2.CheckFailure(
                    property=name,
                    reason=f'"{name}" arg is not compatible with "renderYamlToDirectory" arg',
                )
                for name in ("cluster", "context", "kubeconfig")
                if news.get(name) and not _is_ambient_kubeconfig(name, news[name])
            ]
        else:
            failures = [
                provider_pb2.CheckFailure(
                    property="renderYamlToDirectory",
                    reason="this stand-in only renders YAML; to reach a cluster, install the "
                    f"official provider: pulumi plugin install resource kubernetes v{VERSION}",
                )
            ]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Another folder means other files, so everything is made anew."""
        olds, news = from_struct(request.olds), from_struct(request.news)
        changed = [key for key in sorted({*olds, *news}) if olds.get(key) != news.get(key)]
        return provider_pb2.DiffResponse(
            changes=_changes(bool(changed)),
            diffs=changed,
            replaces=[key for key in changed if key == "renderYamlToDirectory"],
        )

    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Remembers the provider's options."""
        option = {key.removeprefix(_OPTION): value for key, value in request.variables.items()}
        self._folder = Path(option.get("renderYamlToDirectory", ""))
        self._namespace = option.get("namespace") or "default"
        self._always_render = option.get("alwaysRender") == "true"
        self._config_map_mutable = option.get("enableConfigMapMutable") == "true"
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
        )

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Fills in name, namespace, kind and apiVersion; refuses what must not be rendered."""
        olds, news = from_struct(request.olds), from_struct(request.news)
        _, api_version, kind = request.type.split(":")
        api_version = api_version.removeprefix("core/")
        news = {"apiVersion": api_version, "kind": kind} | _without_set_by_cluster(news)
        problem = _problem(news)
        metadata = news.setdefault("metadata", {})
        if problem is None and not is_unknown(metadata):
            if not metadata.get("name"):
                _name_automatically(metadata, _metadata(olds), request)
            if kind not in _CLUSTER_SCOPED and not metadata.get("namespace"):
                metadata["namespace"] = self._namespace
        failures = [] if problem is None else [provider_pb2.CheckFailure(reason=problem)]
        return provider_pb2.CheckResponse(inputs=to_struct(news), failures=failures)

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Compares what is declared with what was rendered, or read by the last refresh."""
        declared, live = _parts(from_struct(request.olds))
        new = without_secrets(from_struct(request.news))
        found = differences(prune(live, declared), new, config_map_mutable=self._config_map_mutable)
        old_metadata, metadata = _metadata(live), _metadata(new)
        same_object = all(
            metadata.get(key) == old_metadata.get(key) for key in ("name", "namespace")
        )
        autonamed = (metadata.get("annotations") or {}).get(_AUTONAMED) == "true"
        replaces = [difference.text for difference in found if difference.replaces]
        return provider_pb2.DiffResponse(
            changes=_changes(bool(found) or self._always_render),
            replaces=replaces,
            deleteBeforeReplace=bool(replaces) and same_object and not autonamed,
            detailedDiff={
                difference.text: provider_pb2.PropertyDiff(
                    kind=provider_pb2.PropertyDiff.Kind.Value(
                        difference.kind + ("_REPLACE" if difference.replaces else "")
                    ),
                    inputDiff=difference.kind == "DELETE",
                )
                for difference in found
            },
            hasDetailedDiff=True,
        )

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Renders the object; a preview touches nothing."""
        if request.preview:
            return provider_pb2.CreateResponse(properties=request.properties)
        manifest = from_struct(request.properties)
        rendered.write(manifest, self._folder)
        field_manager = f"pulumi-kubernetes-{secrets.token_hex(4)}"
        return provider_pb2.CreateResponse(
            id=_id_of(manifest), properties=_state(manifest, manifest, field_manager)
        )

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Reads the rendered file again, so that `refresh` sees what others did to it."""
        state = from_struct(request.properties)
        declared, known = _parts(state)
        if not known:
            known = _identity_of(request.type, request.id)
        live = rendered.read(rendered.file_of(known, self._folder))
        if live is None:
            return provider_pb2.ReadResponse()
        inputs = prune(live, declared) if declared else live
        field_manager = state.get("__fieldManager", "pulumi-kubernetes")
        return provider_pb2.ReadResponse(
            id=request.id, properties=_state(live, inputs, field_manager), inputs=to_struct(inputs)
        )

    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Renders the object again; a preview touches nothing."""
        if request.preview:
            return provider_pb2.UpdateResponse(properties=request.news)
        manifest = from_struct(request.news)
        rendered.write(manifest, self._folder)
        field_manager = request.olds.fields["__fieldManager"].string_value
        return provider_pb2.UpdateResponse(properties=_state(manifest, manifest, field_manager))

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Removes the rendered file; one that is gone already is no error."""
        _, live = _parts(from_struct(request.properties))
        rendered.file_of(live, self._folder).unlink(missing_ok=True)
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Refuses functions such as `kubernetes:yaml:decode`."""
        _refuse(context, request.tok)

    def Construct(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Refuses components such as `kubernetes:yaml/v2:ConfigGroup` and Helm charts."""
        _refuse(context, request.type)


def _refuse(context: grpc.ServicerContext, what: str) -> None:
    context.abort(
        grpc.StatusCode.UNIMPLEMENTED,
        f"{what} needs the official provider: pulumi plugin install resource kubernetes v{VERSION}",
    )


def _is_ambient_kubeconfig(option: str, value: str) -> bool:
    """The SDK passes KUBECONFIG on as an option; that is nothing the user asked for."""
    return option == "kubeconfig" and value == os.environ.get("KUBECONFIG")


def _changes(some: bool) -> Any:
    return provider_pb2.DiffResponse.DIFF_SOME if some else provider_pb2.DiffResponse.DIFF_NONE


def _metadata(manifest: Properties) -> Properties:
    metadata = manifest.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _without_set_by_cluster(manifest: Properties) -> Properties:
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict):
        return dict(manifest)
    kept = {key: value for key, value in metadata.items() if key not in _SET_BY_CLUSTER}
    return manifest | {"metadata": kept}


def _problem(manifest: Properties) -> str | None:
    """Says why the object must not, or cannot, be rendered."""
    kind = manifest["kind"]
    signed = signed_path(manifest)
    if signed is not None:
        return (
            f"{signed} is a secret (or a file) to Pulumi, and the rendered YAML would show it in "
            "clear: refer to a Kubernetes Secret that is made outside of this stack"
        )
    if kind == "Secret" and (manifest.get("data") or manifest.get("stringData")):
        return (
            "a Secret with values is not rendered, the YAML would show them in clear: make it "
            "outside of this stack"
        )
    if kind.endswith(("List", "Patch")) or manifest["apiVersion"].startswith("helm.sh/"):
        return f"{manifest['apiVersion']} {kind} needs the official provider"
    if _metadata(manifest).get("generateName"):
        return "metadata.generateName is not supported in YAML rendering mode"
    return None


def _name_automatically(metadata: Properties, old: Properties, request: Any) -> None:
    """Gives the object the name it had, or a new one made of the resource's name."""
    was_autonamed = (old.get("annotations") or {}).get(_AUTONAMED) == "true"
    suffix = hashlib.sha256(request.randomSeed).hexdigest()[:8]
    proposed = request.autonaming.proposed_name or f"{request.name}-{suffix}"
    metadata["name"] = old["name"] if was_autonamed else proposed
    metadata["annotations"] = (metadata.get("annotations") or {}) | {_AUTONAMED: "true"}


def _parts(state: Properties) -> tuple[Properties, Properties]:
    """Splits a resource's state into what was declared and what is there."""
    state = without_secrets(state)
    live = {key: value for key, value in state.items() if key not in _BOOKKEEPING}
    return state.get("__inputs", {}), live


def _state(live: Properties, inputs: Properties, field_manager: str) -> Any:
    """Returns a resource's state as the official provider keeps it."""
    bookkeeping = (inputs, inputs["apiVersion"], field_manager)
    return to_struct(live | dict(zip(_BOOKKEEPING, bookkeeping, strict=True)))


def _id_of(manifest: Properties) -> str:
    metadata = manifest["metadata"]
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else metadata["name"]


def _identity_of(type_token: str, resource_id: str) -> Properties:
    _, api_version, kind = type_token.split(":")
    namespace, _, name = resource_id.rpartition("/")
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {
        "apiVersion": api_version.removeprefix("core/"),
        "kind": kind,
        "metadata": metadata,
    }


def main() -> None:
    """Serves one engine."""
    provider = KubernetesProvider()
    serve(lambda server: provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server))


if __name__ == "__main__":
    main()
