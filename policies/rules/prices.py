"""What GPU instances have and cost: the dated price file of the repository, read as data."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from rules.reading import at, mapping

REPOSITORY = Path(__file__).parents[2]
PRICES_FILE = "models/prices/gpu.yaml"
"""In the repository: `instances: {<type>: {gpus, regions: {<region>: {onDemand, spot}}}}`."""

_GPU_FAMILIES = ("g", "p")


def gpus_of(instance_type: str, file: str = PRICES_FILE) -> int | None:
    """Returns the GPUs of an EC2 instance type; None where the file does not know it."""
    gpus = at(_instances(file), instance_type, "gpus")
    if gpus is not None:
        return int(gpus)
    return None if may_have_gpus(instance_type) else 0


def may_have_gpus(family: str) -> bool:
    """Whether an instance family, or a type of it, is one of those with NVIDIA's GPUs."""
    return family.lower().startswith(_GPU_FAMILIES)


def types_of(family: str) -> list[str]:
    """Returns the instance types of a family that the file that ships knows."""
    return [it for it in _instances(PRICES_FILE) if it.partition(".")[0] == family]


def price_per_hour(instance_type: str, region: str, kind: str, file: str) -> float | None:
    """Returns what an instance costs; None where the file does not know it.

    Args:
        instance_type: of EC2.
        region: of AWS.
        kind: `onDemand` or `spot`.
        file: in the repository, or an absolute path.

    Returns:
        US dollars an hour.
    """
    price = at(_instances(file), instance_type, "regions", region, kind)
    return None if price is None else float(price)


@cache
def _instances(file: str) -> Mapping[str, Any]:
    try:
        text = (REPOSITORY / file).read_text(encoding="utf-8")
    except OSError:
        return {}  # nothing is known then, and that is what is said
    return mapping(mapping(yaml.safe_load(text)).get("instances"))
