# pyright: basic
"""Stacks that must go through: what our components make, and raw resources that are as they should.

Of those with a rollout under way, a move to 0 must go through too, whatever else the stack says of
its rollouts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pulumi_kubernetes as kubernetes

from components.model_service import ModelService
from tests.components.test_model_service import args_of, stack_with
from tests.policies.raw import (
    BLOCK,
    IMAGE,
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
)
from tests.policy_stacks.bad import fraud, two_in_a_group, walked, with_route
from tests.policy_stacks.declare import (
    ARTIFACTS,
    CHAT,
    FRAUD,
    PAYOUT,
    POOL,
    REPOSITORY,
    declared,
    made_by,
    stack_file,
    version,
)


def shipped() -> Resources:
    """The stack of production that ships, with a version of each service."""
    file = REPOSITORY / "stacks" / "Pulumi.prod.yaml"
    lines: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        lines.append(line)
        name = line.split("#")[0].strip().removesuffix(":")
        if name in ("fraud", "churn", "support-chat"):
            first = version(name, "1.4.0", "4").replace("acme-models", "acme-models-prod")
            lines += ["      versions:", f"        {first}", '      rollout: {stable: "1.4.0"}']
    return declared("\n".join(lines))


def payout(rollout: str, **changed: tuple[str, str]) -> Resources:
    text = PAYOUT.replace('rollout: {stable: "2.0.0"}', rollout)
    for old, new in changed.values():
        assert old in text
        text = text.replace(old, new)
    return declared(stack_file(text))


def rolling(strategy: str, percent: int, risk: str = "medium") -> Resources:
    moved = f'{{percent: {percent}, at: "2026-11-23T08:00:00Z"}}'
    rollout = f'rollout: {{stable: "2.0.0", candidate: "2.1.0", moves: [{moved}]}}'
    return payout(
        rollout,
        strategy=("strategy: {kind: linear, increment: 25}", f"strategy: {strategy}"),
        risk=("risk: medium", f"risk: {risk}"),
    )


def knative() -> Resources:
    stack = stack_with(strategy="{kind: canary, steps: [1, 5, 25, 100]}", percent=5)
    args = args_of(stack)
    args["mode"] = "knative"
    args["versions"] = {key: {**it, "replicas": 2} for key, it in args["versions"].items()}
    return [*made_by(lambda: ModelService("fraud", args)), *watched("fraud")]


def taken_back_at_once() -> Resources:
    """What `rollback --promotion` writes: the old version is stable, the new one stays at 0."""
    return with_route(zero, moves=moves(0), taken_back="true", owner=None, model_card=None)


def zero(props) -> None:
    for it in props["spec"]["rules"][-1]["backendRefs"]:
        it["weight"] = 0 if "1-5-0" in it["name"] else 100


def taken_back_from_a_mess() -> Resources:
    """A revert in a stack that lacks all that rules about its rollout ask for."""
    lacks = ("owner", "model_card", "staging", "keep_previous")
    annotations = dict.fromkeys(lacks)
    return with_route(zero, strategy="all-at-once", moves=moves(50, 100, 0), **annotations)


def taken_back_among_others() -> Resources:
    """Two others of its group are under way, against the rule; the newest move is a revert."""
    resources = two_in_a_group()
    moved = moves(1, 0, day=24)
    annotations = facts(service="third", moves=moved)
    rule = {"backendRefs": [reference("third-v1-4-0-predictor", 1)]}
    models = [it for at in (4, 5) for it in inference_service(name=f"third-v1-{at}-0")]
    return [*resources, *models, *route(rule, annotations=annotations, name="third")]


def taken_back() -> Resources:
    return fraud(moves=walked(1, 5, 25, 0))


def taken_back_on_both_routes() -> Resources:
    again = route(split(100, 0), annotations=facts(moves=moves(1, 5, 0)))
    return [*with_route(zero, moves=moves(1, 5, 0)), *again]


def existing_pool() -> Resources:
    text = CHAT.replace("gpu: {pool: a10g}", "gpu: {pool: rack}")
    pools = "rack: {provider: existing, nodeSelector: {gpu: a100}, maxGpus: 8}"
    return declared(stack_file(text, pools=pools))


def karpenter_pool() -> Resources:
    pools = (
        "a10g: {provider: karpenter, instanceFamilies: [g5], capacityTypes: [spot],"
        " ami: al2023@v20260810, maxGpus: 8}"
    )
    return declared(stack_file(CHAT, pools=pools))


def batch() -> Resources:
    job = "      batch: {nightly: {input: s3://in/a, output: s3://out/b, schedule: '0 2 * * *'}}\n"
    return declared(stack_file(FRAUD + job))


def own_image() -> Resources:
    return payout(
        'rollout: {stable: "2.0.0"}',
        runtime=(
            "{kind: xgboost, replicas: 2}",
            f'{{kind: custom, image: "{IMAGE}", protocol: v2, readyPath: /ready, replicas: 2}}',
        ),
    )


def s3_compatible() -> Resources:
    store = (
        "modelramp:artifacts: {provider: s3-compatible, bucket: acme-models,"
        " endpoint: https://store, existingSecret: keys}"
    )
    return declared(stack_file(FRAUD, more=store))


GOOD: dict[str, Callable[[], Resources]] = {
    "production as it ships": shipped,
    "services with GPUs, buckets and a canary": lambda: declared(
        stack_file(FRAUD, PAYOUT, CHAT, pools=f"a10g: {POOL}", more=ARTIFACTS)
    ),
    "a canary at 5%": lambda: fraud(moves=walked(1, 5)),
    "a canary at 50%": lambda: fraud(moves=walked(1, 5, 25, 50)),
    "a canary at 100%": lambda: fraud(moves=walked(1, 5, 25, 50, 100)),
    "a canary that goes back a step": lambda: fraud(moves=walked(1, 5, 25, 5)),
    "a linear rollout": lambda: rolling("{kind: linear, increment: 25}", 25),
    "blue-green that waits, with a mirror": lambda: rolling("{kind: blue-green, mirror: 20}", 0),
    "blue-green after the switch": lambda: rolling("{kind: blue-green}", 100),
    "a shadow": lambda: rolling("{kind: shadow, mirror: 100}", 0),
    "an A/B test": lambda: rolling("{kind: ab-test, percent: 37}", 37),
    "an A/B test that has decided": lambda: rolling("{kind: ab-test, percent: 37}", 100),
    "all at once with low risk": lambda: rolling("{kind: all-at-once}", 100, "low"),
    "Knative": knative,
    "predictions on files": batch,
    "an image of one's own": own_image,
    "a store of one's own": s3_compatible,
    "nodes that are there already": existing_pool,
    "nodes that Karpenter makes": karpenter_pool,
    "a raw Deployment": deployment,
    "a raw Deployment that says it around its containers": lambda: deployment(
        pod(
            container(securityContext={"allowPrivilegeEscalation": False}),
            securityContext={"runAsNonRoot": True, "runAsUser": 1000},
            initContainers=[container(name="first", readinessProbe=None, livenessProbe=None)],
        )
    ),
    "a raw Deployment with an autoscaler": lambda: [
        *deployment(replicas=None),
        *custom(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            {"scaleTargetRef": {"kind": "Deployment", "name": "raw"}, "minReplicas": 2},
            "scaler",
        ),
    ],
    "a raw CronJob": lambda: made_by(
        lambda: kubernetes.batch.v1.CronJob(
            "raw",
            spec=cast(
                "Any",
                {
                    "schedule": "@daily",
                    "job_template": {
                        "spec": {
                            "template": template(
                                pod(container(readinessProbe=None, livenessProbe=None))
                            )
                        }
                    },
                },
            ),
        )
    ),
    "a patch of labels": lambda: made_by(
        lambda: kubernetes.apps.v1.DeploymentPatch(
            "raw", metadata={"name": "raw", "labels": {"team": "payments"}}
        )
    ),
    "a raw InferenceService inside the cluster": lambda: [*inference_service(), *watched("raw")],
    "a route to something else": lambda: route(
        {
            "backendRefs": [reference("web", 1), reference("predictor-docs", 1)],
            "filters": [{"requestMirror": {"backendRef": reference("web-next")}}],
        }
    ),
    "an Ingress and a Service of something else": lambda: [
        *custom("networking.k8s.io/v1", "Ingress", {"defaultBackend": {"service": {"name": "w"}}}),
        *custom("v1", "Service", {"selector": {"app": "web"}}, "web"),
    ],
    "a raw bucket": bucket,
    "a raw bucket of the types V2": lambda: bucket(version="V2"),
    "a bucket of Cloud Control": native_bucket,
    "a bucket that one account may read": lambda: bucket(
        acl="private",
        statements=[
            {**TLS_ONLY, "Principal": {"AWS": "*"}},
            {
                "Effect": "Allow",
                "Principal": "*",
                "Action": "s3:GetObject",
                "Resource": "arn:aws:s3:::raw/*",
                "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}},
            },
        ],
        block=dict(BLOCK),
    ),
    "a node group without GPUs": lambda: aws(
        "aws:eks/nodeGroup:NodeGroup",
        "raw",
        instanceTypes=["m7i.large"],
        scalingConfig={"maxSize": 40},
    ),
}
"""By what it is: the stack."""

REVERTS: dict[str, Callable[[], Resources]] = {
    "taken back from 25%": taken_back,
    "taken back on both routes": taken_back_on_both_routes,
    "a promotion taken back": taken_back_at_once,
    "taken back from a rollout that broke every rule": taken_back_from_a_mess,
}
"""Stacks whose last move is to 0."""

REVERTS_AMONG_OTHERS: dict[str, Callable[[], Resources]] = {
    "taken back while others of its group go on": taken_back_among_others,
}


def write_history(folder: Path) -> None:
    """Writes what both stacks say of fraud; digests are a figure, 64 times."""
    staging = [
        ("deploy", "4", None),
        ("promote", "5", "1.5.0"),
        ("promote", "7", "1.7.0"),
        ("revert", "7", "1.7.0"),
        ("promote", "6", "1.6.0"),
    ]
    production = [("deploy", "4", None), ("start", "5", "1.5.0")]
    for stack, lines in (("staging", staging), ("prod", production)):
        file = folder / stack / "fraud.jsonl"
        file.parent.mkdir(parents=True)
        file.write_text("".join(_line(*it) for it in lines), encoding="utf-8")


def _line(verdict: str, figure: str, candidate: str | None) -> str:
    said = "null" if candidate is None else f'"{candidate}"'
    return f'{{"verdict": "{verdict}", "digest": "sha256:{figure * 64}", "candidate": {said}}}\n'
