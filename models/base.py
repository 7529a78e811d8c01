"""The base of all declarations, and the scalar types they share."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

LONGEST_SECONDS = 10 * 365 * 86400.0
_DURATION = re.compile(r"(\d{1,12})(ms|s|m|h|d)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_TEXT = Annotated[str, Field(pattern=r"^(\d+(ms|s|m|h|d))+$", examples=["30s", "15m"])]
_SEMANTIC_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+)*")


class Declared(BaseModel):
    """What a stack file declares: camelCase there, immutable here, nothing unknown accepted."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )


def refuse(problems: Collection[str]) -> None:
    """Does nothing where there are no problems; for validators that may find several.

    Raises:
        ValueError: there are some; tells all of them.
    """
    if problems:
        raise ValueError("; ".join(problems))


def parse_duration(value: object) -> object:
    """Reads a Prometheus-style duration (`30s`, `15m`, `1h30m`, `7d`) as seconds.

    Raises:
        ValueError: the text is no duration; numbers are refused because they carry no unit.
    """
    if isinstance(value, int | float):
        raise ValueError("a duration needs a unit, such as 30s, 15m, 24h or 7d")  # noqa: TRY004
    if not isinstance(value, str):
        return value
    if not re.fullmatch(f"(?:{_DURATION.pattern})+", value):
        raise ValueError(f"{value!r} is no duration; write it as 30s, 15m, 24h or 7d")
    seconds = sum(int(count) * _UNIT_SECONDS[unit] for count, unit in _DURATION.findall(value))
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"{value!r} is longer than ten years")
    return seconds


def format_duration(seconds: float) -> str:
    """Writes seconds, to the millisecond, as a Prometheus duration in the largest fitting unit."""
    for unit in ("d", "h", "m", "s"):
        if seconds % _UNIT_SECONDS[unit] == 0:
            return f"{int(seconds / _UNIT_SECONDS[unit])}{unit}"
    return f"{round(seconds * 1000)}ms"


def _semantic_version(value: str) -> str:
    if not _SEMANTIC_VERSION.fullmatch(value):
        raise ValueError(
            f"{value!r} is no semantic version of the form 1.4.0 or 1.4.0-rc1 "
            "(+build is not a legal label value)"
        )
    return value


DurationSeconds = Annotated[
    float,
    BeforeValidator(parse_duration, json_schema_input_type=_DURATION_TEXT),
    Field(gt=0),
]
"""Seconds, written with a unit in the stack file."""

WaitSeconds = Annotated[
    float,
    BeforeValidator(parse_duration, json_schema_input_type=_DURATION_TEXT),
    Field(ge=0),
]
"""The same, but it may be `0s`."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A share of requests or labels, 0 to 1."""

Percent = Annotated[int, Field(ge=0, le=100)]
"""A share of traffic, whole percent."""

SemanticVersion = Annotated[str, AfterValidator(_semantic_version)]
"""`1.4.0` or `1.4.0-rc1`; a quoted string in the stack file."""

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
"""SHA-256 of an artifact folder, see `models.digest`."""

Name = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=40)]
"""A name that is legal in Kubernetes, in a metric label and in a URL alike."""

Cpu = Annotated[str, Field(pattern=r"^([1-9]\d*m|(\d+[.])?\d*[1-9]\d*)$", examples=["500m", "2"])]
"""Processors, a Kubernetes quantity; a quoted string."""

Memory = Annotated[
    str, Field(pattern=r"^[1-9]\d*(Ki|Mi|Gi|Ti|k|M|G|T)$", examples=["512Mi", "4Gi"])
]
"""Bytes, a Kubernetes quantity with its unit."""

EnvironmentName = Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")]
"""Name of an environment variable."""


def version_order(version: str) -> tuple[object, ...]:
    """Returns a sort key of a semantic version: a release is after its pre-releases.

    Source: Semantic Versioning 2.0.0, section 11, for the versions that we allow.
    """
    release, _, pre = version.partition("-")
    # Numbers sort before words, and as numbers.
    parts = [(0, int(it), "") if it.isdigit() else (1, 0, it) for it in pre.split("-") if it]
    return (*map(int, release.split(".")), not pre, *parts)
