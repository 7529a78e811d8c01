"""Reads a case file; every problem is named with its key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from models.errors import ConfigError, Problem
from rollout.case.format import Case
from rollout.case.problems import inconsistencies

_ALTERNATIVES = {"int", "float", "constrained-int", "constrained-float", "str", "metrics"}
"""What pydantic adds to a key path where a value may be of several types, and our own `metrics`."""


def load_case(path: Path) -> Case:
    """Reads a case file.

    Raises:
        ConfigError: the file can't be read or is not a case; all problems at once.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"), parse_constant=_constant)
    except OSError as error:
        raise ConfigError([Problem(str(path), error.strerror or "cannot be read")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem(str(path), "is no text in UTF-8")]) from None
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}:{error.colno}"
        raise ConfigError([Problem(where, f"is no JSON: {error.msg}")]) from None
    except RecursionError:
        raise ConfigError([Problem(str(path), "is nested too deeply")]) from None
    try:
        case = Case.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(list(_problems(path, error))) from None
    problems = [Problem(f"{path}: {key}", what) for key, what in inconsistencies(case)]
    if problems:
        raise ConfigError(problems)
    return case


def _constant(name: str) -> float | None:
    """Takes NaN for a missing scrape, as null; an infinite number is refused with its key."""
    return None if name == "NaN" else float(name)


def _problems(path: Path, error: ValidationError) -> Iterator[Problem]:
    seen: set[str] = set()
    for detail in error.errors():
        loc = [str(part) for part in detail["loc"]]
        keys = [part for part in loc if part not in _ALTERNATIVES and "[" not in part]
        where = f"{path}: {'.'.join(keys) or 'whole'}"
        if where not in seen:
            seen.add(where)
            yield Problem(where, detail["msg"].removeprefix("Value error, "))
