"""Where a tool comes from: every source for real, but for the size of what it brings."""

from __future__ import annotations

import hashlib
import http.server
import io
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pytest

from local import tools
from local.tools import DebianPackages, GoModule, Release, Tool
from models.errors import ToolError

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed")
SCRIPT = b"#!/bin/sh\necho sample 2.0.0\n"


@dataclass
class Recorder:
    """Remembers what a user would have been shown."""

    started: list[tuple[str, float | None, str]] = field(
        default_factory=list[tuple[str, float | None, str]]
    )
    advanced: float = 0
    running: int = 0
    notes: list[str] = field(default_factory=list[str])

    def start(self, description: str, total: float | None, unit: str) -> None:
        self.started.append((description, total, unit))
        self.running += 1

    def advance(self, amount: float) -> None:
        self.advanced += amount

    def done(self) -> None:
        self.running -= 1

    def note(self, message: str) -> None:
        self.notes.append(message)


@dataclass(frozen=True)
class Server:
    """A release site on loopback: what it serves, and what it was asked for."""

    url: str
    files: dict[str, bytes]
    asked: list[str]


@pytest.fixture
def server() -> Iterator[Server]:
    files: dict[str, bytes] = {}
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = files.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=site.serve_forever, args=(0.01,))
    thread.start()
    yield Server(f"http://127.0.0.1:{site.server_port}", files, asked)
    site.shutdown()
    thread.join()
    site.server_close()


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts one folder, empty for now, on PATH before what the system has."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def obtain(tool: Tool, cache: Path, progress: tools.Progress) -> Path:
    return tools.obtain(tool, cache, progress)[tool.name]


