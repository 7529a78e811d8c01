"""What the Kubernetes provider rendered, read back: objects by kind, found by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from models.errors import RuntimeTargetError
from models.names import SERVICE_LABEL, VERSION_LABEL, known_route_name


@dataclass(frozen=True)
class InferenceService:
    """What the embedded target runs of a KServe InferenceService.

    Attributes:
        name: its name, unique in its namespace.
        namespace: Kubernetes namespace.
        service: the model service, from the pod labels.
        version: the model's version, from the pod labels.
        storage_uri: where the model lies.
        args: arguments of the model server.
        replicas: how many processes.
    """

    name: str
    namespace: str
    service: str
    version: str
    storage_uri: str
    args: tuple[str, ...]
    replicas: int


@dataclass(frozen=True)
class Manifests:
    """All rendered objects.

    Attributes:
        digest: changes with any change of any file.
        inference_services: by the name of the predictor's Kubernetes Service.
        routes: HTTPRoutes, as rendered.
        rules: PrometheusRules, as rendered.
        pod_monitors: PodMonitors, as rendered.
    """

    digest: str
    inference_services: dict[str, InferenceService]
    routes: tuple[dict[str, Any], ...]
    rules: tuple[dict[str, Any], ...]
    pod_monitors: tuple[dict[str, Any], ...]


def digest_of(folder: Path) -> str:
    """Returns a digest of all rendered files, by relative path and content."""
    digest = hashlib.sha256()
    for path in sorted(_files(folder)):
        digest.update(f"{path.relative_to(folder)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def read_manifests(folder: Path) -> Manifests:
    """Reads every rendered file.

    Raises:
        RuntimeTargetError: a file is no YAML or declares what the embedded target can't run.
    """
    digest = digest_of(folder)
    kinds: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(_files(folder)):
        try:
            for item in YAML(typ="safe").load_all(path.read_text(encoding="utf-8")):
                if item:
                    kinds.setdefault(item["kind"], []).append(item)
        except (YAMLError, KeyError, TypeError) as error:
            raise RuntimeTargetError(f"{path}: not a Kubernetes object: {error}") from error
    try:
        services = [_inference_service(item) for item in kinds.get("InferenceService", [])]
    except KeyError as missing:
        raise RuntimeTargetError(f"an InferenceService has no {missing}") from missing
    return Manifests(
        digest=digest,
        inference_services={f"{service.name}-predictor": service for service in services},
        routes=tuple(it for it in kinds.get("HTTPRoute", []) if not _is_known(it)),
        rules=tuple(kinds.get("PrometheusRule", [])),
        pod_monitors=tuple(kinds.get("PodMonitor", [])),
    )


def _is_known(route: Mapping[str, Any]) -> bool:
    """Whether no request takes a route; this Envoy is given clusters before routes anyway."""
    return route["metadata"]["name"].endswith(known_route_name(""))


def _files(folder: Path) -> Iterator[Path]:
    return folder.glob("*/*.yaml")


def _inference_service(item: dict[str, Any]) -> InferenceService:
    metadata = item["metadata"]
    predictor = item["spec"]["predictor"]
    model = predictor.get("model")
    if not model or model.get("modelFormat", {}).get("name") != "mlflow":
        raise RuntimeTargetError(
            f"InferenceService {metadata['name']}: the embedded target runs MLflow models only"
        )
    return InferenceService(
        name=metadata["name"],
        namespace=metadata.get("namespace", "default"),
        service=predictor["labels"][SERVICE_LABEL],
        version=predictor["labels"][VERSION_LABEL],
        storage_uri=model["storageUri"],
        args=tuple(model.get("args", ())),
        replicas=int(predictor.get("minReplicas", 1)),
    )
