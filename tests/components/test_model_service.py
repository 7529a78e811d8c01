# pyright: basic
from __future__ import annotations

import json

import pytest
from pulumi.errors import InputPropertiesError

from components.from_stack.services import model_service_args
from components.model_service import ModelService
from components.serving_runtime import MlflowRuntime
from models.stack import parse_stack
from tests.stacks import DIGEST, LOCAL

STACK = parse_stack(
    LOCAL.replace("gateway: gateway/models", "gateway: gateway/models, ruleInterval: 5s"), "x"
)
FRAUD = STACK.services["fraud"]


@pytest.fixture
def fraud(declared):
    args = model_service_args(FRAUD, "modelramp-mlflow", STACK.cluster)
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
    args = model_service_args(service, "modelramp-mlflow", STACK.cluster)
    made = declared(lambda: ModelService("fraud", args))
    resources = made["fraud-1.4.0"]["spec"]["predictor"]["model"]["resources"]
    assert resources == {
        "requests": {"cpu": "200m", "memory": "1Gi"},
        "limits": {"cpu": "1", "memory": "1Gi"},
    }


def test_one_route_has_the_weights_and_a_header_rule_per_version(fraud):
    *pinned, kept, split = fraud["fraud-route"]["spec"]["rules"]
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
    assert {match["headers"][0]["value"] for match in kept["matches"]} == {"none"}
    assert [it["name"] for it in kept["backendRefs"]] == [it["name"] for it in split["backendRefs"]]
    assert all(it["weight"] == 1 and "filters" not in it for it in kept["backendRefs"])


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


def test_no_input_holds_a_printed_output(fraud):
    assert "Calling __str__ on an Output" not in json.dumps(fraud)


def test_all_wrong_arguments_are_named_before_anything_is_made(declared):
    args = model_service_args(FRAUD, "modelramp-mlflow", STACK.cluster)
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
