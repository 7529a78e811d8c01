"""`modelramp profile`: gives a registered model its reference profile."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from models.errors import ConfigError, Problem
from models.reference_profile import ReferenceProfile, build_profile
from rollout.registry import connect, parse_registry_uri, store_profile

if TYPE_CHECKING:
    import pandas as pd

READERS = {".csv": "read_csv", ".parquet": "read_parquet", ".json": "read_json"}


def profile(
    model_uri: Annotated[
        str, typer.Argument(help="The registered version: models:/biopsy/2.", metavar="MODEL_URI")
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="Training data, one row a line of a .csv, .parquet or .json (list of objects)"
            " file, with the columns of the model's signature; others are ignored.",
            exists=True,
            dir_okay=False,
        ),
    ],
    label: Annotated[
        str | None,
        typer.Option(help="Column of the true label; if given, the model is a classifier."),
    ] = None,
    tracking_uri: Annotated[
        str, typer.Option(help="The MLflow server.", envvar="MLFLOW_TRACKING_URI")
    ] = "http://127.0.0.1:5000",
) -> None:
    """Records how features and predictions are distributed in the training data.

    The reference profile says for every column which share of the training rows lies in which
    bucket, and the same of the model's own predictions on these rows. The model server counts live
    requests in the same buckets, so that drift can be seen.

    The profile is stored inside the model's artifact folder. That changes the files: the digest is
    computed anew, and a stack file that declares this version needs the new one, which is printed.

    Example: modelramp profile models:/biopsy/2 --data training.csv --label diagnosis
    """
    console = Console(stderr=True)
    name, version = parse_registry_uri(model_uri)
    with console.status(f"Reading {data}"):
        frame = read_table(data)
    with console.status(f"Predicting {len(frame)} rows with {model_uri}"):
        made = profile_of(model_uri, frame, label, tracking_uri, file_hash(data))
    with console.status("Storing the profile and computing the digest"):
        digest = store_profile(tracking_uri, name, version, made)
    console.print(
        f"Reference profile of {made.rows} rows and {len(made.features)} features stored in"
        f" {model_uri}."
    )
    typer.echo(digest)


def read_table(path: Path) -> pd.DataFrame:
    """Reads a table by the ending of its name.

    Raises:
        ConfigError: another ending, no rows, or a file that does not parse.
    """
    import pandas as pd  # noqa: PLC0415

    if path.suffix not in READERS:
        raise ConfigError(
            [Problem(f"--data {path}", f"cannot read {path.suffix}; allowed: {', '.join(READERS)}")]
        )
    try:
        frame: pd.DataFrame = getattr(pd, READERS[path.suffix])(path)
    except (ValueError, OSError) as error:
        raise ConfigError([Problem(f"--data {path}", f"does not parse: {error}")]) from error
    if frame.empty:
        raise ConfigError([Problem(f"--data {path}", "holds no rows")])
    return frame


def file_hash(path: Path) -> str:
    """Returns `sha256:` and the hash of a file's content."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def profile_of(
    model_uri: str, frame: pd.DataFrame, label: str | None, tracking_uri: str, data_hash: str
) -> ReferenceProfile:
    """Makes the profile of a table and of a registered model's predictions on it.

    Raises:
        RegistryError: the model cannot be loaded.
        ConfigError: columns of the model's signature, or the label, are not in the table.
    """
    import mlflow.pyfunc  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    with connect(tracking_uri):
        model = mlflow.pyfunc.load_model(model_uri)
    schema = model.metadata.get_input_schema()
    names: list[str] = (
        schema.input_names()
        if schema and schema.has_input_names()
        else [column for column in frame.columns if column != label]
    )
    missing = [name for name in [*names, *([label] if label else [])] if name not in frame]
    if missing:
        present = ", ".join(map(str, frame.columns))
        raise ConfigError(
            [Problem(f"--data, column {name}", f"missing; there are {present}") for name in missing]
        )
    return build_profile(
        {name: frame[name].to_numpy() for name in names},
        np.asarray(model.predict(frame.loc[:, names])).reshape(-1),
        data_hash=data_hash,
        created_at=datetime.now(UTC),
        classification=label is not None,
    )
