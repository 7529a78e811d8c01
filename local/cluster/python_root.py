"""Root file systems for images: Debian's C library or its Python, and Python packages upon it.

Nothing is installed: packages are unpacked beside each other, as an ordinary user.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Final

from local import debian
from local.cluster.archive import file_digest
from local.cluster.layers import Layer, Workshop, key_of
from local.commands import run
from local.home import cache_path
from models.errors import ToolError

PACKAGES_FOLDER: Final = "opt/packages"

# To be counted up whenever the code here makes other layers of the same inputs.
_RECIPE: Final = 3

_DEBIAN: Final = "12"
_INSTALL_SECONDS: Final = 1200.0
_COMPILE_SECONDS: Final = 900.0

# Wheels of numpy, scipy and others bring all libraries but that of C++.
_PYTHON: Final = ("python3", "libstdc++6")
# What the closure holds only because readline-common may want to register its manual.
_NEEDLESS: Final = frozenset(
    ("dpkg", "libacl1", "libmd0", "libpcre2-8-0", "libselinux1", "readline-common", "tar")
)
_NO_USE_IN_IMAGES: Final = (
    "etc/init.d",
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/menu",
    "usr/share/pixmaps",
    "usr/share/applications",
    "usr/share/gcc",
    "usr/share/gdb",
    "var",
    # Conversions between old character sets, for C programs; Python has its own.
    "*/*-linux-gnu/gconv",
    "usr/*/*-linux-gnu/gconv",
    "usr/lib/python3*/ensurepip",
    "usr/lib/python3*/idlelib",
    "usr/lib/python3*/lib2to3",
    "usr/lib/python3*/pydoc_data",
    "usr/lib/python3*/test",
    "usr/share/python3/runtime.d",
)
_NO_USE_IN_PACKAGES: Final = (
    "bin",  # scripts that begin with the path of this machine's Python
    "*.dist-info/RECORD",  # lists these scripts and all that is removed here
    "**/__pycache__",
    "**/tests",
    "**/*.pyi",
    "**/*.pxd",
    "**/*.pyx",
    "**/*.h",
    "**/*.a",
    "kubernetes/aio",  # 70 MB: the whole client once more, for asyncio, which KServe does not use
)
_USERS: Final = {"root": 0, "kserve": 1000, "nonroot": 65532, "nobody": 65534}


def c_library() -> Layer:
    """Returns the layer that a program linked with the C library needs."""
    return _debian_layer("libc", ("libc6",))


def python() -> Layer:
    """Returns the layer with Python and its standard library, compiled."""
    return _debian_layer("python", _PYTHON)


def python_packages(name: str, lock: Path, base: Layer) -> Layer:
    """Returns a layer with Python packages in `PACKAGES_FOLDER`, compiled.

    Args:
        name: of the layer.
        lock: pins the packages with their hashes.
        base: the layer of `python`.
    """
    key = key_of(_RECIPE, base.key, file_digest(lock), _NO_USE_IN_PACKAGES, _COMPILE)
    return Layer(name, key, partial(_fill_packages, lock, base), kept=True)


def users() -> Layer:
    """Returns the layer with the users that images run as, and a `/tmp` for everybody.

    Only images without one of the other layers need it.
    """
    return Layer("users", key_of(_RECIPE, _USERS), lambda _, root: _add_users(root))


def _add_users(root: Path) -> None:
    etc = root / "etc"
    etc.mkdir(exist_ok=True)
    lines = [f"{user}:x:{uid}:{uid}::/tmp:/sbin/nologin\n" for user, uid in _USERS.items()]
    (etc / "passwd").write_text("".join(lines), encoding="utf-8")
    groups = [f"{user}:x:{uid}:\n" for user, uid in _USERS.items()]
    (etc / "group").write_text("".join(groups), encoding="utf-8")
    tmp = root / "tmp"
    tmp.mkdir(exist_ok=True)
    tmp.chmod(0o1777)


def compile_python(root: Path, folder: Path, shown_as: str) -> None:
    """Compiles all Python files in a folder, so that no container has to do it at its start.

    The root's own interpreter does it: the one that will load the result. The result does not
    depend on times, which layers do not keep.

    Args:
        root: holds Debian's Python.
        folder: that holds the files.
        shown_as: the folder's path in the image, for tracebacks.

    Raises:
        ToolError: the interpreter does not run here.
    """
    loader = next(root.glob("lib/*-linux-gnu/ld-linux-*.so.*"))
    libraries = f"{loader.parent}:{root / 'usr/lib' / loader.parent.name}"
    interpreter = (root / "usr/bin/python3").resolve()
    run(
        [
            *(loader, "--library-path", libraries, interpreter),
            # Without -B it would write what it imports itself by another rule, by times.
            *("-B", "-S", "-s", "-c", _COMPILE, folder, shown_as),
        ],
        folder=root,
        timeout_seconds=_COMPILE_SECONDS,
        environment={
            "PATH": os.defpath,
            "PYTHONHASHSEED": "0",  # sets among the constants would be in any order
            "PYTHONHOME": str(root / "usr"),
        },
    )


# Templates and files for other Pythons do not compile; nobody imports them, so that is no error.
_COMPILE: Final = """
import compileall, py_compile, sys
compileall.compile_dir(
    sys.argv[1], maxlevels=99, quiet=2, stripdir=sys.argv[1], prependdir=sys.argv[2],
    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
)
"""


def _debian_layer(name: str, packages: tuple[str, ...]) -> Layer:
    content = [packages, sorted(_NEEDLESS), _NO_USE_IN_IMAGES, _COMPILE, _USERS]
    key = key_of(_RECIPE, _DEBIAN, platform.machine(), content)
    return Layer(name, key, partial(_fill_debian, packages), kept=True)


def _fill_debian(packages: tuple[str, ...], workshop: Workshop, root: Path) -> None:
    del workshop
    check_system()
    files = debian.download(packages, root.parent / "packages", with_dependencies=True)
    debian.unpack((file for file in files if file.name.split("_")[0] not in _NEEDLESS), root)
    _remove(root, _NO_USE_IN_IMAGES)
    for library in root.glob("usr/lib/python3.*"):
        compile_python(root, library, f"/{library.relative_to(root)}")
    _add_users(root)


def check_system() -> None:
    """Raises ToolError where the images' packages cannot be had."""
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        system = {}
    if (system.get("ID"), system.get("VERSION_ID")) != ("debian", _DEBIAN):
        raise ToolError(
            f"the local cluster's images are made of the packages of Debian {_DEBIAN}, and this is"
            f" {system.get('PRETTY_NAME', platform.system())}; run it on Debian {_DEBIAN} or in a"
            " virtual machine with it, or use the embedded target: `modelramp local up`"
        )


