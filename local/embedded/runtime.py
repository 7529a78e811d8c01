"""The embedded target's controller: makes what runs here the same as what was rendered.

One loop, level-triggered: read the manifests, start and stop processes, then routes, then rules.
The order is the promise: weights move only after the version is ready, and the recorded weights
only after Envoy has taken the new ones over.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import structlog
from botocore.exceptions import BotoCoreError, ClientError

from local import stores
from local.embedded import envoy, prometheus
from local.embedded.manifests import (
    InferenceService,
    Manifests,
    digest_of,
    read_manifests,
)
from local.files import write_json
from local.home import Home
from local.processes import ProcessSpec, Supervisor, free_port, python
from models.errors import RuntimeTargetError

log = structlog.get_logger()

TICK_SECONDS = 0.25
DRAIN_SECONDS = 3.0
"""How long a version that left the route keeps its process, for requests under way."""

CONFIRM_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Binaries:
    """The programs that are not Python."""

    envoy: Path
    prometheus: Path
    versitygw: Path


class Ports:
    """Loopback ports by name, the same ones again after a restart where they are still free."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._preferred: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
        self._taken: dict[str, int] = {}

    def __getitem__(self, name: str) -> int:
        if name not in self._taken:
            port = free_port(self._preferred.get(name))
            while port in self._taken.values():
                port = free_port()
            self._taken[name] = port
            write_json(self._file, {**self._preferred, **self._taken})
        return self._taken[name]


