"""Trains and registers three versions: one fair, one better, one broken as it happens in life.

    python -m examples.biopsy.train --tracking-uri http://127.0.0.1:5000 --out rows.json

The store's address and keys come from the environment: MLFLOW_S3_ENDPOINT_URL and AWS_*. A summary
in JSON goes to standard output; the holdout's rows and labels, for `traffic.py`, to `--out`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import ExtraTreesClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from models.reference_profile import build_profile
from models.registry_tags import RegistryTags
from rollout.registry import registry_uri, resolve, store_profile
from rollout.registry_evidence import log_evaluation

SERVICE = "biopsy"
OWNER = "pathology-ml"
SEED = 7
HOLDOUT_SHARE = 0.4
# Of each of ten measurements the set holds mean, error and worst nucleus; the worst tell most.
MEASUREMENT = "worst "
CENTIMETRES_PER_INCH = 2.54


@dataclass(frozen=True)
class Split:
    """Rows and labels (0 malignant, 1 benign) for training, and those kept for evaluation."""

    train_rows: pd.DataFrame
    train_labels: pd.Series
    holdout_rows: pd.DataFrame
    holdout_labels: pd.Series


@dataclass(frozen=True)
class Candidate:
    """A version to train, a scikit-learn classifier, and the split its authors worked with."""

    version: str
    model: Any
    split: Split


@dataclass(frozen=True)
class Trained:
    """A registered version, as the summary lists it.

    Attributes:
        version: the model service's version.
        registry: `models:/biopsy/1`.
        number: the registry's own number.
        uri: where the files are, `s3://...`.
        digest: of the files.
        holdout_accuracy: what its authors measured, on their own export of the data.
    """

    version: str
    registry: str
    number: int
    uri: str
    digest: str
    holdout_accuracy: float


def split_data(seed: int = SEED) -> Split:
    """Returns the data's ten `worst` columns, split by a fixed seed."""
    data: Any = load_breast_cancer(as_frame=True)
    rows = data.data[[name for name in data.data if name.startswith(MEASUREMENT)]]
    parts: list[Any] = train_test_split(
        rows, data.target, test_size=HOLDOUT_SHARE, random_state=seed, stratify=data.target
    )
    train_rows, holdout_rows, train_labels, holdout_labels = parts
    return Split(train_rows, train_labels, holdout_rows, holdout_labels)


def candidates(served: Split) -> list[Candidate]:
    """Returns the three versions, untrained."""
    return [
        Candidate("1.0.0", fair_model(), served),
        Candidate("2.0.0", better_model(), served),
        # The mistake: somebody exported the data for 3.0.0 in other units, training and evaluation
        # alike. So its offline evaluation, on the same export, looks as good as that of 2.0.0.
        Candidate("3.0.0", heavier_model(), exported_in_centimetres(served)),
    ]


def fair_model() -> ClassifierMixin:
    """One threshold on one measurement, as one would write it on paper."""
    return DecisionTreeClassifier(max_depth=1, random_state=SEED)


def better_model() -> Pipeline:
    """All ten measurements, weighed."""
    return make_pipeline(StandardScaler(), LogisticRegression())


def heavier_model() -> Pipeline:
    """An ensemble on logarithms; some ten times as slow.

    There is nothing wrong with it on data in the units it was fitted on. In other units, its scaler
    puts the smallest nuclei below zero, their logarithm is NaN, and the estimator refuses NaN.
    """
    ensemble = VotingClassifier(
        [
            ("trees", ExtraTreesClassifier(n_estimators=120, random_state=SEED)),
            ("line", LogisticRegression()),
        ],
        voting="soft",
    )
    # The lower end is above zero, because a logarithm follows.
    scaler = MinMaxScaler(feature_range=(0.11, 1))
    return make_pipeline(scaler, FunctionTransformer(np.log), ensemble)


def exported_in_centimetres(split: Split) -> Split:
    """Returns the data as an export takes them that holds them for inches: lengths times 2.54."""

    def convert(rows: pd.DataFrame) -> pd.DataFrame:
        factors = pd.Series(1.0, index=rows.columns)
        factors[[MEASUREMENT + "radius", MEASUREMENT + "perimeter"]] = CENTIMETRES_PER_INCH
        factors[MEASUREMENT + "area"] = CENTIMETRES_PER_INCH**2
        return rows * factors

    return Split(
        convert(split.train_rows),
        split.train_labels,
        convert(split.holdout_rows),
        split.holdout_labels,
    )


