"""The model registry (MLflow): what a registered version is, checked against its files.

MLflow is imported inside the functions: that takes seconds, and most commands do not need it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from models.digest import artifact_digest
from models.errors import ConfigError, RegistryError
from models.reference_profile import ReferenceProfile
from models.registry_tags import PREFIX, RegistryTags

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

REQUEST_TIMEOUT_SECONDS: Final = "10"
RETRIES: Final = "3"


@dataclass(frozen=True)
class RegisteredVersion:
    """A registered model version, as a stack file declares it.

    Attributes:
        registry_uri: `models:/biopsy/2`.
        artifact_uri: where KServe finds the files: `s3://bucket/prefix`.
        digest: of these files, computed from them.
        tags: what was recorded at registration; the same digest among it.
        run_id: the MLflow run it came from: parameters and training metrics.
        git_commit: of the training code, or `unknown`.
        data_hash: of the training data.
    """

    registry_uri: str
    artifact_uri: str
    digest: str
    tags: RegistryTags
    run_id: str
    git_commit: str
    data_hash: str


def resolve(tracking_uri: str, name: str, version: str | int) -> RegisteredVersion:
    """Looks a registered version up and computes the digest of its files.

    Args:
        tracking_uri: of the MLflow server.
        name: of the registered model, such as `biopsy`.
        version: the registry's own number, such as 2 in `models:/biopsy/2`.

    Raises:
        RegistryError: it is not there, its tags are incomplete or wrong, its files are not in an
            S3-compatible store, or they are no longer those that were registered.
    """
    uri = registry_uri(name, version)
    with connect(tracking_uri) as client:
        found = client.get_model_version(name, str(version))
        tags = parse_tags(uri, found.tags)
        location = artifact_uri(client, found)
        digest = artifact_digest_at(location)
    if urlsplit(location).scheme != "s3":
        raise RegistryError(
            f"{uri}: its files are at {location}, KServe needs s3://; start the MLflow server with"
            " --no-serve-artifacts --default-artifact-root s3://bucket/prefix"
        )
    if digest != tags.digest:
        raise RegistryError(
            f"{uri}: the digest of its files is {digest}, registered was {tags.digest}; the files"
            " were changed afterwards"
        )
    return RegisteredVersion(
        registry_uri=uri,
        artifact_uri=location,
        digest=digest,
        tags=tags,
        run_id=found.run_id or tags.metrics_run,
        git_commit=tags.git_commit,
        data_hash=tags.data_hash,
    )


def store_profile(
    tracking_uri: str, name: str, version: str | int, profile: ReferenceProfile
) -> str:
    """Puts a reference profile into a registered version's artifact folder.

    The files change with it, so the digest is computed anew and recorded in the tags.

    Returns:
        The new digest.

    Raises:
        RegistryError: the version is not there, or does not come from a logged model of MLflow 3.
    """
    with connect(tracking_uri) as client:
        found = client.get_model_version(name, str(version))
        model_id = logged_model_id(found)
        with tempfile.TemporaryDirectory() as folder:
            client.log_model_artifact(model_id, str(profile.write(Path(folder))))
        digest = artifact_digest_at(artifact_uri(client, found))
        for tag, value in (("digest", digest), ("reference_profile", "true")):
            client.set_model_version_tag(name, str(version), PREFIX + tag, value)
    return digest


def parse_tags(uri: str, tags: dict[str, str]) -> RegistryTags:
    """Reads the tags of a registered version.

    Raises:
        RegistryError: they are incomplete or wrong; all problems at once.
    """
    try:
        return RegistryTags.from_tags(tags)
    except ConfigError as error:
        problems = "\n".join(f"  {problem}" for problem in error.problems)
        raise RegistryError(f"{uri}: its tags are not modelramp's:\n{problems}") from None


def artifact_uri(client: MlflowClient, version: ModelVersion) -> str:
    """Returns where a registered version's files really are, not `models:/m-...`."""
    return client.get_model_version_download_uri(version.name, str(version.version)).rstrip("/")


def logged_model_id(version: ModelVersion) -> str:
    """Returns the id of the logged model that a version was registered from: `m-...`.

    Raises:
        RegistryError: it comes from a run's artifacts, as before MLflow 3.
    """
    found = version.model_id or (version.source or "").removeprefix("models:/")
    if not found or not found.startswith("m-"):
        raise RegistryError(
            f"{registry_uri(version.name, version.version)}: comes from {version.source}, not from"
            " a logged model; log it with MLflow 3 and register it again"
        )
    return found


def artifact_digest_at(uri: str) -> str:
    """Returns the digest of the files at a store's URI, which are downloaded for it."""
    from mlflow.artifacts import download_artifacts  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        return artifact_digest(Path(download_artifacts(artifact_uri=uri, dst_path=folder)))


def registry_uri(name: str, version: str | int) -> str:
    """Returns `models:/<name>/<version>`."""
    return f"models:/{name}/{version}"


def parse_registry_uri(uri: str) -> tuple[str, str]:
    """Splits `models:/biopsy/2` into name and number.

    Raises:
        RegistryError: it is not of this form.
    """
    name, _, version = uri.removeprefix("models:/").rpartition("/")
    if not uri.startswith("models:/") or not name or not version.isdecimal():
        raise RegistryError(
            f"{uri}: not of the form models:/<name>/<number>, such as models:/biopsy/2"
        )
    return name, version


@contextmanager
def connect(tracking_uri: str) -> Generator[MlflowClient]:
    """Gives a client that does not wait for ever; what MLflow raises within becomes ours.

    Args:
        tracking_uri: of the MLflow server.

    Raises:
        RegistryError: the server or the store failed, or has not what was asked for.
    """
    # MLflow's own defaults wait for many minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", REQUEST_TIMEOUT_SECONDS)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", RETRIES)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    import mlflow  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    mlflow.set_tracking_uri(tracking_uri)
    try:
        yield mlflow.MlflowClient(tracking_uri=tracking_uri)
    except (MlflowException, BotoCoreError, ClientError, OSError) as error:
        raise RegistryError(f"MLflow at {tracking_uri}: {error}") from error