class Runtime:
    """The controller of one `.modelramp` folder."""

    def __init__(self, home: Home, binaries: Binaries) -> None:
        self._home = home
        self._binaries = binaries
        self._ports = Ports(home.path / "ports.json")
        self._supervisor = Supervisor(home.path)
        self._client = httpx.Client(timeout=5.0, trust_env=False)
        self._stopping = threading.Event()
        self._manifests = Manifests("", {}, (), (), ())
        self._error: str | None = None
        self._bucket_made = False
        self._routes: dict[str, dict[str, Any]] = {}
        self._pending: dict[str, str] = {}
        self._written: dict[str, Any] = {}
        self._lingering: list[tuple[float, dict[str, Any]]] = []
        self._running: dict[str, InferenceService] = {}
        self._reload_needed = False
        self._refused: str | None = None
        self._status: dict[str, Any] = {}

    def run(self) -> None:
        """Reconciles until `stop`; ends every process before it returns."""
        self._write_envoy_bootstrap()
        self._write_prometheus()
        try:
            while not self._stopping.is_set():
                try:
                    self._error = None
                    self._round()
                except Exception as error:  # one odd object must not end all servers
                    self._error = f"{type(error).__name__}: {error}"
                    if self._error != self._status.get("error"):
                        log.exception("round failed")
                self._write_status()
                self._stopping.wait(TICK_SECONDS)
        finally:
            self._home.status_file.unlink(missing_ok=True)
            self._supervisor.shutdown()
            self._client.close()

    def stop(self) -> None:
        """Ends `run` soon; safe to call from a signal handler."""
        self._stopping.set()

    def _round(self) -> None:
        self._read()
        self._supervisor.apply(self._specs())
        self._supervisor.tick()
        self._make_bucket()
        self._apply_routes()
        self._write_prometheus()

    # What should run.

    def _read(self) -> None:
        try:
            if digest_of(self._home.manifests) != self._manifests.digest:
                self._manifests = read_manifests(self._home.manifests)
                log.info("manifests changed", digest=self._manifests.digest[:12])
        except (RuntimeTargetError, OSError) as error:
            # Half-written by a running `pulumi up`, or wrong: keep what runs, say why.
            self._error = str(error)

    def _specs(self) -> Iterator[ProcessSpec]:
        home = self._home.path
        yield stores.store_process(home, self._binaries.versitygw, self._local("store"))
        if self._bucket_made:
            yield stores.registry_process(home, self._local("mlflow"), self._local("store"))
        yield self._envoy_process()
        yield self._prometheus_process()
        if not self._bucket_made:
            return
        routed = [*self._routes.values(), *(route for _, route in self._lingering)]
        still = {name for route in routed for name in _referenced(route)}
        kept = {name: it for name, it in self._running.items() if name in still}
        self._running = {**kept, **self._manifests.inference_services}
        for service in self._running.values():
            for name in _replica_names(service):
                yield self._model_server(service, name)

    def _envoy_process(self) -> ProcessSpec:
        folder = self._home.path / "envoy"
        return ProcessSpec(
            name="envoy",
            command=(
                *(str(self._binaries.envoy), "-c", str(folder / "bootstrap.yaml")),
                *("--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"),
            ),
            ready_url=f"{self._envoy_admin}/ready",
        )

    def _prometheus_process(self) -> ProcessSpec:
        folder = self._home.path / "prometheus"
        return ProcessSpec(
            name="prometheus",
            command=(
                str(self._binaries.prometheus),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._ports['prometheus']}",
                f"--query.lookback-delta={prometheus.LOOKBACK}",
                "--web.enable-lifecycle",
                "--log.level=warn",
            ),
            ready_url=f"{self._prometheus_url}/-/ready",
        )

    def _model_server(self, service: InferenceService, name: str) -> ProcessSpec:
        port = self._ports[name]
        return ProcessSpec(
            name=name,
            command=python(
                *("-m", "serving", *service.args),
                f"--model_uri={service.storage_uri}",
                f"--model_dir={self._home.path / 'models' / name}",
                *("--http_host=127.0.0.1", f"--http_port={port}"),
            ),
            env=stores.client_environment(self._home.path, self._local("store")),
            ready_url=f"http://127.0.0.1:{port}/v2/health/ready",
            grace_seconds=15.0,
        )

    def _make_bucket(self) -> None:
        if not self._bucket_made and self._supervisor.is_ready("store"):
            try:
                stores.ensure_bucket(self._home.path, self._local("store"))
                self._bucket_made = True
            except (BotoCoreError, ClientError) as error:
                self._error = f"no artifact bucket: {error}"

    # Routes: clusters first, then weights; the old clusters linger for requests under way.

    def _apply_routes(self) -> None:
        if not self._supervisor.is_ready("envoy"):
            return
        accepted = self._acceptable_routes()
        try:
            routes = envoy.route_configuration(list(accepted.values()))
            now = time.monotonic()
            gone = [route for key, route in self._routes.items() if accepted.get(key) != route]
            self._lingering = [it for it in self._lingering if it[0] > now]
            self._lingering += [(now + DRAIN_SECONDS, route) for route in gone]
            referring = [*accepted.values(), *(route for _, route in self._lingering)]
            endpoints = {name: self._ports_of(service) for name, service in self._running.items()}
            self._give_envoy("clusters", envoy.clusters(referring, endpoints))
            self._give_envoy("routes", routes)
        except (RuntimeTargetError, httpx.HTTPError) as error:
            self._error = f"routes not applied: {error}"
            return
        self._routes = accepted

    def _acceptable_routes(self) -> dict[str, dict[str, Any]]:
        """Returns each declared route, or its old form while a version it sends to is not ready."""
        accepted: dict[str, dict[str, Any]] = {}
        self._pending = {}
        for route in self._manifests.routes:
            key = _key(route)
            waiting = [name for name in sorted(envoy.backends(route)) if not self._is_ready(name)]
            if not waiting or route == self._routes.get(key):
                accepted[key] = route
                continue
            self._pending[key] = self._why_not_ready(waiting[0])
            if key in self._routes:
                accepted[key] = self._routes[key]
        return accepted

    def _has(self, route: dict[str, Any]) -> bool:
        """Whether Envoy has confirmed the route as it is declared now."""
        return self._routes.get(_key(route)) == route

    def _give_envoy(self, kind: str, response: dict[str, Any]) -> None:
        """Writes a configuration that changed, and waits until Envoy says it uses it."""
        if self._written.get(kind) == response:
            return
        write_json(self._home.path / "envoy" / f"{kind}.yaml", response)
        version = f'{_VERSION_TEXT[kind]}: "{response["version_info"]}"'
        give_up_at = time.monotonic() + CONFIRM_TIMEOUT_SECONDS
        while version not in self._client.get(f"{self._envoy_admin}{_TEXT_STATS}").text:
            if time.monotonic() > give_up_at:
                raise RuntimeTargetError(f"Envoy did not take over its {kind}; see logs/envoy.log")
            time.sleep(0.02)
        self._written[kind] = response

    def _write_envoy_bootstrap(self) -> None:
        folder = self._home.path / "envoy"
        start = envoy.bootstrap(folder, self._ports["envoy-admin"], self._ports["gateway"])
        write_json(folder / "bootstrap.yaml", start)
        write_json(folder / "clusters.yaml", envoy.clusters([], {}))
        write_json(folder / "routes.yaml", envoy.route_configuration([]))

    # Readiness.

    def _is_ready(self, predictor: str) -> bool:
        service = self._running.get(predictor)
        return service is not None and all(
            self._supervisor.is_ready(name) for name in _replica_names(service)
        )

    def _why_not_ready(self, predictor: str) -> str:
        service = self._running.get(predictor)
        if service is None:
            return f"{predictor} is not declared"
        process = self._supervisor.processes.get(_replica_names(service)[0])
        if process is None or process.restarts == 0:
            return f"waiting for {service.name} to be ready"
        return f"{service.name} does not become ready: {process.last_lines(1)}"

    def _ports_of(self, service: InferenceService) -> list[int]:
        """Returns the ports that requests go to: of the ready replicas, or else of all."""
        names = _replica_names(service)
        ready = [name for name in names if self._supervisor.is_ready(name)]
        return [self._ports[name] for name in ready or names]

    # Prometheus: rules of a service's weights only when its route is the declared one.

    def _write_prometheus(self) -> None:
        folder = self._home.path / "prometheus"
        rule_files: dict[str, Any] = {}
        applied = {
            route["metadata"]["name"] for route in self._manifests.routes if self._has(route)
        }
        for rule in self._manifests.rules:
            name = f"{_key(rule).replace('/', '.')}.rules.yml"
            if prometheus.services_recorded(rule) <= applied:
                rule_files[name] = prometheus.rule_file(rule)
            elif name in self._written:
                rule_files[name] = self._written[name]
        pods = [
            (service, self._ports[name])
            for service in self._running.values()
            for name in _replica_names(service)
        ]
        rule_files["prometheus.yml"] = prometheus.configuration(
            self._manifests.pod_monitors,
            pods,
            self._ports["envoy-admin"],
            [str(folder / name) for name in rule_files],
        )
        for name, content in rule_files.items():
            if self._written.get(name) != content:
                write_json(folder / name, content)
                self._written[name] = content
                self._reload_needed = True
        if self._reload_needed and self._supervisor.is_ready("prometheus"):
            self._reload_prometheus()

    def _reload_prometheus(self) -> None:
        try:
            answer = self._client.post(f"{self._prometheus_url}/-/reload", timeout=30.0)
        except httpx.HTTPError as error:
            self._error = f"Prometheus did not reload: {error}"
            return
        refused = answer.is_error
        self._refused = f"Prometheus refused its rules: {answer.text.strip()}" if refused else None
        self._reload_needed = False

    # What others may know.

    def _local(self, name: str) -> str:
        return f"127.0.0.1:{self._ports[name]}"

    @property
    def _envoy_admin(self) -> str:
        return f"http://{self._local('envoy-admin')}"

    @property
    def _prometheus_url(self) -> str:
        return f"http://{self._local('prometheus')}"

    def _write_status(self) -> None:
        processes = self._supervisor.processes
        error = self._error or self._refused
        status = {
            "digest": self._manifests.digest,
            "applied": not (self._pending or error or self._reload_needed)
            and all(self._has(route) for route in self._manifests.routes),
            "error": error,
            "pending": self._pending,
            "endpoints": {
                name: f"http://{self._local(name)}"
                for name in ("gateway", "prometheus", "mlflow", "store")
            },
            "processes": {
                name: {"ready": self._supervisor.is_ready(name), "restarts": process.restarts}
                for name, process in processes.items()
            },
            "weights": {key: _weights(route) for key, route in self._routes.items()},
        }
        if status != self._status:
            write_json(self._home.status_file, status)
            self._status = status


_TEXT_STATS = "/stats?type=TextReadouts&filter=version_text"
_VERSION_TEXT = {
    "clusters": "cluster_manager.cds.version_text",
    "routes": f"http.gateway.rds.{envoy.ROUTE_CONFIG}.version_text",
}


def _key(item: dict[str, Any]) -> str:
    metadata = item["metadata"]
    return f"{metadata.get('namespace', 'default')}/{metadata['name']}"


def _replica_names(service: InferenceService) -> list[str]:
    return [f"{service.name}-{replica}" for replica in range(service.replicas)]


def _referenced(route: dict[str, Any]) -> set[str]:
    return {backend["name"] for rule in route["spec"]["rules"] for backend in rule["backendRefs"]}


def _weights(route: dict[str, Any]) -> dict[str, int]:
    split = route["spec"]["rules"][-1]
    return {backend["name"]: backend.get("weight", 1) for backend in split["backendRefs"]}
