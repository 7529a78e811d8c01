# pyright: basic
from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from models.artifact_store import (
    ArtifactStore,
    AwsStore,
    S3CompatibleStore,
    artifact_problems,
    batch_prefixes,
    service_prefix,
)
from models.aws import Aws
from models.batch import BatchPrediction
from models.service import Service
from models.stack import parse_stack
from models.version import Version
from tests.stacks import DIGEST, LOCAL

STORE = TypeAdapter(ArtifactStore)
ON_AWS = {"provider": "aws", "bucket": "acme-models"}
ELSEWHERE = {
    "provider": "s3-compatible",
    "bucket": "acme-models",
    "endpoint": "https://s3.example.com:9000",
    "existingSecret": "artifacts",
}
KEYS = {"accessKeySecret": "s3AccessKey", "secretKeySecret": "s3SecretKey"}
AWS = Aws.model_validate(
    {"region": "eu-central-1", "accountId": "123456789012", "eks": {"cluster": "prod"}}
)
FRAUD = parse_stack(LOCAL, "x").services["fraud"]


def service(*uris: str, **batch: tuple[str, str]) -> Service:
    versions = {
        f"1.{minor}.0": Version(uri=uri, digest=DIGEST, registry="models:/fraud/1")
        for minor, uri in enumerate(uris)
    }
    jobs = {
        name: BatchPrediction.model_validate({"input": given, "output": written})
        for name, (given, written) in batch.items()
    }
    return FRAUD.model_copy(update={"versions": versions, "batch": jobs, "rollout": None})


def problems(
    declared: dict[str, Any], aws: Aws | None = AWS, target: str = "eks", **services: Service
) -> dict[str, str]:
    named = {name.replace("_", "-"): it for name, it in services.items()}
    found = artifact_problems(STORE.validate_python(declared), named, aws, target)
    return {".".join(path): what for path, what in found}


def refused(declared: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as error:
        STORE.validate_python(declared)
    return [it["msg"].removeprefix("Value error, ") for it in error.value.errors()]


def test_the_shortest_declarations():
    store = STORE.validate_python(ON_AWS)
    assert isinstance(store, AwsStore)
    assert (store.access, store.retain_days, store.cheaper_after_days) == ("pod-identity", 730, 30)
    assert store.access_log.bucket is None
    other = STORE.validate_python(ELSEWHERE)
    assert isinstance(other, S3CompatibleStore)
    assert other.secret_keys == ()
    for declared in (ON_AWS, ELSEWHERE):
        it = STORE.validate_python(declared)
        assert service_prefix(it, "fraud") == "fraud"
        assert problems(declared, fraud=service("s3://acme-models/fraud/1.0.0")) == {}


def test_secrets_are_named_and_never_given():
    declared = {**ELSEWHERE, "credentials": KEYS}
    del declared["existingSecret"]
    assert STORE.validate_python(declared).secret_keys == ("s3AccessKey", "s3SecretKey")
    given = {**declared, "credentials": {"accessKey": "AKIA", "secretKey": "x"}}
    assert len(refused(given)) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"credentials": KEYS}, "give either credentials, of which a Secret is made, or"),
        ({"existingSecret": None}, "give either credentials, of which a Secret is made, or"),
        ({"endpoint": "http://s3:80", "verifyTls": False}, "are for https, endpoint is http"),
        ({"verifyTls": False}, "existingSecret says verifyTls, caConfigMap and pathStyle itself"),
        ({"pathStyle": False}, "existingSecret says verifyTls, caConfigMap and pathStyle itself"),
        (
            {"existingSecret": None, "credentials": KEYS, "verifyTls": False, "caConfigMap": "a"},
            "caConfigMap is of no use with verifyTls: false",
        ),
        ({"endpoint": "s3:9000"}, "String should match pattern"),
        ({"endpoint": "https://id:key@s3"}, "String should match pattern"),
        ({"endpoint": "https://s3/models"}, "String should match pattern"),
    ],
)
def test_a_store_elsewhere_that_does_not_fit_together_is_refused(change, message):
    (found,) = refused({**ELSEWHERE, **change})
    assert message in found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bucket": "a" * 60}, f"{'a' * 60}-logs is too long for a bucket"),
        ({"accessLog": {"bucket": "acme-models"}}, "is the bucket itself"),
        ({"accessLog": {"bucket": "logs", "retainDays": 5}}, "is for a bucket that is made here"),
        (
            {"retainDays": 30, "objectLock": {"mode": "governance", "days": 31}},
            "objectLock.days is more than retainDays",
        ),
        ({"cheaperAfterDays": 7}, "greater than or equal to 30"),
        ({"cheaperClass": "DEEP_ARCHIVE"}, "INTELLIGENT_TIERING"),
        ({"bucket": "acme.models"}, "String should match pattern"),
        ({"prefixes": {"fraud": "a/*"}}, "String should match pattern"),
        ({"prefixes": {"fraud": "a/"}}, "String should match pattern"),
        ({"prefixes": {"fraud": ""}}, "String should match pattern"),
        ({"prefixes": {"fraud": "${aws:username}"}}, "String should match pattern"),
    ],
)
def test_a_bucket_that_does_not_fit_together_is_refused(change, message):
    (found,) = refused({**ON_AWS, **change})
    assert message in found


