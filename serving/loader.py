"""Gets the model: from the store, checked against its digest, into memory."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from models.digest import artifact_digest
from models.errors import ConfigError, Problem, RegistryError
from models.reference_profile import (
    PROFILE_FILE,
    Distribution,
    NumericDistribution,
    ReferenceProfile,
)
from serving.signature import Signature, read_signature

MLMODEL: Final = "MLmodel"
CONNECT_TIMEOUT_SECONDS: Final = 5
READ_TIMEOUT_SECONDS: Final = 30
READ_ATTEMPTS: Final = 4


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory.

    Attributes:
        predict: takes rows of the signature's shape, returns one prediction a row as plain Python
            values; raises whatever the model raises.
        signature: which rows it takes.
        profile: the reference profile from its artifact folder, if there is one.
    """

    predict: Callable[[Sequence[Sequence[Any]]], list[Any]]
    signature: Signature
    profile: ReferenceProfile | None


def fetch_model(uri: str, folder: Path, digest: str | None) -> None:
    """Downloads a model folder, unless `folder` holds the one with this digest already.

    The store's address and keys come from the environment, as MLflow and boto3 want them:
    `AWS_ENDPOINT_URL` or `MLFLOW_S3_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`.
    An interrupted download leaves nothing behind that could be taken for a model.

    Args:
        uri: `s3://bucket/prefix` of the folder that holds `MLmodel`.
        folder: where to; another model there is replaced, anything else is not.
        digest: that the folder must have; None takes what comes.

    Raises:
        RegistryError: nothing there, not reachable, or of another digest.
    """
    occupied = folder.is_dir() and any(folder.iterdir())
    if occupied and digest is not None and artifact_digest(folder) == digest:
        return
    if occupied and not (folder / MLMODEL).is_file():
        raise RegistryError(f"{folder}: holds files that are no model; they are not replaced")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".download-") as temporary:
        fresh = Path(temporary) / "model"
        _download(uri, fresh)
        verify_digest(fresh, digest, uri)
        if folder.is_dir():
            shutil.rmtree(folder)
        fresh.rename(folder)


def verify_digest(folder: Path, digest: str | None, where: str) -> None:
    """Compares a model folder with the digest it must have; None accepts any.

    Raises:
        RegistryError: it has another one.
    """
    if digest is None:
        return
    found = artifact_digest(folder)
    if found != digest:
        raise RegistryError(
            f"{where}: the artifact's digest is {found}, declared is {digest}; the files were"
            " changed after the version was declared, or another model lies there"
        )


def load_model(folder: Path) -> LoadedModel:
    """Loads an MLflow model.

    Raises:
        RegistryError: `folder` holds no MLflow model with the pyfunc flavor.
        ConfigError: its signature or reference profile cannot be used.
    """
    path = folder / MLMODEL
    if not path.is_file():
        raise RegistryError(f"{folder}: no MLmodel file here")
    mlmodel: dict[str, Any] = yaml.safe_load(path.read_text())
    if "python_function" not in mlmodel.get("flavors", {}):
        raise RegistryError(f"{path}: no python_function flavor, so MLflow cannot load it here")
    signature = read_signature(mlmodel, str(path))
    profile_path = folder / PROFILE_FILE
    profile = ReferenceProfile.read(profile_path) if profile_path.is_file() else None
    compute = _sklearn_predict(folder, mlmodel["flavors"]) or _pyfunc_predict(folder)
    shape = as_frame
    if signature.only_doubles and _same_without_names(compute, signature, profile):
        shape = as_matrix
    return LoadedModel(lambda rows: plain(compute(shape(rows, signature))), signature, profile)


def as_frame(rows: Sequence[Sequence[Any]], signature: Signature) -> Any:
    """Returns rows as a DataFrame; as a matrix if the model's columns have no names.

    Args:
        rows: that keep to the signature, see `serving.payload`.
        signature: the model's.
    """
    import pandas as pd  # noqa: PLC0415

    if not signature.named:
        return as_matrix(rows, signature)
    if signature.only_doubles:
        return pd.DataFrame(as_matrix(rows, signature), columns=pd.Index(signature.names))
    return pd.DataFrame(
        {
            column.name: pd.Series(
                list(values),
                # Nulls in an optional column of integers have no numpy type of their own.
                dtype="object"
                if None in values and not column.kind.nullable
                else column.kind.dtype,
            )
            for column, values in zip(signature.columns, zip(*rows, strict=True), strict=True)
        }
    )


