# pyright: basic
"""A model that KServe fetches with the Secret and the service account of an artifact store."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest

from components.artifact_store import ArtifactStore
from components.from_stack.artifacts import artifact_store_args
from components.from_stack.services import model_service_args
from components.model_service import ModelService
from components.serving_runtime import MlflowRuntime
from local.cluster.kubectl import Kubectl
from local.cluster.layout import ENDPOINTS, NODE_LABEL, Layout
from local.stores import REGION, Credentials
from models.artifact_store import S3CompatibleStore
from models.digest import artifact_digest
from models.errors import ToolError
from models.stack import Stack, parse_stack
from tests.cluster.test_observability import plain
from tests.components.artifact_stores import DECLARED, declare
from tests.components.conftest import record

pytestmark = pytest.mark.cluster

NAMESPACE = f"artifacts-{secrets.token_hex(4)}"
URI = f"s3://{NAMESPACE}/fraud/1.0.0"
READY_SECONDS = 90
ROWS = [{"amount": it} for it in (-2.0, -1.0, 1.0, 2.0)]
STORE = S3CompatibleStore.model_validate(
    {
        "provider": "s3-compatible",
        "bucket": NAMESPACE,
        "endpoint": ENDPOINTS["store"],
        "region": REGION,
        "credentials": {"accessKeySecret": "s3AccessKey", "secretKeySecret": "s3SecretKey"},
    }
)

Object = dict[str, Any]


def stack(digest: str, image: str) -> Stack:
    text = f"""\
config:
  modelramp:cluster:
    target: cluster
    namespace: {NAMESPACE}
    gateway: gateway/models
    prometheus: {ENDPOINTS["prometheus"]}
    serverImage: {image}
  modelramp:services:
    fraud:
      owner: payments-ml
      runtime: {{kind: mlflow, cpu: 100m, cpuLimit: "1", memory: 512Mi}}
      versions:
        "1.0.0": {{uri: "{URI}", digest: "{digest}", registry: "models:/fraud/1"}}
      strategy: {{kind: canary, steps: [100]}}
      slo: {{latency: {{thresholdMs: 250, share: 0.99}}}}
      rollout: {{stable: "1.0.0"}}
