"""Predicts whole files: `python -m serving.batch --help`.

Reads what lies under a prefix of the store, predicts it in chunks, and writes each file again under
the output prefix, with a column `prediction`. A run can be repeated: it writes the same again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import structlog

from models.errors import ConfigError, ModelrampError, Problem
from serving.errors import Refusal
from serving.loader import LoadedModel, fetch_model, load_model, store_client
from serving.logs import configure_logs
from serving.payload import rows_of_v1
from serving.signature import Signature

if TYPE_CHECKING:
    import pandas as pd

PREDICTION: Final = "prediction"
SUFFIXES: Final = {"parquet": ".parquet", "csv": ".csv", "jsonl": ".jsonl"}
BAD_INPUT: Final = 3
"""Exit code where another try would end the same way."""


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
    files = [
        _predict_file(batch, model, store, bucket, key, key.removeprefix(prefix))
        for key in keys[batch.shard :: batch.shards]
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
    result = f"{base}{batch.run}/{name}"
    rows = 0
    with tempfile.TemporaryDirectory() as folder:
        source, answer = Path(folder, "source"), Path(folder, "answer")
        store.download_file(bucket, key, str(source))
        with _Writer(answer, batch.format) as writer:
            for chunk in _chunks(source, batch.format, batch.chunk_rows):
                writer.write(_predicted(chunk, model, f"s3://{bucket}/{key}", rows))
                rows += len(chunk)
        store.upload_file(str(answer), target, result)
    return {"source": f"s3://{bucket}/{key}", "target": f"s3://{target}/{result}", "rows": rows}


def _predicted(chunk: pd.DataFrame, model: LoadedModel, where: str, before: int) -> pd.DataFrame:
    """Returns the rows with their predictions.

    Raises:
        ConfigError: a row does not keep to the model's signature; says which, from 1.
    """
    try:
        rows = rows_of_v1({"instances": _instances(chunk, model.signature)}, model.signature)
    except Refusal as refusal:
        problems = [_problem(where, before, it) for it in refusal.problems]
        raise ConfigError(problems or [Problem(where, refusal.message)]) from None
    try:
        return chunk.assign(**{PREDICTION: model.predict(rows)})
    except Exception as error:  # whatever a model raises
        place = f"{where}, rows {before + 1} to {before + len(chunk)}"
        raise ConfigError([Problem(place, f"the model refuses them: {error}")]) from error


def _problem(where: str, before: int, report: Mapping[str, str | int]) -> Problem:
    column = f"column {report['column']} " if "column" in report else ""
    what = f"{column}{report['problem']}; allowed: {report['allowed']}"
    return Problem(f"{where}, row {before + int(report['row']) + 1}", what)


def _instances(chunk: pd.DataFrame, signature: Signature) -> list[Any]:
    """Returns rows as a request would hold them; of unnamed columns, all in their order."""
    known = [name for name in signature.names if name in chunk.columns]
    given: Any = (chunk[known] if signature.named else chunk).astype(object)
    given = given.where(given.notna(), None).map(_as_json)
    if signature.named and len(known) < len(signature.names):  # the check says which are missing
        return given.to_dict("records")
    return given.to_numpy().tolist()


def _as_json(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _chunks(file: Path, kind: str, rows: int) -> Iterator[pd.DataFrame]:
    import pandas as pd  # noqa: PLC0415

    if kind == "parquet":
        import pyarrow.parquet as pq  # noqa: PLC0415

        for part in pq.ParquetFile(file).iter_batches(batch_size=rows):
            yield part.to_pandas()
        return
    reader: Any = (
        pd.read_csv(file, chunksize=rows)
        if kind == "csv"
        else pd.read_json(file, lines=True, chunksize=rows)
    )
    with reader:
        yield from reader


class _Writer:
    """Writes chunks of rows into one file."""

    def __init__(self, file: Path, kind: str) -> None:
        self._file = file
        self._kind = kind
        self._begun = False
        self._parquet: Any = None

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._parquet is not None:
            self._parquet.close()
        self._file.touch()  # a file without rows stays one

    def write(self, rows: pd.DataFrame) -> None:
        if self._kind == "parquet":
            import pyarrow as pa  # noqa: PLC0415
            import pyarrow.parquet as pq  # noqa: PLC0415

            table = pa.Table.from_pandas(rows, preserve_index=False)
            if self._parquet is None:
                self._parquet = pq.ParquetWriter(self._file, table.schema)
            self._parquet.write_table(table)
        elif self._kind == "csv":
            rows.to_csv(self._file, mode="a", header=not self._begun, index=False)
        else:
            rows.to_json(self._file, mode="a", orient="records", lines=True)
        self._begun = True


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
        return BAD_INPUT if isinstance(error, ConfigError) else 1
    log.info("predicted", rows=manifest["rows"], files=len(manifest["files"]), run=batch.run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