def as_matrix(rows: Sequence[Sequence[Any]], signature: Signature) -> Any:
    """Returns rows, whose columns are all of one type, as an array of the shape (rows, columns)."""
    import numpy as np  # noqa: PLC0415

    return np.array(rows, dtype=signature.columns[0].kind.dtype)


def plain(predictions: Any) -> list[Any]:
    """Returns predictions (array, Series, DataFrame, list) as JSON can hold them, one a row."""
    if hasattr(predictions, "to_dict") and hasattr(predictions, "columns"):
        if len(predictions.columns) > 1:
            return predictions.to_dict(orient="records")
        predictions = predictions.iloc[:, 0]
    return predictions.tolist() if hasattr(predictions, "tolist") else list(predictions)


def _sklearn_predict(folder: Path, flavors: dict[str, Any]) -> Callable[[Any], Any] | None:
    """Loads a scikit-learn model without importing MLflow, which takes longer than all the rest.

    It does what `mlflow.sklearn` does; a model that needs more (code of its own) gets None here
    and is loaded by MLflow.
    """
    sklearn, pyfunc = flavors.get("sklearn"), flavors["python_function"]
    if not sklearn or pyfunc.get("loader_module") != "mlflow.sklearn" or pyfunc.get("code"):
        return None
    path = folder / sklearn["pickled_model"]
    serialization = sklearn.get("serialization_format", "pickle")
    if serialization == "skops":
        import skops.io  # noqa: PLC0415

        model = skops.io.load(path, trusted=sklearn.get("skops_trusted_types"))
    elif serialization in {"pickle", "cloudpickle"}:
        import pickle  # noqa: PLC0415

        # Loading runs code from the artifact, as with every MLflow model; the digest, pinned in
        # the stack file and checked before, says whose.
        model = pickle.loads(path.read_bytes())  # noqa: S301
    else:
        return None
    return getattr(model, pyfunc.get("predict_fn", "predict"))


def _pyfunc_predict(folder: Path) -> Callable[[Any], Any]:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.pyfunc  # noqa: PLC0415

    # Importing a model's own code would write __pycache__ into its folder and change its digest.
    sys.dont_write_bytecode = True
    return mlflow.pyfunc.load_model(str(folder)).predict


def _same_without_names(
    compute: Callable[[Any], Any], signature: Signature, profile: ReferenceProfile | None
) -> bool:
    """Whether a model gives the same for a bare matrix, tried on a typical row.

    scikit-learn takes a millisecond to look through a DataFrame of one row, more than most models
    take to predict. A model that picks columns by name raises here, and keeps its DataFrame. The
    trial also warms the model up, so that the first request does not pay for lazy imports.
    """
    features = {item.name: item for item in profile.features} if profile else {}
    row = [_typical(features.get(name)) for name in signature.names]
    try:
        expected = plain(compute(as_frame([row], signature)))
        return plain(compute(as_matrix([row], signature))) == expected
    except Exception:  # noqa: BLE001  whatever a model raises
        return False


def _typical(feature: Distribution | None) -> float:
    if not isinstance(feature, NumericDistribution) or not feature.edges:
        return 1.0
    return feature.edges[len(feature.edges) // 2]


def store_client() -> Any:
    """Returns an S3 client for the store that the environment names."""
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    return boto3.client(
        "s3",
        endpoint_url=os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("MLFLOW_S3_ENDPOINT_URL"),
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            retries={"mode": "standard", "total_max_attempts": READ_ATTEMPTS},
            s3={"addressing_style": "path"},
        ),
    )


def _download(uri: str, folder: Path) -> None:
    parts = urlsplit(uri)
    prefix = parts.path.strip("/") + "/"
    if parts.scheme != "s3" or not parts.netloc or prefix == "/":
        raise ConfigError([Problem("--model_uri", f"{uri} is not of the form s3://bucket/prefix")])
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        store = store_client()
        pages = store.get_paginator("list_objects_v2").paginate(Bucket=parts.netloc, Prefix=prefix)
        for page in pages:
            for item in page.get("Contents", []):
                _download_file(store, parts.netloc, item["Key"], prefix, folder)
    except (BotoCoreError, ClientError) as error:
        raise RegistryError(f"{uri}: the store does not give it: {error}") from error
    if not folder.is_dir():
        raise RegistryError(f"{uri}: nothing there")


def _download_file(store: Any, bucket: str, key: str, prefix: str, folder: Path) -> None:
    if key.endswith("/"):
        return
    target = folder / key.removeprefix(prefix)
    if not target.resolve().is_relative_to(folder.resolve()):
        raise RegistryError(f"s3://{bucket}/{key}: leads out of the model's folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(store.get_object(Bucket=bucket, Key=key)["Body"], file)
