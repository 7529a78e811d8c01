"""Predictions on whole files, by the same version, artifact and pool as requests."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from models.base import Declared, DurationSeconds
from models.calendar import TimeZone

S3Prefix = Annotated[str, Field(pattern=r"^s3://[^/]+(/[^/]+)+$")]


class BatchPrediction(Declared):
    """Predicts what lies in the store, once or again and again.

    Attributes:
        input: prefix of the files, in the artifact store or another one that the pods may read.
        output: prefix of the results; a run's go under its own name.
        format: of the files, both ways.
        schedule: when, in cron syntax; once, when it is declared, if absent.
        zone: time zone of the schedule.
        version: `stable` follows the rollout.
        parallelism: pods that share the files.
        chunk_rows: rows that are predicted at a time.
        timeout_seconds: a run that takes longer is ended.
        retries: of a pod that fails.
        keep_finished_seconds: how long a finished run of a schedule can be looked at.
    """

    input: S3Prefix
    output: S3Prefix
    format: Literal["parquet", "csv", "jsonl"] = "parquet"
    schedule: Annotated[str, Field(pattern=r"^(\S+ ){4}\S+$|^@(hourly|daily|weekly|monthly)$")] | (
        None
    ) = None
    zone: TimeZone = "UTC"
    version: Literal["stable", "candidate"] = "stable"
    parallelism: int = Field(1, ge=1, le=100)
    chunk_rows: int = Field(10_000, ge=1)
    timeout_seconds: DurationSeconds = Field(6 * 3600.0, alias="timeout")
    retries: int = Field(2, ge=0, le=10)
    keep_finished_seconds: DurationSeconds = Field(7 * 86400.0, alias="keepFinished")
