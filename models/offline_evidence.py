"""What training code logs of a version for the gates of `deploy`: the one written schema of it.

Each is a JSON file among the artifacts of the version's MLflow run; a tag of the registered version
names its path, see `models.registry_tags`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, model_validator

from models.base import Declared, Digest, refuse

Id = Annotated[str, Field(min_length=1)]


class LoggedMetric(Declared):
    """One metric of a version, a value for each example.

    Attributes:
        better: which values are better.
        values: one for each id, in the order of the ids; 0 or 1 where it is right or wrong.
    """

    better: Literal["higher", "lower"]
    values: tuple[FiniteFloat, ...]


class Evaluation(Declared):
    """How a version did on each example of a data set that it was not trained on.

    Attributes:
        digest: of the artifact that was evaluated.
        data_hash: of the evaluation data; versions can be compared where it is the same.
        ids: of the examples, each once.
        metrics: by name.
    """

    digest: Digest
    data_hash: Digest
    ids: tuple[Id, ...] = Field(min_length=1)
    metrics: dict[str, LoggedMetric] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_value_an_example(self) -> Evaluation:
        many = len(self.ids)
        problems = [
            f"metric {name} has {len(metric.values)} values for {many} ids; one an id is needed"
            for name, metric in self.metrics.items()
            if len(metric.values) != many
        ]
        if len({*self.ids}) != many:
            problems.append("an id occurs twice; each example must have its own")
        refuse(problems)
        return self


class LoadTest(Declared):
    """How fast a version answered under load.

    Attributes:
        digest: of the artifact that was tested.
        requests: that were sent.
        failed: how many of them failed.
        p99_ms: 99% of the answers took no longer, milliseconds.
        requests_per_second: how many were sent a second.
    """

    digest: Digest
    requests: int = Field(ge=1)
    failed: int = Field(ge=0)
    p99_ms: Annotated[FiniteFloat, Field(gt=0, alias="p99Ms")]
    requests_per_second: Annotated[FiniteFloat, Field(gt=0)]

    @model_validator(mode="after")
    def _possible(self) -> LoadTest:
        if self.failed > self.requests:
            raise ValueError(f"{self.failed} failed of {self.requests} requests")
        return self


class Fairness(Declared):
    """Fairness metrics of a version, such as the difference of a rate between two groups.

    Attributes:
        digest: of the artifact that was evaluated.
        data_hash: of the evaluation data.
        metrics: value by name.
    """

    digest: Digest
    data_hash: Digest
    metrics: dict[str, FiniteFloat] = Field(min_length=1)


OfflineEvidence = Evaluation | LoadTest | Fairness
