"""Predicts whole files: `python -m serving.batch --help`.

Reads what lies under a prefix of the store, predicts it in chunks, and writes each file again under
the output prefix, with a column `prediction`. A run can be repeated: it writes the same again.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from models.errors import ConfigError, ModelrampError, Problem, RegistryError
from models.names import BATCH_BAD_INPUT
from serving.errors import Refusal
from serving.loader import LoadedModel, fetch_model, load_model, store_client
from serving.logs import configure_logs
from serving.payload import rows_of_v1

PREDICTION: Final = "prediction"
Predict = Callable[[list[dict[str, Any]], int], list[Any]]
"""Predicts rows; told how many came before them."""

SUFFIXES: Final = {"parquet": ".parquet", "csv": ".csv", "jsonl": ".jsonl"}


@dataclass(frozen=True)
class Batch:
    """What one pod of a run does.

    Attributes:
        name: of the service.
        version: of the model.
        digest: that the artifact must have.
        model_uri: `s3://bucket/prefix` of the artifact.
        model_dir: where it is fetched to.
        source: `s3://bucket/prefix` of the files.
        target: `s3://bucket/prefix` of the results; the run's lie under its name.
        run: name of the run.
        format: of the files, both ways.
        chunk_rows: rows that are predicted at a time.
        shard: number of this pod, from 0.
        shards: pods that share the files.
    """

    name: str
    version: str
    digest: str
    model_uri: str
    model_dir: Path
    source: str
    target: str
    run: str
    format: str
    chunk_rows: int
    shard: int
    shards: int


def parse(arguments: Sequence[str]) -> Batch:
    """Reads the command line; ends the process with code 2 and a clear text if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.batch",
        description="Predicts the files under a prefix of the store.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--name", required=True, help="the model service")
    add("--version", required=True, help="the version; it is written into the manifest")
    add("--digest", required=True, help="sha256:... that the artifact must have")
    add("--model_uri", required=True, help="s3://bucket/prefix of the artifact")
    add("--model_dir", type=Path, default=Path("/tmp/model"), help="where it is fetched to")  # noqa: S108
    add("--source", required=True, help="s3://bucket/prefix of the files")
    add("--target", required=True, help="s3://bucket/prefix of the results")
    add("--run", required=True, help="name of the run, a folder under the target")
    add("--format", choices=sorted(SUFFIXES), default="parquet", help="of the files, both ways")
    add("--chunk_rows", type=int, default=10_000, help="rows that are predicted at a time")
    add("--shards", type=int, default=1, help="pods that share the files")
    given = parser.parse_args(arguments)
    # Kubernetes numbers the pods of an indexed Job.
    return Batch(**vars(given), shard=int(os.environ.get("JOB_COMPLETION_INDEX", "0")))


def run(batch: Batch, store: Any) -> dict[str, Any]:
    """Predicts this pod's files and writes the manifest; returns the manifest.

    Args:
        batch: what to do.
        store: an S3 client.

    Raises:
        ConfigError: there are no files, or a row does not keep to the model's signature.
        RegistryError: the artifact is not what was declared.
    """
    began = _now()
    fetch_model(batch.model_uri, batch.model_dir, batch.digest)
    model = load_model(batch.model_dir)
    keys = _input_keys(batch, store)
    if not keys:
        wanted = f"*{SUFFIXES[batch.format]}"
        raise ConfigError([Problem("--source", f"{batch.source} holds no {wanted} files")])
    bucket, prefix = _parts(batch.source)
    # By its name, so that a file that comes between two pods' listings moves no other.
    mine = [key for key in keys if zlib.crc32(key.encode()) % batch.shards == batch.shard]
    files = [
        _predict_file(batch, model, store, bucket, key, key.removeprefix(prefix)) for key in mine
    ]
    manifest = {
        "service": batch.name,
        "version": batch.version,
        "digest": batch.digest,
        "run": batch.run,
        "shard": batch.shard,
        "shards": batch.shards,
        "began": began,
        "ended": _now(),
        "rows": sum(file["rows"] for file in files),
        "files": files,
    }
    target, base = _parts(batch.target)
    store.put_object(
        Bucket=target,
        Key=f"{base}{batch.run}/_manifest-{batch.shard}.json",
        Body=json.dumps(manifest, indent=2).encode(),
        ContentType="application/json",
    )
    return manifest


def _parts(uri: str) -> tuple[str, str]:
    """Returns bucket and prefix of a URI; the prefix ends with a slash."""
    parts = urlsplit(uri)
    return parts.netloc, parts.path.strip("/") + "/"


def _input_keys(batch: Batch, store: Any) -> list[str]:
    bucket, prefix = _parts(batch.source)
    pages = store.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    return sorted(key for key in keys if key.endswith(SUFFIXES[batch.format]))


