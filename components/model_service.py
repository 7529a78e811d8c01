"""One served model: an InferenceService per version, one route with the weights of all."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NotRequired, TypedDict, cast

import pulumi
import pulumi_kubernetes as kubernetes

from components.arguments import refuse
from components.inference_service import (
    ModelVersionArgs,
    RuntimeArgs,
    annotations,
    knative_predictor,
    predictor,
)
from components.pods import (
    AGENT_PORT,
    GRPC_PORT,
    HTTP_PORT,
    disruption_budget,
    let_in,
    version_labels,
)
from components.traffic_route import (
    Split,
    StrategyArgs,
    grpc_known,
    grpc_route,
    http_known,
    http_route,
    model_paths,
    openai_paths,
    request_timeout,
)
from models.names import (
    API_PREFIX,
    DECLARED_PERCENT,
    SERVICE_LABEL,
    inference_service_name,
    known_route_name,
)
from models.runtime import SERVERS, Kind

ROUTE_API = "gateway.networking.k8s.io/v1"
_INFERENCE_SERVICE = ("serving.kserve.io/v1beta1", "InferenceService")
_STRATEGIES = ("canary", "linear", "blue-green", "shadow", "ab-test", "all-at-once")
_VISIBILITY = {"networking.kserve.io/visibility": "cluster-local"}
"""KServe's own route to a version would go past the split."""


class MoveArgs(TypedDict):
    """One change of the candidate's percentage."""

    percent: int
    """The candidate's percentage from then on."""

    at: str
    """When it was decided, RFC 3339."""


class GovernanceArgs(TypedDict):
    """What policies ask of a service beside its rollout."""

    owner: str
    """The team that answers for it."""

    contact: NotRequired[str]
    """Whom its model card names to ask; absent without a card."""

    group: NotRequired[str]
    """Services of a group are rolled out one at a time."""

    staging: NotRequired[str]
    """The stack that a version has to pass first."""

    keepPreviousSeconds: float
    """How long, at least, the last stable version goes on running after a promotion."""

    takenBack: NotRequired[bool]
    """Whether the candidate was taken back for good."""


class ModelServiceArgs(TypedDict):
    """Arguments of `ModelService`."""

    namespace: pulumi.Input[str]
    """Namespace of all resources."""

    gateway: str
    """`namespace/name` of the Gateway that the route is attached to."""

    mode: NotRequired[str]
    """KServe's deployment mode: standard (the default) or knative."""

    callers: list[str]
    """Namespaces whose pods may talk to the models: the gateway's proxies, Prometheus."""

    runtime: RuntimeArgs
    """What serves the versions."""

    versions: dict[str, ModelVersionArgs]
    """The versions that run, by semantic version."""

    stable: str
    """The version that is the yardstick."""

    candidate: NotRequired[str]
    """The version under test."""

    previous: NotRequired[str]
    """The last stable version."""

    previousUntil: NotRequired[str]
    """When it may go, RFC 3339."""

    risk: str
    """low, medium or high."""

    strategy: StrategyArgs
    """How traffic is split between stable and candidate."""

    moves: list[MoveArgs]
    """Every move of this rollout, for policies."""

    governance: NotRequired[GovernanceArgs]
    """Further facts for policies."""

    readyTimeoutSeconds: float
    """How long an InferenceService may take to become Ready."""

    ruleInterval: NotRequired[str]
    """How often Prometheus records the declared weights, as a duration."""


