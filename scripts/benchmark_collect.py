"""Measures one drift-check of many services against a real Prometheus with synthetic series.

Run it as `python -m scripts.benchmark_collect`. What is timed is the command as a user types it,
`drift-check --stack prod --dry-run`. Beside it, in the same run and on the same server, the same
evidence is read in batches, and as one would without them: a query for each counter, service and
version. Each is a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import PIPE
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.table import Table

from local.tools import ensure
from models.names import predictor_name

ROOT = Path(__file__).resolve().parents[1]
SERVICES = 1000
ROLLOUTS = 50
MINUTES = 490
AHEAD_MINUTES = 15
"""So far the series go on, as the command takes the time of the day."""
REPEATS = 5
GOALS = {"whole": 5.0, "peak_mib": 300.0}
SCRAPE_SECONDS = 30
ARMS = ("1.0.0", "1.1.0")
PODS = ("gateway-0", "gateway-1")

CHILD = """\
import json, resource, sys, time
begin = time.perf_counter()
from datetime import datetime
from pathlib import Path
from models.stack import load_stack
from rollout.collect import Asked, collect, read
from rollout.grid import grid_at
from rollout.plan import is_over
from rollout.prometheus import Prometheus

class Counted(Prometheus):
    asked = 0
    def samples(self, *arguments):
        Counted.asked += 1
        return super().samples(*arguments)

how, file, url, now = sys.argv[1:]
metrics, now = Counted(url), datetime.fromisoformat(now)
imported = time.perf_counter()
stack = load_stack(Path(file))
loaded = time.perf_counter()
judged = {name: it for name, it in stack.services.items() if not is_over(it)}
if how == "batched":
    collect(judged, "models", metrics, now)
else:
    for name, it in judged.items():
        grid = grid_at(it.rollout.started_at, now, it.judge.interval_seconds)
        for version in (it.rollout.stable, it.rollout.candidate):
            found = read([Asked(name, version, it, grid)], "models", metrics)
            found[name, version].arm()
collected, queries = time.perf_counter(), Counted.asked
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({
    "imports": imported - begin, "parse": loaded - imported, "collect": collected - loaded,
    "whole": collected - begin, "peak_mib": peak, "queries": queries,
}))
"""


@dataclass(frozen=True)
class Run:
    """One process; times in seconds, None where it tells none.

    Attributes:
        whole: the process.
        peak_mib: its peak memory, MiB.
        imports: of modules.
        parse: reading the stack file.
        collect: reading the evidence of all rollouts.
        queries: asked of Prometheus to collect.
        verdicts: those that were reached.
    """

    whole: float
    peak_mib: float
    imports: float | None = None
    parse: float | None = None
    collect: float | None = None
    queries: int | None = None
    verdicts: list[str] | None = None


def main(
    services: Annotated[int, typer.Option(help="Declared.", min=1)] = SERVICES,
    rollouts: Annotated[int, typer.Option(help="Of them in a rollout.", min=1)] = ROLLOUTS,
    repeats: Annotated[int, typer.Option(help="Processes of each kind.", min=1)] = REPEATS,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measures how long one drift-check takes, and how much memory."""
    with tempfile.TemporaryDirectory(prefix="modelramp-benchmark-") as folder:
        load = os.getloadavg()[0]
        runs = measure(Path(folder), services, rollouts, repeats)
        loads = (load, os.getloadavg()[0])
    if as_json:
        text = {how: [asdict(it) for it in each] for how, each in runs.items()}
        print(json.dumps({"load": loads, **text}))  # noqa: T201
    else:
        show(runs, loads)


def measure(folder: Path, services: int, rollouts: int, repeats: int) -> dict[str, list[Run]]:
    """Runs all kinds in turn, against one server with files below `folder`."""
    now = datetime.now(UTC).replace(microsecond=0)
    with (folder / "metrics").open("w") as file:
        file.writelines(f"{line}\n" for line in open_metrics(services, rollouts, now))
    backfill = [
        *(str(ensure("promtool")), "tsdb", "create-blocks-from", "openmetrics"),
        *(str(folder / "metrics"), str(folder / "data")),
    ]
    subprocess.run(backfill, check=True, capture_output=True)
    runs: dict[str, list[Run]] = {"command": [], "batched": [], "single": []}
    with _prometheus(folder) as url:
        (folder / "Pulumi.yaml").write_text("{name: many, runtime: python}")
        stack = folder / "Pulumi.prod.yaml"
        stack.write_text("\n".join(stack_lines(services, rollouts, now, url)))
        for _ in range(repeats):
            for how, each in runs.items():
                each.append(_command(folder) if how == "command" else _child(how, stack, url, now))
    return runs


def _command(folder: Path) -> Run:
    """Runs `drift-check` on the stack file in a folder."""
    command = [Path(sys.executable).with_name("drift-check"), "--stack", "prod"]
    began = time.perf_counter()
    with subprocess.Popen([*command, "--dry-run", "--json"], cwd=folder, stdout=PIPE) as process:
        assert process.stdout is not None  # noqa: S101  it is a pipe
        told = json.loads(process.stdout.read())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    verdicts = sorted({it["verdict"] for it in told if it["verdict"]})
    return Run(time.perf_counter() - began, usage.ru_maxrss / 1024, verdicts=verdicts)


def _child(how: str, stack: Path, url: str, now: datetime) -> Run:
    command = [sys.executable, "-c", CHILD, how, str(stack), url, now.isoformat()]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=PIPE, text=True)
    return Run(**json.loads(done.stdout))


