"""The command line of the model server."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """What the model server was asked to do; see `parse_options` for each one's meaning."""

    model_name: str
    model_version: str
    model_uri: str | None
    model_dir: Path
    digest: str | None
    http_host: str
    http_port: int
    timeout_seconds: float
    max_body_bytes: int
    max_concurrency: int
    threads: int
    feedback_memory: int
    drain_seconds: float
    grace_seconds: float
    log_level: str


def parse_options(arguments: Sequence[str]) -> Options:
    """Reads the command line; ends the process with code 2 and a clear text if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        description="Serves one MLflow model by KServe's v1 and v2 protocols.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--model_name", required=True, help="name in the URL: the model service's name")
    add("--model_version", required=True, help="sent back as x-model-version with every answer")
    add("--model_uri", help="s3://bucket/prefix to download to model_dir; on a cluster KServe's")
    add("--model_dir", type=Path, default=Path("/mnt/models"), help="folder that holds MLmodel")
    add("--digest", help="sha256:... that model_dir must have, else the server does not start")
    # A pod has to listen on all its addresses; on a machine of one's own: 127.0.0.1.
    add("--http_host", default="0.0.0.0", help="address to listen on")  # noqa: S104
    add("--http_port", type=int, default=8080, help="port to listen on")
    add("--timeout_seconds", type=_positive, default=10.0, help="a prediction's limit, then 504")
    add("--max_body_bytes", type=int, default=1_048_576, help="a request's limit, then 413")
    add(
        "--max_concurrency",
        type=int,
        default=512,
        help="predictions running or queued at once, then 503",
    )
    add("--threads", type=int, default=1, help="predictions computed at once")
    add(
        "--feedback_memory",
        type=int,
        default=100_000,
        help="how many requests' predictions wait for their true label",
    )
    add(
        "--drain_seconds",
        type=float,
        default=2.0,
        help="after SIGTERM, how long requests are still taken while readiness is off",
    )
    add(
        "--grace_seconds",
        type=_positive,
        default=30.0,
        help="after SIGTERM, when the process ends at the latest",
    )
    add("--log_level", choices=("debug", "info", "warning", "error"), default="info")
    return Options(**vars(parser.parse_args(arguments)))


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value
