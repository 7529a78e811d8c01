# pyright: basic
"""Images as files: what is in them, and when they are built again."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import platform
import shutil
import signal
import stat
import tarfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from local import debian
from local.cluster import images, python_root
from local.cluster.archive import Settings, file_digest, write_image, write_layer
from local.cluster.images import Image, build, cluster_images
from local.cluster.layers import Layer, key_of
from local.tools import Silent
from models.errors import ToolError

SETTINGS = Settings(("/bin/program", "--flag"), 65532, {"HOME": "/home"}, "/app")
LONG = "/".join(["a-rather-long-name"] * 12)


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """A root directory with all kinds of things that a layer may hold."""
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "program").write_bytes(b"\x7fELF")
    (root / "bin" / "program").chmod(0o4711)
    (root / "bin" / "alias").symlink_to("program")
    (root / "bin" / "absolute").symlink_to("/bin/program")
    (root / "etc").symlink_to("bin", target_is_directory=True)
    (root / "data.txt").write_text("data")
    (root / "data.txt").chmod(0o600)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    (root / LONG).mkdir(parents=True, mode=0o700)
    (root / LONG / "deep").write_text("")
    return root


def read(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as tar:
        return {member.name: stream.read() for member in tar if (stream := tar.extractfile(member))}


def manifest_of(archive: Path) -> tuple[dict, dict, dict[str, bytes]]:
    """Returns an image's manifest and configuration, by way of the digests, and all its files."""
    files = read(archive)
    (entry,) = json.loads(files["index.json"])["manifests"]

    def blob(descriptor: dict) -> bytes:
        content = files["blobs/" + descriptor["digest"].replace(":", "/")]
        assert len(content) == descriptor["size"]
        return content

    manifest = json.loads(blob(entry))
    assert all(blob(layer) for layer in manifest["layers"])
    return manifest, json.loads(blob(manifest["config"])), files


def members(archive: Path) -> list[str]:
    """Returns the paths in an image's uppermost layer."""
    manifest, _, files = manifest_of(archive)
    layer = files["blobs/" + manifest["layers"][-1]["digest"].replace(":", "/")]
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        return tar.getnames()


# --- archives


def test_a_layer_holds_the_folder_with_plain_modes(content: Path, tmp_path: Path):
    write_layer(content, tmp_path / "layer.tar")
    with tarfile.open(tmp_path / "layer.tar") as tar:
        entries = {member.name: member for member in tar}
    assert list(entries) == sorted(entries, key=lambda name: name.split("/"))
    assert {entry.mtime for entry in entries.values()} == {0}
    assert {(entry.uid, entry.gid, entry.uname) for entry in entries.values()} == {(0, 0, "")}
    assert entries["bin/program"].mode == 0o755
    assert entries["data.txt"].mode == 0o644
    assert entries[LONG].mode == 0o755
    assert entries["tmp"].mode == 0o1777
    assert entries["bin/alias"].linkname == "program"
    assert entries["bin/absolute"].linkname == "/bin/program"
    assert entries["etc"].issym()
    assert f"{LONG}/deep" in entries
    assert "etc/program" not in entries


def test_the_same_content_gives_the_same_bytes(content: Path, tmp_path: Path):
    other = tmp_path / "other"
    shutil.copytree(content, other, symlinks=True)
    for path in [other, *other.rglob("*")]:
        os.utime(path, (1, 1), follow_symlinks=False)
    for name, root in (("a", content), ("b", other)):
        write_layer(root, tmp_path / f"{name}.layer")
        write_image(tmp_path / f"{name}.tar", "r/n:1", [tmp_path / f"{name}.layer"], SETTINGS)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_an_image_reads_back(content: Path, tmp_path: Path):
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    write_layer(content, lower)
    write_layer(content / "bin", upper)
    write_image(tmp_path / "image.tar", "modelramp.local/n:1", [lower, upper], SETTINGS)
    manifest, config, files = manifest_of(tmp_path / "image.tar")
    digests = [f"sha256:{file_digest(layer)}" for layer in (lower, upper)]
    assert [layer["digest"] for layer in manifest["layers"]] == digests
    assert config["rootfs"]["diff_ids"] == digests
    assert config["os"] == "linux"
    assert config["config"]["User"] == "65532"
    assert config["config"]["Entrypoint"] == ["/bin/program", "--flag"]
    assert config["config"]["WorkingDir"] == "/app"
    assert "HOME=/home" in config["config"]["Env"]
    assert any(line.startswith("PATH=") for line in config["config"]["Env"])
    for name, blob in files.items():
        if name.startswith("blobs/"):
            assert hashlib.sha256(blob).hexdigest() == Path(name).name
    index = json.loads(files["index.json"])
    (entry,) = index["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == "modelramp.local/n:1"
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}


