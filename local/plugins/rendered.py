"""Kubernetes objects as YAML files, named as the official provider names them."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import yaml

from local.plugins.manifests import dashed, underscored
from local.plugins.properties import Properties

# Everything else is quoted: YAML 1.1 reads a bare `y` as a boolean, YAML 1.2 a bare `1e3` as a
# number, and the readers of these files differ.
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def file_of(manifest: Properties, folder: Path) -> Path:
    """Returns where the object is rendered to, below the provider's render folder."""
    is_crd = manifest["kind"] == "CustomResourceDefinition"
    metadata = manifest["metadata"]
    parts = (
        re.sub("[/:]", "_", manifest["apiVersion"]),
        manifest["kind"].lower(),
        metadata.get("namespace") or "default",
        metadata["name"],
    )
    return folder / ("0-crd" if is_crd else "1-manifest") / ("-".join(parts) + ".yaml")


def write(manifest: Properties, folder: Path) -> Path:
    """Renders the object, whole or not at all, and returns the file."""
    file = file_of(manifest, folder)
    for name in ("0-crd", "1-manifest"):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    # The temporary name must not end in .yaml: who reads the folder would take it for an object.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            yaml.dump(dashed(manifest), stream, Dumper=_Dumper, allow_unicode=True, width=4096)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return file


def read(file: Path) -> Properties | None:
    """Returns the object in a rendered file, or None if the file is gone.

    Raises:
        ValueError: the file does not hold one object.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        loaded: object = yaml.load(text, Loader=_Loader)  # noqa: S506 (a safe loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: {error}") from error
    if not isinstance(loaded, dict):
        raise ValueError(f"{file} does not hold one Kubernetes object")  # noqa: TRY004
    return underscored(loaded)


class _Dumper(yaml.CSafeDumper):
    """Writes lists and mappings in full, and quotes what readers could take for something else."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (the name is PyYAML's)
        return True


class _Loader(yaml.CSafeLoader):
    """Reads times as the strings they were."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def _represent_text(dumper: Any, text: str) -> Any:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        style = None
    else:
        style = "|" if "\n" in text else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
