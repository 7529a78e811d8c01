"""Names that several folders must agree on."""

from __future__ import annotations

from typing import Final

API_PREFIX: Final = "modelramp.dev"
"""Prefix of our annotations."""

SERVICE_LABEL: Final = "model-service"
VERSION_LABEL: Final = "model-version"
"""Pod labels; Prometheus sees them as `model_service` and `model_version`."""

VERSION_HEADER: Final = "x-model-version"
"""A request with this header goes to that version, past the split; every answer carries it."""

BACKEND_HEADER: Final = "x-model-backend"
"""Answers of servers that are not ours carry it: the backend's name, which holds the version."""

NO_VERSION: Final = "none"
"""Value of that header which no request has: see the route of `components.model_service`."""

MLFLOW_RUNTIME: Final = "modelramp-mlflow"
"""Name of the KServe ServingRuntime that runs `serving/`."""

LONGEST_BATCH_NAME: Final = 43
"""A CronJob's name has at most 52 letters, of which nine are for a fingerprint."""

BATCH_BAD_INPUT: Final = 3
"""Exit code of a batch prediction where another try would end the same way."""

DECLARED_PERCENT: Final = "modelramp:declared_percent"
"""Recording rule: the traffic percentage that is really declared, by service and version."""


def inference_service_name(service: str, version: str) -> str:
    """Returns the InferenceService of a version: `fraud`, `1.4.0` gives `fraud-v1-4-0`.

    KServe takes only `[a-z]([-a-z0-9]*[a-z0-9])?`.
    """
    return f"{service}-v{version.replace('.', '-').lower()}"


def predictor_name(service: str, version: str) -> str:
    """Returns the Kubernetes Service that KServe makes for a version's predictor."""
    return f"{inference_service_name(service, version)}-predictor"


def known_route_name(service: str) -> str:
    """Returns the route that keeps a service's versions known; no service's name has a dot."""
    return f"{service}.known"