def test_an_archive_that_fails_midway_leaves_the_old_one(content: Path, tmp_path: Path):
    layer = tmp_path / "out" / "layer.tar"
    layer.parent.mkdir()
    write_layer(content, layer)
    before = layer.read_bytes()
    os.mkfifo(content / "zz")  # neither file, folder nor link
    with pytest.raises(ValueError, match="zz"):
        write_layer(content, layer)
    assert layer.read_bytes() == before
    assert list(layer.parent.iterdir()) == [layer]


# --- building


class Counted:
    """Layers that count how often they were made."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def layer(self, name: str, text: str = "", *, kept: bool = False, seconds: float = 0) -> Layer:
        def fill(_, root: Path) -> None:
            time.sleep(seconds)
            self.made.append(name)
            (root / name).write_text(text)

        return Layer(name, key_of(name, text), fill, kept=kept)


def image(name: str, *layers: Layer) -> Image:
    return Image(name, "1", layers, SETTINGS)


def finished(folder: Path) -> list[str]:
    return sorted(path.name.rpartition("-")[0] for path in folder.glob("*.tar"))


def test_an_image_that_is_there_is_not_built_again(tmp_path: Path):
    counted = Counted()
    one = image("one", counted.layer("a"))
    (first,) = build([one], tmp_path, Silent())
    changed = first.archive.stat().st_mtime_ns
    assert build([one], tmp_path, Silent()) == [first]
    assert counted.made == ["a"]
    assert first.archive.stat().st_mtime_ns == changed
    assert first.reference == "modelramp.local/one:1"
    assert first.key in first.archive.name
    assert members(first.archive) == ["a"]


def test_a_new_image_replaces_the_old_and_no_other(tmp_path: Path):
    counted = Counted()
    longer = image("prometheus-operator", counted.layer("a"))
    old = image("prometheus", counted.layer("b", "old"))
    new = image("prometheus", counted.layer("b", "new"))
    build([longer, old], tmp_path, Silent())
    (result,) = build([new], tmp_path, Silent())
    assert finished(tmp_path) == ["prometheus", "prometheus-operator"]
    assert result.archive.exists()


def test_a_kept_layer_is_made_once(tmp_path: Path):
    counted = Counted()
    base = counted.layer("base", kept=True)
    build(
        [image("one", base, counted.layer("a")), image("two", base, counted.layer("b"))],
        tmp_path,
        Silent(),
    )
    build([image("one", base, counted.layer("a", "new"))], tmp_path, Silent())
    assert counted.made == ["base", "a", "b", "a"]
    build([image("one", counted.layer("base", "newer", kept=True))], tmp_path, Silent())
    assert finished(tmp_path / "layers") == ["base"]


def test_a_layer_can_use_another_one_unpacked(tmp_path: Path):
    base = Counted().layer("base", "text", kept=True)

    def fill(workshop, root: Path) -> None:
        (root / "copy").write_text((workshop.unpacked(base) / "base").read_text() * 2)

    (result,) = build([image("one", base, Layer("a", "0" * 16, fill))], tmp_path, Silent())
    assert members(result.archive) == ["copy"]


def test_a_build_that_fails_leaves_nothing(tmp_path: Path):
    def fill(_, root: Path) -> None:
        (root / "half").write_text("")
        raise ToolError("no network")

    with pytest.raises(ToolError, match="no network"):
        build([image("one", Layer("a", "0" * 16, fill, kept=True))], tmp_path, Silent())
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "layers"]
    assert finished(tmp_path / "layers") == []


def test_a_killed_build_leaves_nothing_that_looks_finished(tmp_path: Path):
    def fill(_, root: Path) -> None:
        (root / "half").write_text("")
        os.kill(os.getpid(), signal.SIGKILL)

    killed = image("one", Counted().layer("base", kept=True), Layer("a", "0" * 16, fill))
    process = multiprocessing.get_context("fork").Process(
        target=build, args=([killed], tmp_path, Silent())
    )
    process.start()
    process.join(20)
    assert process.exitcode == -signal.SIGKILL
    assert finished(tmp_path) == []
    (tmp_path / "layers" / ".base-0.tar-x").write_text("what one killed while writing leaves")
    counted = Counted()
    (result,) = build([image("one", counted.layer("a"))], tmp_path, Silent())
    assert result.archive.exists()
    hidden = [path.name for path in tmp_path.rglob(".*")]
    assert hidden == [".lock"]


def test_two_runs_at_once_build_once(tmp_path: Path):
    counted = Counted()
    slow = image("one", counted.layer("a", seconds=0.3))
    threads = [threading.Thread(target=build, args=([slow], tmp_path, Silent())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert counted.made == ["a"]


# --- what the images are made of


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A small repository, and programs as the tools table gives them."""
    repository, folder = tmp_path / "repository", tmp_path / "programs"
    for name in ("serving/__main__.py", "models/data.yaml", "serving/requirements.lock"):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(name)
    (repository / "storage.lock").write_text("kserve-storage")
    (folder / "scripts").mkdir(parents=True)
    (folder / "scripts" / "initializer-entrypoint").write_text("#!python")
    programs = {item.program: folder / item.program for item in images._STATIC}
    for name, path in programs.items():
        path.write_text(name)
    (folder / "envoy").write_text("envoy")
    monkeypatch.setattr(images, "_REPOSITORY", repository)
    monkeypatch.setattr(images, "_STORAGE_LOCK", repository / "storage.lock")
    monkeypatch.setattr(images, "ensure", lambda name: folder / name)
    return SimpleNamespace(repository=repository, programs=programs, folder=folder)


