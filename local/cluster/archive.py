"""Container images as files: OCI image layouts in a tar, as `ctr images import` takes them.

The same content always gives the same bytes: names are sorted, times are 0, all belongs to root.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import stat
import tarfile
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_INDEX: Final = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True)
class Settings:
    """How a container of the image is started.

    Attributes:
        entrypoint: program and first arguments.
        user: numeric, so that Kubernetes can see that it is not root.
        environment: besides PATH.
        folder: the working directory.
    """

    entrypoint: tuple[str, ...]
    user: int
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    folder: str = "/"


def write_layer(folder: Path, file: Path) -> None:
    """Writes a folder's content as a layer, whole or not at all.

    Files are readable by everybody, and executable by everybody if they are by their owner. A
    folder with the sticky bit is writable by everybody, as `/tmp` is.

    Args:
        folder: the root directory of the layer.
        file: a tar, replaced if it is there.
    """
    with _whole(file) as tar:
        for path in _paths(folder):
            entry = _entry(path, path.relative_to(folder).as_posix())
            if entry.isfile():
                with path.open("rb") as content:
                    tar.addfile(entry, content)
            else:
                tar.addfile(entry)


def write_image(file: Path, reference: str, layers: Sequence[Path], settings: Settings) -> None:
    """Writes an image, whole or not at all.

    Args:
        file: a tar, replaced if it is there.
        reference: what the image is called, with registry and tag.
        layers: tars, the lowest first.
        settings: how its containers are started.
    """
    digests = [file_digest(layer) for layer in layers]
    config = _json(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "User": str(settings.user),
                "Env": [f"PATH={_PATH}", *(f"{k}={v}" for k, v in settings.environment.items())],
                "Entrypoint": list(settings.entrypoint),
                "WorkingDir": settings.folder,
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        }
    )
    sizes = [layer.stat().st_size for layer in layers]
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, _sha256(config), len(config)),
            "layers": [
                _descriptor(_LAYER, digest, size)
                for digest, size in zip(digests, sizes, strict=True)
            ],
        }
    )
    index = _json(
        {
            "schemaVersion": 2,
            "mediaType": _INDEX,
            "manifests": [
                {
                    **_descriptor(_MANIFEST, _sha256(manifest), len(manifest)),
                    "annotations": {
                        "io.containerd.image.name": reference,
                        "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
                    },
                }
            ],
        }
    )
    small = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": index,
        _blob(_sha256(manifest)): manifest,
        _blob(_sha256(config)): config,
    }
    large = {_blob(digest): layer for digest, layer in zip(digests, layers, strict=True)}
    with _whole(file) as tar:
        for name, content in small.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for name, layer in large.items():
            entry = tarfile.TarInfo(name)
            entry.size = layer.stat().st_size
            with layer.open("rb") as content:
                tar.addfile(entry, content)


@contextmanager
def _whole(file: Path) -> Generator[tarfile.TarFile]:
    """Opens a tar for writing under another name, which it loses when all went well."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream, tarfile.open(fileobj=stream, mode="w") as tar:
            yield tar
        unfinished.rename(file)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _paths(folder: Path) -> Iterator[Path]:
    """Goes through a folder, parents first, in the order of names; symbolic links stay links."""
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _paths(path)


def _entry(path: Path, name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)  # of time 0 and root's, unless told otherwise
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        entry.type = tarfile.SYMTYPE
        entry.linkname = str(path.readlink())
        entry.mode = 0o777
    elif stat.S_ISDIR(status.st_mode):
        entry.type = tarfile.DIRTYPE
        entry.mode = 0o1777 if status.st_mode & stat.S_ISVTX else 0o755
    elif not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is neither file, folder nor symbolic link")
    else:
        entry.size = status.st_size
        entry.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    return entry


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest}"


def _json(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def file_digest(file: Path) -> str:
    """Returns a file's sha256, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
