"""A stand-in for `pulumi-resource-kubernetes`: renders YAML, or writes to a cluster.

What it does and keeps in the state was taken from the official provider, so that either can go on
with the other's stack. Helm, YAML and Kustomize components, `*Patch` and `*List` resources, and
client-side apply need the official one. One difference is meant: where the server says that a
field cannot be changed, the object is replaced (the official one fails, but for the fields it
knows of). Of rendering: see render_mode.py.
"""

# ruff: noqa: ARG002, N802 (names and arguments are the protocol's)

from __future__ import annotations

import hashlib
import os
import re
import secrets
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import any_pb2, empty_pb2

from local.plugins.differences import Difference, differences, prune
from local.plugins.engine_log import EngineLog
from local.plugins.manifests import (
    AUTONAMED,
    FIELD_MANAGER,
    PATCH_FIELD_MANAGER,
    annotation_of,
    id_of,
    identity_of,
    kind_of,
    metadata_of,
    normalised,
    split_state,
    state_of,
    without_set_by_cluster,
)
from local.plugins.mode import Call, Mode
from local.plugins.ownership import path_of
from local.plugins.properties import (
    Properties,
    from_struct,
    is_unknown,
    secret_texts,
    to_struct,
    with_secrets,
    without_secrets,
)
from local.plugins.protocol import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2
from local.plugins.refusals import ApiError
from local.plugins.render_mode import RenderMode
from local.plugins.serve import serve

if TYPE_CHECKING:
    from local.plugins.cluster_mode import Options

VERSION = "4.34.2"  # of the official provider that this stands in for
_OPTION = "kubernetes:config:"
_MANAGER_PREFIX = "pulumi-kubernetes-"
_OF_CLUSTER = ("cluster", "context", "kubeconfig")
_SET_BY_OTHERS = (  # annotations that nobody declares
    "deployment.kubernetes.io/revision",
    "kubectl.kubernetes.io/last-applied-configuration",
)


