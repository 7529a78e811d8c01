# pyright: basic
from __future__ import annotations

import json
import re

import pytest
from pulumi.errors import InputPropertiesError

from components.from_stack.services import model_service_args
from components.model_service import ModelService
from components.serving_runtime import MlflowRuntime
from components.traffic_route import (
    Split,
    bucket_pattern,
    http_known,
    http_route,
    model_paths,
    request_timeout,
)
from models.names import NO_VERSION
from models.rollout import Move, Rejected
from models.stack import parse_stack
from tests.stacks import DIGEST, LOCAL

STACK = parse_stack(
    LOCAL.replace("gateway: gateway/models", "gateway: gateway/models, ruleInterval: 5s"), "x"
)
FRAUD = STACK.services["fraud"]


# What one service is declared as, whole, by strategy.
STRATEGIES = {
    "canary": ("{kind: canary, steps: [1, 5, 25, 100]}", 5),
    "linear": ("{kind: linear, increment: 5, every: 10m}", 5),
    "blue-green-waits": ("{kind: blue-green, mirror: 20}", 0),
    "blue-green-switched": ("{kind: blue-green, mirror: 20}", 100),
    "shadow": ("{kind: shadow, mirror: 10}", 0),
    "ab-test": ("{kind: ab-test, percent: 25, header: x-bucket}", 25),
    "ab-test-decided": ("{kind: ab-test, percent: 25, header: x-bucket}", 100),
    "all-at-once": ("{kind: all-at-once}", 100),
}
RUNTIMES = {
    "mlflow": "{kind: mlflow, replicas: 4}",
    "sklearn-autoscaled": "{kind: sklearn, replicas: 2, scaling: {max: 8, target: 60}}",
    "xgboost-batched": "{kind: xgboost, batching: {maxSize: 64, maxLatency: 20ms}}",
    "lightgbm": "{kind: lightgbm, timeout: 1500ms}",
    "onnx-grpc": "{kind: onnx, grpc: {hostname: fraud.example.com}}",
    "openvino": "{kind: openvino, writableRoot: true}",
    "triton-queue": "{kind: triton, replicas: 2, scaling: {max: 6, metric: queue, target: 4}}",
    "mlserver": "{kind: mlserver, format: sklearn, env: {MLSERVER_PARALLEL_WORKERS: '2'}}",
    "huggingface": "{kind: huggingface, args: [--backend=vllm], memory: 16Gi}",
    "vllm-gpu": (
        "{kind: vllm, gpu: {pool: rack, count: 2}, replicas: 2,"
        " scaling: {max: 4, metric: tokens, target: 2000}}"
    ),
    "custom": (
        "{kind: custom, image: mine, protocol: v2, command: [serve], args: [--fast],"
        " readyPath: /ready, cpuLimit: '2'}"
    ),
    "zero": "{kind: sklearn, scaling: {max: 3, metric: requests, target: 10, zero: true}}",
}


def stack_with(*, runtime: str = RUNTIMES["mlflow"], strategy: str, percent: int, more: str = ""):
    text = (
        LOCAL.replace("{target: embedded,", "{target: cluster, prometheus: http://prometheus:9090,")
        .replace("risk: high", f"risk: low\n      shareGroup: payments{more}")
        .replace("runtime: {kind: mlflow}", f"runtime: {runtime}", 1)
        .replace("{kind: canary, steps: [1, 5, 25, 100], bake: 10m}", strategy)
        .replace("percent: 5,", f"percent: {percent},")
        .replace(
            "config:",
            "config:\n  modelramp:gpuPools:\n"
            "    rack: {provider: existing, nodeSelector: {gpu: a100}, maxGpus: 8}",
        )
    )
    if "mlflow" not in runtime:  # no other kind counts labels
        text = text.replace(", accuracy: 0.9", "")
    if "vllm" in runtime:
        text = text.replace("registry: ", "quantization: awq, registry: ")
    return parse_stack(text, "x")


def args_of(stack):
    return model_service_args(
        "fraud",
        stack.services["fraud"],
        stack.cluster,
        pools=stack.gpu_pools,
        mlflow_runtime="modelramp-mlflow",
        service_account="fraud",
    )


@pytest.mark.parametrize("case", STRATEGIES)
def test_each_strategy_is_registered_as_its_golden_file_says(case, registered, golden):
    strategy, percent = STRATEGIES[case]
    args = args_of(stack_with(strategy=strategy, percent=percent))
    golden(f"model-service-{case}", registered(lambda: ModelService("fraud", args)))


