# pyright: basic
from __future__ import annotations

import json
from typing import Any

import pulumi
import pytest

from components.artifact_store import ArtifactStore
from components.from_stack.artifacts import artifact_store_args
from tests.components.artifact_stores import (
    AWS,
    DECLARED,
    NAMESPACE,
    SECRETS,
    SERVICES,
    STORES,
    declare,
    service,
)
from tests.components.gpu_pools import wrong

ON_AWS = [name for name, it in DECLARED.items() if it["provider"] == "aws"]


def args_of(name: str, services=SERVICES, aws=AWS) -> Any:
    return artifact_store_args(STORES[name], services, NAMESPACE, aws, SECRETS)


@pytest.mark.parametrize("name", DECLARED)
def test_the_whole_registration(name, registered, golden):
    golden(f"artifact-{name}", registered(lambda: declare(name)))


@pytest.mark.parametrize("name", ON_AWS)
def test_what_cannot_be_made_again_outlives_the_stack(name, registered):
    made = registered(lambda: declare(name))
    protected = {it for it, one in made.items() if one["options"].get("protect")}
    buckets = {it for it, one in made.items() if one["type"] == "aws:s3/bucket:Bucket"}
    assert len(buckets) == (1 if name == "external-log" else 2)
    assert protected == {"artifacts-key", *buckets}
    # Without its settings a bucket that is left behind would be open, or not encrypted.
    for it, one in made.items():
        if one["type"].startswith("aws:s3/") or it == "artifacts-key":
            assert one["options"]["retainOnDelete"], it
    for it in buckets:
        assert made[it]["inputs"]["forceDestroy"] is False


@pytest.mark.parametrize("name", ["pod-identity", "irsa"])
def test_pods_wait_for_the_rights_of_their_service_alone(name, registered):
    made = registered(lambda: declare(name))
    for account in ("fraud", "fraud-batch", "churn"):
        waits = set(made[f"artifacts-{account}-account"]["options"]["dependsOn"])
        role = f"artifacts-{account}"
        assert f"{role}-policy" in waits
        assert (f"{role}-identity" in waits) == (name == "pod-identity")
        assert all(it.startswith(f"{role}-") for it in waits if it != role)


@pytest.mark.parametrize(
    ("name", "secret", "has_key"),
    [
        ("pod-identity", None, True),
        ("irsa", None, True),
        ("s3-compatible", "artifacts", False),
        ("existing-secret", "artifacts", False),
    ],
)
def test_both_providers_give_the_same_outputs(name, secret, has_key, registered):
    found: dict[str, Any] = {}

    def program() -> None:
        store = declare(name)
        outputs = {
            "uri": store.uri_prefix,
            "accounts": store.service_accounts,
            "batch": store.batch_service_accounts,
            "one": store.account("churn"),
            "other": store.batch_account("fraud"),
            "secret": store.secret,
            "key": store.kms_key_arn,
        }
        pulumi.Output.all(**outputs).apply(found.update)

    registered(program)
    key = found.pop("key")
    assert bool(key) == has_key
    assert found == {
        "uri": f"s3://{STORES[name].bucket}",
        "accounts": {"fraud": "fraud", "churn": "churn"},
        "batch": {"fraud": "fraud-batch"},
        "one": "churn",
        "other": "fraud-batch",
        "secret": secret,
    }


def test_a_store_without_services_or_batch_predictions_has_empty_outputs(registered):
    found: dict[str, Any] = {}

    def program() -> None:
        store = ArtifactStore("artifacts", args_of("existing-secret", {}))
        both = {"accounts": store.service_accounts, "batch": store.batch_service_accounts}
        pulumi.Output.all(**both).apply(found.update)

    registered(program)
    assert found == {"accounts": {}, "batch": {}}


def test_keys_are_in_the_secret_and_nowhere_else(registered):
    made = registered(lambda: declare("s3-compatible"))
    data = made["artifacts-secret"]["inputs"]["stringData"]
    # The mark of a secret stays on all of it: Pulumi encrypts it in its state.
    assert pulumi.runtime.rpc.is_rpc_secret(data)
    assert pulumi.runtime.rpc.unwrap_rpc_secret(data) == {
        "AWS_ACCESS_KEY_ID": "hidden-id",
        "AWS_SECRET_ACCESS_KEY": "hidden-key",
    }
    others = {name: it for name, it in made.items() if name != "artifacts-secret"}
    assert "hidden-" not in json.dumps(others)


def test_an_existing_secret_is_only_named(registered):
    made = registered(lambda: declare("existing-secret"))
    assert {it["type"] for it in made.values()} == {
        "modelramp:index:ArtifactStore",
        "kubernetes:core/v1:ServiceAccount",
    }
    accounts = [it["inputs"] for it in made.values() if "ServiceAccount" in it["type"]]
    assert [it["secrets"] for it in accounts] == [[{"name": "artifacts"}]] * 3


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {"usehttps": "1", "verifyssl": "1", "usevirtualbucket": "false"}),
        ({"verifyTls": False}, {"usehttps": "1", "verifyssl": "0", "usevirtualbucket": "false"}),
        ({"pathStyle": False}, {"usehttps": "1", "verifyssl": "1", "usevirtualbucket": "true"}),
        ({"endpoint": "http://s3:80"}, {"usehttps": "0", "verifyssl": "1"}),
    ],
)
def test_kserve_is_told_how_to_reach_the_store_in_its_own_words(change, expected, registered):
    args = args_of("s3-compatible")
    args["s3Compatible"] |= change
    made = registered(lambda: ArtifactStore("artifacts", args))
    annotations = made["artifacts-secret"]["inputs"]["metadata"]["annotations"]
    prefix = "serving.kserve.io/s3-"
    assert all(it.startswith(prefix) for it in annotations)
    told = {it.removeprefix(prefix): value for it, value in annotations.items()}
    assert "://" not in told["endpoint"]
    assert told.items() >= expected.items()