def keys(sources: SimpleNamespace) -> dict[str, str]:
    return {image.name: image.key for image in cluster_images(sources.programs)}


@pytest.mark.parametrize(
    ("changed", "rebuilt"),
    [
        ("programs/pause", {"pause"}),
        ("programs/prometheus-kubernetes", {"prometheus"}),
        ("programs/kserve-manager", {"kserve-controller"}),
        ("programs/envoy", {"envoy"}),
        ("programs/scripts/initializer-entrypoint", {"storage-initializer"}),
        ("repository/storage.lock", {"storage-initializer"}),
        ("repository/serving/requirements.lock", {"server"}),
        ("repository/serving/__main__.py", {"server"}),
        ("repository/models/data.yaml", {"server"}),
        ("repository/models/new.py", {"server"}),
        ("repository/serving/__pycache__/__main__.cpython-311.pyc", set()),
        ("repository/models/.data.yaml.swp", set()),
        ("repository/README.md", set()),
    ],
)
def test_an_image_is_built_again_when_and_only_when_an_input_changes(
    sources: SimpleNamespace, tmp_path: Path, changed: str, rebuilt: set[str]
):
    before = keys(sources)
    (tmp_path / changed).parent.mkdir(exist_ok=True)
    (tmp_path / changed).write_text("changed")
    after = keys(sources)
    assert {name for name in before if before[name] != after[name]} == rebuilt


def test_times_and_places_do_not_matter(sources: SimpleNamespace, tmp_path: Path):
    before = keys(sources)
    for path in [*sources.folder.rglob("*"), *sources.repository.rglob("*")]:
        os.utime(path, (1, 1))
    sources.programs["pause"] = sources.programs["pause"].rename(tmp_path / "elsewhere")
    assert keys(sources) == before


def test_a_changed_setting_is_another_image():
    one = Image("one", "1", (), SETTINGS)
    assert one.key != Image("one", "2", (), SETTINGS).key
    assert one.key != Image("one", "1", (), Settings(("/bin/other",), 65532)).key
    assert one.key == Image("one", "1", (), Settings(**vars(SETTINGS))).key


def test_the_servers_image_holds_its_code_and_runs_as_an_ordinary_user(sources: SimpleNamespace):
    server = next(item for item in cluster_images(sources.programs) if item.name == "server")
    assert server.reference == "modelramp.local/server:dev"
    assert server.settings.user == 65532
    assert server.settings.entrypoint[-2:] == ("-m", "serving")
    assert server.settings.environment["PYTHONDONTWRITEBYTECODE"] == "1"


@pytest.mark.parametrize("missing", ["programs/pause", "programs/scripts", "repository/serving"])
def test_what_is_missing_is_named(sources: SimpleNamespace, tmp_path: Path, missing: str):
    path = tmp_path / missing
    path.rename(tmp_path / "elsewhere")
    if missing.endswith("serving"):
        path.mkdir()
        (tmp_path / "elsewhere" / "requirements.lock").rename(path / "requirements.lock")
    with pytest.raises(ToolError, match=path.name):
        cluster_images(sources.programs)


def test_a_program_fills_its_image(sources: SimpleNamespace, tmp_path: Path):
    pause = next(item for item in cluster_images(sources.programs) if item.name == "pause")
    (result,) = build([pause], tmp_path / "cache", Silent())
    manifest, config, files = manifest_of(result.archive)
    assert members(result.archive) == ["pause"]
    assert config["config"]["Entrypoint"] == ["/pause"]
    lowest = files["blobs/" + manifest["layers"][0]["digest"].replace(":", "/")]
    with tarfile.open(fileobj=io.BytesIO(lowest)) as tar:
        passwd = tar.extractfile("etc/passwd")
        assert passwd is not None
        assert b"nonroot:x:65532:65532:" in passwd.read()
        assert stat.S_IMODE(tar.getmember("tmp").mode) == 0o1777


# --- Debian


@pytest.mark.parametrize("system", [{"ID": "fedora", "PRETTY_NAME": "Fedora 44"}, None])
def test_another_system_is_told_what_to_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: dict[str, str] | None
):
    def release() -> dict[str, str]:
        if system is None:
            raise OSError("no os-release")
        return system

    monkeypatch.setattr(platform, "freedesktop_os_release", release)
    with pytest.raises(ToolError, match="embedded target"):
        build([image("one", python_root.python())], tmp_path, Silent())


def test_without_apt_there_are_no_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="not a Debian system"):
        debian.download(["libc6"], tmp_path / "out", with_dependencies=True)