def test_several_mistakes_are_said_at_once():
    (found,) = refused(
        {**ELSEWHERE, "endpoint": "http://s3:80", "credentials": KEYS, "verifyTls": False}
    )
    assert found.count(";") == 2


@pytest.mark.parametrize(
    "uri",
    [
        "s3://acme-models/churn/1.0.0",
        "s3://acme-models/fraudulent/1.0.0",
        "s3://acme-models/fraud",
        "s3://acme-models/fraud/",
        "s3://another/fraud/1.0.0",
        "s3://acme-models//fraud/1.0.0",
    ],
)
@pytest.mark.parametrize("declared", [ON_AWS, ELSEWHERE])
def test_a_version_that_lies_elsewhere_is_named(declared, uri):
    found = problems(declared, fraud=service("s3://acme-models/fraud/1.0.0", uri))
    (at, what), *others = found.items()
    assert (at, others) == ("services.fraud.versions.1.1.0.uri", [])
    assert what.startswith(f"{uri} is not under s3://acme-models/fraud/,")
    assert what.endswith("artifacts.prefixes.fraud can name another folder")


def test_a_prefix_may_be_the_folder_of_an_experiment_of_mlflow():
    uri = "s3://acme-models/artifacts/7/models/m-0/artifacts"
    declared = {**ON_AWS, "prefixes": {"fraud": "artifacts/7"}}
    assert problems(declared, fraud=service(uri)) == {}
    assert "services.fraud.versions.1.0.0.uri" in problems(ON_AWS, fraud=service(uri))


@pytest.mark.parametrize(
    ("prefixes", "overlaps"),
    [
        ({"fraud": "mlflow/7", "churn": "mlflow/7"}, True),
        ({"fraud": "mlflow", "churn": "mlflow/7"}, True),
        ({"fraud": "churn/a/b"}, True),
        ({"fraud": "mlflow/7", "churn": "mlflow/70"}, False),
        # What sorts between a folder and what lies in it.
        ({"fraud": "a", "churn": "a-b", "spam": "a/b"}, True),
        ({"fraud": "a", "churn": "a-b", "spam": "b"}, False),
    ],
)
def test_no_service_may_read_the_models_of_another(prefixes, overlaps):
    found = problems(
        {**ON_AWS, "prefixes": prefixes}, fraud=service(), churn=service(), spam=service()
    )
    assert set(found) == ({"artifacts.prefixes"} if overlaps else set())
    assert all("one could read the other's models" in it for it in found.values())


def test_prefixes_are_of_services_that_there_are():
    found = problems({**ON_AWS, "prefixes": {"spam": "a"}}, fraud=service())
    assert found == {"artifacts.prefixes.spam": "no service of this name; there are fraud"}


@pytest.mark.parametrize(
    ("given", "written", "wrong"),
    [
        ("s3://acme-models/in", "s3://acme-models/out", {}),
        ("s3://acme-models/fraud/examples", "s3://lake/fraud", {}),
        ("s3://acme-models/churn/1.0.0", "s3://lake/out", {"input": "churn"}),
        ("s3://lake/in", "s3://acme-models/fraud/out", {"output": "fraud"}),
        ("s3://lake/in", "s3://acme-models/churn", {"output": "churn"}),
        ("s3://lake/*/a", "s3://lake/out", {"input": "taken literally"}),
    ],
)
def test_batch_predictions_keep_away_from_models(given, written, wrong):
    found = problems(ON_AWS, fraud=service(nightly=(given, written)), churn=service())
    assert found.keys() == {f"services.fraud.batch.nightly.{side}" for side in wrong}
    for side, what in wrong.items():
        assert what in found[f"services.fraud.batch.nightly.{side}"]


def test_all_jobs_of_a_service_share_their_prefixes():
    it = service(a=("s3://b/in", "s3://b/out"), b=("s3://b/in", "s3://b/other"))
    assert batch_prefixes(it) == (["s3://b/in"], ["s3://b/other", "s3://b/out"])


def test_service_accounts_have_one_owner():
    jobs = {"a": ("s3://b/in", "s3://b/out")}
    found = problems(ON_AWS, fraud=service(**jobs), fraud_batch=service(), default=service())
    assert set(found) == {"services.fraud-batch", "services.default"}
    assert problems(ON_AWS, fraud=service(), fraud_batch=service()) == {}


@pytest.mark.parametrize(
    ("aws", "access", "path"),
    [
        (None, "pod-identity", "artifacts.provider"),
        (AWS.model_copy(update={"account_id": None}), "pod-identity", "artifacts.provider"),
        (AWS.model_copy(update={"eks": None}), "pod-identity", "artifacts.provider"),
        (AWS, "irsa", "artifacts.access"),
    ],
)
def test_a_bucket_of_aws_needs_its_account_and_cluster(aws, access, path):
    assert set(problems({**ON_AWS, "access": access}, aws)) == {path}
    assert problems(ELSEWHERE, aws) == {}


def test_the_embedded_target_has_a_store_of_its_own():
    assert set(problems(ELSEWHERE, target="embedded")) == {"artifacts"}
    assert problems(ELSEWHERE, target="cluster") == {}
