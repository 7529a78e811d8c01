# pyright: basic
from __future__ import annotations

import pytest

from models.errors import ConfigError
from models.registry_tags import RegistryTags

TAGS = RegistryTags(
    version="1.4.0",
    digest="sha256:" + "a" * 64,
    git_commit="unknown",
    data_hash="sha256:" + "b" * 64,
    metrics_run="run1",
    reference_profile=True,
    owner="pathology-ml",
)


def test_round_trip_beside_tags_of_others() -> None:
    tags = TAGS.to_tags()
    assert tags["modelramp.version"] == "1.4.0"
    assert tags["modelramp.reference_profile"] == "true"
    others = {"mlflow.user": "x", "modelramp.stack.prod": "{}", "modelramp.archived": "2026"}
    assert RegistryTags.from_tags({**tags, **others}) == TAGS


def test_the_path_of_an_evaluation_is_optional() -> None:
    assert "modelramp.evaluation" not in TAGS.to_tags()
    with_one = TAGS.model_copy(update={"evaluation": "modelramp/evaluation.json"})
    assert RegistryTags.from_tags(with_one.to_tags()) == with_one


def test_all_problems_at_once_each_with_what_is_allowed() -> None:
    tags = {
        **TAGS.to_tags(),
        "modelramp.version": "1.4",
        "modelramp.digest": "a",
        "modelramp.onwer": "x",
    }
    del tags["modelramp.owner"]
    with pytest.raises(ConfigError) as caught:
        RegistryTags.from_tags(tags)
    assert sorted(map(str, caught.value.problems)) == [
        "tag modelramp.digest: has a wrong value; it must be sha256: and 64 hexadecimal digits",
        (
            "tag modelramp.onwer: unknown; known are version, digest, git_commit, data_hash,"
            " metrics_run, reference_profile, owner, evaluation, load_test, fairness"
        ),
        "tag modelramp.owner: missing; it must be the team that owns the model, not empty",
        (
            "tag modelramp.version: has a wrong value; it must be a semantic version without"
            " +build, such as 1.4.0 or 2.0.0-rc1"
        ),
    ]
