from __future__ import annotations

from pathlib import Path

import pytest

from models.digest import artifact_digest
from models.errors import ConfigError, RegistryError
from serving import loader


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
