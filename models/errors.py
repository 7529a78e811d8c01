"""The exception tree. Every error a user can cause derives from `ModelrampError`.

ModelrampError
├── ConfigError          a stack file or option is wrong (exit code 1)
├── GitError             git, or the server that keeps the repository, refused
├── MetricsError         metrics are missing, stale or impossible (verdict: no-data)
├── RegistryError        the model registry has not what was asked for
├── StackFileError       the stack file could not be edited, or changed under us
├── ToolError            a tool could not be found, downloaded or built
└── RuntimeTargetError   the embedded or cluster target did not do what was declared
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class ModelrampError(Exception):
    """Base of all errors whose message is meant for the user."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a configuration.

    Attributes:
        where: file, option or tag.
        what: what was wrong and what is allowed.
        key: key path in the file.
        line: of that key, from 1.
    """

    where: str
    what: str
    key: str = ""
    line: int | None = None

    def __str__(self) -> str:
        place = self.where if self.line is None else f"{self.where}:{self.line}"
        return ": ".join(part for part in (place, self.key, self.what) if part)


class ConfigError(ModelrampError):
    """A configuration is wrong; carries all its problems at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class GitError(ModelrampError):
    """Git, or the server that keeps the repository, refused."""


class MetricsError(ModelrampError):
    """Metrics are missing, stale or impossible."""


class RegistryError(ModelrampError):
    """The model registry does not hold what was asked for, or holds it incompletely."""


class StackFileError(ModelrampError):
    """The stack file could not be edited, or was changed by somebody else meanwhile."""


class ToolError(ModelrampError):
    """A tool could not be found, downloaded or built."""


class RuntimeTargetError(ModelrampError):
    """The embedded or cluster target did not do what was declared."""