"""
    return parse_stack(text, "a stack of the tests")


@pytest.fixture(scope="module")
def keys(kubectl: Kubectl) -> Credentials:
    """Those of the local store."""
    if not kubectl.get("nodes", f"--selector={NODE_LABEL}=true")["items"]:
        pytest.skip("fetches from the store of the cluster that is made here")
    return Credentials.of(Layout.default().data)


@pytest.fixture(scope="module")
def digest(keys: Credentials, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """Puts a model in the store, in a bucket of its own; its digest."""
    import pandas as pd  # noqa: PLC0415  as the others, it takes seconds
    from mlflow.models import infer_signature  # noqa: PLC0415
    from mlflow.sklearn import save_model  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    folder: Path = tmp_path_factory.mktemp("model") / "fraud"
    rows, labels = pd.DataFrame(ROWS), [0, 0, 1, 1]
    save_model(
        LogisticRegression().fit(rows, labels),
        folder,
        signature=infer_signature(rows, labels),
        # Not inferred, which takes half a minute; and not none: KServe fetches no empty file.
        pip_requirements=["scikit-learn"],
        serialization_format="cloudpickle",
    )
    resource: Any = boto3.resource(
        "s3",
        endpoint_url=ENDPOINTS["store"],
        region_name=REGION,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
    )
    bucket = resource.Bucket(NAMESPACE)
    bucket.create()
    for file in (it for it in folder.rglob("*") if it.is_file()):
        bucket.upload_file(str(file), f"fraud/1.0.0/{file.relative_to(folder).as_posix()}")
    yield artifact_digest(folder)
    bucket.objects.all().delete()
    bucket.delete()


@pytest.fixture(scope="module")
def served(kubectl: Kubectl, keys: Credentials, digest: str) -> Generator[Object]:
    """The InferenceService of the version, and another one without the service account."""
    declared = stack(digest, "modelramp.local/server:dev")
    given = {"s3AccessKey": keys.access_key, "s3SecretKey": keys.secret_key}
    runtime = {"namespace": NAMESPACE, "image": declared.cluster.server_image}
    store = artifact_store_args(STORE, declared.services, NAMESPACE, None, given)

    def program() -> None:
        account = ArtifactStore("artifacts", store).account("fraud")
        service = model_service_args(
            "fraud",
            declared.services["fraud"],
            declared.cluster,
            mlflow_runtime=MlflowRuntime("mlflow", runtime).name,  # pyright: ignore[reportArgumentType]
            service_account=account,
        )
        ModelService("fraud", service)

    made = [plain(it["inputs"]) for it in record(program).values() if "kind" in it["inputs"]]
    kinds = ("Secret", "ServiceAccount", "ServingRuntime", "InferenceService")
    objects = [next(it for it in made if it["kind"] == kind) for kind in kinds]
    stray = json.loads(json.dumps(objects[-1]))
    stray["metadata"]["name"] = "stray"
    del stray["spec"]["predictor"]["serviceAccountName"]
    kubectl.run("create", "namespace", NAMESPACE)
    kubectl.apply([*objects, stray])
    yield objects[-1]
    kubectl.run("delete", "namespace", NAMESPACE, "--wait=false")


def eventually(look: Callable[[], Any]) -> Any:
    give_up_at = time.monotonic() + READY_SECONDS
    while True:
        with suppress(ToolError, LookupError):
            if seen := look():
                return seen
        assert time.monotonic() < give_up_at, f"not seen in {READY_SECONDS} s"
        time.sleep(0.5)


def pod_of(kubectl: Kubectl, name: str) -> Object:
    label = f"-l=serving.kserve.io/inferenceservice={name}"
    (found,) = kubectl.get("pods", f"-n={NAMESPACE}", label)["items"]
    return found


def ready(kubectl: Kubectl, name: str) -> list[str]:
    conditions = kubectl.get("inferenceservice", name, f"-n={NAMESPACE}")["status"]["conditions"]
    return [it["status"] for it in conditions if it["type"] == "Ready"]


def test_the_secret_and_the_account_are_as_declared(served, kubectl):
    secret = kubectl.get("secret", "artifacts", f"-n={NAMESPACE}")
    assert set(secret["data"]) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    account = kubectl.get("serviceaccount", "fraud", f"-n={NAMESPACE}")
    assert account["secrets"] == [{"name": "artifacts"}]
    assert account["automountServiceAccountToken"] is False


def test_the_model_is_fetched_and_answers(served, kubectl):
    name = served["metadata"]["name"]
    eventually(lambda: "True" in ready(kubectl, name))
    pod = pod_of(kubectl, name)
    assert pod["spec"]["serviceAccountName"] == "fraud"
    (loader,) = pod["spec"]["initContainers"]
    assert loader["args"] == [URI, "/mnt/models"]
    env = {it["name"]: it for it in loader["env"]}
    assert env["AWS_ENDPOINT_URL"]["value"] == ENDPOINTS["store"]
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert env[key]["valueFrom"]["secretKeyRef"] == {"name": "artifacts", "key": key}

    server = f"/api/v1/namespaces/{NAMESPACE}/services/{name}-predictor:80/proxy"
    body = json.dumps({"instances": ROWS})
    path = f"{server}/v1/models/fraud:predict"
    answer = kubectl.run("create", f"--raw={path}", "--filename=-", given=body)
    assert json.loads(answer)["predictions"] == [0, 0, 1, 1]


def test_without_the_account_nothing_is_fetched(served, kubectl):
    logs = ("logs", f"-n={NAMESPACE}", "--container=storage-initializer")
    pod = pod_of(kubectl, "stray")["metadata"]["name"]
    eventually(lambda: "Unable to locate credentials" in kubectl.run(*logs, pod))
    assert "True" not in ready(kubectl, "stray")


@pytest.mark.parametrize("name", DECLARED)
def test_every_object_of_a_store_is_accepted(name, served, kubectl):
    made = record(lambda: declare(name, NAMESPACE))
    objects = [plain(it["inputs"]) for it in made.values() if "kind" in it["inputs"]]
    assert sum(it["kind"] == "ServiceAccount" for it in objects) == 3
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    options = ("--server-side", "--force-conflicts", "--dry-run=server", "--filename=-")
    kubectl.run("apply", *options, given=given)
