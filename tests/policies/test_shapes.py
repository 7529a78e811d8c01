"""Where values stand that rules read: pods in any shape, live objects, Knative, patches."""

from __future__ import annotations

from typing import Any

import pytest
from cases import BOTH, HISTORY, UNKNOWN, rollout, version
from evaluate import prepare, run
from raw import (
    Resources,
    container,
    custom,
    deployment,
    facts,
    inference_service,
    moves,
    pod,
    template,
)
from rules.catalogue import POLICIES

BY_NAME = {policy.name: policy for policy in POLICIES}
OF_PODS = (
    *("images-by-digest", "pods-not-as-root", "pods-without-privileges", "pods-have-limits"),
    *("pods-have-probes", "no-shared-gpu"),
)
BARE = {
    "name": "bare",
    "image": "tool:1.0",
    "env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}],
}


def told(name: str, stack: Resources, /, **config: Any) -> tuple[list[str], list[str]]:
    """Returns violations, and what could not be checked."""
    found = run(BY_NAME[name], prepare(stack), {name: config})
    violations = [it["message"] for it in found if not it["advice"]]
    return violations, [it["message"] for it in found if it["advice"]]


SHAPES: dict[str, Resources] = {
    "a Deployment": deployment(pod(BARE)),
    "an init sidecar": deployment(pod(initContainers=[{**BARE, "restartPolicy": "Always"}])),
    "a Pod": custom("v1", "Pod", pod(BARE)),
    "a DaemonSet": custom("apps/v1", "DaemonSet", {"template": template(pod(BARE))}),
    "a Knative Service": custom(
        "serving.knative.dev/v1", "Service", {"template": template(pod(BARE))}
    ),
    "a list of Deployments": [
        {
            "type": "kubernetes:apps/v1:DeploymentList",
            "name": "raw",
            "props": {"items": [it["props"] for it in deployment(pod(BARE))]},
            "protect": False,
        }
    ],
    "a PodTemplate": [
        {
            "type": "kubernetes:core/v1:PodTemplate",
            "name": "raw",
            "props": {"template": template(pod(BARE))},
            "protect": False,
        }
    ],
    "a predictor": inference_service({"predictor": pod(BARE)}),
    "an explainer": inference_service({"explainer": pod(BARE)}),
    "workers": inference_service({"predictor": {**pod(), "workerSpec": pod(BARE)}}),
    "a language model": custom(
        "serving.kserve.io/v1alpha1", "LLMInferenceService", {"prefill": {"template": pod(BARE)}}
    ),
    "a kind of somebody's": custom("example.com/v1", "Thing", {"parts": [{"pod": pod(BARE)}]}),
}


@pytest.mark.parametrize("policy", OF_PODS)
@pytest.mark.parametrize("shape", SHAPES)
def test_pods_are_found_in_every_shape(shape: str, policy: str) -> None:
    assert told(policy, SHAPES[shape])[0]


@pytest.mark.parametrize("policy", OF_PODS)
@pytest.mark.parametrize("shape", ["a CronJob", "a Job"])
def test_jobs_need_no_probes(shape: str, policy: str) -> None:
    job = {"template": template(pod(BARE))}
    kinds = {"a Job": ("Job", job), "a CronJob": ("CronJob", {"jobTemplate": {"spec": job}})}
    assert bool(told(policy, custom("batch/v1", *kinds[shape]))[0]) is (
        policy != "pods-have-probes"
    )


@pytest.mark.parametrize("policy", OF_PODS)
@pytest.mark.parametrize(
    "stack",
    [
        deployment(UNKNOWN),  # pyright: ignore[reportArgumentType]
        custom("apps/v1", "Deployment", {"template": UNKNOWN}),
        deployment({"containers": UNKNOWN}),
        deployment({"containers": [UNKNOWN]}),
        inference_service({"predictor": UNKNOWN}),
        inference_service({"predictor": {"model": UNKNOWN}}),
    ],
)
def test_an_unknown_pod_could_not_be_checked(policy: str, stack: Resources) -> None:
    violations, (said,) = told(policy, stack)
    assert not violations
    assert said.startswith("could not be checked: ")


def test_what_is_unknown_elsewhere_is_no_advice() -> None:
    (made,) = deployment(pod(container(env=[{"name": "A", "value": UNKNOWN}])))
    made["props"]["metadata"]["labels"] = {"a": UNKNOWN}
    for policy in OF_PODS:
        assert told(policy, [made]) == ([], [])


def test_of_a_live_object_only_what_is_declared_counts() -> None:
    """At the end of `up` the provider hands over what the cluster added."""
    (made,) = deployment()
    made["props"] |= {"status": {"a": pod(BARE)}, "__inputs": {"spec": pod(BARE)}}
    for policy in OF_PODS:
        assert told(policy, [made]) == ([], [])


def test_a_namesake_in_another_cluster_is_no_evidence() -> None:
    namesake = [{**it, "name": "elsewhere"} for it in version("1.5.0", "5")]
    stack = [*version("1.4.0", "4"), *version("1.5.0", "9"), *rollout(5)]
    for both in ([*stack, *namesake], [*namesake, *stack]):
        violations, _ = told("staging-evidence-present", both, **HISTORY)
        assert violations == ["1.5.0 was never promoted on the stack staging"]