class KubernetesProvider(provider_pb2_grpc.ResourceProviderServicer):
    """Serves the `ResourceProvider` protocol to one engine.

    Args:
        log: hears what resources are waiting for.
    """

    def __init__(self, log: EngineLog | None = None) -> None:
        self._log = log or EngineLog(None)
        self._cancelled = threading.Event()
        self._mode: Mode = RenderMode(Path(), "default")
        self._always_render = False
        self._mutable: frozenset[str] = frozenset()

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Says which official version this stands in for."""
        return plugin_pb2.PluginInfo(version=VERSION)

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Ends all waits; the calls return what they have got."""
        self._cancelled.set()
        return empty_pb2.Empty()

    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Refuses options that contradict one another, and what only the official one can do."""
        news = from_struct(request.news)
        failures: dict[str, str] = {}
        if news.get("renderYamlToDirectory"):
            failures = {
                name: f'"{name}" arg is not compatible with "renderYamlToDirectory" arg'
                for name in _OF_CLUSTER
                if news.get(name) and not _is_ambient_kubeconfig(name, news[name])
            }
        elif str(news.get("alwaysRender")).lower() == "true":
            failures["alwaysRender"] = '"alwaysRender" requires "renderYamlToDirectory" to be set'
        if str(news.get("enableServerSideApply")).lower() == "false":
            failures["enableServerSideApply"] = _needs_official("client-side apply")
        return provider_pb2.CheckResponse(
            inputs=request.news,
            failures=[
                provider_pb2.CheckFailure(property=name, reason=reason)
                for name, reason in failures.items()
            ],
        )

    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Another folder, or another cluster, means other objects: everything is made anew."""
        olds = without_secrets(from_struct(request.olds))
        news = without_secrets(from_struct(request.news))
        changed = [key for key in sorted({*olds, *news}) if olds.get(key) != news.get(key)]
        return provider_pb2.DiffResponse(
            changes=_changes(bool(changed)), diffs=changed, replaces=_moved(olds, news, changed)
        )

    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Remembers the provider's options; no cluster is asked before an object needs it."""
        option = {key.removeprefix(_OPTION): value for key, value in request.variables.items()}
        folder = option.get("renderYamlToDirectory")
        if folder:
            self._mode = RenderMode(Path(folder), option.get("namespace") or "default")
        else:
            self._mode = _cluster_mode(option, self._cancelled)
        self._always_render = bool(folder) and option.get("alwaysRender") == "true"
        self._mutable = frozenset(
            kind
            for kind in ("ConfigMap", "Secret")
            if _is_on(option, f"enable{kind}Mutable", f"PULUMI_K8S_ENABLE_{kind.upper()}_MUTABLE")
        )
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
        )

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Fills in name, namespace, kind and apiVersion; refuses what cannot be made."""
        marked = kind_of(request.type) | without_set_by_cluster(from_struct(request.news))
        news = without_secrets(marked)
        olds = without_secrets(from_struct(request.olds))
        problem = _unsupported(news) or self._mode.problem(marked)
        metadata = news.setdefault("metadata", {})
        if problem is None and not is_unknown(metadata):
            if not metadata.get("name"):
                _name_automatically(metadata, metadata_of(olds), request)
            with self._failing(context, marked):
                namespace = self._mode.namespace(
                    news, metadata.pop("namespace", None), metadata_of(olds)
                )
            if namespace:
                metadata["namespace"] = namespace
        failures = [] if problem is None else [provider_pb2.CheckFailure(reason=problem)]
        return provider_pb2.CheckResponse(
            inputs=to_struct(with_secrets(news, marked)), failures=failures
        )

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Compares what is declared with what was there after the last operation or refresh."""
        state = from_struct(request.olds)
        declared, live = split_state(state)
        marked = from_struct(request.news)
        new = without_secrets(marked)
        known = prune(live, normalised(declared))
        found = [
            difference
            for difference in differences(
                known, normalised(new), declared=normalised(declared), mutable=self._mutable
            )
            if not _is_ignored(difference, request.ignoreChanges)
        ]
        if found and not any(difference.replaces for difference in found):
            with self._failing(context, marked):
                fixed = self._mode.fixed(live, new, state.get(FIELD_MANAGER, ""))
            found = _replacing(found, fixed)
        return self._diff_response(found, live, new)

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Makes the object; a preview only asks what would be made."""
        marked = from_struct(request.properties)
        manifest = without_secrets(marked)
        manager = annotation_of(manifest, PATCH_FIELD_MANAGER)
        manager = manager or f"{_MANAGER_PREFIX}{secrets.token_hex(4)}"
        call = self._call(request, marked, manager)
        with self._failing(context, marked, manager):
            live = self._mode.create(manifest, call)
        if live is None:
            return provider_pb2.CreateResponse(properties=request.properties)
        state = _marked_state(live, marked, manager)
        return provider_pb2.CreateResponse(
            id="" if request.preview else id_of(live), properties=to_struct(state)
        )

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Reads what is there, so that `refresh` sees what others did; and imports it."""
        state = from_struct(request.properties)
        marked = from_struct(request.inputs) or state.get("__inputs") or {}
        declared = normalised(without_secrets(marked))
        _, known = split_state(state)
        identity = (
            known if metadata_of(known).get("name") else identity_of(request.type, request.id)
        )
        manager = state.get(FIELD_MANAGER) or f"{_MANAGER_PREFIX}{secrets.token_hex(4)}"
        with self._failing(context, marked, manager):
            live = self._mode.read(identity)
        if live is None:
            return provider_pb2.ReadResponse()
        inputs = with_secrets(prune(live, declared) if declared else _declarable(live), marked)
        new_state = state_of(with_secrets(live, marked), inputs, live["apiVersion"], manager)
        with self._failing(context, marked, manager, inputs=inputs):
            if declared:
                self._mode.check(live)
        return provider_pb2.ReadResponse(
            id=request.id, properties=to_struct(new_state), inputs=to_struct(inputs)
        )

    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Changes the object; a preview only asks what would become of it."""
        marked = from_struct(request.news)
        manifest = without_secrets(marked)
        olds = from_struct(request.olds)
        manager = olds.get(FIELD_MANAGER) or f"{_MANAGER_PREFIX}{secrets.token_hex(4)}"
        call = self._call(request, marked, manager, list(request.ignoreChanges))
        _, old = split_state(olds)
        with self._failing(context, marked, manager):
            live = self._mode.update(old, manifest, call)
        if live is None:
            return provider_pb2.UpdateResponse(properties=request.news)
        state = _marked_state(live, marked, manager, olds.get("__initialApiVersion"))
        return provider_pb2.UpdateResponse(properties=to_struct(state))

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Removes the object; one that is gone already is no error."""
        state = from_struct(request.properties)
        declared, live = split_state(state)
        with self._failing(context, state):
            self._mode.delete(live, declared, self._call(request, state, ""))
        return empty_pb2.Empty()

    def GetSchema(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Refuses: only code generation needs the schema, which is 30 MB large."""
        reason = "writing code (pulumi import does, without --generate-code=false)"
        context.abort(grpc.StatusCode.UNIMPLEMENTED, _needs_official(reason))

    def Invoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Refuses functions such as `kubernetes:yaml:decode`."""
        context.abort(grpc.StatusCode.UNIMPLEMENTED, _needs_official(request.tok))

    def Construct(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Refuses components such as `kubernetes:yaml/v2:ConfigGroup` and Helm charts."""
        context.abort(grpc.StatusCode.UNIMPLEMENTED, _needs_official(request.type))

    def _call(
        self, request: Any, marked: Properties, manager: str, ignored: list[str] | None = None
    ) -> Call:
        hide = _hider(marked)
        return Call(
            preview=getattr(request, "preview", False),
            field_manager=manager,
            seconds=request.timeout,
            ignored=ignored or [],
            tell=lambda message: self._log.status(request.urn, hide(message)),
            warn=lambda message: self._log.warn(request.urn, hide(message)),
        )

    def _diff_response(self, found: list[Difference], live: Properties, new: Properties) -> Any:
        old_metadata, metadata = metadata_of(live), metadata_of(new)
        same_object = all(
            metadata.get(key) == old_metadata.get(key) for key in ("name", "namespace")
        )
        autonamed = annotation_of(new, AUTONAMED) == "true"
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

    @contextmanager
    def _failing(
        self,
        context: grpc.ServicerContext,
        marked: Properties,
        manager: str = "",
        inputs: Properties | None = None,
    ) -> Generator[None]:
        """Turns errors into the protocol's, without what is secret in them.

        An object that is there, but not ready, goes into the state with the reasons: the next
        update goes on with it, rather than make it a second time.
        """
        try:
            yield
        except ApiError as error:
            hide = _hider(marked)
            live: Properties | None = getattr(error, "live", None)
            if live is not None:
                reasons: list[str] = getattr(error, "reasons", [])
                state = _marked_state(live, marked if inputs is None else inputs, manager)
                detail = any_pb2.Any()
                detail.Pack(
                    provider_pb2.ErrorResourceInitFailed(
                        id=id_of(live),
                        properties=to_struct(state),
                        reasons=[hide(reason) for reason in reasons],
                        inputs=None if inputs is None else to_struct(inputs),
                    )
                )
                status = status_pb2.Status(
                    code=grpc.StatusCode.UNKNOWN.value[0],
                    message=hide(str(error)),
                    details=[detail],
                )
                context.set_trailing_metadata(
                    (("grpc-status-details-bin", status.SerializeToString()),)
                )
            context.abort(grpc.StatusCode.UNKNOWN, hide(str(error)))


def _cluster_mode(option: Mapping[str, str], cancelled: threading.Event) -> Mode:
    """Returns what writes to the configured cluster, or what says that there is none."""
    # Here, since rendering needs none of it: importing the HTTP client takes 50 ms.
    from local.plugins.cluster_api import ClusterApi  # noqa: PLC0415
    from local.plugins.cluster_mode import Options, UnreachableMode  # noqa: PLC0415
    from local.plugins.first_contact import FirstContact  # noqa: PLC0415
    from local.plugins.kubeconfig import KubeconfigError, access, load  # noqa: PLC0415

    def options(namespace: str | None) -> Options:
        return Options(
            namespace=option.get("namespace") or namespace or "default",
            patch_force=_is_on(option, "enablePatchForce", "PULUMI_K8S_ENABLE_PATCH_FORCE"),
            upsert=_is_on(option, "upsertExistingObjects", "PULUMI_K8S_UPSERT_EXISTING_OBJECTS"),
            delete_unreachable=_is_on(option, "deleteUnreachable", "PULUMI_K8S_DELETE_UNREACHABLE"),
        )

    try:
        found = access(load(option.get("kubeconfig")), option.get("context"), option.get("cluster"))
    except KubeconfigError as error:
        return UnreachableMode(str(error), options(None))
    return FirstContact(ClusterApi(found, cancelled), options(found.namespace))


def _is_on(option: Mapping[str, str], name: str, variable: str) -> bool:
    return option.get(name, os.environ.get(variable)) == "true"


def _moved(olds: Properties, news: Properties, changed: list[str]) -> list[str]:
    """Returns the options whose change means another folder or another cluster."""
    replaces = [key for key in changed if key == "renderYamlToDirectory"]
    unknown = [key for key in _OF_CLUSTER if is_unknown(news.get(key))]
    if unknown:
        return [*replaces, *unknown]
    identifiers = olds.get("clusterIdentifier"), news.get("clusterIdentifier")
    if all(identifiers):
        return [*replaces, *(["clusterIdentifier"] if identifiers[0] != identifiers[1] else [])]
    candidates = [key for key in _OF_CLUSTER if key in changed]
    if not candidates:
        return replaces
    servers = _server(olds), _server(news)
    return [*replaces, *(candidates if all(servers) and servers[0] != servers[1] else [])]


def _server(config: Properties) -> str | None:
    from local.plugins.kubeconfig import KubeconfigError, load, server_of  # noqa: PLC0415

    try:
        loaded = load(config.get("kubeconfig"))
    except KubeconfigError:
        return None
    return server_of(loaded, config.get("context"), config.get("cluster"))


def _needs_official(what: str) -> str:
    return (
        f"{what} needs the official provider: pulumi plugin install resource kubernetes v{VERSION}"
    )


def _is_ambient_kubeconfig(option: str, value: str) -> bool:
    """The SDK passes KUBECONFIG on as an option; that is nothing the user asked for."""
    return option == "kubeconfig" and value == os.environ.get("KUBECONFIG")


def _changes(some: bool) -> Any:
    return provider_pb2.DiffResponse.DIFF_SOME if some else provider_pb2.DiffResponse.DIFF_NONE


def _unsupported(manifest: Properties) -> str | None:
    """Says why neither mode can make the object."""
    api_version, kind = manifest["apiVersion"], manifest["kind"]
    if kind.endswith(("List", "Patch")) or api_version.startswith("helm.sh/"):
        return _needs_official(f"{api_version} {kind}")
    if metadata_of(manifest).get("generateName"):
        return "metadata.generateName is not supported: leave the name to Pulumi, or give one"
    return None


def _name_automatically(metadata: Properties, old: Properties, request: Any) -> None:
    """Gives the object the name it had, or a new one made of the resource's name."""
    was_autonamed = (old.get("annotations") or {}).get(AUTONAMED) == "true"
    suffix = hashlib.sha256(request.randomSeed).hexdigest()[:8]
    proposed = request.autonaming.proposed_name or f"{request.name}-{suffix}"
    metadata["name"] = old["name"] if was_autonamed else proposed
    metadata["annotations"] = (metadata.get("annotations") or {}) | {AUTONAMED: "true"}


def _marked_state(
    live: Properties, marked: Properties, manager: str, api_version: str | None = None
) -> Properties:
    """Returns the state, with what is secret in what was declared as secret in what is there.

    The namespace that was declared for a kind without namespaces is forgotten.
    """
    inputs = with_secrets(without_secrets(marked), marked)
    if "namespace" not in metadata_of(live) and isinstance(inputs.get("metadata"), dict):
        kept = {key: value for key, value in inputs["metadata"].items() if key != "namespace"}
        inputs = inputs | {"metadata": kept}
    return state_of(with_secrets(live, marked), inputs, api_version or live["apiVersion"], manager)


def _declarable(live: Properties) -> Properties:
    """Returns what of an imported object a program can declare."""
    inputs = {key: value for key, value in without_set_by_cluster(live).items() if key != "status"}
    metadata = dict(metadata_of(inputs))
    annotations = {
        key: value
        for key, value in (metadata.pop("annotations", None) or {}).items()
        if key not in _SET_BY_OTHERS
    }
    return inputs | {"metadata": metadata | ({"annotations": annotations} if annotations else {})}


def _is_ignored(difference: Difference, ignored: list[str]) -> bool:
    for text in ignored:
        path = path_of(text)
        same = zip(path, difference.path, strict=False)
        if len(path) <= len(difference.path) and all(a in {"*", b} for a, b in same):
            return True
    return False


def _replacing(found: list[Difference], fixed: list[str]) -> list[Difference]:
    """Marks the differences that lie at or below fields which the server does not let change.

    If it names fields where there is no difference (all of `spec`, say), all are marked.
    """
    paths = [path_of(text) for text in fixed]
    hit = [
        difference
        for difference in found
        if any(difference.path[: len(path)] == path for path in paths)
    ]
    marked = (hit or found) if fixed else []
    return [
        Difference(difference.path, difference.kind, difference in marked) for difference in found
    ]


def _hider(marked: Properties) -> Any:
    """Returns what takes the resource's secrets out of a message."""
    texts = sorted(secret_texts(marked), key=len, reverse=True)
    if not texts:
        return str
    pattern = re.compile("|".join(rf"(?<!\w){re.escape(text)}(?!\w)" for text in texts))
    return lambda message: pattern.sub("[secret]", message)


def main() -> None:
    """Serves one engine, whose address is the last argument."""
    provider = KubernetesProvider(EngineLog(sys.argv[-1] if len(sys.argv) > 1 else None))
    serve(lambda server: provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server))


if __name__ == "__main__":
    main()
