"""The model registry (MLflow): what a registered version is, checked against its files.

MLflow is imported inside the functions: that takes seconds, and most commands do not need it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from models.digest import artifact_digest
from models.errors import ConfigError, RegistryError
from models.reference_profile import PROFILE_FILE, ReferenceProfile
from models.registry_tags import PREFIX, RegistryTags

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

REQUEST_TIMEOUT_SECONDS: Final = "10"
RETRIES: Final = "3"
VERSION_TAG: Final = f"{PREFIX}version"


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
        inputs: type by name of what the model takes, from its signature; None where it has none.
        outputs: likewise of what it gives.
        has_profile: whether a reference profile is among the files.
    """

    registry_uri: str
    artifact_uri: str
    digest: str
    tags: RegistryTags
    run_id: str
    git_commit: str
    data_hash: str
    inputs: dict[str, str] | None
    outputs: dict[str, str] | None
    has_profile: bool


def find_number(tracking_uri: str, name: str, version: str) -> str:
    """Returns the registry's own number of a model service's version, such as 15 for 1.5.0.

    Args:
        tracking_uri: of the MLflow server.
        name: of the registered model.
        version: what its tag `modelramp.version` says.

    Raises:
        RegistryError: none or several versions of the model are tagged so; lists what there is.
    """
    with connect(tracking_uri) as client:
        client.get_registered_model(name)
        found = [*registered_versions(client, name)]
    numbers = [it.version for it in found if it.tags.get(VERSION_TAG) == version]
    if len(numbers) == 1:
        return str(numbers[0])
    if numbers:
        raise RegistryError(
            f"models:/{name}: numbers {', '.join(map(str, numbers))} are all tagged "
            f"{VERSION_TAG} = {version}; tag one of them only"
        )
    there = [f"{it.tags.get(VERSION_TAG, 'untagged')} (number {it.version})" for it in found]
    raise RegistryError(
        f"models:/{name}: no version is tagged {VERSION_TAG} = {version}; there are: "
        f"{', '.join(there) or 'none'}"
    )


def registered_versions(client: MlflowClient, name: str) -> Iterator[ModelVersion]:
    """Yields all versions of a registered model, page by page."""
    quote = '"' if "'" in name else "'"
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name={quote}{name}{quote}", page_token=token)
        yield from page
        token = page.token
        if not token:
            return


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
        with _downloaded(location) as folder:
            digest = artifact_digest(folder)
            inputs, outputs = _signature(folder)
            has_profile = (folder / PROFILE_FILE).is_file()
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
        inputs=inputs,
        outputs=outputs,
        has_profile=has_profile,
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
    with _downloaded(uri) as folder:
        return artifact_digest(folder)


@contextmanager
def _downloaded(uri: str) -> Generator[Path]:
    from mlflow.artifacts import download_artifacts  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        yield Path(download_artifacts(artifact_uri=uri, dst_path=folder))


def _signature(folder: Path) -> tuple[dict[str, str] | None, dict[str, str] | None]:
    """Returns the inputs and outputs of a model's signature, type by name."""
    from mlflow.models import Model  # noqa: PLC0415

    signature = Model.load(str(folder)).signature
    return (_types(signature.inputs), _types(signature.outputs)) if signature else (None, None)


def _types(schema: Any) -> dict[str, str] | None:
    """Returns a signature's columns as a stack file declares them; those without a name by place.

    What may be left out is marked as in many languages: `double?`.
    """
    if not schema:
        return None
    return {
        str(it.get("name", place)): f"{_type(it)}{'' if it.get('required', True) else '?'}"
        for place, it in enumerate(schema.to_dict())
    }


def _type(column: dict[str, Any]) -> str:
    """Returns a column's type: `double`, `float64[-1, 30]`; a nested one as JSON."""
    tensor = column.get("tensor-spec")
    if tensor:
        return f"{tensor['dtype']}{list(tensor['shape'])}"
    nested = {key: it for key, it in column.items() if key not in ("name", "required")}
    return str(nested["type"]) if [*nested] == ["type"] else json.dumps(nested, sort_keys=True)


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
