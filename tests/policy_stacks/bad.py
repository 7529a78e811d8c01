# pyright: basic
"""Stacks that must not go through: each goes round one rule, and is otherwise as it should be."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pulumi_kubernetes as kubernetes

from components.model_service import ModelService
from tests.policies.raw import (
    BLOCK,
    CANDIDATE,
    DIGEST,
    GATEWAY,
    SAFE,
    STABLE,
    TLS_ONLY,
    Resources,
    aws,
    bucket,
    container,
    custom,
    deployment,
    facts,
    inference_service,
    moves,
    native_bucket,
    pod,
    reference,
    route,
    split,
    template,
    watched,
    without_spec,
)
from tests.policy_stacks.declare import (
    ARTIFACTS,
    BUSY,
    CHAT,
    FRAUD,
    PAYOUT,
    POOL,
    declared,
    edited,
    made_by,
    stack_file,
)

TAGGED = "registry.example.com/tool:1.0"
PINNED = {"headers": [{"name": "x-model-version", "value": "none"}]}
AT = "2026-11-23T0{}:0{}:00Z"


def fraud(text: str = FRAUD, **changed: str) -> Resources:
    """Returns the stack of one service, of which texts are replaced."""
    for old, new in changed.items():
        assert PARTS[old] in text, old
        text = text.replace(PARTS[old], new)
    return declared(stack_file(text))


PARTS = {
    "moves": '          - {percent: 1, at: "2026-11-23T08:00:00Z"}\n',
    "steps": "[1, 5, 25, 50, 100]",
    "staging": "gates: {staging: {stack: staging}}",
    "card": "card: {purpose: p, data: d, limits: l, contact: payments-ml@example.com}",
    "replicas": "replicas: 4",
    "risk": "risk: high",
    "slo": "slo: {errorRate: 0.01,",
}


def walked(*percents: int, minutes: int = 60) -> str:
    return "".join(
        f'          - {{percent: {it}, at: "2026-11-23T{8 + at * minutes // 60:02}:'
        f'{at * minutes % 60:02}:00Z"}}\n'
        for at, it in enumerate(percents)
    )


def with_route(edit: Callable[[dict[str, Any]], object], **changed: str | None) -> Resources:
    """Returns the stack of fraud whose route and annotations are edited."""

    def change(found: dict[str, Any]) -> None:
        found["props"]["metadata"]["annotations"] = facts(**changed)
        edit(found["props"])

    return edited(fraud(), "fraud-route", change)


def weights(candidate: int) -> Callable[[dict[str, Any]], object]:
    def edit(props: dict[str, Any]) -> None:
        for it in props["spec"]["rules"][-1]["backendRefs"]:
            it["weight"] = candidate if it["name"] == CANDIDATE else 100 - candidate

    return edit


def further_rule(rule: dict[str, Any]) -> Callable[[dict[str, Any]], object]:
    return lambda props: props["spec"]["rules"].append(rule)


def as_it_was(props: dict[str, Any]) -> None:
    """Leaves a route alone; only its annotations are others."""
    del props


def buckets(*patterns: str) -> Callable[[dict[str, Any]], object]:
    """Splits users by patterns of their number."""

    def edit(props: dict[str, Any]) -> None:
        for pattern in patterns:
            header = {"type": "RegularExpression", "name": "x-user-bucket", "value": pattern}
            rule = {"matches": [{"headers": [header]}], "backendRefs": [reference(CANDIDATE, 1)]}
            props["spec"]["rules"].insert(0, rule)
        weights(0)(props)

    return edit


def direct_all_at_once() -> Resources:
    """A program that uses the component, past the checks of a stack file."""

    def program() -> None:
        ModelService(
            "churn",
            {
                "namespace": "models",
                "gateway": "gateway/models",
                "callers": ["monitoring"],
                "runtime": {
                    "kind": "sklearn",
                    "protocol": "v1",
                    "timeoutSeconds": 30,
                    "requests": {"cpu": "1", "memory": "1Gi"},
                    "limits": {"cpu": "1", "memory": "1Gi"},
                },
                "versions": {
                    "1.0.0": {"uri": "s3://m/1", "digest": DIGEST, "percent": 0, "replicas": 2},
                    "2.0.0": {"uri": "s3://m/2", "digest": DIGEST, "percent": 100, "replicas": 2},
                },
                "stable": "1.0.0",
                "candidate": "2.0.0",
                "risk": "medium",
                "strategy": {"kind": "all-at-once"},
                "moves": [{"percent": 100, "at": "2026-11-23T08:00:00Z"}],
                "governance": {"owner": "growth", "keepPreviousSeconds": 86400},
                "readyTimeoutSeconds": 600,
            },
        )

    return [*made_by(program), *watched("churn")]


def patched_weights() -> Resources:
    return made_by(
        lambda: kubernetes.apiextensions.CustomResourcePatch(
            "shift",
            api_version=GATEWAY,
            kind="HTTPRoute",
            metadata={"name": "fraud", "namespace": "models"},
            spec={"rules": [split(0, 100)]},
        )
    )


def two_in_a_group(**changed: str) -> Resources:
    return declared(
        stack_file(FRAUD, PAYOUT.replace('rollout: {stable: "2.0.0"}', changed.get("busy", BUSY)))
    )


def forged_revert() -> Resources:
    """A revert dated in the future, which would excuse every later rollout of its group."""
    resources = two_in_a_group()
    far = json.dumps([{"percent": it, "at": f"2099-01-0{2 - it}T00:00:00Z"} for it in (1, 0)])
    models = [it for at in (4, 5) for it in inference_service(name=f"third-v1-{at}-0")]
    return [*resources, *models, *third(far)]


def third(text: str) -> Resources:
    """The route of a third service of the group, with its moves."""
    rule = {"backendRefs": [reference("third-v1-4-0-predictor", 1)]}
    return route(rule, annotations=facts(service="third", moves=text), name="third")


def group_in_capitals() -> Resources:
    def shout(found: dict[str, Any]) -> None:
        found["props"]["metadata"]["annotations"]["modelramp.dev/group"] = "Payments"

    return edited(two_in_a_group(), "payout-route", shout)


def gpus(pools: str, edit: Callable[[Resources], Resources] = lambda it: it) -> Resources:
    return edit(declared(stack_file(CHAT, pools=pools)))


def gpu_pod(edit: Callable[[dict[str, Any]], object]) -> Callable[[Resources], Resources]:
    return lambda resources: edited(
        resources, "chat-1.0.0", lambda it: edit(it["props"]["spec"]["predictor"])
    )


def asking(resource: str = "nvidia.com/gpu", side: str = "limits") -> dict[str, Any]:
    limits = {"cpu": "1", "memory": "1Gi"}
    return container(resources={"limits": limits, side: {**limits, resource: "1"}})


def karpenter(requirements: list[dict[str, Any]], **spec: Any) -> Resources:
    node = {"requirements": requirements}
    return custom("karpenter.sh/v1", "NodePool", {"template": {"spec": node}, **spec})


def replaced(name: str, edit: Callable[[dict[str, Any]], object]) -> Resources:
    return edited(fraud(), name, lambda it: edit(it["props"]))


def second_candidate() -> Resources:
    names = {"candidate": "1.6.0", "moves": moves(1)}
    other = [reference(STABLE, 99), reference("fraud-v1-6-0-predictor", 1)]
    return [*fraud(), *route({"backendRefs": other}, annotations=facts(**names))]


def shouted_second_candidate() -> Resources:
    names = {"service": "FRAUD", "candidate": "1.6.0", "moves": moves(1)}
    stable, other = (f"FRAUD-v1-{it}-0-predictor" for it in (4, 6))
    rule = {"backendRefs": [reference(stable, 99), reference(other, 1)]}
    return [*fraud(), *route(rule, annotations=facts(**names))]


def different_moves() -> Resources:
    again = route(split(95, 5), annotations=facts(moves=moves(1, 5)))
    return [*fraud(), *again]


def unlabelled_service() -> Resources:
    return [*inference_service(labels={}), *watched("raw")]


def raw_service(spec: dict[str, Any] | None = None, **metadata: Any) -> Resources:
    return [*inference_service(spec, **metadata), *watched("raw")]


def raw_model(**changed: Any) -> Resources:
    """An InferenceService whose own container is changed."""
    model = {
        **container(name=None, image=None),
        "runtime": "kserve-sklearnserver",
        "storageUri": "s3://acme-models/raw/1",
        **changed,
    }
    return raw_service({"predictor": {"minReplicas": 2, "model": model}})


def unannotated(spec: dict[str, Any]) -> Resources:
    return raw_service(spec, annotations={})


def open_policy(**statement: Any) -> Resources:
    allow = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}
    return bucket(statements=[TLS_ONLY, {**allow, **statement}])


BAD: dict[str, tuple[str, Callable[[], Resources]]] = {
    # The first step, and what the route really does.
    "a first step of 25%": (
        "high-risk-first-step",
        lambda: fraud(moves=walked(25), steps="[25, 50, 100]"),
    ),
    "a first step of 25% after one at 0": (
        "high-risk-first-step",
        lambda: fraud(moves=walked(0, 25), steps="[25, 50, 100]"),
    ),
    "100% split over two previews": (
        "high-risk-first-step",
        lambda: fraud(moves=walked(1, 100, minutes=1)),
    ),
    "100% in three small hops": (
        "high-risk-first-step",
        lambda: fraud(moves=walked(1, 5, 100, minutes=2)),
    ),
    "all at once by the component, past the stack file": (
        "all-at-once-low-risk",
        direct_all_at_once,
    ),
    "the strategy in capitals": (
        "all-at-once-low-risk",
        lambda: with_route(as_it_was, strategy="All-At-Once"),
    ),
    "the risk in capitals": ("high-risk-first-step", lambda: with_route(as_it_was, risk="Low")),
    "the risk left out": ("high-risk-first-step", lambda: with_route(as_it_was, risk=None)),
    "moves left out": ("high-risk-first-step", lambda: with_route(as_it_was, moves=None)),
    "annotations say 1%, weights 50%": (
        "route-keeps-to-its-moves",
        lambda: with_route(weights(50)),
    ),
    "annotations say taken back, weights do not": (
        "route-keeps-to-its-moves",
        lambda: with_route(weights(50), moves=moves(5, 0)),
    ),
    "weights left out": (
        "route-keeps-to-its-moves",
        lambda: with_route(further_rule(split(None, None))),
    ),
    "a header that browsers have": (
        "route-keeps-to-its-moves",
        lambda: with_route(
            further_rule(
                {
                    "matches": [{"headers": [{"name": "accept", "value": "*/*"}]}],
                    "backendRefs": [reference(CANDIDATE, 1)],
                }
            )
        ),
    ),
    "the door for smoke tests, left open": (
        "route-keeps-to-its-moves",
        lambda: with_route(
            further_rule(
                {
                    "matches": [{"headers": [{"name": "x-model-version", "value": "1.5.0"}]}, {}],
                    "backendRefs": [reference(CANDIDATE, 1)],
                }
            )
        ),
    ),
    "an A/B test of many small buckets": (
        "route-keeps-to-its-moves",
        lambda: with_route(buckets("[0-9]", "[1-4][0-9]", "[5-9][0-9]"), strategy="ab-test"),
    ),
    "an A/B test by the kind of browser": (
        "route-keeps-to-its-moves",
        lambda: with_route(buckets("Mozilla.*"), strategy="ab-test"),
    ),
    "a third version in the split": (
        "route-keeps-to-its-moves",
        lambda: with_route(further_rule({"backendRefs": [reference("fraud-v1-6-0-predictor", 1)]})),
    ),
    "a third version that is mirrored to": (
        "route-keeps-to-its-moves",
        lambda: with_route(
            lambda props: props["spec"]["rules"][-1].update(
                filters=[{"requestMirror": {"backendRef": reference("fraud-v1-6-0-predictor")}}]
            )
        ),
    ),
    "a third version that is redirected to": (
        "route-keeps-to-its-moves",
        lambda: with_route(
            further_rule(
                {"filters": [{"requestRedirect": {"hostname": "fraud-v1-6-0-predictor.models"}}]}
            )
        ),
    ),
    "a stable of the same name in another namespace": (
        "route-keeps-to-its-moves",
        lambda: with_route(
            further_rule({"backendRefs": [reference(STABLE, 1, namespace="elsewhere")]})
        ),
    ),
    "a backend of another kind": (
        "route-keeps-to-its-moves",
        lambda: with_route(
            further_rule(
                {
                    "backendRefs": [
                        reference(STABLE, 1, kind="Backend", group="gateway.envoyproxy.io")
                    ]
                }
            )
        ),
    ),
    # Routes and names past a ModelService.
    "a raw HTTPRoute": (
        "no-raw-route-to-a-model",
        lambda: [*fraud(), *route(split(0, 100))],
    ),
    "a raw HTTPRoute of an older version": (
        "no-raw-route-to-a-model",
        lambda: [*fraud(), *route(split(0, 100), api="gateway.networking.k8s.io/v1beta1")],
    ),
    "a raw HTTPRoute from a generated SDK": (
        "no-raw-route-to-a-model",
        lambda: without_spec(
            "gateway:gateway.networking.k8s.io/v1:HTTPRoute",
            apiVersion=GATEWAY,
            kind="HTTPRoute",
            metadata={"name": "raw"},
            spec={"rules": [split(0, 100)]},
        ),
    ),
    "a raw GRPCRoute with weights": (
        "no-raw-route-to-a-model",
        lambda: route(split(10, 90), kind="GRPCRoute"),
    ),
    "a raw mirror": (
        "no-raw-route-to-a-model",
        lambda: route(
            {
                "backendRefs": [reference("web")],
                "filters": [{"requestMirror": {"backendRef": reference(CANDIDATE)}}],
            }
        ),
    ),
    "a raw mirror in a backend's filters": (
        "no-raw-route-to-a-model",
        lambda: route(
            {
                "backendRefs": [
                    reference(
                        "web",
                        1,
                        filters=[{"requestMirror": {"backendRef": reference(CANDIDATE)}}],
                    )
                ]
            }
        ),
    ),
    "a raw route that only pretends to take nothing": (
        "no-raw-route-to-a-model",
        lambda: route({"matches": [PINNED, {}], **split(0, 100)}),
    ),
    "a raw route with annotations of somebody else": (
        "no-raw-route-to-a-model",
        lambda: route(split(0, 100), annotations={"modelramp.dev.example.com/service": "fraud"}),
    ),
    "a patch of the route": ("no-raw-route-to-a-model", lambda: [*fraud(), *patched_weights()]),
    "an Ingress": (
        "no-raw-route-to-a-model",
        lambda: made_by(
            lambda: kubernetes.networking.v1.Ingress(
                "raw",
                spec={"default_backend": {"service": {"name": CANDIDATE, "port": {"number": 80}}}},
            )
        ),
    ),
    "a VirtualService of Istio": (
        "no-raw-route-to-a-model",
        lambda: custom(
            "networking.istio.io/v1",
            "VirtualService",
            {
                "http": [
                    {"route": [{"destination": {"host": f"{CANDIDATE}.models.svc.cluster.local"}}]}
                ]
            },
        ),
    ),
    "an alias by selector": (
        "no-raw-route-to-a-model",
        lambda: made_by(
            lambda: kubernetes.core.v1.Service(
                "alias", spec={"selector": {"model-version": "1.5.0"}, "ports": [{"port": 80}]}
            )
        ),
    ),
    "an alias by KServe's own label": (
        "no-raw-route-to-a-model",
        lambda: custom("v1", "Service", {"selector": {"app": f"isvc.{CANDIDATE}"}}),
    ),
    "an alias by a label of one's own": (
        "no-alias-of-a-model",
        lambda: [
            *raw_service(
                {"predictor": {"minReplicas": 2, "labels": {"a": "b"}, "model": raw_container()}}
            ),
            *custom("v1", "Service", {"selector": {"a": "b"}}, "alias"),
        ],
    ),
    "an alias by an external name": (
        "no-raw-route-to-a-model",
        lambda: custom(
            "v1", "Service", {"type": "ExternalName", "externalName": f"{CANDIDATE}.models.svc"}
        ),
    ),
    "an InferenceService that KServe routes to": (
        "no-raw-route-to-a-model",
        unlabelled_service,
    ),
    "a canary of KServe's own": (
        "no-raw-route-to-a-model",
        lambda: raw_service(
            {
                "predictor": {"minReplicas": 2, "model": raw_container()},
                "canary": [{"trafficPercent": 90}],
            }
        ),
    ),
    "a canary of Knative's": (
        "no-raw-route-to-a-model",
        lambda: raw_service(
            {
                "predictor": {
                    "minReplicas": 2,
                    "canaryTrafficPercent": 90,
                    "model": raw_container(),
                }
            }
        ),
    ),
    "an InferenceGraph that splits": (
        "no-raw-route-to-a-model",
        lambda: custom(
            "serving.kserve.io/v1alpha1",
            "InferenceGraph",
            {
                "nodes": {
                    "root": {
                        "routerType": "Splitter",
                        "steps": [{"serviceName": "fraud-v1-5-0", "weight": 100}],
                    }
                }
            },
        ),
    ),
    "a language model with a route of its own": (
        "no-raw-route-to-a-model",
        lambda: custom(
            "serving.kserve.io/v1alpha1",
            "LLMInferenceService",
            {"replicas": 2, "router": {"route": {}}},
        ),
    ),
    # Rollouts together.
    "a second candidate in a second route": ("one-candidate-a-service", second_candidate),
    "a second candidate under a name in capitals": (
        "one-candidate-a-service",
        shouted_second_candidate,
    ),
    "two routes of one service that say different moves": (
        "one-candidate-a-service",
        different_moves,
    ),
    "two rollouts in a group": ("one-rollout-a-group", two_in_a_group),
    "two rollouts in a group, one in capitals": ("one-rollout-a-group", group_in_capitals),
    "two rollouts in a group, excused by a revert to come": (
        "one-rollout-a-group",
        forged_revert,
    ),
    "two rollouts in a group, excused by a revert of nothing": (
        "one-rollout-a-group",
        lambda: [*two_in_a_group(), *third(moves(1, 0, day=24))],
    ),
    "the previous version kept for an hour": (
        "previous-version-kept",
        lambda: fraud(FRAUD + "      keepPrevious: {for: 1h}\n"),
    ),
    "not said how long the previous version is kept": (
        "previous-version-kept",
        lambda: with_route(as_it_was, keep_previous=None),
    ),
    "evidence of another InferenceService with the same labels": (
        "staging-evidence-present",
        lambda: [
            *replaced("fraud-1.5.0", digest("9")),
            *inference_service(
                labels={
                    "model-service": "fraud",
                    "model-version": "1.5.0",
                    "networking.kserve.io/visibility": "cluster-local",
                },
                annotations={"modelramp.dev/digest": f"sha256:{'5' * 64}"},
            ),
        ],
    ),
    "one replica of stable, labelled as the candidate": (
        "at-least-two-replicas",
        lambda: edited(fraud(), "fraud-1.4.0", labelled_as_candidate),
    ),
    "a previous version that does not run": (
        "previous-version-kept",
        lambda: with_route(as_it_was, previous="1.3.0"),
    ),
    # Who answers, and what was shown.
    "no owner": ("service-has-an-owner", lambda: with_route(as_it_was, owner=None)),
    "an owner of blanks": ("service-has-an-owner", lambda: with_route(as_it_was, owner=" ")),
    "no model card": ("model-card-present", lambda: fraud(card="")),
    "no staging": ("staging-evidence-present", lambda: fraud(staging="")),
    "a candidate that staging never saw": (
        "staging-evidence-present",
        lambda: replaced("fraud-1.5.0", digest("9")),
    ),
    "a candidate that staging took back": (
        "staging-evidence-present",
        lambda: replaced("fraud-1.5.0", digest("7")),
    ),
    "a stable version without a rollout": (
        "stable-by-a-rollout",
        lambda: replaced("fraud-1.4.0", digest("6")),
    ),
    "a Helm release": (
        "no-unseen-resources",
        lambda: made_by(lambda: kubernetes.helm.v3.Release("raw", chart="models")),
    ),
    "an application of Argo CD": (
        "no-unseen-resources",
        lambda: custom("argoproj.io/v1alpha1", "Application", {"source": {"path": "models"}}),
    ),
    "a command": (
        "no-unseen-resources",
        lambda: without_spec("command:local:Command", create="kubectl apply -f route.yaml"),
    ),
    # Images.
    "a tag of our own server": (
        "images-by-digest",
        lambda: declared(stack_file(FRAUD).replace(f"modelramp/server@{DIGEST}", "server:0.1.0")),
    ),
    "an image without a tag": (
        "images-by-digest",
        lambda: deployment(pod(container(image="registry.example.com/tool"))),
    ),
    "a digest in capitals": (
        "images-by-digest",
        lambda: deployment(pod(container(image=f"tool@{DIGEST.upper()}"))),
    ),
    "a digest that is cut short": (
        "images-by-digest",
        lambda: deployment(pod(container(image="tool@sha256:abcdef"))),
    ),
    "a tag in an init container": (
        "images-by-digest",
        lambda: deployment(pod(initContainers=[container(image=TAGGED)])),
    ),
    "a tag in a CronJob": (
        "images-by-digest",
        lambda: made_by(
            lambda: kubernetes.batch.v1.CronJob(
                "raw",
                spec=cast(
                    "Any",
                    {
                        "schedule": "@daily",
                        "job_template": {
                            "spec": {"template": template(pod(container(image=TAGGED)))}
                        },
                    },
                ),
            )
        ),
    ),
    "a tag in a Pod": (
        "images-by-digest",
        lambda: custom("v1", "Pod", pod(container(image=TAGGED))),
    ),
    "a tag in a StatefulSet of the SDK": (
        "images-by-digest",
        lambda: made_by(
            lambda: kubernetes.apps.v1.StatefulSet(
                "raw",
                spec=cast(
                    "Any",
                    {
                        "replicas": 2,
                        "service_name": "raw",
                        "selector": {"match_labels": {"app": "tool"}},
                        "template": template(pod(container(image=TAGGED))),
                    },
                ),
            )
        ),
    ),
    "a tag in a patch": (
        "images-by-digest",
        lambda: made_by(
            lambda: kubernetes.apps.v1.DeploymentPatch(
                "raw", spec=cast("Any", {"template": template(pod(container(image=TAGGED)))})
            )
        ),
    ),
    "a tag in a kind that nobody listed": (
        "images-by-digest",
        lambda: custom(
            "argoproj.io/v1alpha1",
            "Rollout",
            {"replicas": 2, "template": template(pod(container(image=TAGGED)))},
        ),
    ),
    "a tag in a transformer": (
        "images-by-digest",
        lambda: raw_service(
            {
                "predictor": {"minReplicas": 2, "model": raw_container()},
                "transformer": {"minReplicas": 2, **pod(container(image=TAGGED))},
            }
        ),
    ),
    "a tag in the workers of a model": (
        "images-by-digest",
        lambda: raw_service(
            {
                "predictor": {
                    "minReplicas": 2,
                    "model": raw_container(),
                    "workerSpec": pod(container(image=TAGGED)),
                }
            }
        ),
    ),
    "a tag in a runtime": (
        "images-by-digest",
        lambda: custom(
            "serving.kserve.io/v1alpha1",
            "ServingRuntime",
            pod(container(name="kserve-container", image=TAGGED)),
        ),
    ),
    "a tag in a volume": (
        "images-by-digest",
        lambda: deployment(pod(volumes=[{"name": "m", "image": {"reference": TAGGED}}])),
    ),
    "a model in an image with a tag": (
        "images-by-digest",
        lambda: raw_model(storageUri="oci://registry.example.com/model:1"),
    ),
    # Models.
    "a model without a digest": (
        "models-by-digest",
        lambda: unannotated({"predictor": {"minReplicas": 2, "model": raw_container()}}),
    ),
    "a model of the older form": (
        "models-by-digest",
        lambda: unannotated({"predictor": {"minReplicas": 2, "sklearn": raw_container()}}),
    ),
    "a model whose annotation says another digest than its server is told": (
        "models-by-digest",
        lambda: replaced("fraud-1.5.0", digest("4")),
    ),
    "a model by an environment variable": (
        "models-by-digest",
        lambda: unannotated(
            {
                "predictor": {
                    "minReplicas": 2,
                    **pod(container(env=[{"name": "STORAGE_URI", "value": "s3://m/latest"}])),
                }
            }
        ),
    ),
    "a model by a Secret's key and a path": (
        "models-by-digest",
        lambda: unannotated(
            {
                "predictor": {
                    "minReplicas": 2,
                    "model": {key: it for key, it in raw_container().items() if key != "storageUri"}
                    | {"storage": {"key": "s3", "path": "raw/latest"}},
                }
            }
        ),
    ),
    "a language model by its name": (
        "models-by-digest",
        lambda: custom(
            "serving.kserve.io/v1alpha1",
            "LLMInferenceService",
            {"replicas": 2, "model": {"uri": "hf://acme/model"}},
        ),
    ),
    # Pods.
    "root, in a container of a pod that says otherwise": (
        "pods-not-as-root",
        lambda: deployment(
            pod(
                container(securityContext={**SAFE, "runAsNonRoot": False}),
                securityContext={"runAsNonRoot": True},
            )
        ),
    ),
    "root by its number": (
        "pods-not-as-root",
        lambda: deployment(
            pod(container(securityContext={**SAFE, "runAsUser": 0})),
        ),
    ),
    "root by its number, around the container": (
        "pods-not-as-root",
        lambda: deployment(pod(securityContext={"runAsUser": 0})),
    ),
    "root in an init container": (
        "pods-not-as-root",
        lambda: deployment(
            pod(initContainers=[container(securityContext={"allowPrivilegeEscalation": False})])
        ),
    ),
    "escalation left at its default": (
        "pods-without-privileges",
        lambda: deployment(pod(container(securityContext={"runAsNonRoot": True}))),
    ),
    "escalation said on the pod, where it is not read": (
        "pods-without-privileges",
        lambda: deployment(
            pod(container(securityContext={"runAsNonRoot": True}), securityContext=SAFE)
        ),
    ),
    "a capability": (
        "pods-without-privileges",
        lambda: deployment(
            pod(container(securityContext={**SAFE, "capabilities": {"add": ["SYS_ADMIN"]}}))
        ),
    ),
    "a privileged container": (
        "pods-without-privileges",
        lambda: deployment(pod(container(securityContext={**SAFE, "privileged": True}))),
    ),
    "a folder of the node": (
        "pods-without-privileges",
        lambda: deployment(pod(volumes=[{"name": "root", "hostPath": {"path": "/"}}])),
    ),
    "a folder of the node, by a volume of its own": (
        "pods-without-privileges",
        lambda: custom("v1", "PersistentVolume", {"hostPath": {"path": "/"}}),
    ),
    "the network of the node": (
        "pods-without-privileges",
        lambda: deployment(pod(hostNetwork=True)),
    ),
    "no limits": ("pods-have-limits", lambda: deployment(pod(container(resources=None)))),
    "a limit of memory only": (
        "pods-have-limits",
        lambda: deployment(pod(container(resources={"limits": {"memory": "1Gi"}}))),
    ),
    "limits of nothing": (
        "pods-have-limits",
        lambda: deployment(pod(container(resources={"limits": {"cpu": "0m", "memory": "0"}}))),
    ),
    "no limits of an init container": (
        "pods-have-limits",
        lambda: deployment(pod(initContainers=[container(resources=None)])),
    ),
    "no probes": (
        "pods-have-probes",
        lambda: deployment(pod(container(readinessProbe=None, livenessProbe=None))),
    ),
    "a sidecar without probes": (
        "pods-have-probes",
        lambda: deployment(
            pod(initContainers=[container(restartPolicy="Always", readinessProbe=None)])
        ),
    ),
    "a model without probes, in a runtime that is not ours": (
        "pods-have-probes",
        lambda: raw_model(readinessProbe=None, livenessProbe=None),
    ),
    "one replica of stable": ("at-least-two-replicas", lambda: fraud(replicas="replicas: 1")),
    "replicas left out": ("at-least-two-replicas", lambda: deployment(replicas=None)),
    "replicas of a model left out": (
        "at-least-two-replicas",
        lambda: raw_service({"predictor": {"model": raw_container()}}),
    ),
    "an autoscaler that goes down to one": (
        "at-least-two-replicas",
        lambda: [
            *deployment(),
            *custom(
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                {"scaleTargetRef": {"kind": "Deployment", "name": "raw"}, "maxReplicas": 9},
                "scaler",
            ),
        ],
    ),
    # GPUs.
    "a pool that is too large": (
        "gpu-cap-of-a-pool",
        lambda: gpus("a10g: " + POOL.replace("max: 4", "max: 9")),
    ),
    "a pool of large instances": (
        "gpu-cap-of-a-pool",
        lambda: gpus("a10g: {provider: eks, instanceTypes: [g5.48xlarge], gpusPerNode: 8, max: 2}"),
    ),
    "pools that are too large together": (
        "gpu-cap-in-total",
        lambda: gpus(f"a10g: {POOL}, b: {POOL}, c: {POOL}, d: {POOL}, e: {POOL}"),
    ),
    "a raw node group": (
        "gpu-cap-of-a-pool",
        lambda: aws(
            "aws:eks/nodeGroup:NodeGroup",
            "raw",
            instanceTypes=["p4d.24xlarge"],
            scalingConfig={"minSize": 0, "desiredSize": 0, "maxSize": 2},
        ),
    ),
    "a node group of Cloud Control": (
        "gpu-cap-of-a-pool",
        lambda: aws(
            "aws-native:eks:Nodegroup",
            "raw",
            instanceTypes=["g5.12xlarge"],
            scalingConfig={"maxSize": 3},
        ),
    ),
    "instances one by one": (
        "gpu-cap-in-total",
        lambda: [
            it
            for index in range(3)
            for it in aws("aws:ec2/instance:Instance", f"n{index}", instanceType="g5.48xlarge")
        ],
    ),
    "Karpenter without a limit": (
        "gpu-cap-of-a-pool",
        lambda: karpenter(
            [
                {
                    "key": "karpenter.k8s.aws/instance-family",
                    "operator": "In",
                    "values": ["g6"],
                }
            ]
        ),
    ),
    "Karpenter with any instance there is": (
        "gpu-cap-of-a-pool",
        lambda: karpenter([], limits={"cpu": "1000"}),
    ),
    "a quota that lets in more": (
        "gpu-cap-of-a-pool",
        lambda: gpus(
            "a10g: " + POOL,
            lambda it: edited(
                it,
                "a10g-quota",
                lambda quota: quota["props"]["spec"]["hard"].update(
                    {"requests.nvidia.com/gpu": "40"}
                ),
            ),
        ),
    ),
    "a GPU beside another service": (
        "no-shared-gpu",
        lambda: gpus("a10g: " + POOL, gpu_pod(lambda it: it.pop("affinity"))),
    ),
    "a GPU without a share group": (
        "no-shared-gpu",
        lambda: gpus("a10g: " + POOL, gpu_pod(lambda it: it.pop("labels"))),
    ),
    "a GPU apart from some pods only": (
        "no-shared-gpu",
        lambda: gpus(
            "a10g: " + POOL,
            gpu_pod(
                lambda it: it["affinity"]["podAntiAffinity"][
                    "requiredDuringSchedulingIgnoredDuringExecution"
                ][0].pop("namespaceSelector")
            ),
        ),
    ),
    "a GPU on a node that is named": (
        "no-shared-gpu",
        lambda: gpus("a10g: " + POOL, gpu_pod(lambda it: it.update(nodeName="gpu-1"))),
    ),
    "a GPU without asking": (
        "no-shared-gpu",
        lambda: deployment(
            pod(container(env=[{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]))
        ),
    ),
    "a GPU by NVIDIA's runtime": (
        "no-shared-gpu",
        lambda: deployment(pod(runtimeClassName="nvidia")),
    ),
    "a GPU for an init container": (
        "no-shared-gpu",
        lambda: deployment(pod(initContainers=[asking()])),
    ),
    "a GPU of another maker": ("no-shared-gpu", lambda: deployment(pod(asking("amd.com/gpu")))),
    "GPUs cut into slices in silence": (
        "no-shared-gpu",
        lambda: made_by(
            lambda: kubernetes.core.v1.ConfigMap(
                "raw",
                data={
                    "any": json.dumps(
                        {
                            "sharing": {
                                "timeSlicing": {
                                    "resources": [{"name": "nvidia.com/gpu", "replicas": 4}]
                                }
                            }
                        }
                    )
                },
            )
        ),
    ),
    # Alerts.
    "alerts left out": (
        "alerts-for-every-service",
        lambda: [it for it in fraud() if it["name"] != "fraud-alerts"],
    ),
    "alerts that ask for nothing": (
        "alerts-for-every-service",
        lambda: replaced(
            "fraud-alerts",
            lambda it: it["spec"].update(
                groups=[
                    {
                        "name": "fraud",
                        "rules": [
                            {
                                "alert": "ModelErrorBudgetBurn",
                                "expr": "vector(0) > 1",
                                "labels": {"service": "fraud"},
                            }
                        ],
                    }
                ]
            ),
        ),
    ),
    "a raw model that nobody watches": ("alerts-for-every-service", inference_service),
    # Buckets.
    "a bucket that does not block the public": ("bucket-private", lambda: bucket("block")),
    "a bucket that blocks three of four": (
        "bucket-private",
        lambda: bucket(block={**BLOCK, "restrictPublicBuckets": False}),
    ),
    "a public ACL": ("bucket-private", lambda: bucket(acl="public-read")),
    "a public ACL in other letters": ("bucket-private", lambda: bucket(acl="Public-Read")),
    "a public ACL of its own": (
        "bucket-private",
        lambda: [
            *bucket(),
            *aws("aws:s3/bucketAclV2:BucketAclV2", "acl", bucket="raw", acl="authenticated-read"),
        ],
    ),
    "a grant to everybody": (
        "bucket-private",
        lambda: bucket(
            grants=[
                {
                    "type": "Group",
                    "uri": "http://acs.amazonaws.com/groups/global/AllUsers",
                    "permissions": ["READ"],
                }
            ]
        ),
    ),
    "a policy for everybody": ("bucket-private", open_policy),
    "a policy for everybody who uses TLS": (
        "bucket-private",
        lambda: open_policy(
            Principal={"AWS": ["*"]}, Condition={"Bool": {"aws:SecureTransport": "true"}}
        ),
    ),
    "a policy for all but one": (
        "bucket-private",
        lambda: bucket(
            statements=[
                TLS_ONLY,
                {"Effect": "Allow", "NotPrincipal": {"AWS": "1"}, "Action": "s3:*"},
            ]
        ),
    ),
    "no versioning": ("bucket-versioned", lambda: bucket("versioning")),
    "versioning suspended": (
        "bucket-versioned",
        lambda: bucket(versioning={"versioningConfiguration": {"status": "Suspended"}}),
    ),
    "no versioning, of the types of that name": (
        "bucket-versioned",
        lambda: bucket("versioning", version="V2"),
    ),
    "no versioning, in Cloud Control": (
        "bucket-versioned",
        lambda: native_bucket("versioningConfiguration"),
    ),
    "the settings of another bucket": (
        "bucket-versioned",
        lambda: bucket(versioning={"bucket": "another"}),
    ),
    "encryption not said": ("bucket-encrypted", lambda: bucket("encryption")),
    "no policy": ("bucket-tls-only", lambda: bucket("policy")),
    "TLS for the bucket, not for its objects": (
        "bucket-tls-only",
        lambda: bucket(statements=[{**TLS_ONLY, "Resource": "arn:aws:s3:::raw"}]),
    ),
    "TLS for another bucket": (
        "bucket-tls-only",
        lambda: bucket(
            statements=[{**TLS_ONLY, "Resource": ["arn:aws:s3:::other", "arn:aws:s3:::other/*"]}]
        ),
    ),
    "TLS for writing only": (
        "bucket-tls-only",
        lambda: bucket(statements=[{**TLS_ONLY, "Action": "s3:PutObject"}]),
    ),
    "TLS for one's own network only": (
        "bucket-tls-only",
        lambda: bucket(
            statements=[
                {
                    **TLS_ONLY,
                    "Condition": {
                        "Bool": {"aws:SecureTransport": "false"},
                        "StringEquals": {"aws:SourceVpc": "vpc-1"},
                    },
                }
            ]
        ),
    ),
    "a bucket that Pulumi would delete": ("bucket-protected", lambda: bucket("protect")),
    "a bucket that deletes what lies in it": (
        "bucket-protected",
        lambda: bucket(forceDestroy=True),
    ),
    # Money.
    "more than the budget": (
        "within-budget",
        lambda: gpus("a10g: {provider: eks, instanceTypes: [g5.16xlarge], max: 8}"),
    ),
    "more than the budget, on instances of one's own": (
        "within-budget",
        lambda: [
            *aws("pulumi:providers:aws", "aws", region="us-east-1"),
            *aws("aws:ec2/instance:Instance", "raw", instanceType="p4d.24xlarge"),
        ],
    ),
    "more than the budget, with the buckets": (
        "within-budget",
        lambda: declared(
            stack_file(
                CHAT,
                pools="a10g: {provider: eks, instanceTypes: [g5.16xlarge], max: 8}",
                more=ARTIFACTS,
            )
        ),
    ),
}
"""By what is wrong: the policy that must say so, and the stack."""


def labelled_as_candidate(found: dict[str, Any]) -> None:
    found["props"]["metadata"]["labels"]["model-version"] = "1.5.0"
    found["props"]["spec"]["predictor"]["minReplicas"] = 1


def raw_container() -> dict[str, Any]:
    return {
        **container(name=None, image=None),
        "runtime": "kserve-sklearnserver",
        "storageUri": "s3://acme-models/raw/1",
    }


def digest(figure: str) -> Callable[[dict[str, Any]], object]:
    return lambda props: props["metadata"]["annotations"].update(
        {"modelramp.dev/digest": f"sha256:{figure * 64}"}
    )
