"""Debian packages, fetched and unpacked into folders of our own; nothing is installed.

apt checks the signatures as always. It is given private folders, so an ordinary user can do it too.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from local.commands import run
from models.errors import ToolError

_INDEX_SECONDS = 300.0
_DOWNLOAD_SECONDS = 900.0
_UNPACK_SECONDS = 120.0


def download(packages: Sequence[str], folder: Path, *, with_dependencies: bool) -> list[Path]:
    """Downloads the newest versions that this system's package sources have.

    Args:
        packages: their names.
        folder: where to; made if it is not there.
        with_dependencies: also all that they depend on, down to the C library, whatever is
            installed here; not what they only recommend.

    Returns:
        The packages' files, sorted.

    Raises:
        ToolError: this is no Debian system, a package is not there, or the network is not.
    """
    missing = [name for name in ("apt-get", "dpkg-deb") if shutil.which(name) is None]
    if missing:
        raise ToolError(f"this is not a Debian system: it has no {' and no '.join(missing)}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="modelramp-apt-") as temporary:
        work = Path(temporary)
        archives = work / "cache" / "archives"
        for path in (work / "state" / "lists" / "partial", archives / "partial"):
            path.mkdir(parents=True)
        # As if nothing were installed: then the dependencies are complete.
        (work / "status").touch()
        options = {
            "Dir::State": work / "state",
            "Dir::State::status": work / "status",
            "Dir::Cache": work / "cache",
            "Debug::NoLocking": "true",
            "APT::Sandbox::User": "",
            "APT::Update::Post-Invoke": "",
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            "Acquire::http::Timeout": "20",
        }
        apt = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]
        run([*apt, "update"], folder=work, timeout_seconds=_INDEX_SECONDS)
        if with_dependencies:
            fetch = [*apt, "install", "--yes", "--download-only", "--no-install-recommends"]
        else:
            fetch = [*apt, "download"]
        run([*fetch, *packages], folder=archives, timeout_seconds=_DOWNLOAD_SECONDS)
        files = [Path(shutil.move(file, folder)) for file in sorted(archives.glob("*.deb"))]
    if not files:
        raise ToolError(f"apt-get downloaded nothing for {', '.join(packages)}")
    return files


def unpack(files: Iterable[Path], root: Path) -> None:
    """Unpacks packages over each other; their own scripts are not run.

    Raises:
        ToolError: one cannot be unpacked.
    """
    for file in files:
        run(["dpkg-deb", "-x", file, root], folder=root.parent, timeout_seconds=_UNPACK_SECONDS)