@pytest.mark.parametrize("case", RUNTIMES)
def test_each_runtime_is_declared_as_its_golden_file_says(case, declared, golden):
    strategy, percent = STRATEGIES["canary"]
    stack = stack_with(runtime=RUNTIMES[case], strategy=strategy, percent=percent)
    made = declared(lambda: ModelService("fraud", args_of(stack)))
    # Of both versions they are the same but for artifact, labels and number of pods.
    del made["fraud"], made["fraud-1.4.0"], made["fraud-1.4.0-disruption"], made["fraud-declared"]
    golden(f"runtime-{case}", made)


def test_knative_leaves_the_split_to_kserve(registered, golden):
    strategy, percent = STRATEGIES["canary"]
    stack = stack_with(
        strategy=strategy,
        percent=percent,
        more="\n      predictionLog: {url: 'http://log.models', mode: response}",
    )
    args = args_of(stack)
    args["mode"] = "knative"
    golden("model-service-knative", registered(lambda: ModelService("fraud", args)))


@pytest.mark.parametrize("percent", range(1, 100))
def test_a_bucket_pattern_matches_the_numbers_below(percent):
    pattern = re.compile(bucket_pattern(percent))
    matched = {number for number in range(100) if pattern.fullmatch(str(number))}
    assert matched == set(range(percent))


@pytest.mark.parametrize(
    ("moves", "pods"),
    [
        ([1], 1),  # 5% of 10 is next
        ([1, 5], 3),  # 25% of 10, rounded up
        ([1, 5, 25], 10),
        ([1, 5, 25, 5], 3),
        ([1, 5, 25, 0], 3),  # taken back: still what it had for the 25%
        ([1, 5, 25, 100], 10),
    ],
)
def test_pods_are_there_before_the_weights_that_need_them(moves, pods):
    service = stack_with(
        runtime="{kind: mlflow, replicas: 10}", strategy=STRATEGIES["canary"][0], percent=5
    ).services["fraud"]
    assert service.rollout is not None
    made = tuple(
        Move(percent=percent, at=service.rollout.moves[0].at, why=None) for percent in moves
    )
    rollout = service.rollout.model_copy(update={"moves": made})
    stack = service.model_copy(update={"rollout": rollout})
    versions = model_service_args("fraud", stack, STACK.cluster)["versions"]
    assert versions["1.5.0"]["replicas"] == pods
    assert versions["1.4.0"]["replicas"] == 10


@pytest.fixture
def fraud(declared):
    args = model_service_args("fraud", FRAUD, STACK.cluster, mlflow_runtime="modelramp-mlflow")
    return declared(lambda: ModelService("fraud", args))


def test_every_version_is_an_inference_service_with_the_same_model_name(fraud):
    stable, candidate = fraud["fraud-1.4.0"], fraud["fraud-1.5.0"]
    assert stable["type"] == "kubernetes:serving.kserve.io/v1beta1:InferenceService"
    assert (stable["metadata"]["name"], candidate["metadata"]["name"]) == (
        "fraud-v1-4-0",
        "fraud-v1-5-0",
    )
    for version, service in (("1.4.0", stable), ("1.5.0", candidate)):
        predictor = service["spec"]["predictor"]
        assert predictor["labels"] == {"model-service": "fraud", "model-version": version}
        assert "--model_name=fraud" in predictor["model"]["args"]
        assert service["metadata"]["annotations"]["pulumi.com/waitFor"] == "condition=Ready"
        assert service["metadata"]["annotations"]["pulumi.com/timeoutSeconds"] == "600"
    assert f"--digest={DIGEST}" in stable["spec"]["predictor"]["model"]["args"]
    assert stable["metadata"]["labels"]["networking.kserve.io/visibility"] == "cluster-local"


def test_a_pod_may_use_more_processors_than_it_is_sure_of(declared):
    runtime = FRAUD.runtime.model_copy(update={"cpu": "200m", "cpu_limit": "1"})
    service = FRAUD.model_copy(update={"runtime": runtime})
    args = model_service_args("fraud", service, STACK.cluster)
    made = declared(lambda: ModelService("fraud", args))
    resources = made["fraud-1.4.0"]["spec"]["predictor"]["model"]["resources"]
    assert resources == {
        "requests": {"cpu": "200m", "memory": "1Gi"},
        "limits": {"cpu": "1", "memory": "1Gi"},
    }


def test_one_route_has_the_weights_and_a_header_rule_per_version(fraud):
    *pinned, split = fraud["fraud-route"]["spec"]["rules"]
    assert [(it["name"], it["weight"]) for it in split["backendRefs"]] == [
        ("fraud-v1-4-0-predictor", 95),
        ("fraud-v1-5-0-predictor", 5),
    ]
    for rule, version in zip(pinned, ("1.4.0", "1.5.0"), strict=True):
        assert {match["headers"][0]["value"] for match in rule["matches"]} == {version}
        assert [match["path"] for match in rule["matches"]] == [
            match["path"] for match in split["matches"]
        ]
        # A filter keeps the gateway from counting pinned requests as the version's own.
        assert rule["backendRefs"][0]["filters"]