class ModelService(pulumi.ComponentResource):
    """Serves the versions of one model side by side and splits traffic between them.

    Every version has the same model name, so one URL works on all of them; the header
    `x-model-version` picks one past the split. Weights move only when every version is Ready.
    """

    path: pulumi.Output[str]
    """Path of the endpoint for predictions at the gateway."""

    def __init__(
        self, name: str, args: ModelServiceArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        _validate(args)
        super().__init__("modelramp:index:ModelService", name, dict(args), opts)
        namespace, runtime = args["namespace"], args["runtime"]

        def declare(
            role: str,
            kind: tuple[str, str],
            metadata: Mapping[str, Any],
            spec: Mapping[str, Any],
            depends_on: Sequence[pulumi.Resource] = (),
        ) -> pulumi.Resource:
            return kubernetes.apiextensions.CustomResource(
                f"{name}-{role}",
                api_version=kind[0],
                kind=kind[1],
                metadata={"namespace": namespace, **metadata},
                spec=spec,
                opts=pulumi.ResourceOptions(parent=self, depends_on=list(depends_on)),
            )

        if args.get("mode", "standard") == "knative":
            metadata, spec = _knative_service(name, args)
            moved = [declare("service", _INFERENCE_SERVICE, metadata, spec)]
        else:
            services: list[pulumi.Resource] = []
            for version in args["versions"]:
                metadata, spec = _inference_service(name, version, args)
                services.append(declare(version, _INFERENCE_SERVICE, metadata, spec))
                declare(
                    f"{version}-disruption",
                    ("policy/v1", "PodDisruptionBudget"),
                    {"name": inference_service_name(name, version)},
                    disruption_budget(version_labels(name, version)),
                )
            declare(
                "callers",
                ("networking.k8s.io/v1", "NetworkPolicy"),
                {"name": name},
                let_in(name, args["callers"], _ports(runtime)),
            )
            # These wait for no version: the gateway knows each one before its first request.
            known = [
                declare(role, (ROUTE_API, kind), {"name": known_route_name(name)}, spec)
                for role, (kind, spec) in _known_routes(name, args).items()
            ]
            # Weights move only when every version is Ready.
            moved = [
                declare(role, (ROUTE_API, kind), metadata, spec, [*services, *known])
                for role, (kind, metadata, spec) in routes(name, args).items()
            ]
        # Written after the weights: the judge believes this series, not the file.
        declare(
            "declared",
            ("monitoring.coreos.com/v1", "PrometheusRule"),
            {"name": f"{name}-declared"},
            {"groups": [_declared_group(name, args)]},
            moved,
        )
        self.path = pulumi.Output.from_input(_path(name, runtime))
        self.register_outputs({"path": self.path})


def routes(
    name: str, args: ModelServiceArgs
) -> dict[str, tuple[str, dict[str, Any], dict[str, Any]]]:
    """Returns kind, metadata and spec of the routes that carry a service's weights, by role.

    A resource's logical name is `<name>-<role>`; its object in the cluster has the name itself.
    """
    metadata = {"name": name, "annotations": _facts(name, args)}
    found = {"route": ("HTTPRoute", metadata, _http_route(name, args))}
    if "grpcHostname" in args["runtime"]:
        hostname = args["runtime"]["grpcHostname"]
        found["grpc"] = (
            "GRPCRoute",
            metadata,
            grpc_route(_split(name, args), args["gateway"], hostname),
        )
    return found


def _known_routes(name: str, args: ModelServiceArgs) -> dict[str, tuple[str, dict[str, Any]]]:
    """Returns kind and spec of the routes that keep versions known to the gateway, by role."""
    split, gateway = _split(name, args), args["gateway"]
    matches, _ = _matches(name, args["runtime"])
    found = {"known": ("HTTPRoute", http_known(split, gateway, matches))}
    if "grpcHostname" in args["runtime"]:
        hostname = args["runtime"]["grpcHostname"]
        found["grpc-known"] = ("GRPCRoute", grpc_known(split, gateway, hostname))
    return found


def _inference_service(
    name: str, version: str, args: ModelServiceArgs
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns metadata and spec of a version's InferenceService."""
    metadata = {
        "name": inference_service_name(name, version),
        "labels": {**version_labels(name, version), **_VISIBILITY},
        "annotations": {
            **annotations(args["runtime"], "standard", args["readyTimeoutSeconds"]),
            **_pinned(args["versions"][version]),
        },
    }
    return metadata, {
        "predictor": predictor(name, version, args["versions"][version], args["runtime"])
    }


def _knative_service(name: str, args: ModelServiceArgs) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the one InferenceService that leaves the split to KServe.

    Its last revision is the candidate. Made anew in mid-canary it has no earlier revision, and
    KServe sends everything to the candidate.
    """
    candidate = args.get("candidate")
    newest = candidate or args["stable"]
    spec = knative_predictor(name, newest, args["versions"][newest], args["runtime"])
    if candidate:
        spec["canaryTrafficPercent"] = int(args["versions"][candidate]["percent"])
    metadata = {
        "name": name,
        "labels": {SERVICE_LABEL: name},
        "annotations": {
            **annotations(args["runtime"], "knative", args["readyTimeoutSeconds"]),
            **_pinned(args["versions"][newest]),
            **_facts(name, args),
        },
    }
    return metadata, {"predictor": spec}


def _ports(runtime: RuntimeArgs) -> set[int]:
    """Returns the ports of the pods that somebody else talks to."""
    ports = {HTTP_PORT, SERVERS[cast("Kind", runtime["kind"])].metrics_port}
    if "grpcHostname" in runtime:
        ports.add(GRPC_PORT)
    if runtime.keys() & {"logger", "batching"}:
        ports.add(AGENT_PORT)
    return ports


def _validate(args: ModelServiceArgs) -> None:
    """Raises `InputPropertiesError` with everything that is wrong."""
    found = [*_version_problems(args), *_runtime_problems(args["runtime"])]
    strategy, mode = args["strategy"], args.get("mode", "standard")
    rules = (
        (args["gateway"].count("/") != 1, "gateway", "must be namespace/name"),
        (mode not in ("standard", "knative"), "mode", "must be standard or knative"),
        (
            strategy["kind"] not in _STRATEGIES,
            "strategy.kind",
            f"must be one of {', '.join(_STRATEGIES)}",
        ),
        (
            strategy["kind"] == "ab-test" and "bucketHeader" not in strategy,
            "strategy.bucketHeader",
            "is needed by ab-test",
        ),
    )
    found += [(path, why) for wrong, path, why in rules if wrong]
    refuse("ModelService", found)


def _version_problems(args: ModelServiceArgs) -> Iterator[tuple[str, str]]:
    versions = args["versions"]
    total = sum(version["percent"] for version in versions.values())
    if total != 100:
        yield "versions", f"percents must add up to 100, got {total:g}"
    for version, declared in versions.items():
        if not 0 <= declared["percent"] <= 100:
            yield f"versions.{version}.percent", "must be from 0 to 100"
    for role in ("stable", "candidate", "previous"):
        version = args.get(role)
        if version is not None and version not in versions:
            yield role, f"{version} is not among versions {', '.join(versions)}"


def _runtime_problems(runtime: RuntimeArgs) -> Iterator[tuple[str, str]]:
    server = SERVERS.get(cast("Kind", runtime["kind"]))
    if server is None:
        yield "runtime.kind", f"must be one of {', '.join(SERVERS)}"
    elif runtime["protocol"] not in server.protocols:
        yield "runtime.protocol", f"{runtime['kind']} speaks {', '.join(server.protocols)}"
    if runtime["kind"] == "custom" and "image" not in runtime:
        yield "runtime.image", "is needed by custom"


def _pinned(version: ModelVersionArgs) -> dict[str, pulumi.Input[str]]:
    """Says which artifact a version is: not every server is told its digest."""
    return {f"{API_PREFIX}/digest": version["digest"]}


def _facts(name: str, args: ModelServiceArgs) -> dict[str, str]:
    """What policies read: they see neither the stack file nor the old state."""
    facts = {
        "service": name,
        "stable": args["stable"],
        "candidate": args.get("candidate"),
        "previous": args.get("previous"),
        "previous-until": args.get("previousUntil"),
        "risk": args["risk"],
        "strategy": args["strategy"]["kind"],
        # Hosts of other languages hand integers over as floats.
        "moves": json.dumps([{**it, "percent": int(it["percent"])} for it in args["moves"]]),
        **_governance(args.get("governance")),
    }
    return {f"{API_PREFIX}/{key}": value for key, value in facts.items() if value is not None}


def _governance(args: GovernanceArgs | None) -> dict[str, str | None]:
    if args is None:
        return {}
    return {
        "owner": args["owner"],
        "model-card": args.get("contact"),
        "group": args.get("group"),
        "staging": args.get("staging"),
        "keep-previous": f"{args['keepPreviousSeconds']:.0f}s",
        "taken-back": "true" if args.get("takenBack") else None,
    }


def _split(name: str, args: ModelServiceArgs) -> Split:
    return {
        "name": name,
        "percents": {version: it["percent"] for version, it in args["versions"].items()},
        "stable": args["stable"],
        "candidate": args.get("candidate"),
        "strategy": args["strategy"],
        # Our own server puts the version into each answer.
        "traced": args["runtime"]["kind"] != "mlflow",
    }


def _http_route(name: str, args: ModelServiceArgs) -> dict[str, Any]:
    matches, rewrite = _matches(name, args["runtime"])
    timeout = request_timeout(args["runtime"]["timeoutSeconds"])
    return http_route(_split(name, args), args["gateway"], matches, rewrite, timeout)


def _matches(name: str, runtime: RuntimeArgs) -> tuple[list[dict[str, Any]], str | None]:
    """Returns the matches of all requests to a service, and what their prefix becomes if not it."""
    server, protocol = SERVERS[cast("Kind", runtime["kind"])], runtime["protocol"]
    if protocol == "openai":
        return openai_paths(name), server.openai_path
    own = [protocol] if runtime["kind"] == "custom" else server.protocols
    return model_paths(name, own), None


def _path(name: str, runtime: RuntimeArgs) -> str:
    return {
        "v1": f"/v1/models/{name}:predict",
        "v2": f"/v2/models/{name}/infer",
        "openai": f"/{name}/openai/v1/chat/completions",
    }[runtime["protocol"]]


def _declared_group(name: str, args: ModelServiceArgs) -> dict[str, Any]:
    group: dict[str, Any] = {
        "name": f"modelramp-{name}-declared",
        "rules": [
            {
                "record": DECLARED_PERCENT,
                "expr": f"vector({declared['percent']:g})",
                "labels": {"namespace": args["namespace"], "service": name, "version": version},
            }
            for version, declared in args["versions"].items()
        ],
    }
    if "ruleInterval" in args:
        group["interval"] = args["ruleInterval"]
    return group