def stack_lines(services: int, rollouts: int, now: datetime, url: str) -> Iterator[str]:
    """Yields a stack file: the first services are in a rollout, all others at rest.

    Args:
        services: how many are declared.
        rollouts: how many of them are in a rollout.
        now: the time when the last series ends, but for AHEAD_MINUTES.
        url: of Prometheus.
    """
    yield "config:"
    yield "  modelramp:cluster: {target: cluster, namespace: models, gateway: gateway/models, "
    yield f"    prometheus: '{url}'}}"
    yield "  modelramp:services:"
    first, second = (now - timedelta(minutes=it) for it in (MINUTES, MINUTES - 60))
    for at in range(services):
        yield f"    service-{at}:"
        yield "      owner: a-team"
        yield "      runtime: {kind: mlflow}"
        yield "      versions:"
        for number, version in enumerate(ARMS if at < rollouts else ARMS[:1]):
            digest = f"sha256:{at:063d}{number}"
            yield f'        "{version}": {{uri: "s3://m/{at}/{number}", digest: "{digest}",'
            yield f'          registry: "models:/service-{at}/{number + 1}"}}'
        yield "      strategy: {kind: canary, steps: [1, 5, 25, 100], bake: 30m}"
        edge = (100, 250)[at % 2]
        yield f"      slo: {{errorRate: 0.01, latency: {{thresholdMs: {edge}, share: 0.9}}}}"
        if at < rollouts:
            yield f'      rollout: {{stable: "{ARMS[0]}", candidate: "{ARMS[1]}", moves: ['
            yield f'        {{percent: 1, at: "{first.isoformat()}"}},'
            yield f'        {{percent: 5, at: "{second.isoformat()}"}}]}}'
        else:
            yield f'      rollout: {{stable: "{ARMS[0]}"}}'


def open_metrics(services: int, rollouts: int, now: datetime) -> Iterator[str]:
    """Yields what gateway, model servers and rules would have told, in OpenMetrics format.

    Versions in a rollout have all their series; services at rest have some, so that the queries
    have to find theirs among them.
    """
    span = 60 * (MINUTES + 10)
    ahead = 60 * AHEAD_MINUTES
    times = [now.timestamp() + it for it in range(-span, ahead + 1, SCRAPE_SECONDS)]
    for series, per_minute in _series(services, rollouts):
        for at in times:
            minutes = (at - times[0]) / 60
            if series.startswith("modelramp:declared_percent"):
                value = 1 if minutes < 70 else 5
            else:
                value = int(minutes * per_minute)
            yield f"{series} {value} {at:.0f}"
    yield "# EOF"


def _series(services: int, rollouts: int) -> Iterator[tuple[str, float]]:
    """Yields each series with its growth a minute."""
    for at in range(services):
        service, moving = f"service-{at}", at < rollouts
        for version in ARMS if moving else ARMS[:1]:
            per_minute = 20 if version == ARMS[1] else 400
            cluster = f"service/models/{predictor_name(service, version)}/80/http"
            for pod in PODS:
                labels = f'envoy_cluster_name="{cluster}",pod="{pod}"'
                yield f"envoy_cluster_upstream_rq_total{{{labels}}}", per_minute
                for code, share in (("2", 0.99), ("4", 0.006), ("5", 0.004)):
                    of_class = f'{labels},envoy_response_code_class="{code}"'
                    yield f"envoy_cluster_upstream_rq_xx{{{of_class}}}", per_minute * share
                if moving:
                    yield f"envoy_cluster_upstream_rq_time_count{{{labels}}}", per_minute
                    for edge in ("50.0", "100.0", "250.0", "+Inf"):
                        share = 0.95 if edge in ("100.0", "250.0") else 1
                        within = f'{labels},le="{edge}"'
                        yield (
                            f"envoy_cluster_upstream_rq_time_bucket{{{within}}}",
                            per_minute * share,
                        )
                    yield f"envoy_cluster_membership_healthy{{{labels}}}", 1
            if moving:
                ours = f'namespace="models",model_service="{service}",model_version="{version}"'
                for pod in ("server-0", "server-1"):
                    for bucket, share in (("yes", 0.2), ("no", 0.8)):
                        labels = f'{ours},pod="{pod}",bucket="{bucket}"'
                        yield f"modelramp_predictions_total{{{labels}}}", per_minute * share / 2
                labels = f'namespace="models",service="{service}",version="{version}"'
                yield f"modelramp:declared_percent{{{labels}}}", 0


@contextmanager
def _prometheus(folder: Path) -> Generator[str]:
    """Runs the server on the series; yields its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "prometheus.yml").write_text("{}")
    command = [
        str(ensure("prometheus")),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(f"{url}/-/ready")
            yield url
        finally:
            server.terminate()


def _wait(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise TimeoutError(url)


def show(runs: dict[str, list[Run]], loads: tuple[float, float]) -> None:
    """Prints medians of both kinds side by side."""
    table = Table(title=f"Medians; load {loads[0]:.1f} to {loads[1]:.1f}", box=None)
    for heading in ("", *runs):
        table.add_column(heading)
    for what in ("queries", "imports", "parse", "collect", "whole", "peak_mib"):
        table.add_row(
            what,
            *(_median(each, what) for each in runs.values()),
        )
    Console().print(table)
    command = runs["command"]
    whole, peak = (statistics.median(getattr(it, w) for it in command) for w in GOALS)
    met = whole < GOALS["whole"] and peak < GOALS["peak_mib"]
    verdicts = ", ".join(command[0].verdicts or ())
    print(f"verdicts: {verdicts}; goals {GOALS}: {met}")  # noqa: T201


def _median(runs: list[Run], what: str) -> str:
    values = [value for it in runs if (value := getattr(it, what)) is not None]
    return f"{statistics.median(values):.2f}" if values else ""


if __name__ == "__main__":
    typer.run(main)
