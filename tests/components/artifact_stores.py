# pyright: basic
"""Declared artifact stores that several tests use, and the components they become."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from components.artifact_store import ArtifactStore
from components.from_stack.artifacts import artifact_store_args
from models import artifact_store as models
from models.aws import Aws
from models.batch import BatchPrediction
from models.service import Service
from models.stack import parse_stack
from models.version import Version
from tests.stacks import DIGEST, LOCAL

NAMESPACE = "models"
BUCKET = "acme-models"
ACCOUNT = "123456789012"
ISSUER = "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF"
AWS = Aws.model_validate(
    {
        "region": "eu-central-1",
        "accountId": ACCOUNT,
        "tags": {"team": "ml-platform"},
        "permissionsBoundaryArn": f"arn:aws:iam::{ACCOUNT}:policy/boundary",
        "eks": {
            "cluster": "prod",
            "oidcProviderArn": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}",
        },
    }
)
SECRETS = {"s3AccessKey": "hidden-id", "s3SecretKey": "hidden-key"}
KEYS = {"accessKeySecret": "s3AccessKey", "secretKeySecret": "s3SecretKey"}
DECLARED: dict[str, dict[str, Any]] = {
    # churn has MLflow's own layout, by experiment.
    "pod-identity": {"provider": "aws", "bucket": BUCKET, "prefixes": {"churn": "mlflow/7"}},
    "irsa": {"provider": "aws", "bucket": BUCKET, "access": "irsa", "retainDays": 90},
    "object-lock": {
        "provider": "aws",
        "bucket": BUCKET,
        "cheaperAfterDays": 60,
        "cheaperClass": "GLACIER_IR",
        "objectLock": {"mode": "compliance", "days": 365},
    },
    "external-log": {
        "provider": "aws",
        "bucket": BUCKET,
        "accessLog": {"bucket": "acme-access-logs"},
    },
    "s3-compatible": {
        "provider": "s3-compatible",
        "bucket": "models",
        "endpoint": "https://s3.example.com:9000",
        "region": "eu-1",
        "caConfigMap": "store-authority",
        "credentials": KEYS,
    },
    "existing-secret": {
        "provider": "s3-compatible",
        "bucket": "models",
        "endpoint": "http://198.18.77.2:7070",
        "existingSecret": "artifacts",
    },
}
BATCH = {
    "nightly": {
        "input": f"s3://{BUCKET}/batch/fraud/in",
        "output": f"s3://{BUCKET}/batch/fraud/out",
    },
    "weekly": {"input": "s3://lake/payments", "output": f"s3://{BUCKET}/batch/fraud/weekly"},
}
DECLARED_SERVICES = parse_stack(LOCAL, "x").services


def service(
    name: str, *, uris: tuple[str, ...] = (), batch: dict[str, Any] | None = None
) -> Service:
    """Returns a declared service with a version at each URI, and with batch predictions."""
    versions = {
        f"1.{minor}.0": Version(uri=uri, digest=DIGEST, registry=f"models:/{name}/{minor}")
        for minor, uri in enumerate(uris)
    }
    jobs = {it: BatchPrediction.model_validate(job) for it, job in (batch or {}).items()}
    update = {"versions": versions, "batch": jobs, "rollout": None}
    return DECLARED_SERVICES["fraud"].model_copy(update=update)


SERVICES = {"fraud": service("fraud", batch=BATCH), "churn": service("churn")}


def store(declared: dict[str, Any]) -> models.ArtifactStore:
    return TypeAdapter(models.ArtifactStore).validate_python(declared)


STORES = {name: store(declared) for name, declared in DECLARED.items()}


def declare(name: str, namespace: str = NAMESPACE, aws: Aws = AWS) -> ArtifactStore:
    args = artifact_store_args(STORES[name], SERVICES, namespace, aws, SECRETS)
    return ArtifactStore("artifacts", args)
