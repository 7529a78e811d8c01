# pyright: basic
"""Raw resources, as people declare them who do without our components."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

DIGEST = "sha256:" + "a" * 64
IMAGE = f"registry.example.com/tool@{DIGEST}"

Resources = list[dict[str, Any]]

SERVING = "serving.kserve.io/v1beta1"
GATEWAY = "gateway.networking.k8s.io/v1"
STABLE, CANDIDATE = "fraud-v1-4-0-predictor", "fraud-v1-5-0-predictor"

SAFE = {"runAsNonRoot": True, "allowPrivilegeEscalation": False}
PROBE = {"httpGet": {"path": "/ready", "port": 8080}}


def container(**changed: Any) -> dict[str, Any]:
    """Returns a container that breaks no rule; a field set to None is left out."""
    whole = {
        "name": "tool",
        "image": IMAGE,
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
        "securityContext": SAFE,
        "readinessProbe": PROBE,
        "livenessProbe": PROBE,
        **changed,
    }
    return {key: copy.deepcopy(it) for key, it in whole.items() if it is not None}


def pod(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"containers": list(containers or [container()]), **more}


def template(spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"labels": {"app": "tool"}, **metadata}, "spec": spec}


def deployment(spec: dict[str, Any] | None = None, **more: Any) -> Resources:
    whole = {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "tool"}},
        "template": template(spec or pod()),
        **more,
    }
    return custom("apps/v1", "Deployment", {key: it for key, it in whole.items() if it is not None})


def custom(
    api: str, kind: str, spec: Mapping[str, Any], name: str = "raw", **metadata: Any
) -> Resources:
    """Returns any object of Kubernetes, as a custom resource registers it."""
    props = {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": name, "namespace": "models", **metadata},
        "spec": copy.deepcopy(dict(spec)),
    }
    token = f"kubernetes:{api if '/' in api else f'core/{api}'}:{kind}"
    return [{"type": token, "name": name, "props": props, "protect": False}]


def without_spec(token: str, name: str = "raw", **props: Any) -> Resources:
    """Returns a resource of any package."""
    return [{"type": token, "name": name, "props": props, "protect": False}]


def aws(token: str, name: str, *, protect: bool = False, **props: Any) -> Resources:
    return [{"type": token, "name": name, "props": props, "protect": protect}]


def inference_service(spec: dict[str, Any] | None = None, **metadata: Any) -> Resources:
    """Returns an InferenceService that breaks no rule but the one that a test breaks."""
    model = {
        **container(name=None, image=None),
        "modelFormat": {"name": "sklearn"},
        "runtime": "kserve-sklearnserver",
        "storageUri": "s3://acme-models/raw/1",
    }
    return custom(
        SERVING,
        "InferenceService",
        spec or {"predictor": {"minReplicas": 2, "model": model}},
        **{
            "labels": {"networking.kserve.io/visibility": "cluster-local"},
            "annotations": {"modelramp.dev/digest": DIGEST},
            **metadata,
        },
    )


def watched(service: str) -> Resources:
    rule = {"alert": "ErrorRate", "expr": f'errors{{service="{service}"}} > 1'}
    spec = {"groups": [{"name": service, "rules": [rule]}]}
    return custom("monitoring.coreos.com/v1", "PrometheusRule", spec, f"{service}-alerts")


def facts(**changed: str | None) -> dict[str, str]:
    """Returns the annotations of a route of fraud; one set to None is left out."""
    moves = [{"percent": 1, "at": "2026-11-23T08:00:00Z"}]
    whole = {
        "service": "fraud",
        "stable": "1.4.0",
        "candidate": "1.5.0",
        "risk": "high",
        "strategy": "canary",
        "moves": json.dumps(moves),
        "owner": "payments-ml",
        "model-card": "payments-ml@example.com",
        "group": "payments",
        "staging": "staging",
        "keep-previous": "86400s",
        **{key.replace("_", "-"): it for key, it in changed.items()},
    }
    return {f"modelramp.dev/{key}": it for key, it in whole.items() if it is not None}


def moves(*percents: float, day: int = 23) -> str:
    """Returns moves, an hour between two."""
    return json.dumps(
        [
            {"percent": percent, "at": f"2026-11-{day}T{8 + hour:02}:00:00Z"}
            for hour, percent in enumerate(percents)
        ]
    )


def reference(name: str, weight: float | str | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "port": 80, **({} if weight is None else {"weight": weight}), **more}


def route(
    *rules: dict[str, Any],
    annotations: Mapping[str, str] | None = None,
    kind: str = "HTTPRoute",
    api: str = GATEWAY,
    name: str = "fraud-again",
) -> Resources:
    return custom(api, kind, {"rules": list(rules)}, name, annotations=dict(annotations or {}))


def split(stable: float | None, candidate: float | str | None) -> dict[str, Any]:
    return {"backendRefs": [reference(STABLE, stable), reference(CANDIDATE, candidate)]}


TLS_ONLY = {
    "Effect": "Deny",
    "Principal": "*",
    "Action": "s3:*",
    "Resource": ["arn:aws:s3:::raw", "arn:aws:s3:::raw/*"],
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}
BLOCK = dict.fromkeys(
    ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"), True
)


def bucket(*left_out: str, version: str = "", **changed: Any) -> Resources:
    """Returns a bucket with all its settings but those left out; others can be changed.

    Args:
        left_out: `block`, `versioning`, `encryption`, `policy` or `protect`.
        version: `V2` for the types of that name.
        changed: properties of the bucket, or by the names above those of a setting.
    """
    statements = changed.pop("statements", [TLS_ONLY])
    sse = {"sseAlgorithm": "aws:kms"}
    settings = {
        "block": ("BucketPublicAccessBlock", "", BLOCK),
        "versioning": (
            "BucketVersioning",
            version,
            {"versioningConfiguration": {"status": "Enabled"}},
        ),
        "encryption": (
            "BucketServerSideEncryptionConfiguration",
            version,
            {"rules": [{"applyServerSideEncryptionByDefault": sse}]},
        ),
        "policy": ("BucketPolicy", "", {"policy": json.dumps({"Statement": statements})}),
    }
    found: Resources = []
    for key, (kind, suffix, props) in settings.items():
        if key not in left_out:
            token = f"aws:s3/{kind[0].lower()}{kind[1:]}{suffix}:{kind}{suffix}"
            found += aws(token, key, **{"bucket": "raw", **props, **changed.pop(key, {})})
    own = {"bucket": "raw", **changed}
    token = f"aws:s3/bucket{version}:Bucket{version}"
    return [*aws(token, "raw", protect="protect" not in left_out, **own), *found]


def native_bucket(*left_out: str) -> Resources:
    """Returns a bucket of AWS's Cloud Control provider, whose settings are its own properties."""
    settings = {
        "publicAccessBlockConfiguration": BLOCK,
        "versioningConfiguration": {"status": "Enabled"},
        "bucketEncryption": {
            "serverSideEncryptionConfiguration": [
                {"serverSideEncryptionByDefault": {"sseAlgorithm": "aws:kms"}}
            ]
        },
    }
    props = {key: it for key, it in settings.items() if key not in left_out}
    policy = {"bucket": "raw", "policyDocument": {"Statement": [TLS_ONLY]}}
    return [
        *aws("aws-native:s3:Bucket", "raw", protect=True, bucketName="raw", **props),
        *aws("aws-native:s3:BucketPolicy", "policy", **policy),
    ]
