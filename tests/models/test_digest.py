from __future__ import annotations

import hashlib
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models.digest import artifact_digest
from models.errors import RegistryError

NAMES = st.text(
    st.characters(categories=["L", "N"], include_characters=" .-_\n"), min_size=1, max_size=8
)
FOLDERS = st.dictionaries(
    st.lists(NAMES.filter(lambda name: name.strip(".") != ""), min_size=1, max_size=3).map(
        "/".join
    ),
    st.binary(max_size=20),
    min_size=1,
    max_size=5,
)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def digest_of(files: dict[str, bytes], *, in_reverse: bool = False) -> str:
    items = dict(reversed(files.items())) if in_reverse else files
    with tempfile.TemporaryDirectory() as folder:
        try:
            return artifact_digest(write(Path(folder), items))
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            assume(False)
            raise


@settings(max_examples=50, deadline=None)
@given(FOLDERS)
def test_same_files_same_digest_whatever_their_order(files: dict[str, bytes]) -> None:
    assert digest_of(files) == digest_of(files, in_reverse=True)


@settings(max_examples=50, deadline=None)
@given(FOLDERS, FOLDERS)
def test_other_files_other_digest(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    assert (digest_of(one) == digest_of(other)) == (one == other)


def test_content_cannot_move_between_files() -> None:
    assert digest_of({"a": b"xy", "b": b""}) != digest_of({"a": b"x", "b": b"y"})


def test_the_documented_shell_line_gives_the_same(tmp_path: Path) -> None:
    write(tmp_path, {"MLmodel": b"flavors: {}\n", "data/model.pkl": b"\0\1", "Z": b"", "a b": b"c"})
    line = "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum -z | sha256sum"
    by_hand = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=30
    ).stdout.split()[0]
    assert artifact_digest(tmp_path) == f"sha256:{by_hand}"


def test_one_file_by_definition(tmp_path: Path) -> None:
    content = hashlib.sha256(b"hello").hexdigest()
    expected = hashlib.sha256(f"{content}  f\0".encode()).hexdigest()
    assert artifact_digest(write(tmp_path, {"f": b"hello"})) == f"sha256:{expected}"


@pytest.mark.parametrize("folder", ["", "missing"])
def test_nothing_to_digest_is_an_error(tmp_path: Path, folder: str) -> None:
    with pytest.raises(RegistryError, match="no model here"):
        artifact_digest(tmp_path / folder)
