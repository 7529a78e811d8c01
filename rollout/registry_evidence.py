"""What training code logs of a registered version for the gates, and how `deploy` reads it back.

The files lie in the version's MLflow run, and a tag of the version names each: see
`models.offline_evidence` for what is in them. Log them after the version is registered and its
reference profile stored, because they name the digest that they are of.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import ValidationError

from models.errors import RegistryError
from models.offline_evidence import Evaluation, Fairness, LoadTest, OfflineEvidence
from models.registry_tags import PREFIX, RegistryTags
from rollout.registry import connect, parse_tags, registry_uri

FOLDER: Final = "modelramp"
LARGEST_FILE_BYTES: Final = 200_000_000

Kind = Literal["evaluation", "load_test", "fairness"]
SCHEMAS: Final[Mapping[Kind, type[OfflineEvidence]]] = {
    "evaluation": Evaluation,
    "load_test": LoadTest,
    "fairness": Fairness,
}

T = TypeVar("T", bound=OfflineEvidence)


@dataclass(frozen=True)
class Missing:
    """Evidence that is not there, or cannot be used.

    Attributes:
        why: what is wrong, and what to log.
    """

    why: str


@dataclass(frozen=True)
class Logged:
    """What was logged of one registered version.

    Attributes:
        evaluation: an example's values by metric.
        load_test: how fast it answered.
        fairness: fairness metrics.
    """

    evaluation: Evaluation | Missing
    load_test: LoadTest | Missing
    fairness: Fairness | Missing


def log_evaluation(
    tracking_uri: str,
    name: str,
    number: str | int,
    *,
    data_hash: str,
    ids: list[str],
    metrics: Mapping[str, tuple[Literal["higher", "lower"], list[float]]],
) -> None:
    """Logs how a registered version did on each example of its evaluation data.

    Args:
        tracking_uri: of the MLflow server.
        name: of the registered model.
        number: the registry's own number of the version.
        data_hash: `sha256:...` of the evaluation data.
        ids: of the examples, the same for every version that is evaluated on them.
        metrics: by name, which values are better, and one value for each id.

    Raises:
        RegistryError: the version is not there, its tags are not modelramp's, or what is logged is
            not by the schema.
    """
    values = {it: {"better": better, "values": given} for it, (better, given) in metrics.items()}
    content = {"dataHash": data_hash, "ids": ids, "metrics": values}
    _log(tracking_uri, (name, number), "evaluation", content)


def log_load_test(
    tracking_uri: str,
    name: str,
    number: str | int,
    *,
    requests: int,
    failed: int,
    p99_ms: float,
    requests_per_second: float,
) -> None:
    """Logs how fast a registered version answered under load.

    Args:
        tracking_uri: of the MLflow server.
        name: of the registered model.
        number: the registry's own number of the version.
        requests: that were sent.
        failed: how many of them failed.
        p99_ms: 99% of the answers took no longer, milliseconds.
        requests_per_second: how many were sent a second.

    Raises:
        RegistryError: as `log_evaluation`.
    """
    content = {
        "requests": requests,
        "failed": failed,
        "p99Ms": p99_ms,
        "requestsPerSecond": requests_per_second,
    }
    _log(tracking_uri, (name, number), "load_test", content)


def log_fairness(
    tracking_uri: str,
    name: str,
    number: str | int,
    *,
    data_hash: str,
    metrics: Mapping[str, float],
) -> None:
    """Logs fairness metrics of a registered version.

    Args:
        tracking_uri: of the MLflow server.
        name: of the registered model.
        number: the registry's own number of the version.
        data_hash: `sha256:...` of the evaluation data.
        metrics: value by name.

    Raises:
        RegistryError: as `log_evaluation`.
    """
    content = {"dataHash": data_hash, "metrics": dict(metrics)}
    _log(tracking_uri, (name, number), "fairness", content)


def read_logged(tracking_uri: str, tags: RegistryTags) -> Logged:
    """Reads what was logged of a registered version.

    Args:
        tracking_uri: of the MLflow server.
        tags: of the version.

    Raises:
        RegistryError: the server failed.
    """
    return Logged(
        _read(tracking_uri, tags, "evaluation", Evaluation),
        _read(tracking_uri, tags, "load_test", LoadTest),
        _read(tracking_uri, tags, "fairness", Fairness),
    )


def parse(text: str | bytes, schema: type[T], where: str) -> T | Missing:
    """Reads one file of evidence; all that is wrong with it at once."""
    try:
        return schema.model_validate_json(text, by_alias=True, by_name=False)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, it['loc']))}: {it['msg']}" for it in error.errors()]
        return Missing(f"{where} is not by the schema of docs/registry.md: {'; '.join(wrong[:5])}")


def _log(tracking_uri: str, which: tuple[str, str | int], kind: Kind, content: Any) -> None:
    name, number = which
    uri, path = registry_uri(name, number), f"{FOLDER}/{kind}-{number}.json"
    with connect(tracking_uri) as client:
        tags = parse_tags(uri, client.get_model_version(name, str(number)).tags)
        text = json.dumps({"digest": tags.digest, **content})
        parsed = parse(text, SCHEMAS[kind], kind)
        if isinstance(parsed, Missing):
            raise RegistryError(f"{uri}: {parsed.why}")
        client.log_text(tags.metrics_run, text, path)
        client.set_model_version_tag(name, str(number), PREFIX + kind, path)


def _read(tracking_uri: str, tags: RegistryTags, kind: Kind, schema: type[T]) -> T | Missing:
    path = getattr(tags, kind)
    if path is None:
        return Missing(
            f"no tag {PREFIX}{kind}; log it with rollout.registry_evidence.log_{kind}, "
            "see docs/registry.md"
        )
    where = f"{path} of run {tags.metrics_run}"
    with connect(tracking_uri) as client, tempfile.TemporaryDirectory() as folder:
        listed = {it.path: it.file_size for it in _siblings(client, tags.metrics_run, path)}
        if path not in listed:
            return Missing(f"{where} is not there; log it again")
        if (listed[path] or 0) > LARGEST_FILE_BYTES:
            return Missing(f"{where} is larger than {LARGEST_FILE_BYTES:,} bytes")
        file = Path(client.download_artifacts(tags.metrics_run, path, folder))
        return parse(file.read_bytes(), schema, where)


def _siblings(client: Any, run_id: str, path: str) -> list[Any]:
    """Lists what lies in the folder of an artifact; a path that is not there gives no error."""
    folder = path.rpartition("/")[0]
    return client.list_artifacts(run_id, folder or None)
