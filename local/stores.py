"""The model registry and its artifact store: MLflow over an S3-compatible store of plain files.

Addresses are `address:port`; `home` is the folder that keeps what they store.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from local.files import write_text
from local.processes import ProcessSpec, python

BUCKET = "mlflow"
REGION = "us-east-1"


@dataclass(frozen=True)
class Credentials:
    """Keys of the local store, made at random on first use."""

    access_key: str
    secret_key: str

    @classmethod
    def of(cls, home: Path) -> Credentials:
        """Reads the keys of this `.modelramp`, making them if there are none."""
        path = home / "store-credentials.json"
        if not path.exists():
            keys = {"access_key": secrets.token_hex(8), "secret_key": secrets.token_hex(20)}
            write_text(path, json.dumps(keys), mode=0o600)
        return cls(**json.loads(path.read_text()))


def client_environment(home: Path, store: str) -> dict[str, str]:
    """Returns what a program needs in its environment to reach the store, an `address:port`."""
    keys = Credentials.of(home)
    url = f"http://{store}"
    return {
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": url,
        "MLFLOW_S3_ENDPOINT_URL": url,
    }


def store_process(home: Path, binary: Path, store: str) -> ProcessSpec:
    """The S3-compatible store; its keys go by environment, so that no process list shows them."""
    folder = home / "store"
    folder.mkdir(parents=True, exist_ok=True)
    keys = Credentials.of(home)
    return ProcessSpec(
        name="store",
        command=(
            str(binary),
            *("--port", store, "--region", REGION, "--health", "/health"),
            *("posix", str(folder)),
        ),
        env={"ROOT_ACCESS_KEY": keys.access_key, "ROOT_SECRET_KEY": keys.secret_key},
        ready_url=f"http://{store}/health",
    )


def registry_process(home: Path, registry: str, store: str) -> ProcessSpec:
    """The MLflow server: SQLite behind it, artifacts straight in the store.

    `mlflow server` would import MLflow twice and start seven job runners; its application alone is
    up in half of the time (6 s against 15 s measured). The variables are what that command sets.
    """
    folder = home / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    host, port = registry.split(":")
    database = f"sqlite:///{folder / 'mlflow.db'}"
    return ProcessSpec(
        name="mlflow",
        command=python(
            *("-m", "uvicorn", "--host", host, "--port", port),
            *("--log-level", "warning", "mlflow.server.fastapi_app:app"),
        ),
        env={
            **client_environment(home, store),
            "_MLFLOW_SERVER_FILE_STORE": database,
            "_MLFLOW_SERVER_REGISTRY_STORE": database,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": f"s3://{BUCKET}/artifacts",
            # Its guard against rebound names knows loopback only.
            "MLFLOW_SERVER_ALLOWED_HOSTS": f"{registry},localhost:{port}",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        },
        ready_url=f"http://{registry}/health",
    )


def ensure_bucket(home: Path, store: str) -> None:
    """Makes the artifact bucket if it is not there."""
    import boto3  # noqa: PLC0415  most commands import this module and make no bucket
    from botocore.config import Config  # noqa: PLC0415

    keys = Credentials.of(home)
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{store}",
        region_name=REGION,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        config=Config(connect_timeout=5, read_timeout=10, s3={"addressing_style": "path"}),
    )
    if not any(bucket["Name"] == BUCKET for bucket in client.list_buckets()["Buckets"]):
        client.create_bucket(Bucket=BUCKET)