def _predict_file(
    batch: Batch, model: LoadedModel, store: Any, bucket: str, key: str, name: str
) -> dict[str, Any]:
    target, base = _parts(batch.target)
    result, where = f"{base}{batch.run}/{name}", f"s3://{bucket}/{key}"
    with tempfile.TemporaryDirectory() as folder:
        source, answer = Path(folder, "source"), Path(folder, "answer")
        store.download_file(bucket, key, str(source))
        predict = partial(_predictions, model, where)
        rows = _FORMATS[batch.format](source, answer, batch.chunk_rows, predict)
        store.upload_file(str(answer), target, result)
    return {"source": where, "target": f"s3://{target}/{result}", "rows": rows}


def _predictions(
    model: LoadedModel, where: str, instances: list[dict[str, Any]], before: int
) -> list[Any]:
    """Returns a prediction a row.

    Raises:
        ConfigError: a row does not keep to the model's signature; says which, from 1.
    """
    if not instances:
        return []
    given: list[Any] = instances
    if not model.signature.named:
        given = [[*row.values()] for row in instances]
    try:
        rows = rows_of_v1({"instances": given}, model.signature)
    except Refusal as refusal:
        problems = [_problem(where, before, it) for it in refusal.problems]
        raise ConfigError(problems or [Problem(where, refusal.message)]) from None
    try:
        return model.predict(rows)
    except Exception as error:  # whatever a model raises; perhaps it passes
        place = f"{where}, rows {before + 1} to {before + len(rows)}"
        raise RegistryError(f"{place}: the model failed: {error}") from error


def _problem(where: str, before: int, report: Mapping[str, str | int]) -> Problem:
    column = f"column {report['column']} " if "column" in report else ""
    what = f"{column}{report['problem']}; allowed: {report['allowed']}"
    return Problem(f"{where}, row {before + int(report['row']) + 1}", what)


# Each format's rows are written as they were read; only the prediction is added.


def _csv(source: Path, answer: Path, chunk_rows: int, predict: Predict) -> int:
    done = 0
    with source.open(newline="") as file, answer.open("w", newline="") as out:
        reader = csv.DictReader(file)
        names = [*(reader.fieldnames or ())]
        writer = csv.writer(out, lineterminator="\n")
        if names:
            writer.writerow([*names, PREDICTION])
        while chunk := [*islice(reader, chunk_rows)]:
            numbers = [{name: _number(row[name]) for name in names} for row in chunk]
            for row, prediction in zip(chunk, predict(numbers, done), strict=True):
                writer.writerow([*(row[name] for name in names), prediction])
            done += len(chunk)
    return done


def _number(text: str | None) -> Any:
    """Reads a cell of CSV, which has no types: a number if it is one, nothing if it is empty."""
    if not text:
        return None
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def _jsonl(source: Path, answer: Path, chunk_rows: int, predict: Predict) -> int:
    done = 0
    with source.open() as file, answer.open("w") as out:
        lines = (json.loads(line) for line in file if line.strip())
        while chunk := [*islice(lines, chunk_rows)]:
            for row, prediction in zip(chunk, predict(chunk, done), strict=True):
                out.write(json.dumps({**row, PREDICTION: prediction}) + "\n")
            done += len(chunk)
    return done


def _parquet(source: Path, answer: Path, chunk_rows: int, predict: Predict) -> int:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    done, writer = 0, None
    file = pq.ParquetFile(source)
    schema = file.schema_arrow
    try:
        for part in file.iter_batches(batch_size=chunk_rows):
            rows = [{name: _as_json(it) for name, it in row.items()} for row in part.to_pylist()]
            column = pa.array(predict(rows, done))
            if writer is None:
                schema = schema.append(pa.field(PREDICTION, column.type))
                writer = pq.ParquetWriter(answer, schema)
            table = pa.Table.from_batches([part]).append_column(PREDICTION, column)
            writer.write_table(table.cast(schema))
            done += len(rows)
        if writer is None:  # without rows it is a file of this format all the same
            pq.write_table(schema.empty_table(), answer)
    finally:
        if writer is not None:
            writer.close()
    return done


def _as_json(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


_FORMATS: Final[dict[str, Callable[[Path, Path, int, Predict], int]]] = {
    "csv": _csv,
    "jsonl": _jsonl,
    "parquet": _parquet,
}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def main() -> int:
    """Runs one pod's share; 0 if all is written, 3 where another try would fail too, else 1."""
    batch = parse(sys.argv[1:])
    configure_logs("info", model=batch.name, version=batch.version)
    log = structlog.get_logger("serving.batch")
    try:
        manifest = run(batch, store_client())
    except ModelrampError as error:
        log.error("not predicted", reason=str(error))  # noqa: TRY400  the reason says it all
        return BATCH_BAD_INPUT if isinstance(error, ConfigError) else 1
    log.info("predicted", rows=manifest["rows"], files=len(manifest["files"]), run=batch.run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