def _fill_packages(lock: Path, base: Layer, workshop: Workshop, folder: Path) -> None:
    root = workshop.unpacked(base)
    interpreter = (root / "usr/bin/python3").resolve()
    packages = folder / PACKAGES_FOLDER
    run(
        [
            *(_uv(), "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:"),
            # Its files are shared with environments, and whoever edits one there (a certificate
            # authority put into certifi, say) edits the cache, which hashes are not checked with.
            "--no-cache",
            *("--python", sys.executable, "--target", packages, "--requirements", lock),
            # For the image's Python, not for the one that runs this.
            *("--python-version", interpreter.name.removeprefix("python")),
            *("--python-platform", f"{platform.machine()}-unknown-linux-gnu"),
        ],
        folder=folder.parent,
        timeout_seconds=_INSTALL_SECONDS,
    )
    _remove(packages, _NO_USE_IN_PACKAGES)
    compile_python(root, packages, f"/{PACKAGES_FOLDER}")


def _uv() -> Path:
    """Returns uv, which `make` puts into the cache where it is not on PATH."""
    found = shutil.which("uv", path=f"{os.environ.get('PATH', '')}:{cache_path() / 'uv' / 'bin'}")
    if found is None:
        raise ToolError("uv was not found; `make install` fetches it")
    return Path(found)


def _remove(folder: Path, patterns: Iterable[str]) -> None:
    for pattern in patterns:
        for path in list(folder.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
