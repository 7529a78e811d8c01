"""JSON logs on standard output, also those of libraries."""

from __future__ import annotations

import logging
import sys
import warnings

import structlog


def configure_logs(level: str, **context: str) -> None:
    """Makes every log line one JSON object.

    Args:
        level: the lowest level written, such as `info`.
        context: fields that each of our own lines carries.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**context)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=structlog.processors.JSONRenderer(), foreign_pre_chain=shared
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("serving").setLevel(level.upper())
    logging.captureWarnings(True)
    if level != "debug":
        # Libraries repeat theirs for every request, and may quote values in them.
        warnings.simplefilter("ignore")
    # KServe logs a client's mistakes with a stack trace, and configures its own format as long as
    # its logger has no handler.
    kserve = logging.getLogger("kserve")
    kserve.addHandler(logging.NullHandler())
    kserve.setLevel(logging.CRITICAL)
