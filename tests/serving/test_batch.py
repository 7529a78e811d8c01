# pyright: basic
"""The batch program on files in a store that speaks S3 (moto, in this process)."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pandas as pd
import pytest
import yaml
from moto import mock_aws
from sklearn.linear_model import LinearRegression

from models.digest import artifact_digest
from models.errors import ConfigError, RegistryError
from models.names import BATCH_BAD_INPUT
from serving import batch

ROWS = pd.DataFrame({"b": [1.0, 2.0, 3.0, 4.0], "a": [10.0, 20.0, 30.0, 40.0], "id": list("wxyz")})
EXPECTED = [2 * a + b for a, b in zip(ROWS.a, ROWS.b, strict=True)]


def model_folder(folder: Path) -> Path:
    folder.mkdir()
    inputs = [{"name": name, "type": "double", "required": True} for name in ("a", "b")]
    mlmodel = {
        "flavors": {
            "python_function": {"loader_module": "mlflow.sklearn"},
            "sklearn": {"pickled_model": "model.pkl", "serialization_format": "pickle"},
        },
        "signature": {"inputs": json.dumps(inputs)},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(mlmodel))
    known = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 3.0]])
    model = LinearRegression().fit(known, known @ np.array([2.0, 1.0]))
    (folder / "model.pkl").write_bytes(pickle.dumps(model))
    return folder


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("AWS_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="models")
        for file in model_folder(tmp_path / "made").iterdir():
            client.upload_file(str(file), "models", f"fraud/1/{file.name}")
        yield client


def asked(tmp_path: Path, **changes: Any) -> batch.Batch:
    given = {
        "name": "fraud",
        "version": "1.4.0",
        "digest": artifact_digest(tmp_path / "made"),
        "model_uri": "s3://models/fraud/1",
        "model_dir": tmp_path / "fetched",
        "source": "s3://models/in",
        "target": "s3://models/out/",
        "run": "monday",
        "format": "csv",
        "chunk_rows": 3,
        "shard": 0,
        "shards": 1,
    }
    return batch.Batch(**{**given, **changes})


def put(store: Any, key: str, rows: pd.DataFrame) -> None:
    body = io.BytesIO()
    if key.endswith(".parquet"):
        rows.to_parquet(body, index=False)
    elif key.endswith(".csv"):
        rows.to_csv(body, index=False)
    else:
        rows.to_json(body, orient="records", lines=True)
    store.put_object(Bucket="models", Key=key, Body=body.getvalue())


def got(store: Any, key: str) -> pd.DataFrame:
    body = io.BytesIO(store.get_object(Bucket="models", Key=key)["Body"].read())
    if key.endswith(".parquet"):
        return pd.read_parquet(body)
    return pd.read_csv(body) if key.endswith(".csv") else pd.read_json(body, lines=True)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_every_row_comes_back_with_its_prediction(kind: str, store, tmp_path: Path):
    put(store, f"in/deep/one.{kind}", ROWS)
    store.put_object(Bucket="models", Key="in/readme.txt", Body=b"no rows")
    manifest = batch.run(asked(tmp_path, format=kind), store)
    answer = got(store, f"out/monday/deep/one.{kind}")
    assert answer["prediction"].tolist() == pytest.approx(EXPECTED)
    assert answer["id"].tolist() == list("wxyz")
    written = json.loads(got_bytes(store, "out/monday/_manifest-0.json"))
    assert written == manifest
    assert (written["version"], written["rows"], len(written["files"])) == ("1.4.0", 4, 1)
    assert written["files"][0]["target"] == f"s3://models/out/monday/deep/one.{kind}"


def got_bytes(store: Any, key: str) -> bytes:
    return store.get_object(Bucket="models", Key=key)["Body"].read()


def test_pods_share_the_files_and_leave_none_out(store, tmp_path: Path):
    for number in range(5):
        put(store, f"in/{number}.csv", ROWS)
    done = [
        [it["source"] for it in batch.run(asked(tmp_path, shard=shard, shards=3), store)["files"]]
        for shard in range(3)
    ]
    assert sorted(it for part in done for it in part) == [
        f"s3://models/in/{number}.csv" for number in range(5)
    ]


def test_a_file_that_comes_between_two_listings_moves_no_other(store, tmp_path: Path):
    for name in "bcd":
        put(store, f"in/{name}.csv", ROWS)
    first = batch.run(asked(tmp_path, shard=0, shards=2), store)["files"]
    put(store, "in/a.csv", ROWS)
    second = batch.run(asked(tmp_path, shard=1, shards=2), store)["files"]
    taken = [it["source"][-5:] for it in (*first, *second)]
    assert len(taken) == len(set(taken))
    assert {"b.csv", "c.csv", "d.csv"} <= set(taken)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_file_without_rows_comes_back_as_one(kind: str, store, tmp_path: Path):
    put(store, f"in/none.{kind}", ROWS.iloc[:0])
    manifest = batch.run(asked(tmp_path, format=kind), store)
    assert manifest["rows"] == 0
    if kind != "jsonl":
        assert list(got(store, f"out/monday/none.{kind}"))[:3] == ["b", "a", "id"]


def test_what_is_not_for_the_model_comes_back_as_it_was(store, tmp_path: Path):
    text = "a,b,id,country,date\n1,2.50,007,NA,2026-01-02\n3,4,,,\n"
    store.put_object(Bucket="models", Key="in/one.csv", Body=text.encode())
    batch.run(asked(tmp_path), store)
    lines = got_bytes(store, "out/monday/one.csv").decode().splitlines()
    given = text.splitlines()
    assert [line.rsplit(",", 1)[0] for line in lines] == given
    rows = [{"a": 1.0, "b": 2.0, "id": "007", "created_at": "2026-01-02T00:00:00"}]
    body = json.dumps(rows[0]).encode()
    store.put_object(Bucket="models", Key="in/one.jsonl", Body=body)
    batch.run(asked(tmp_path, format="jsonl"), store)
    answer = json.loads(got_bytes(store, "out/monday/one.jsonl"))
    assert answer == {**rows[0], "prediction": pytest.approx(4.0)}


def test_a_column_that_is_empty_at_first_keeps_its_type(store, tmp_path: Path):
    put(store, "in/one.parquet", ROWS.assign(id=[None, None, None, "z"]))
    batch.run(asked(tmp_path, format="parquet"), store)
    answer = got(store, "out/monday/one.parquet")
    assert answer["id"].tolist() == [None, None, None, "z"]
    assert answer["prediction"].tolist() == pytest.approx(EXPECTED)


def test_a_model_that_fails_is_tried_again(store, tmp_path: Path):
    put(store, "in/one.jsonl", ROWS.assign(b=[1.0, 2.0, 3.0, None]))
    with pytest.raises(RegistryError, match="rows 4 to 4: the model failed"):
        batch.run(asked(tmp_path, format="jsonl"), store)


def test_a_run_that_is_repeated_writes_the_same_again(store, tmp_path: Path):
    put(store, "in/one.csv", ROWS)
    batch.run(asked(tmp_path), store)
    first = got_bytes(store, "out/monday/one.csv")
    batch.run(asked(tmp_path), store)
    assert got_bytes(store, "out/monday/one.csv") == first


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (ROWS.drop(columns="a"), "row 1: column a missing"),
        (ROWS.assign(a=[1.0, "x", 3.0, 4.0]), "row 2: column a is text"),
    ],
)
def test_a_row_that_does_not_keep_to_the_signature_is_named(rows, says, store, tmp_path: Path):
    put(store, "in/one.jsonl", rows)
    with pytest.raises(ConfigError, match=f"s3://models/in/one.jsonl, {says}"):
        batch.run(asked(tmp_path, format="jsonl"), store)
    assert not store.list_objects_v2(Bucket="models", Prefix="out/").get("Contents")


def test_without_files_and_with_another_model_nothing_is_written(store, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"s3://models/in holds no \*.csv files"):
        batch.run(asked(tmp_path), store)
    put(store, "in/one.csv", ROWS)
    with pytest.raises(RegistryError, match="digest"):
        batch.run(asked(tmp_path, digest="sha256:" + "0" * 64, model_dir=tmp_path / "new"), store)
    assert not store.list_objects_v2(Bucket="models", Prefix="out/").get("Contents")


def test_the_exit_code_says_whether_another_try_makes_sense(store, tmp_path, monkeypatch):
    given = asked(tmp_path)
    options = [
        f"--{name}={getattr(given, name)}"
        for name in (
            "name",
            "version",
            "digest",
            "model_uri",
            "model_dir",
            "source",
            "target",
            "run",
        )
    ]
    monkeypatch.setattr("sys.argv", ["batch", *options, "--format=csv"])
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "0")
    assert batch.main() == BATCH_BAD_INPUT
    put(store, "in/one.csv", ROWS)
    assert batch.main() == 0
    monkeypatch.setattr(
        "sys.argv",
        [
            "batch",
            *options,
            "--digest=sha256:0",
            "--format=csv",
            f"--model_dir={tmp_path / 'other'}",
        ],
    )
    assert batch.main() == 1
