# pyright: basic
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from models.errors import RegistryError
from rollout.registry import _types, logged_model_id, parse_registry_uri, parse_tags, registry_uri


@pytest.mark.parametrize("name", ["biopsy", "team/biopsy"])
def test_a_registry_uri_round_trip(name: str) -> None:
    assert parse_registry_uri(registry_uri(name, 2)) == (name, "2")


@pytest.mark.parametrize(
    "uri", ["biopsy/2", "models:/biopsy", "models:/2", "models:/biopsy/latest", "models:/biopsy@a"]
)
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(RegistryError, match="models:/<name>/<number>"):
        parse_registry_uri(uri)


def test_missing_tags_are_all_named_with_the_version() -> None:
    with pytest.raises(RegistryError) as caught:
        parse_tags("models:/biopsy/2", {"modelramp.owner": "pathology-ml"})
    text = str(caught.value)
    assert text.startswith("models:/biopsy/2: its tags are not modelramp's:\n")
    assert text.count("missing") == 6


def version(**fields: Any) -> Any:
    return SimpleNamespace(
        **{"name": "biopsy", "version": 2, "model_id": None, "source": "", **fields}
    )


def test_the_logged_model_from_its_id_or_the_source() -> None:
    assert logged_model_id(version(model_id="m-1", source="s3://x")) == "m-1"
    assert logged_model_id(version(source="models:/m-2")) == "m-2"


@pytest.mark.parametrize("source", ["runs:/1/model", "s3://bucket/x", None])
def test_a_version_without_a_logged_model_is_refused(source: str | None) -> None:
    with pytest.raises(RegistryError, match="log it with MLflow 3"):
        logged_model_id(version(source=source))


@pytest.mark.parametrize(
    ("columns", "types"),
    [
        (
            [
                {"type": "double", "name": "size", "required": True},
                {"type": "string", "name": "colour", "required": False},
            ],
            {"size": "double", "colour": "string?"},
        ),
        ([{"type": "long", "required": True}], {"0": "long"}),
        (
            [{"type": "array", "items": {"type": "string"}, "name": "tags", "required": True}],
            {"tags": '{"items": {"type": "string"}, "type": "array"}'},
        ),
        (
            [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": (-1, 3)}}],
            {"0": "float64[-1, 3]"},
        ),
    ],
)
def test_a_signature_as_a_stack_file_declares_it(
    columns: list[dict[str, Any]], types: dict[str, str]
) -> None:
    assert _types(SimpleNamespace(to_dict=lambda: columns)) == types
