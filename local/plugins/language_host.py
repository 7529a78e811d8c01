"""A stand-in for `pulumi-language-python`: runs Pulumi programs and policy packs.

It must run under the interpreter of the project's environment, because the program runs inside
this process. A policy pack runs under the interpreter of its own environment.
"""

# ruff: noqa: ARG002, N802 (names and arguments are the protocol's)

from __future__ import annotations

import os
import platform
import queue
import runpy
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import grpc
from google.protobuf import empty_pb2
from google.protobuf.json_format import MessageToDict

from local.plugins.protocol import language_pb2, language_pb2_grpc, plugin_pb2
from local.plugins.serve import serve

VERSION = "3.259.0"  # of the official language host that this stands in for


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """Serves the `LanguageRuntime` protocol to one engine."""

    def __init__(self, engine_address: str) -> None:
        self._engine_address = engine_address
        self._plugins: list[subprocess.Popen[bytes]] = []

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Accepts any engine."""
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Says which official version this stands in for."""
        return plugin_pb2.PluginInfo(version=VERSION)

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Does nothing: the engine ends this process right after."""
        return empty_pb2.Empty()

    def About(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Says which interpreter programs run under."""
        return language_pb2.AboutResponse(
            executable=sys.executable, version=platform.python_version()
        )

    def GetRequiredPackages(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Requires nothing ahead: the engine finds a provider when the program asks for it."""
        return language_pb2.GetRequiredPackagesResponse()

    def InstallDependencies(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """Installs nothing: `make install` does."""
        return iter(())

    def RuntimeOptionsPrompts(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Has nothing to ask."""
        return language_pb2.RuntimeOptionsResponse()

    def GetProgramDependencies(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Lists nothing; only `pulumi about` asks."""
        return language_pb2.GetProgramDependenciesResponse()

    def Run(self, request: Any, context: Any) -> Any:
        """Runs the Pulumi program inside this process."""
        # Only a process that runs a program needs the SDK, which is slow to import.
        from pulumi.automation import _server  # noqa: PLC0415

        os.chdir(request.pwd)
        program = Path(request.info.program_directory, request.info.entry_point).resolve()
        sys.path.insert(0, request.info.program_directory)
        request.args[:] = [self._engine_address, *request.args]
        server = _server.LanguageServer(lambda: _run_program(program))
        response = server.Run(request, context)
        # The server has logged the error already; returned, it would be shown a second time.
        return language_pb2.RunResponse(bail=bool(response.error))

    def RunPlugin(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """Runs a policy pack or another plugin written in Python, and streams its output."""
        folder = request.info.program_directory
        options = MessageToDict(request.info.options)
        python = Path(folder, options.get("virtualenv", ".venv"), "bin", "python")
        if not python.exists():
            message = f"{python} is missing: the pack wants a virtual environment of its own\n"
            yield language_pb2.RunPluginResponse(stderr=message.encode())
            yield language_pb2.RunPluginResponse(exitcode=1)
            return
        is_pack = request.kind == "analyzer"
        arguments = (
            ["-u", "-m", "pulumi.policy", *request.args, folder]
            if is_pack
            else ["-u", folder, *request.args]
        )
        process = subprocess.Popen(
            [str(python), *arguments],
            cwd=folder if is_pack else request.pwd,
            env=dict(entry.split("=", 1) for entry in request.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._plugins.append(process)
        context.add_callback(process.terminate)
        for is_stdout, chunk in _output_of(process):
            yield (
                language_pb2.RunPluginResponse(stdout=chunk)
                if is_stdout
                else language_pb2.RunPluginResponse(stderr=chunk)
            )
        yield language_pb2.RunPluginResponse(exitcode=process.wait())

    def stop(self) -> None:
        """Ends the plugins that this host started."""
        for process in self._plugins:
            process.terminate()


def _output_of(process: subprocess.Popen[bytes]) -> Iterator[tuple[bool, bytes]]:
    """Yields (is it standard output, bytes) as they come, until the process has closed both."""
    assert process.stdout  # noqa: S101 (both are pipes)
    assert process.stderr  # noqa: S101
    chunks: queue.SimpleQueue[tuple[bool, bytes]] = queue.SimpleQueue()

    def pump(is_stdout: bool, stream: IO[bytes]) -> None:
        while chunk := os.read(stream.fileno(), 65536):
            chunks.put((is_stdout, chunk))
        chunks.put((is_stdout, b""))

    threading.Thread(target=pump, args=(True, process.stdout), daemon=True).start()
    threading.Thread(target=pump, args=(False, process.stderr), daemon=True).start()
    still_open = 2
    while still_open:
        is_stdout, chunk = chunks.get()
        if chunk:
            yield is_stdout, chunk
        else:
            still_open -= 1


def _run_program(program: Path) -> None:
    """Runs the program; its exceptions are shown as the official host shows them."""
    from pulumi import RunError  # noqa: PLC0415 (see Run)

    try:
        runpy.run_path(str(program), run_name="__main__")
    except RunError:
        raise
    except Exception as error:
        frames = error.__traceback__
        while frames and frames.tb_frame.f_code.co_filename in {__file__, "<frozen runpy>"}:
            frames = frames.tb_next
        trace = "".join(traceback.format_exception(error.with_traceback(frames)))
        raise RunError(f"Program failed with an unhandled exception:\n{trace}") from error


def main() -> None:
    """Serves one engine, whose address is the last argument."""
    host = LanguageHost(sys.argv[-1])
    serve(
        lambda server: language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server),
        on_stop=host.stop,
    )


if __name__ == "__main__":
    main()