def put_on_path(folder: Path, output: str, name: str = "sample") -> Path:
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{output}'\n")
    program.chmod(0o755)
    return program


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(f"sample-2.0.0/../{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def sample(server: Server | None, **changes: object) -> Tool:
    tool = Tool(name="sample", version="2.0.0", oldest=(1, 5))
    if server is None:
        return replace(tool, **changes)  # type: ignore[arg-type]
    names = {"linux": "linux", "darwin": "darwin"}
    release = Release(
        url=f"{server.url}/v{{version}}/sample-{{os}}-{{arch}}.tar.gz",
        members=("sample", "sample-*"),
        os_names=names,
        arch_names={"x64": "amd64", "arm64": "arm64"},
        checksums_url=f"{server.url}/v{{version}}/sums.txt",
    )
    return replace(tool, release=replace(release, **changes))  # type: ignore[arg-type]


def publish(server: Server, content: bytes, digest: str | None = None) -> None:
    digest = digest or hashlib.sha256(content).hexdigest()
    lines: list[str] = []
    for system in ("linux", "darwin"):
        for arch in ("amd64", "arm64"):
            server.files[f"/v2.0.0/sample-{system}-{arch}.tar.gz"] = content
            lines.append(f"{digest}  sample-{system}-{arch}.tar.gz")
    server.files["/v2.0.0/sums.txt"] = "\n".join(lines).encode()


class TestPath:
    @pytest.mark.parametrize(
        "output", ["v1.5.0", "sample, version 2.40.1+ds (branch: x)", "10.0.0"]
    )
    def test_new_enough_is_used(self, output: str, empty_path: Path, tmp_path: Path) -> None:
        program = put_on_path(empty_path, output)
        assert obtain(sample(None), tmp_path / "cache", Recorder()) == program
        assert not (tmp_path / "cache").exists()

    @pytest.mark.parametrize(
        ("output", "reason"),
        [("v1.4.9", "too old: 1.4.9, need 1.5"), ("hello", "does not tell its version")],
    )
    def test_others_are_passed_over(
        self, output: str, reason: str, empty_path: Path, server: Server, tmp_path: Path
    ) -> None:
        program = put_on_path(empty_path, output)
        with pytest.raises(ToolError, match=reason):
            obtain(sample(None), tmp_path, Recorder())
        publish(server, archive(sample=SCRIPT))
        recorder = Recorder()
        assert obtain(sample(server), tmp_path, recorder) != program
        assert reason in recorder.notes[0]

    def test_too_new_is_passed_over(self, empty_path: Path, tmp_path: Path) -> None:
        put_on_path(empty_path, "2.0.0")
        with pytest.raises(ToolError, match=r"too new: 2\.0\.0, need less than 2\.0") as caught:
            obtain(sample(None, below=(2, 0)), tmp_path, Recorder())
        assert "Install sample 1.5 or newer, below 2.0, and put it on PATH" in str(caught.value)

    def test_programs_that_belong_together_are_all_there_or_none_is_used(
        self, empty_path: Path, tmp_path: Path
    ) -> None:
        tool = sample(None, programs=("helper",))
        put_on_path(empty_path, "2.0.0")
        with pytest.raises(ToolError, match="PATH: helper not found"):
            obtain(tool, tmp_path, Recorder())
        helper = put_on_path(empty_path, "2.0.0", name="helper")
        assert tools.obtain(tool, tmp_path, Recorder())["helper"] == helper

    def test_a_tool_may_not_be_looked_for_there(self, empty_path: Path, tmp_path: Path) -> None:
        put_on_path(empty_path, "2.0.0")
        with pytest.raises(ToolError) as caught:
            obtain(sample(None, oldest=None), tmp_path, Recorder())
        assert "PATH" not in str(caught.value)


class TestRelease:
    def test_is_checked_unpacked_and_kept(
        self, empty_path: Path, server: Server, tmp_path: Path
    ) -> None:
        content = archive(**{"sample": SCRIPT, "sample-plugin": SCRIPT, "README": b"no"})
        publish(server, content)
        recorder = Recorder()

        program = obtain(sample(server), tmp_path, recorder)

        assert program == tmp_path / "sample-2.0.0" / "sample"
        assert subprocess.run([program], capture_output=True, check=True).stdout == (
            b"sample 2.0.0\n"
        )
        assert {file.name for file in program.parent.iterdir()} == {
            "sample",
            "sample-plugin",
            "source.txt",
        }
        assert recorder.started == [("Downloading sample 2.0.0", len(content), "bytes")]
        assert (recorder.advanced, recorder.running) == (len(content), 0)
        asked = list(server.asked)
        assert obtain(sample(server), tmp_path, Recorder()) == program
        assert server.asked == asked, "the second time, the cache has it"

    def test_wrong_digest_is_never_used(
        self, empty_path: Path, server: Server, tmp_path: Path
    ) -> None:
        publish(server, archive(sample=SCRIPT), digest="0" * 64)
        recorder = Recorder()
        with pytest.raises(ToolError, match=r"WRONG DIGEST .* expected 0{64}"):
            obtain(sample(server), tmp_path, recorder)
        assert "WRONG DIGEST" in recorder.notes[-1]
        assert not list(tmp_path.rglob("sample"))

    def test_pinned_digest_decides_over_the_published_one(
        self, empty_path: Path, server: Server, tmp_path: Path
    ) -> None:
        publish(server, archive(sample=SCRIPT))
        platforms = [
            f"{system}-{arch}" for system in ("linux", "darwin") for arch in ("x64", "arm64")
        ]
        pinned = dict.fromkeys(platforms, "1" * 64)
        with pytest.raises(ToolError, match=r"WRONG DIGEST .* expected 1{64}"):
            obtain(sample(server, sha256=pinned), tmp_path, Recorder())
        assert not any(path.endswith("sums.txt") for path in server.asked)

    @pytest.mark.parametrize(
        ("missing", "reason"), [("sums.txt", "404"), ("amd64.tar.gz", "404|none for")]
    )
    def test_missing_file_is_told(
        self, missing: str, reason: str, empty_path: Path, server: Server, tmp_path: Path
    ) -> None:
        publish(server, archive(sample=SCRIPT))
        for path in [path for path in server.files if path.endswith(("arm64.tar.gz", missing))]:
            del server.files[path]
        with pytest.raises(ToolError, match=reason):
            obtain(sample(server), tmp_path, Recorder())

    def test_may_be_the_program_itself_with_a_digest_beside_it(
        self, empty_path: Path, server: Server, tmp_path: Path
    ) -> None:
        digest = hashlib.sha256(SCRIPT).hexdigest()
        server.files["/sample"] = SCRIPT
        server.files["/sample.sha256"] = f"{digest}\n".encode()
        tool = sample(
            server,
            url=f"{server.url}/sample",
            members=(),
            checksums_url=f"{server.url}/sample.sha256",
        )
        program = obtain(tool, tmp_path, Recorder())
        assert subprocess.run([program], capture_output=True, check=True).stdout == (
            b"sample 2.0.0\n"
        )

    def test_without_one_of_its_programs_is_not_used(
        self, empty_path: Path, server: Server, tmp_path: Path
    ) -> None:
        publish(server, archive(sample=SCRIPT))
        tool = replace(sample(server), programs=("sample-helper",))
        with pytest.raises(ToolError, match="does not hold sample-helper"):
            obtain(tool, tmp_path, Recorder())
        assert not list(tmp_path.glob("sample*"))

    def test_no_network_costs_no_time(self, empty_path: Path, tmp_path: Path) -> None:
        nobody = Server("http://127.0.0.1:9", {}, [])  # the discard port: refused
        started = time.monotonic()
        with pytest.raises(ToolError, match="refused"):
            obtain(sample(nobody), tmp_path, Recorder())
        assert time.monotonic() - started < 3

    def test_unlisted_archive_is_not_trusted(
        self, empty_path: Path, server: Server, tmp_path: Path
    ) -> None:
        publish(server, archive(sample=SCRIPT))
        server.files["/v2.0.0/sums.txt"] = b"00  another.tar.gz\n"
        with pytest.raises(ToolError, match="does not name sample-"):
            obtain(sample(server), tmp_path, Recorder())


class TestGo:
    @pytest.fixture
    def module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A module without dependencies, in the place of `local/go/`."""
        folder = tmp_path / "go" / "hello"
        folder.mkdir(parents=True)
        (folder / "go.mod").write_text("module hello\n\ngo 1.21\n")
        (folder / "go.sum").write_text("")
        source = 'package main\n\nvar version = "none"\n\nfunc main() { println(version) }\n'
        (folder / "main.go").write_text(f"{source}\n// new to Go's cache: {time.time_ns()}\n")
        monkeypatch.setattr(tools, "_GO_FOLDER", tmp_path / "go")
        return folder

    TOOL = Tool(
        name="hello-modelramp",
        version="2.0.0",
        oldest=(2,),
        go=GoModule(folder="hello", package="hello", ldflags="-X main.version={version}"),
    )

    @needs_go
    def test_builds_with_progress(self, module: Path, tmp_path: Path) -> None:
        recorder = Recorder()
        program = obtain(self.TOOL, tmp_path / "cache", recorder)
        assert subprocess.run([program], capture_output=True, check=True).stderr == b"2.0.0\n"
        building, total, unit = recorder.started[-1]
        assert (building, unit) == ("Building hello-modelramp 2.0.0", "packages")
        assert total is not None
        assert total > 1
        assert 1 <= recorder.advanced <= total
        assert recorder.running == 0

    @needs_go
    def test_brings_further_programs_other_names_and_files(
        self, module: Path, tmp_path: Path
    ) -> None:
        (module / "second").mkdir()
        (module / "second" / "main.go").write_text("package main\n\nfunc main() { println(2) }\n")
        (module / "charts" / "deep").mkdir(parents=True)
        (module / "charts" / "deep" / "values.yaml").write_text("a: 1\n")
        (module / "charts" / "deep" / "values.yaml").chmod(0o444)
        go = replace(
            self.TOOL.go,  # type: ignore[arg-type]
            others={"second": "hello/second"},
            kept=("charts",),
        )
        tool = replace(self.TOOL, programs=("second", "alias"), go=go)
        found = tools.obtain(tool, tmp_path / "cache", Recorder())
        said = {
            name: subprocess.run([path], capture_output=True, check=True).stderr
            for name, path in found.items()
        }
        assert said == {"hello-modelramp": b"2.0.0\n", "second": b"2\n", "alias": b"2.0.0\n"}
        kept = found["second"].parent / "charts" / "deep" / "values.yaml"
        assert kept.read_text() == "a: 1\n"
        kept.unlink()  # not read-only as in Go's module cache

    @needs_go
    def test_broken_source_tells_what_the_compiler_said(self, module: Path, tmp_path: Path) -> None:
        (module / "main.go").write_text("package main\n\nfunc main() { nonsense() }\n")
        with pytest.raises(ToolError, match="undefined: nonsense"):
            obtain(self.TOOL, tmp_path / "cache", Recorder())
        assert not list((tmp_path / "cache").glob("*hello*/*"))

    def test_without_go_says_so(
        self, module: Path, empty_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(empty_path))
        with pytest.raises(ToolError, match="Go is not installed"):
            obtain(self.TOOL, tmp_path / "cache", Recorder())

    def test_interrupt_leaves_nothing_behind(self, tmp_path: Path) -> None:
        """A real interrupt, of a real process, while a build hangs."""
        fake_go = put_on_path(tmp_path, "", name="go")
        fake_go.write_text("#!/bin/sh\nsleep 300 & wait\n")
        program = textwrap.dedent(
            f"""
            import os, signal
            from pathlib import Path
            from local.tools import TOOLS, Silent, obtain
            # A shell that starts this test run in the background lets it ignore the interrupt.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            from dataclasses import replace
            os.environ["PATH"] = "{tmp_path}:/usr/bin:/bin"
            tool = replace(TOOLS["versitygw"], name="nothing-of-this-name", release=None)
            obtain(tool, Path("{tmp_path}/cache"), Silent())
            """
        )
        process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
        ours = psutil.Process(process.pid)
        deadline = time.monotonic() + 30
        while not any(child.name() == "sleep" for child in ours.children(recursive=True)):
            assert time.monotonic() < deadline, "the build did not start"
            time.sleep(0.05)
        children = ours.children(recursive=True)

        process.send_signal(signal.SIGINT)

        assert b"KeyboardInterrupt" in process.communicate(timeout=10)[1]
        _, alive = psutil.wait_procs(children, timeout=5)
        assert alive == []
        left = [path.name for path in (tmp_path / "cache").iterdir()]
        assert left in ([], [".nothing-of-this-name-1.8.0.lock"])


class TestTogether:
    def test_two_at_once_fetch_once(self, empty_path: Path, server: Server, tmp_path: Path) -> None:
        publish(server, archive(sample=SCRIPT))
        found: list[Path] = []
        threads = [
            threading.Thread(
                target=lambda: found.append(obtain(sample(server), tmp_path, Recorder()))
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [tmp_path / "sample-2.0.0" / "sample"] * 4
        assert sum(path.endswith(".tar.gz") for path in server.asked) == 1

    def test_remains_of_a_killed_run_are_swept(
        self, empty_path: Path, server: Server, tmp_path: Path
    ) -> None:
        remains = tmp_path / ".sample-2.0.0-abc" / "tool"
        remains.mkdir(parents=True)
        publish(server, archive(sample=SCRIPT))
        obtain(sample(server), tmp_path, Recorder())
        assert not remains.parent.exists()

    def test_error_lists_every_attempt_and_the_remedy(
        self, empty_path: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(empty_path))
        tool = replace(
            sample(server),
            debian=DebianPackages(("sample",), {"sample": "usr/bin/sample"}),
            go=GoModule(folder="prometheus", package="x"),
        )
        with pytest.raises(ToolError) as caught:
            obtain(tool, tmp_path, Recorder())
        lines = str(caught.value).splitlines()
        assert lines[0] == "sample could not be had. Tried:"
        assert [line.strip().partition(":")[0] for line in lines[1:5]] == [
            "PATH",
            "official release",
            "Debian package",
            "Go module",
        ]
        assert "put it on PATH" in lines[5]


def test_envoy_comes_from_its_wheel() -> None:
    output = subprocess.run([tools.ensure("envoy"), "--version"], capture_output=True, check=True)
    assert b"1.40.0" in output.stdout


def test_every_go_module_is_pinned() -> None:
    for tool in tools.TOOLS.values():
        if tool.go is not None:
            folder = Path(tools.__file__).parent / "go" / tool.go.folder
            assert (folder / "go.sum").stat().st_size > 0
            assert (folder / "go.mod").stat().st_size > 0
