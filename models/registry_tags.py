"""The tags that a registered model version carries in MLflow: the one written schema of them.

Every tag is named `modelramp.<field>`; tags of other names belong to others and are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, ValidationError

from models.base import Digest, Percent, SemanticVersion
from models.errors import ConfigError, Problem

PREFIX = "modelramp."
STACK_PREFIX = f"{PREFIX}stack."
"""Begins the names of the tags that say what each stack does with a version, see `StackTag`."""
ARCHIVED = f"{PREFIX}archived"
"""The tag that says since when a version is archived."""

GitCommit = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{40}|unknown)$")]
NonEmpty = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]

# What a pattern means, for the error message.
_ALLOWED = {
    "version": "a semantic version without +build, such as 1.4.0 or 2.0.0-rc1",
    "digest": "sha256: and 64 hexadecimal digits",
    "git_commit": "a full commit id of 40 hexadecimal digits, or unknown",
    "data_hash": "sha256: and 64 hexadecimal digits",
    "metrics_run": "the id of the MLflow run that holds the training metrics",
    "reference_profile": "true or false",
    "owner": "the team that owns the model, not empty",
    "evaluation": "the path of an artifact of the run, see docs/registry.md",
    "load_test": "the path of an artifact of the run, see docs/registry.md",
    "fairness": "the path of an artifact of the run, see docs/registry.md",
}


Role = Literal["stable", "candidate", "rejected", "previous", "declared", "none"]


class StackTag(BaseModel):
    """What a stack does with a registered version: the value of `modelramp.stack.<stack>`, as JSON.

    Attributes:
        role: `declared` serves nothing; `none` is declared no more.
        percent: its share of the service's traffic.
        since: when it got this role and share.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    percent: Percent
    since: AwareDatetime


class RegistryTags(BaseModel):
    """What modelramp knows about a registered model version.

    Attributes:
        version: the model service's version, as in the stack file.
        digest: of the artifact folder, as the one who registered it computed it: a claim that
            `rollout.registry.resolve` checks.
        git_commit: of the training code; `unknown` outside a repository.
        data_hash: of the training data.
        metrics_run: id of the MLflow run that holds the training metrics.
        reference_profile: whether the artifact folder holds a reference profile.
        owner: the team that owns the model.
        evaluation: path of a `models.offline_evidence.Evaluation` among the artifacts of
            `metrics_run`.
        load_test: likewise of a `LoadTest`.
        fairness: likewise of a `Fairness`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: SemanticVersion
    digest: Digest
    git_commit: GitCommit
    data_hash: Digest
    metrics_run: NonEmpty
    reference_profile: bool
    owner: NonEmpty
    evaluation: NonEmpty | None = None
    load_test: NonEmpty | None = None
    fairness: NonEmpty | None = None

    def to_tags(self) -> dict[str, str]:
        """Returns the tags as MLflow wants them: full names, values as text."""
        values = self.model_dump(mode="json", exclude_none=True)
        return {
            PREFIX + name: str(value).lower() if isinstance(value, bool) else value
            for name, value in values.items()
        }

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> RegistryTags:
        """Reads the tags of a registered model version.

        Tags of others are ignored, and those that say what became of it.

        Raises:
            ConfigError: tags are missing, unknown or wrong; all problems at once.
        """
        ours = {
            name.removeprefix(PREFIX): value
            for name, value in tags.items()
            if name.startswith(PREFIX) and not name.startswith((STACK_PREFIX, ARCHIVED))
        }
        try:
            return cls.model_validate(ours)
        except ValidationError as error:
            problems = [_problem(str(item["loc"][0]), item["type"]) for item in error.errors()]
            raise ConfigError(problems) from None


def _problem(field: str, kind: str) -> Problem:
    allowed = _ALLOWED.get(field)
    if allowed is None:
        return Problem(f"tag {PREFIX}{field}", f"unknown; known are {', '.join(_ALLOWED)}")
    wrong = "missing" if kind == "missing" else "has a wrong value"
    return Problem(f"tag {PREFIX}{field}", f"{wrong}; it must be {allowed}")