@pytest.mark.parametrize("name", ["object-lock", "s3-compatible"])
def test_numbers_may_come_as_the_component_host_gives_them(name, registered):
    args = args_of(name)
    floats = json.loads(json.dumps(args), parse_int=float)
    expected = registered(lambda: ArtifactStore("artifacts", args))
    found = registered(lambda: ArtifactStore("artifacts", floats))
    children = [it for it in expected if it != "artifacts"]
    assert json.dumps({it: found[it] for it in children}) == json.dumps(
        {it: expected[it] for it in children}
    )


@pytest.mark.parametrize(
    ("region", "partition", "through"),
    [
        ("eu-central-1", "aws", "s3.eu-central-1.amazonaws.com"),
        ("cn-north-1", "aws-cn", "s3.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "aws-us-gov", "s3.us-gov-west-1.amazonaws.com"),
    ],
)
def test_policies_are_those_of_the_partition(region, partition, through, registered):
    made = registered(
        lambda: declare("pod-identity", aws=AWS.model_copy(update={"region": region}))
    )
    policy = made["artifacts-fraud-policy"]["inputs"]["policy"]
    assert f'"kms:ViaService": "{through}"' in policy
    texts = [it["inputs"].get("policy", "") for it in made.values()]
    texts += [it["inputs"].get("assumeRolePolicy", "") for it in made.values()]
    arns = [it for text in texts for it in text.split('"') if it.startswith("arn:")]
    # Those of the mocks, and of Aws's own boundary, are not ours.
    ours = [it for it in arns if not it.startswith("arn:aws:mock:")]
    assert len(ours) > 10
    assert {it.split(":")[1] for it in ours} == {partition}


def test_everything_that_is_wrong_is_said_at_once():
    services = {**SERVICES, "fraud-batch": service("fraud-batch")}
    args = args_of("irsa", services)
    args["services"]["churn"]["prefix"] = ""
    args["services"]["fraud"]["batch"]["outputs"] = ["s3://acme-models/*"]
    args["s3Compatible"] = {**args_of("s3-compatible")["s3Compatible"], "endpoint": "s3:9000"}
    args["s3Compatible"]["existingSecret"] = "one"
    args["aws"]["bucket"] = {
        "retainDays": 0,
        "cheaperAfterDays": 1,
        "cheaperClass": "DEEP_ARCHIVE",
        "objectLock": {"mode": "never", "days": 5},
        "accessLog": {"retainDays": 0},
    }
    del args["aws"]["access"]["oidcProviderArn"]
    plain = "must be s3://bucket/folder, without * ? $ and a slash at the end"
    assert wrong(lambda: ArtifactStore("artifacts", args)) == [
        ("services", "two of them need the service account fraud-batch"),
        ("services.fraud.batch.outputs", f"s3://acme-models/* {plain}"),
        ("services.churn.prefix", f"s3://acme-models/ {plain}"),
        ("aws", "exactly one of `aws` and `s3Compatible` must be given"),
        ("aws.bucket.retainDays", "must be at least 1"),
        ("aws.bucket.cheaperAfterDays", "must be at least 30"),
        (
            "aws.bucket.cheaperClass",
            "must be one of INTELLIGENT_TIERING, STANDARD_IA, GLACIER_IR",
        ),
        ("aws.bucket.objectLock.mode", "must be one of governance, compliance"),
        ("aws.bucket.objectLock.days", "must be from 1 to retainDays"),
        ("aws.bucket.accessLog.retainDays", "must be at least 1"),
        ("aws.access.oidcProviderArn", "is needed by irsa"),
        ("s3Compatible", "`existingSecret` and keys are mutually exclusive"),
        ("s3Compatible.endpoint", "must begin with http:// or https://"),
    ]


def test_half_of_the_keys_or_no_provider_at_all_is_refused():
    args = args_of("s3-compatible")
    del args["s3Compatible"]["secretKey"]
    needs = "needs accessKey and secretKey, or existingSecret"
    assert wrong(lambda: ArtifactStore("a", args)) == [("s3Compatible", needs)]
    del args["s3Compatible"]
    one = "exactly one of `aws` and `s3Compatible` must be given"
    assert wrong(lambda: ArtifactStore("a", args)) == [("aws", one)]


def test_a_name_that_no_role_can_have_is_refused():
    args = args_of("pod-identity", {"fraud": service("fraud")})
    args["aws"]["access"]["method"] = "keys"
    long = "a" * 51
    assert wrong(lambda: ArtifactStore(long, args)) == [
        ("aws.access.method", "must be one of pod-identity, irsa"),
        ("services", f"{long}-fraud is longer than 56, too long for a role"),
    ]
