"""The images of the local cluster, built on the spot: no container registry is asked.

What changes with every commit, the model server's own code, is a small layer of its own.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

from local.cluster.archive import Settings, file_digest, write_image
from local.cluster.layers import Layer, Workshop, key_of, remove_others
from local.cluster.programs import (
    COREDNS_VERSION,
    ENVOY_GATEWAY_VERSION,
    KSERVE_VERSION,
    PROMETHEUS_OPERATOR_VERSION,
)
from local.cluster.python_root import (
    PACKAGES_FOLDER,
    c_library,
    compile_python,
    python,
    python_packages,
    users,
)
from local.home import cache_path
from local.tools import TOOLS, Progress, ensure, locked, shown
from models.errors import ToolError

REGISTRY: Final = "modelramp.local"

# To be counted up whenever the code here makes other images of the same inputs.
_RECIPE: Final = 1

_REPOSITORY: Final = Path(__file__).parents[2]
_STORAGE_LOCK: Final = Path(__file__).with_name("storage-initializer.lock")
_NONROOT: Final = 65532
_NOBODY: Final = 65534


@dataclass(frozen=True)
class Image:
    """An image that can be built.

    Attributes:
        name: without registry and tag.
        tag: its version.
        layers: the lowest first.
        settings: how its containers are started.
    """

    name: str
    tag: str
    layers: tuple[Layer, ...]
    settings: Settings

    @property
    def reference(self) -> str:
        """What manifests call it."""
        return f"{REGISTRY}/{self.name}:{self.tag}"

    @property
    def key(self) -> str:
        """Names the content."""
        layers = [(layer.name, layer.key) for layer in self.layers]
        return key_of(_RECIPE, self.reference, layers, asdict(self.settings))


@dataclass(frozen=True)
class BuiltImage:
    """An image in a file.

    Attributes:
        reference: what manifests call it.
        archive: an OCI image layout, for `ctr images import`.
        key: names the content; another one whenever the content is another.
    """

    reference: str
    archive: Path
    key: str


@dataclass(frozen=True)
class _Static:
    """An image of one program that is linked statically.

    Attributes:
        program: as `build_images` is given it.
        path: where upstream's image has it, which charts and operators rely on.
    """

    name: str
    tag: str
    program: str
    path: str
    user: int = _NONROOT


_STATIC: Final = (
    _Static("pause", "1", "pause", "pause", _NOBODY),
    _Static("coredns", COREDNS_VERSION, "coredns", "coredns"),
    _Static("kserve-controller", KSERVE_VERSION, "kserve-manager", "manager"),
    _Static("envoy-gateway", ENVOY_GATEWAY_VERSION, "envoy-gateway", "usr/local/bin/envoy-gateway"),
    _Static(
        "prometheus-operator",
        PROMETHEUS_OPERATOR_VERSION,
        "prometheus-operator",
        "bin/operator",
        _NOBODY,
    ),
    _Static(
        "prometheus-config-reloader",
        PROMETHEUS_OPERATOR_VERSION,
        "prometheus-config-reloader",
        "bin/prometheus-config-reloader",
        _NOBODY,
    ),
    _Static(
        "prometheus",
        TOOLS["prometheus"].version,
        "prometheus-kubernetes",
        "bin/prometheus",
        _NOBODY,
    ),
)


def build_images(programs: Mapping[str, Path], progress: Progress) -> list[BuiltImage]:
    """Builds the images that are not in the cache yet.

    Two runs at once wait for each other. Older versions of an image are removed.

    Args:
        programs: those of `IMAGE_TOOLS`, linked statically; beside `kserve-manager` lies the
            folder `scripts` of KServe's storage initializer.
        progress: told what happens and how far it is.

    Raises:
        ToolError: one could not be built; says what is missing.
    """
    return build(cluster_images(programs), cache_path() / "images", progress)


def cluster_images(programs: Mapping[str, Path]) -> list[Image]:
    """Returns the images that the cluster needs, for `build`.

    Args:
        programs: as for `build_images`.

    Raises:
        ToolError: a program is not there.
    """
    return [
        *(_static_image(item, programs[item.program]) for item in _STATIC),
        _envoy(),
        _storage_initializer(programs["kserve-manager"].parent / "scripts"),
        _server(),
    ]


def build(images: Sequence[Image], folder: Path, progress: Progress) -> list[BuiltImage]:
    """Does what `build_images` does, for any images and cache folder."""
    built = [
        BuiltImage(image.reference, folder / f"{image.name}-{image.key}.tar", image.key)
        for image in images
    ]
    if all(image.archive.exists() for image in built):
        return built
    with locked(folder / ".lock", "builds images", progress), _workshop(folder) as workshop:
        for image, result in zip(images, built, strict=True):
            if not result.archive.exists():
                _build(image, result.archive, workshop, progress)
                remove_others(result.archive)
    return built


def _build(image: Image, archive: Path, workshop: Workshop, progress: Progress) -> None:
    what = f"Building image {image.name} {image.tag}"
    with shown(progress, what, len(image.layers) + 1, "layers"):
        files: list[Path] = []
        for layer in image.layers:
            files.append(workshop.file(layer))
            progress.advance(1)
        write_image(archive, image.reference, files, image.settings)
        progress.advance(1)


@contextmanager
def _workshop(folder: Path) -> Generator[Workshop]:
    """Sets up a workshop in a cache folder that is locked, and clears it away afterwards."""
    shelf = folder / "layers"
    shelf.mkdir(exist_ok=True)
    for left_behind in [*folder.glob(".*-*"), *shelf.glob(".*-*")]:  # by a run that was killed
        if left_behind.is_dir():
            shutil.rmtree(left_behind, ignore_errors=True)
        else:
            left_behind.unlink()
    with tempfile.TemporaryDirectory(dir=folder, prefix=".bench-") as bench:
        yield Workshop(shelf, Path(bench))


# --- the images


def _static_image(item: _Static, program: Path) -> Image:
    layer = _program_layer(item.program, program, item.path)
    settings = Settings(entrypoint=(f"/{item.path}",), user=item.user)
    return Image(item.name, item.tag, (users(), layer), settings)


def _program_layer(name: str, program: Path, path: str) -> Layer:
    """Returns a layer with one program.

    Args:
        name: of the layer.
        program: where it lies here.
        path: where it lies in the image, without the leading slash.
    """
    if not program.is_file():
        raise ToolError(f"{program} is not there, and an image needs it")
    key = key_of(_RECIPE, file_digest(program), path)
    return Layer(name, key, partial(_fill_program, program, path))


def _fill_program(program: Path, path: str, workshop: Workshop, root: Path) -> None:
    del workshop
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(program, target)
    target.chmod(0o755)


def _envoy() -> Image:
    path = "usr/local/bin/envoy"
    layers = (c_library(), _program_layer("envoy", ensure("envoy"), path))
    return Image("envoy", TOOLS["envoy"].version, layers, Settings((f"/{path}",), _NONROOT))


def _storage_initializer(scripts: Path) -> Image:
    base = python()
    layers = (
        base,
        python_packages("storage-packages", _STORAGE_LOCK, base),
        _folders_layer("storage-scripts", {"storage-initializer/scripts": scripts}),
    )
    settings = Settings(
        entrypoint=("/usr/bin/python3", "/storage-initializer/scripts/initializer-entrypoint"),
        user=1000,
        environment=_python_environment(f"/{PACKAGES_FOLDER}"),
    )
    return Image("storage-initializer", KSERVE_VERSION, layers, settings)


def _server() -> Image:
    base = python()
    folders = {f"app/{name}": _REPOSITORY / name for name in ("models", "serving")}
    layers = (
        base,
        python_packages("server-packages", _REPOSITORY / "serving" / "requirements.lock", base),
        _folders_layer("server", folders, compiled_by=base),
    )
    settings = Settings(
        entrypoint=("/usr/bin/python3", "-m", "serving"),
        user=_NONROOT,
        environment=_python_environment(f"/app:/{PACKAGES_FOLDER}"),
        folder="/app",
    )
    return Image("server", "dev", layers, settings)


def _python_environment(path: str) -> dict[str, str]:
    return {
        "HOME": "/tmp",  # noqa: S108  of the container, and the only folder it may write to
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
    }


def _folders_layer(
    name: str, folders: Mapping[str, Path], compiled_by: Layer | None = None
) -> Layer:
    """Returns a layer with copies of folders.

    Args:
        name: of the layer.
        folders: by their path in the image, without the leading slash.
        compiled_by: the layer with the Python that compiles what they hold, if any does.
    """
    contents = {
        f"{target}/{path.relative_to(source)}": path
        for target, source in folders.items()
        for path in _sources(source)
    }
    digests = {target: file_digest(path) for target, path in contents.items()}
    key = key_of(_RECIPE, digests, compiled_by.key if compiled_by else None)
    return Layer(name, key, partial(_fill_folders, contents, compiled_by))


def _sources(folder: Path) -> list[Path]:
    """Returns the files of a folder but for hidden ones, compiled ones and locks."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    if not files:
        raise ToolError(f"{folder} is not there or empty, and an image needs it")
    return sorted(
        path
        for path in files
        if not any(
            part.startswith(".") or part == "__pycache__" for part in path.relative_to(folder).parts
        )
    )


def _fill_folders(
    contents: Mapping[str, Path], compiled_by: Layer | None, workshop: Workshop, root: Path
) -> None:
    for target, source in contents.items():
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, root / target)
    if compiled_by is not None:
        compile_python(workshop.unpacked(compiled_by), root, "/")