def test_a_route_of_its_own_makes_every_version_known_before_its_first_request(fraud):
    assert fraud["fraud-known"]["metadata"]["name"] == "fraud.known"
    (known,) = fraud["fraud-known"]["spec"]["rules"]
    *_, split = fraud["fraud-route"]["spec"]["rules"]
    assert {match["headers"][0]["value"] for match in known["matches"]} == {NO_VERSION}
    assert [it["path"] for it in known["matches"]] == [it["path"] for it in split["matches"]]
    assert [it["name"] for it in known["backendRefs"]] == [
        it["name"] for it in split["backendRefs"]
    ]
    # With filters the gateway would not take its backends for those of the split.
    assert "filters" not in known
    assert all(it["weight"] == 1 and "filters" not in it for it in known["backendRefs"])


def test_policies_can_read_the_rollout_from_the_route(fraud):
    annotations = fraud["fraud-route"]["metadata"]["annotations"]
    assert annotations["modelramp.dev/risk"] == "high"
    assert annotations["modelramp.dev/candidate"] == "1.5.0"
    assert [move["percent"] for move in json.loads(annotations["modelramp.dev/moves"])] == [1, 5]


def test_the_declared_weights_are_recorded(fraud):
    (group,) = fraud["fraud-declared"]["spec"]["groups"]
    assert group["interval"] == "5s"
    assert [(rule["expr"], rule["labels"]["version"]) for rule in group["rules"]] == [
        ("vector(95)", "1.4.0"),
        ("vector(5)", "1.5.0"),
    ]


def test_all_wrong_arguments_are_named_before_anything_is_made(declared):
    args = model_service_args("fraud", FRAUD, STACK.cluster, mlflow_runtime="modelramp-mlflow")
    args.update({"candidate": "9.9.9", "gateway": "models", "versions": {}})
    with pytest.raises(InputPropertiesError) as caught:
        declared(lambda: ModelService("fraud", args))
    assert caught.value.errors is not None
    assert {error["property_path"] for error in caught.value.errors} == {
        "versions",
        "stable",
        "candidate",
        "gateway",
    }


def test_the_runtimes_name_waits_for_the_runtime(declared):
    made = declared(lambda: MlflowRuntime("mlflow", {"namespace": "models", "image": "x@sha256:1"}))
    container = made["mlflow-runtime"]["spec"]["containers"][0]
    assert container["image"] == "x@sha256:1"
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 3600
    assert "initialDelaySeconds" not in container["livenessProbe"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(30, "30s"), (86400, "24h"), (100.5, "1m40s500ms"), (3661, "1h1m1s"), (0.25, "250ms")],
)
def test_a_time_out_is_written_as_the_gateway_api_takes_it(seconds, text):
    assert request_timeout(seconds) == text
    assert re.fullmatch(r"([0-9]{1,5}(h|m|s|ms)){1,4}", text)


def test_a_candidate_that_was_taken_back_gets_no_more_copies(declared):
    stack = stack_with(strategy=STRATEGIES["blue-green-waits"][0], percent=0)
    fraud = stack.services["fraud"]
    assert fraud.rollout is not None
    digest = fraud.versions["1.5.0"].digest
    rejected = Rejected(digest=digest, at=fraud.rollout.moves[0].at, why="harm")
    rollout = fraud.rollout.model_copy(update={"rejected": (rejected,)})
    service = fraud.model_copy(update={"rollout": rollout})
    args = model_service_args("fraud", service, stack.cluster)
    made = declared(lambda: ModelService("fraud", args))
    assert "RequestMirror" not in json.dumps(made["fraud-route"]["spec"])


def test_the_previous_version_is_kept_known_to_the_gateway():
    split: Split = {
        "name": "fraud",
        "percents": {"1.4.0": 100, "1.3.0": 0},
        "stable": "1.4.0",
        "candidate": None,
        "strategy": {"kind": "canary"},
        "traced": False,
    }
    paths = model_paths("fraud", ["v1"])
    (known,) = http_known(split, "gateway/models", paths)["rules"]
    *_, weighted = http_route(split, "gateway/models", paths, None, "10s")["rules"]
    names = ["fraud-v1-4-0-predictor", "fraud-v1-3-0-predictor"]
    assert [it["name"] for it in known["backendRefs"]] == names
    assert [it["name"] for it in weighted["backendRefs"]] == names[:1]
