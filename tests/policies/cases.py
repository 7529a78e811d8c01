# pyright: basic
"""For each policy a stack that violates it, one that passes, and one that cannot be known.

Also one that it does not look at, and one that its configuration makes pass, or fail.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raw import (
    SAFE,
    Resources,
    aws,
    bucket,
    container,
    custom,
    deployment,
    facts,
    inference_service,
    moves,
    pod,
    reference,
    route,
    split,
    watched,
    without_spec,
)

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
HISTORY = {"historyFolder": str(Path(__file__).parent / "history")}
OTHER = custom("v1", "ConfigMap", {})


@dataclass(frozen=True)
class Case:
    """What one policy says of five stacks.

    Attributes:
        violates: a violation.
        says: part of the message about it.
        passes: none.
        unknown: could not be checked.
        config: with it, `violates` passes; where `stricter`, `passes` violates.
        stricter: see config.
        always: configuration in all of them.
        ignored: what it does not look at, although it looks alike.
    """

    violates: Resources
    says: str
    passes: Resources
    unknown: Resources
    config: dict[str, Any] = field(default_factory=dict)
    stricter: bool = False
    always: dict[str, Any] = field(default_factory=dict)
    ignored: Resources = field(default_factory=lambda: OTHER)


def rollout(*percents: float, **changed: str | None) -> Resources:
    """A route that sends 5% to the candidate, and what it says of that."""
    walk = {"moves": moves(*percents)} if percents else {"moves": None, "candidate": None}
    return route(split(95, 5), annotations=facts(**{**walk, **changed}))


def version(number: str, figure: str, replicas: float | str = 2, **predictor: Any) -> Resources:
    """An InferenceService of fraud."""
    resources = inference_service(
        {"predictor": {"minReplicas": replicas, "model": container(image=None), **predictor}},
        labels={
            "model-service": "fraud",
            "model-version": number,
            "networking.kserve.io/visibility": "cluster-local",
        },
        annotations={"modelramp.dev/digest": f"sha256:{figure * 64}"},
        name=f"fraud-v{number.replace('.', '-')}",
    )
    return [{**it, "name": f"fraud-{number}"} for it in resources]


BOTH = [*version("1.4.0", "4"), *version("1.5.0", "5")]
SECOND = route(
    {"backendRefs": [reference("payout-v1-4-0-predictor", 1)]},
    annotations=facts(service="payout", moves=moves(1)),
    name="payout",
)
LABELLED = {"tier": "gold"}


def alias(selector: dict[str, str]) -> Resources:
    return custom("v1", "Service", {"selector": selector})


NODES = {"instanceTypes": ["g5.12xlarge"], "scalingConfig": {"maxSize": 3}}


def nodes(**changed: Any) -> Resources:
    return aws("aws:eks/nodeGroup:NodeGroup", "gpus", **{**NODES, **changed})


def model(**changed: Any) -> Resources:
    whole = {**container(image=None), "runtime": "kserve-sklearnserver", "storageUri": "s3://m/1"}
    return inference_service(
        {"predictor": {"minReplicas": 2, "model": {**whole, **changed}}},
        annotations=changed.pop("annotations", {}),
    )


def apart(group: str) -> dict[str, Any]:
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "namespaceSelector": {},
        "labelSelector": {
            "matchExpressions": [
                {"key": "modelramp.dev/share-group", "operator": "Exists"},
                {"key": "modelramp.dev/share-group", "operator": "NotIn", "values": [group]},
            ]
        },
    }
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    return {"podAntiAffinity": {required: [term]}}


def gpu_pod(**changed: Any) -> Resources:
    asks = container(resources={"limits": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "1"}})
    spec = pod(asks, **{"affinity": apart("chat"), "priorityClassName": "gpus", **changed})
    labels = {"modelramp.dev/share-group": "chat"}
    return custom("batch/v1", "Job", {"template": {"metadata": {"labels": labels}, "spec": spec}})


PRICED = [*aws("pulumi:providers:aws", "aws", region="eu-central-1"), *nodes()]

CASES: dict[str, Case] = {
    "high-risk-first-step": Case(
        violates=rollout(25),
        says="fraud is of high risk and 1.5.0 began with 25% of traffic; at most 5% is allowed",
        passes=rollout(5, 25),
        unknown=rollout(5, risk=UNKNOWN),
        config={"atMostPercent": 25},
        ignored=rollout(50, risk="medium"),
    ),
    "all-at-once-low-risk": Case(
        violates=rollout(100, risk="medium", strategy="all-at-once"),
        says="fraud is of medium risk",
        passes=rollout(100, risk="low", strategy="all-at-once"),
        unknown=rollout(100, risk="medium", strategy=UNKNOWN),
        config={"risks": ["low", "medium"]},
        ignored=rollout(100, risk="medium", strategy="blue-green"),
    ),
    "route-keeps-to-its-moves": Case(
        violates=rollout(1),
        says="1.5.0 gets 5% of requests, its last move says 1%",
        passes=rollout(1, 5),
        unknown=route(split(95, UNKNOWN), annotations=facts()),
        config={"exempt": ["fraud-again"]},
        ignored=route(split(0, 100)),
    ),
    "no-raw-route-to-a-model": Case(
        violates=route(split(0, 100)),
        says="straight to fraud-v1-4-0-predictor, fraud-v1-5-0-predictor",
        passes=rollout(5),
        unknown=route({"backendRefs": [reference(UNKNOWN, 1)]}),
        config={"exempt": ["fraud-again"]},
        ignored=custom("v1", "ConfigMap", {"rules": [split(0, 100)]}),
    ),
    "no-alias-of-a-model": Case(
        violates=[*version("1.4.0", "4", labels=LABELLED), *alias(LABELLED)],
        says="the Service selects the pods of fraud-v1-4-0, past its route",
        passes=[*version("1.4.0", "4", labels=LABELLED), *alias({"app": "web"})],
        unknown=[*version("1.4.0", "4", labels=LABELLED), *alias({"tier": UNKNOWN})],
        config={"exempt": ["raw"]},
        ignored=[*version("1.4.0", "4", labels=LABELLED), *alias({})],
    ),
    "one-candidate-a-service": Case(
        violates=[
            *rollout(5),
            *route(split(95, 5), annotations=facts(candidate="1.6.0"), name="more"),
        ],
        says="fraud has several candidates: 1.5.0, 1.6.0",
        passes=[*rollout(5), *SECOND],
        unknown=rollout(5, candidate=UNKNOWN),
        config={"exempt": ["more"]},
    ),
    "one-rollout-a-group": Case(
        violates=[*rollout(5), *SECOND],
        says="group payments has several rollouts: fraud, payout",
        passes=[*rollout(), *SECOND],
        unknown=rollout(5, group=UNKNOWN),
        config={"exempt": ["payout"]},
        ignored=[*rollout(5, group=None), *SECOND],
    ),
    "previous-version-kept": Case(
        violates=[*BOTH, *rollout(5, keep_previous="3600s")],
        says="keeps the previous version for 1 hours; at least 24 are asked for",
        passes=[*BOTH, *rollout(5)],
        unknown=[*BOTH, *rollout(5, keep_previous=UNKNOWN)],
        config={"leastHours": 1},
    ),
    "service-has-an-owner": Case(
        violates=rollout(5, owner=None),
        says="fraud has no owner",
        passes=rollout(5),
        unknown=rollout(5, owner=UNKNOWN),
        config={"exempt": ["fraud-again"]},
        ignored=route(split(0, 100)),
    ),
    "model-card-present": Case(
        violates=rollout(5, model_card=None),
        says="fraud is of high risk and has no model card",
        passes=rollout(5),
        unknown=rollout(5, model_card=UNKNOWN),
        config={"risks": []},
        ignored=rollout(5, model_card=None, risk="medium"),
    ),
    "staging-evidence-present": Case(
        violates=[*version("1.4.0", "4"), *version("1.5.0", "9"), *rollout(5)],
        says="1.5.0 was never promoted on the stack staging",
        passes=[*BOTH, *rollout(5)],
        unknown=[*BOTH, *rollout(5, staging=UNKNOWN)],
        config={"risks": []},
        always=HISTORY,
        ignored=rollout(5, risk="medium"),
    ),
    "stable-by-a-rollout": Case(
        violates=[*version("1.4.0", "5"), *version("1.5.0", "5"), *rollout(5)],
        says="1.4.0 is stable and was never promoted on the stack prod",
        passes=[*BOTH, *rollout(5)],
        unknown=[*BOTH, *rollout(5, risk=UNKNOWN)],
        config={"risks": ["low"]},
        always=HISTORY,
        ignored=rollout(5, risk="medium"),
    ),
    "no-unseen-resources": Case(
        violates=without_spec("kubernetes:helm.sh/v3:Release", chart="models"),
        says="what a Helm release makes is seen by no policy",
        passes=without_spec("kubernetes:helm.sh/v4:Chart", chart="models"),
        unknown=[],
        config={"exempt": ["raw"]},
    ),
    "images-by-digest": Case(
        violates=deployment(pod(container(image="tool:1.0"))),
        says="spec.template.spec.containers.0.image is tool:1.0",
        passes=deployment(),
        unknown=deployment(pod(container(image=UNKNOWN))),
        config={"exempt": ["raw"]},
        ignored=without_spec("docker:index:Container", image="tool:1.0"),
    ),
    "models-by-digest": Case(
        violates=model(),
        says="spec.predictor.model.storageUri is s3://m/1 without a digest",
        passes=model(args=["--digest=sha256:" + "1" * 64]),
        unknown=model(storageUri=UNKNOWN),
        config={"exempt": ["raw"]},
        ignored=custom("v1", "Secret", {"storageUri": "s3://m/1"}),
    ),
    "pods-not-as-root": Case(
        violates=deployment(pod(container(securityContext=None))),
        says="spec.template.spec.containers.0 may run as root",
        passes=deployment(),
        unknown=deployment(pod(container(securityContext={**SAFE, "runAsNonRoot": UNKNOWN}))),
        config={"exempt": ["raw"]},
    ),
    "pods-without-privileges": Case(
        violates=deployment(
            pod(container(securityContext={**SAFE, "capabilities": {"add": ["SYS_PTRACE"]}}))
        ),
        says="adds the capabilities SYS_PTRACE",
        passes=deployment(),
        unknown=deployment(pod(container(securityContext=UNKNOWN))),
        config={"capabilities": ["SYS_PTRACE"]},
    ),
    "pods-have-limits": Case(
        violates=deployment(pod(container(resources={"limits": {"memory": "1Gi"}}))),
        says="spec.template.spec.containers.0 has no limit of cpu",
        passes=deployment(),
        unknown=deployment(pod(container(resources={"limits": {"cpu": UNKNOWN}}))),
        config={"resources": ["memory"]},
        ignored=custom(
            "serving.kserve.io/v1alpha1",
            "ServingRuntime",
            pod(container(name="kserve-container", resources=None)),
        ),
    ),
    "pods-have-probes": Case(
        violates=model(runtime="mine", readinessProbe=None),
        says="spec.predictor.model has no readinessProbe",
        passes=deployment(),
        unknown=deployment(pod(container(livenessProbe=UNKNOWN))),
        config={"runtimes": ["mine"]},
        ignored=custom(
            "batch/v1", "Job", {"template": {"spec": pod(container(readinessProbe=None))}}
        ),
    ),
    "at-least-two-replicas": Case(
        violates=[*version("1.4.0", "4", 1), *rollout(5)],
        says="predictor may go down to 1 replicas; at least 2 are asked for",
        passes=[*version("1.4.0", "4"), *version("1.5.0", "5", 1), *rollout(5)],
        unknown=[*version("1.4.0", "4", UNKNOWN), *rollout(5)],
        config={"atLeast": 1},
    ),
    "gpu-cap-of-a-pool": Case(
        violates=nodes(),
        says="gpus may grow to 12 GPUs; at most 8 are allowed",
        passes=nodes(scalingConfig={"maxSize": 2}),
        unknown=nodes(scalingConfig={"maxSize": UNKNOWN}),
        config={"atMost": 12},
        ignored=nodes(instanceTypes=["m7i.large"]),
    ),
    "gpu-cap-in-total": Case(
        violates=[*nodes(), *aws("aws:ec2/instance:Instance", "more", instanceType="g5.48xlarge")],
        says="all pools together may grow to 20 GPUs (gpus 12, more 8); at most 16",
        passes=nodes(),
        unknown=nodes(instanceTypes=["g99.large"]),
        config={"atMost": 20},
        ignored=nodes(instanceTypes=["m7i.large"], scalingConfig={"maxSize": 100}),
    ),
    "no-shared-gpu": Case(
        violates=deployment(
            pod(container(resources={"limits": {"cpu": "1", "nvidia.com/gpu": "1"}}))
        ),
        says="has GPUs and no label modelramp.dev/share-group",
        passes=gpu_pod(),
        unknown=gpu_pod(nodeName=UNKNOWN),
        config={"exempt": ["raw"]},
        ignored=deployment(),
    ),
    "alerts-for-every-service": Case(
        violates=rollout(5),
        says="fraud has no alert",
        passes=[*rollout(5), *watched("fraud")],
        unknown=[
            *rollout(5),
            *custom("monitoring.coreos.com/v1", "PrometheusRule", {"groups": UNKNOWN}),
        ],
        config={"alerts": ["ModelErrorBudgetBurn"]},
        stricter=True,
    ),
    "bucket-private": Case(
        violates=bucket("block"),
        says="public access is not blocked",
        passes=bucket(),
        unknown=bucket(block={"blockPublicAcls": UNKNOWN}),
        config={"exempt": ["raw"]},
    ),
    "bucket-versioned": Case(
        violates=bucket("versioning"),
        says="no versioning",
        passes=bucket(),
        unknown=bucket(versioning={"bucket": UNKNOWN}),
        config={"exempt": ["raw"]},
    ),
    "bucket-encrypted": Case(
        violates=bucket("encryption"),
        says="it says not how objects are encrypted",
        passes=bucket(),
        unknown=bucket(encryption={"rules": UNKNOWN}),
        config={"algorithms": ["AES256"]},
        stricter=True,
    ),
    "bucket-tls-only": Case(
        violates=bucket("policy"),
        says="no Deny of s3:* on the bucket and its objects",
        passes=bucket(),
        unknown=bucket(policy={"policy": UNKNOWN}),
        config={"exempt": ["raw"]},
    ),
    "bucket-protected": Case(
        violates=bucket("protect"),
        says="it is not protected",
        passes=bucket(),
        unknown=bucket(forceDestroy=UNKNOWN),
        config={"exempt": ["raw"]},
        ignored=aws("aws:sqs/queue:Queue", "raw"),
    ),
    "within-budget": Case(
        violates=PRICED,
        says="nodes may cost $",
        passes=[*PRICED[:1], *nodes(scalingConfig={"maxSize": 0})],
        unknown=[*PRICED[:1], *nodes(instanceTypes=["m7i.large"])],
        config={"monthlyBudget": 1_000_000},
        always={"monthlyBudget": 100},
    ),
}
