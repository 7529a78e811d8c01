from __future__ import annotations

from pathlib import Path

import pytest

from models.digest import artifact_digest
from models.errors import ConfigError, RegistryError
from serving import loader
from serving.signature import KINDS, Column, Signature


def model_folder(folder: Path, content: str = "flavors: {}") -> Path:
    folder.mkdir(parents=True)
    (folder / "MLmodel").write_text(content)
    return folder


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the store holds: `MLmodel`'s content by URI."""
    held = {"s3://models/one": "one", "s3://models/two": "two"}

    def download(uri: str, folder: Path) -> None:
        model_folder(folder, held[uri])

    monkeypatch.setattr(loader, "_download", download)
    return held


def test_a_model_is_fetched_and_replaced_by_another(tmp_path: Path, store: dict[str, str]) -> None:
    target = tmp_path / "deep" / "model"
    for uri, content in store.items():
        loader.fetch_model(uri, target, None)
        assert (target / "MLmodel").read_text() == content
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_the_model_that_is_there_already_is_not_fetched_again(
    tmp_path: Path, store: dict[str, str]
) -> None:
    target = model_folder(tmp_path / "model")
    store.clear()
    loader.fetch_model("s3://models/gone", target, artifact_digest(target))


def test_a_wrong_digest_is_an_error_and_changes_nothing(
    tmp_path: Path, store: dict[str, str]
) -> None:
    target = model_folder(tmp_path / "model", "old")
    with pytest.raises(RegistryError, match="changed after the version was declared"):
        loader.fetch_model("s3://models/one", target, "sha256:" + "0" * 64)
    assert (target / "MLmodel").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_files_that_are_no_model_are_not_replaced(tmp_path: Path, store: dict[str, str]) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RegistryError, match="no model"):
        loader.fetch_model("s3://models/one", tmp_path, None)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("uri", ["models", "s3://", "s3://bucket", "s3://bucket/", "http://h/p"])
def test_only_a_folder_in_a_bucket_is_a_model_uri(tmp_path: Path, uri: str) -> None:
    with pytest.raises(ConfigError, match="s3://bucket/prefix"):
        loader.fetch_model(uri, tmp_path / "model", None)


def test_a_key_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="leads out"):
        loader._download_file(  # pyright: ignore[reportPrivateUsage]
            None, "bucket", "models/../../evil", "models/", tmp_path / "model"
        )


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no MLmodel"), ("flavors: {}", "no python_function flavor")]
)
def test_what_mlflow_cannot_load_is_an_error(
    tmp_path: Path, content: str | None, message: str
) -> None:
    if content:
        (tmp_path / "MLmodel").write_text(content)
    with pytest.raises(RegistryError, match=message):
        loader.load_model(tmp_path)


def test_models_get_the_types_of_their_signature() -> None:
    signature = Signature(
        (
            Column("size", KINDS["double"]),
            Column("count", KINDS["long"]),
            Column("extra", KINDS["long"], required=False),
            Column("name", KINDS["string"]),
            Column("flag", KINDS["boolean"]),
            Column("at", KINDS["datetime"]),
        )
    )
    rows = [[1, 2, None, "x", True, "2026-11-23"], [None, 3, 4, None, False, "2026-11-23T01:02:03"]]
    frame = loader.as_frame(rows, signature)
    assert list(frame.columns) == ["size", "count", "extra", "name", "flag", "at"]
    assert list(map(str, frame.dtypes)) == [
        *("float64", "int64", "object", "object", "bool", "datetime64[ns]")
    ]
    assert frame["size"].isna().tolist() == [False, True]


@pytest.mark.parametrize("kind", ["double", "float"])
def test_numbers_alone_become_a_frame_or_a_matrix(kind: str) -> None:
    columns = (Column("a", KINDS[kind]), Column("b", KINDS[kind]))
    frame = loader.as_frame([[1, None]], Signature(columns))
    assert list(frame.columns) == ["a", "b"]
    assert set(map(str, frame.dtypes)) == {{"double": "float64", "float": "float32"}[kind]}
    matrix = loader.as_frame([[1, 2]], Signature(columns, named=False))
    assert matrix.tolist() == [[1, 2]]


def test_predictions_of_every_kind_become_plain_values() -> None:
    frame = loader.as_frame([[1, 2]], Signature((Column("a", KINDS["double"]),) * 2))
    assert loader.plain(frame.to_numpy()) == [[1.0, 2.0]]
    assert loader.plain(frame.iloc[:, [0]]) == [1.0]
    assert loader.plain([1, "x"]) == [1, "x"]
    named = loader.as_frame(
        [[1, 2]], Signature((Column("a", KINDS["double"]), Column("b", KINDS["double"])))
    )
    assert loader.plain(named) == [{"a": 1.0, "b": 2.0}]
