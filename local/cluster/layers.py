"""The layers of images: made when an image needs them, and the costly ones kept."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local.cluster.archive import write_layer
from local.commands import run

KEY_CHARACTERS: Final = 16
_UNPACK_SECONDS: Final = 300.0


@dataclass(frozen=True)
class Layer:
    """A layer that can be made.

    Attributes:
        name: what it is, such as `python`.
        key: names the content: another one whenever the content may be another.
        fill: puts the layer's files into an empty folder.
        kept: whether its file stays for later builds.
    """

    name: str
    key: str
    fill: Callable[[Workshop, Path], None]
    kept: bool = False


class Workshop:
    """Where images are built."""

    def __init__(self, shelf: Path, bench: Path) -> None:
        """Sets the workshop up.

        Args:
            shelf: where the kept layers lie.
            bench: a folder for unfinished work, emptied by whoever made it.
        """
        self._shelf = shelf
        self._bench = bench

    def file(self, layer: Layer) -> Path:
        """Returns a layer's tar, which is made first if it is not there.

        Raises:
            ToolError: it could not be made.
        """
        folder = self._shelf if layer.kept else self._bench
        file = folder / f"{layer.name}-{layer.key}.tar"
        if not file.exists():
            with tempfile.TemporaryDirectory(dir=self._bench, prefix="layer-") as temporary:
                content = Path(temporary, "content")
                content.mkdir()
                layer.fill(self, content)
                write_layer(content, file)
            remove_others(file)
        return file

    def unpacked(self, layer: Layer) -> Path:
        """Returns a folder with a layer's content, not to be changed.

        Raises:
            ToolError: it could not be made.
        """
        folder = self._bench / f"{layer.name}-{layer.key}"
        if not folder.exists():
            file = self.file(layer)
            folder.mkdir()
            # Python's own way to unpack absolute links differs between its versions.
            run(["tar", "-xf", file], folder=folder, timeout_seconds=_UNPACK_SECONDS)
        return folder


def key_of(*inputs: object) -> str:
    """Returns a short name for inputs that JSON can hold: the same for the same inputs only."""
    text = json.dumps(inputs, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_CHARACTERS]


def remove_others(file: Path) -> None:
    """Removes older files of the same name, `name-key.tar`, from a file's folder."""
    name = file.stem[: -KEY_CHARACTERS - 1]
    for other in file.parent.glob(f"{name}-{'[0-9a-f]' * KEY_CHARACTERS}.tar"):
        if other != file:
            other.unlink()
