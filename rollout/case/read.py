"""Reads a case file; every problem is named with its key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from models.errors import ConfigError, Problem
from rollout.case.format import Case
from rollout.case.problems import inconsistencies

_ALTERNATIVES = ("int", "float", "str", "literal['+Inf']", "list[nullable[union[float,int]]]")
"""What pydantic adds to a key path where a value may be of several types: one problem, not two."""


def load_case(path: Path) -> Case:
    """Reads a case file.

    Raises:
        ConfigError: the file can't be read or is not a case; all problems at once.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([Problem(str(path), error.strerror or "cannot be read")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem(str(path), "is no text in UTF-8")]) from None
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}:{error.colno}"
        raise ConfigError([Problem(where, f"is no JSON: {error.msg}")]) from None
    try:
        case = Case.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(list(_problems(path, error))) from None
    problems = [Problem(f"{path}: {key}", what) for key, what in inconsistencies(case)]
    if problems:
        raise ConfigError(problems)
    return case


def _problems(path: Path, error: ValidationError) -> Iterator[Problem]:
    seen: set[str] = set()
    for detail in error.errors():
        # The alternatives of one number are one problem.
        loc = [
            str(part) for part in detail["loc"] if part not in ("int", "float", "list[nullable]")
        ]
        where = f"{path}: {'.'.join(loc) or 'whole'}"
        if where not in seen:
            seen.add(where)
            yield Problem(where, detail["msg"].removeprefix("Value error, "))
