r"""The digest that pins a model's artifact folder.

It can be computed by hand, without this code:

    find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum -z | sha256sum
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from models.errors import RegistryError


def artifact_digest(folder: Path) -> str:
    """Returns the digest of a model folder: `sha256:` and 64 hexadecimal digits.

    It covers every file's relative path and content, in the order of the paths' bytes, and nothing
    else: neither times nor modes, nor empty folders, which an object store cannot hold. A digest
    is always computed from the files at hand; one found in a tag or beside the files is a claim.

    Args:
        folder: the model's folder, the one that holds `MLmodel`.

    Raises:
        RegistryError: the folder is missing or holds no file.
    """
    files = {
        os.fsencode(path.relative_to(folder).as_posix()): path
        for path in folder.rglob("*")
        if path.is_file()
    }
    if not files:
        raise RegistryError(f"{folder}: no model here, the folder is missing or holds no file")
    whole = hashlib.sha256()
    for name in sorted(files):
        # The format of `sha256sum -z`: the NUL that ends an entry cannot occur in a path.
        whole.update(f"{_file_digest(files[name])}  ".encode() + name + b"\0")
    return f"sha256:{whole.hexdigest()}"


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