def data_hash(rows: pd.DataFrame, labels: pd.Series) -> str:
    """Returns `sha256:` and the hash of rows and labels, written as CSV."""
    text = rows.assign(label=labels).to_csv()
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def git_commit() -> str:
    """Returns the id of the checked-out commit, `unknown` outside a repository."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()


def register(candidate: Candidate, tracking_uri: str) -> Trained:
    """Trains a version, logs and registers it with lineage, profile, evaluation and tags."""
    # Here, because it takes seconds, which those who only want the data need not wait.
    import mlflow  # noqa: PLC0415
    from mlflow.models import infer_signature  # noqa: PLC0415
    from mlflow.sklearn import log_model  # noqa: PLC0415

    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_experiment(SERVICE)
    client = mlflow.MlflowClient(tracking_uri)
    split, model = candidate.split, candidate.model
    with mlflow.start_run(run_name=f"{SERVICE}-{candidate.version}") as run:
        model.fit(split.train_rows, split.train_labels)
        holdout_accuracy = float(model.score(split.holdout_rows, split.holdout_labels))
        mlflow.log_params({"seed": SEED, "estimator": str(model)[:500]})
        mlflow.log_metric("holdout_accuracy", holdout_accuracy)
        predictions = model.predict(split.train_rows)
        logged = log_model(
            model,
            name="model",
            signature=infer_signature(split.train_rows, predictions),
            # Pinned by hand: MLflow's inference of requirements takes half a minute.
            pip_requirements=[f"scikit-learn=={version('scikit-learn')}"],
            # Loads a second sooner than skops, whose list of trusted types lies in the same folder
            # as the model and so protects no better; the digest in the stack file does.
            serialization_format="cloudpickle",
        )
    hashed = data_hash(split.train_rows, split.train_labels)
    profile = build_profile(
        {name: split.train_rows[name].to_numpy() for name in split.train_rows},
        predictions,
        data_hash=hashed,
        created_at=datetime.now(UTC),
        classification=True,
    )
    _ensure_registered_model(client)
    tags = RegistryTags(
        version=candidate.version,
        digest="sha256:" + "0" * 64,  # until the profile is stored, which makes the folder final
        git_commit=git_commit(),
        data_hash=hashed,
        metrics_run=run.info.run_id,
        reference_profile=False,
        owner=OWNER,
    )
    created = client.create_model_version(
        SERVICE, logged.model_uri, run.info.run_id, tags=tags.to_tags(), model_id=logged.model_id
    )
    store_profile(tracking_uri, SERVICE, created.version, profile)
    right = model.predict(split.holdout_rows) == split.holdout_labels
    log_evaluation(
        tracking_uri,
        SERVICE,
        created.version,
        data_hash=data_hash(split.holdout_rows, split.holdout_labels),
        ids=[str(it) for it in split.holdout_rows.index],
        metrics={"accuracy": ("higher", [float(it) for it in right])},
    )
    registered = resolve(tracking_uri, SERVICE, created.version)
    return Trained(
        version=candidate.version,
        registry=registry_uri(SERVICE, created.version),
        number=int(created.version),
        uri=registered.artifact_uri,
        digest=registered.digest,
        holdout_accuracy=round(holdout_accuracy, 4),
    )


def write_rows(path: Path, served: Split) -> None:
    """Writes the holdout for `traffic.py`: `{"columns": [], "rows": [[]], "labels": []}`."""
    content = {
        "columns": list(served.holdout_rows.columns),
        "rows": served.holdout_rows.to_numpy().tolist(),
        "labels": served.holdout_labels.tolist(),
    }
    path.write_text(json.dumps(content))


def main() -> None:
    """Trains and registers all versions."""
    parser = argparse.ArgumentParser(description="Trains and registers three versions.")
    parser.add_argument("--tracking-uri", required=True, help="the MLflow server")
    parser.add_argument("--out", type=Path, required=True, help="where the holdout goes, as JSON")
    options = parser.parse_args()
    # MLflow would print links among the summary.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    served = split_data()
    write_rows(options.out, served)
    trained: list[dict[str, Any]] = []
    for candidate in candidates(served):
        print(f"training {SERVICE} {candidate.version}", file=sys.stderr)
        trained.append(asdict(register(candidate, options.tracking_uri)))
    print(json.dumps({"service": SERVICE, "rows": str(options.out), "versions": trained}, indent=1))


def _ensure_registered_model(client: Any) -> None:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        client.create_registered_model(SERVICE)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


if __name__ == "__main__":
    main()
