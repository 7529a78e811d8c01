"""Serves one model: `python -m serving --help`."""

from __future__ import annotations

import logging
import os
import sys
import time

# One row is too small a job for several threads, and a pod has one core more often than not. Must
# stand before numpy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import structlog

from models.errors import ModelrampError
from serving.loader import fetch_model, load_model, verify_digest
from serving.logs import configure_logs
from serving.options import parse_options


def main() -> int:
    """Fetches, checks, loads and serves; returns the process's exit code."""
    options = parse_options(sys.argv[1:])
    configure_logs(options.log_level, model=options.model_name, version=options.model_version)
    log = structlog.get_logger("serving")
    start_seconds = time.perf_counter()
    try:
        if options.model_uri:
            fetch_model(options.model_uri, options.model_dir, options.digest)
        else:
            verify_digest(options.model_dir, options.digest, str(options.model_dir))
        model = load_model(options.model_dir)
    except ModelrampError as error:
        log.error("cannot serve", reason=str(error))  # noqa: TRY400  the reason says it all
        return 1
    log.info("model loaded", seconds=round(time.perf_counter() - start_seconds, 2))
    from serving.server import serve  # noqa: PLC0415  after the cheap checks: it takes seconds

    serve(options, model)
    log.info("stopped")
    return 0


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    # A prediction that hangs in its thread would hold an ordinary exit for ever.
    os._exit(code)