def test_a_namespace_that_is_not_known_keeps_no_rule_from_looking() -> None:
    stack = [*version("1.4.0", "4", 1), *version("1.5.0", "5"), *rollout(5)]
    for it in stack:
        it["props"]["metadata"]["namespace"] = UNKNOWN
    assert "down to 1 replicas" in told("at-least-two-replicas", stack)[0][0]
    assert told("previous-version-kept", stack) == ([], [])
    for it in stack:
        it["props"]["metadata"]["name"] = UNKNOWN
    assert "does not run" in told("previous-version-kept", stack)[0][0]


def test_only_routes_have_rollouts() -> None:
    annotated = custom("v1", "ConfigMap", {}, annotations=facts(owner=None))
    for policy in ("service-has-an-owner", "alerts-for-every-service", "previous-version-kept"):
        assert told(policy, annotated) == ([], [])


def test_a_label_within_a_spec_is_no_label_of_the_pod() -> None:
    asks = container(resources={"limits": {"cpu": "1", "memory": "1", "nvidia.com/gpu": "1"}})
    spec = pod(asks, labels={"modelramp.dev/share-group": "chat"})
    assert "no label" in told("no-shared-gpu", deployment(spec))[0][0]


def test_a_previous_version_may_not_go_down_to_no_pod() -> None:
    previous = rollout(5, previous="1.3.0")
    kept = told("previous-version-kept", [*BOTH, *version("1.3.0", "3", 1), *previous])
    assert kept == ([], [])
    (said,), _ = told("previous-version-kept", [*BOTH, *version("1.3.0", "3", 0), *previous])
    assert "may have no pod" in said
    (said,), _ = told("previous-version-kept", [*BOTH, *previous])
    assert "1.3.0 is named by the route and does not run" in said


def knative(percent: float | None, *walk: float) -> Resources:
    own = {} if percent is None else {"canaryTrafficPercent": percent}
    annotations = facts(moves=moves(*walk)) if walk else facts(moves=None, candidate=None)
    return inference_service({"predictor": {**pod(), **own}}, annotations=annotations)


@pytest.mark.parametrize(
    ("declared", "is_violated"),
    [
        (knative(5, 5), False),
        (knative(4, 5), False),
        (knative(6, 5), True),
        (knative(None, 5), True),  # everything goes to the newest revision
        (knative(None), False),
        (knative(0, 5, 0), False),
        (knative(5, 5, 0), True),
    ],
)
def test_knative_keeps_to_its_moves(declared: Resources, is_violated: bool) -> None:
    assert bool(told("route-keeps-to-its-moves", declared)[0]) is is_violated


def test_a_patch_without_replicas_says_nothing_of_them() -> None:
    (made,) = deployment(replicas=None)
    patch = {**made, "type": "kubernetes:apps/v1:DeploymentPatch"}
    assert told("at-least-two-replicas", [patch]) == ([], [])
    assert told("at-least-two-replicas", [made])[0]


@pytest.mark.parametrize(
    ("kind", "spec", "is_violated"),
    [
        ("HorizontalPodAutoscaler", {"minReplicas": 2}, False),
        ("HorizontalPodAutoscaler", {}, True),
        ("ScaledObject", {"minReplicaCount": 2}, False),
        ("ScaledObject", {}, True),
    ],
)
def test_an_autoscaler_decides_over_replicas(
    kind: str, spec: dict[str, Any], is_violated: bool
) -> None:
    scaler = custom("x/v1", kind, {"scaleTargetRef": {"name": "raw"}, **spec}, "scaler")
    assert bool(told("at-least-two-replicas", [*deployment(), *scaler])[0]) is is_violated


@pytest.mark.parametrize(("percent", "is_violated"), [(25, False), (50, True), (100, True)])
def test_a_candidate_with_half_of_the_traffic_needs_two(percent: float, is_violated: bool) -> None:
    stack = [*version("1.4.0", "4"), *version("1.5.0", "5", 1), *rollout(5, percent)]
    assert bool(told("at-least-two-replicas", stack)[0]) is is_violated


@pytest.mark.parametrize(
    ("expression", "is_watched"),
    [
        ('errors{model_service="fraud"} > 1', True),
        ('errors{service=~"churn|fraud"} > 1', True),
        ('errors{service = "fraud"} > 1', True),
        ('errors{service="fraud2"} > 1', False),
        ('errors{service!="fraud"} > 1', False),
        ('errors{service=~".*"} > 1', False),
        ("vector(1)", False),
    ],
)
def test_an_alert_asks_for_the_service(expression: str, is_watched: bool) -> None:
    rules = [{"alert": "A", "expr": expression}, {"record": "r", "expr": 'x{service="fraud"}'}]
    alerts = custom("monitoring.coreos.com/v1", "PrometheusRule", {"groups": [{"rules": rules}]})
    violations, _ = told("alerts-for-every-service", [*rollout(5), *alerts])
    assert bool(violations) is not is_watched
