"""The story that the quickstart tells: a good version and a bad one, under live traffic."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from local.files import write_json, write_text
from local.processes import MARK
from models.errors import RuntimeTargetError
from models.stack import load_stack
from rollout import history, report
from rollout.declare import reset_service, start_rollout
from rollout.drift_check import Outcome, drift_check
from rollout.evidence import evidence
from rollout.grid import even_grid
from rollout.plan import is_over
from rollout.prometheus import Prometheus
from rollout.stack_file import stack_path
from scripts.pulumi_cli import Pulumi
from scripts.screen import (
    CONSOLE,
    ERRORS,
    ToolProgress,
    evidence_table,
    outcome_table,
    working,
)
from scripts.targets import Target

SERVICE = "biopsy"
RATE_PER_SECOND = 200
CHECK_EVERY_SECONDS = 1.0
GIVE_UP_SECONDS = 300.0
CALM_SECONDS = 6.0
"""Traffic goes on a little after the last move, so that the report shows what it did."""
TRAIN_TIMEOUT_SECONDS = 300
PLOTTED_SECONDS = 2.0
"""Width of an interval in the report."""


@dataclass
class Story:
    """What has happened so far."""

    phases: dict[str, float] = field(default_factory=dict[str, float])
    moves: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    checks: list[tuple[datetime, Outcome]] = field(default_factory=list[tuple[datetime, Outcome]])

    @contextmanager
    def phase(self, name: str, what: str) -> Generator[None]:
        """Shows and times one part."""
        began = time.monotonic()
        with working(what):
            yield
        self.add(name, time.monotonic() - began)

    def add(self, name: str, seconds: float) -> None:
        """Adds to a part's time."""
        self.phases[name] = round(self.phases.get(name, 0.0) + seconds, 1)

    def move(
        self, at: datetime, candidate: str, before: int, after: int, verdict: str, reason: str
    ) -> None:
        """Notes a move."""
        self.moves.append(
            {
                "time": at.isoformat(timespec="seconds"),
                "service": SERVICE,
                "candidate": candidate,
                "from": before,
                "to": after,
                "verdict": verdict,
                "reason": reason,
            }
        )


def tell(target: Target, story: Story) -> None:
    """Trains, deploys, rolls out one good and one bad version, and reports."""
    began = time.monotonic()
    home = target.home
    file = stack_path(home.root, target.stack)
    progress = ToolProgress(ERRORS)
    with _timed(story, "tools"):
        pulumi = Pulumi.on_local(
            home, target.stack, progress, mark=target.mark, kubeconfig=target.kubeconfig
        )
        pulumi.select()
        reset_service(file, SERVICE)

    def clean() -> None:
        with story.phase("clean", "pulumi up: taking away what an earlier quickstart declared"):
            pulumi.up()

    # Processes would be started for what is left of it; a cluster must be there to be cleaned.
    if target.kubeconfig is None and any(home.manifests.glob("*/*.yaml")):
        clean()
    with _timed(story, "start"):
        endpoints = target.up(progress)
    if target.kubeconfig is not None:
        clean()
    with story.phase("train", "Training three versions of a model and registering them"):
        trained = _train(target)
    rollouts = _Rollouts(target, file, pulumi, Prometheus(endpoints["prometheus"]), story)
    with story.phase("deploy 1.0.0", "pulumi up: version 1.0.0 serves all requests"):
        rollouts.begin(trained[0])
        rollouts.make_so()
    start = datetime.now(UTC)
    with _traffic(target, endpoints["gateway"]) as stats_file:
        for version in trained[1:]:
            with _timed(story, f"roll out {version['version']}"):
                rollouts.roll_out(version)
        time.sleep(CALM_SECONDS)
    end = datetime.now(UTC)
    stats = _summary(stats_file)
    with story.phase("report", "Drawing the report"):
        paths = _write_report(target, file, rollouts.metrics, story, stats, start, end)
    story.phases["total"] = round(time.monotonic() - began, 1)
    result = home.path / "quickstart.json"
    write_json(result, _result(trained, story, stats, file))
    _say_goodbye(target, story, stats, [*paths, result])


def _train(target: Target) -> list[dict[str, Any]]:
    """Trains and registers; returns the versions in order, as the example prints them."""
    home, environment = target.home, target.environment()
    done = subprocess.run(
        (
            *(sys.executable, "-m", "examples.biopsy.train"),
            *("--tracking-uri", environment["MLFLOW_TRACKING_URI"]),
            *("--out", str(home.path / "rows.json")),
        ),
        cwd=home.root,
        env={**os.environ, **environment, MARK: str(target.mark)},
        capture_output=True,
        text=True,
        timeout=TRAIN_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeTargetError(f"training failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout)["versions"]


@dataclass(frozen=True)
class _Rollouts:
    """Rolls versions out, one after the other."""

    target: Target
    file: Path
    pulumi: Pulumi
    metrics: Prometheus
    story: Story

    def make_so(self) -> None:
        """Makes what the stack file declares so."""
        self.pulumi.up()
        self.target.wait_applied(SERVICE)

    def begin(self, trained: dict[str, Any]) -> None:
        """Declares a version: the first becomes stable, a later one the candidate at step one."""
        at = datetime.now(UTC)
        why = f"new version, holdout accuracy {trained['holdout_accuracy']:.1%}"
        entry = {key: trained[key] for key in ("uri", "digest", "registry")}
        stack = start_rollout(self.file, SERVICE, trained["version"], entry, now=at, why=why)
        rollout = stack.services[SERVICE].rollout
        after = rollout.percent if rollout and rollout.candidate else 100
        self.story.move(at, trained["version"], 0, after, "start", why)
        versions = (rollout.stable, rollout.candidate) if rollout else (None, None)
        decided = {"verdict": "start", "reason": why}
        line = history.line_of(
            at,
            SERVICE,
            versions,
            (0, after),
            decided,
            by="quickstart",
            digest=entry["digest"],
            commit=history.head_commit(self.file),
        )
        history.append(history.history_path(self.file, self.target.stack, SERVICE), line)

    def roll_out(self, trained: dict[str, Any]) -> None:
        """Starts a rollout and lets drift-check end it: each edit is made so by `pulumi up`."""
        self.begin(trained)
        self.make_so()
        give_up_at = time.monotonic() + GIVE_UP_SECONDS
        with Live(console=CONSOLE, transient=True, auto_refresh=False) as live:
            while not is_over(load_stack(self.file).services[SERVICE]):
                if time.monotonic() > give_up_at:
                    raise RuntimeTargetError(
                        f"no decision on {trained['version']} in {GIVE_UP_SECONDS:g} s"
                    )
                (outcome,) = drift_check(self.file, self.target.stack, self.metrics, only=SERVICE)
                at = datetime.now(UTC)
                self.story.checks.append((at, outcome))
                live.update(evidence_table(outcome), refresh=True)
                if outcome.edit is None or outcome.verdict is None:
                    time.sleep(CHECK_EVERY_SECONDS)
                    continue
                verdict = outcome.verdict
                change = (outcome.from_percent, outcome.to_percent)
                self.story.move(at, trained["version"], *change, verdict.kind, verdict.reason)
                live.console.print(outcome_table([outcome]))
                self.make_so()


@contextmanager
def _traffic(target: Target, gateway: str) -> Generator[Path]:
    """Sends real rows as long as the block runs; yields the file of its statistics."""
    home = target.home
    stats_file = home.path / "traffic.jsonl"
    stats_file.unlink(missing_ok=True)
    home.logs.mkdir(parents=True, exist_ok=True)
    with (home.logs / "traffic.log").open("wb") as output:
        process = subprocess.Popen(
            (
                *(sys.executable, "-m", "examples.biopsy.traffic"),
                *("--url", gateway, "--rows", str(home.path / "rows.json")),
                *("--rate", str(RATE_PER_SECOND), "--report", str(stats_file)),
            ),
            cwd=home.root,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Marked as ours: whatever happens, `modelramp local down` finds it.
            env={**os.environ, MARK: str(target.mark)},
        )
    try:
        yield stats_file
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _summary(stats_file: Path) -> dict[str, Any]:
    """Returns what became of all requests; the traffic's last line says it."""
    line = json.loads(stats_file.read_text().splitlines()[-1])
    if not line.get("summary"):
        raise RuntimeTargetError("the traffic was killed; see .modelramp/logs/traffic.log")
    versions = line["versions"]
    return {
        "sent": line["sent"],
        "failed": sum(version["http_error"] for version in versions.values()),
        "lost": line["gateway_failures"],
        "labels": line["labels"],
        "byVersion": versions,
    }


def _write_report(
    target: Target,
    file: Path,
    metrics: Prometheus,
    story: Story,
    stats: dict[str, Any],
    start: datetime,
    end: datetime,
) -> list[Path]:
    stack = load_stack(file)
    service = stack.services[SERVICE]
    timeline = report.read_timeline(
        SERVICE,
        service,
        list(service.versions),
        stack.cluster.namespace,
        metrics,
        start=start,
        grid=even_grid(start, end, PLOTTED_SECONDS),
    )
    drawn = report.figure(timeline, story.checks, service, start)
    content = {
        "service": SERVICE,
        "versions": list(service.versions),
        "summary": (
            "Version 1.0.0 served all requests. Each move was written into "
            f"stacks/Pulumi.{target.stack}.yaml by drift-check and made so by pulumi up."
        ),
        "sent": stats["sent"],
        "failed": stats["failed"],
        "lost": stats["lost"],
        "alpha": service.judge.alpha,
        "beta": service.judge.beta,
        "moves": story.moves,
        "evidence": [
            row for _, outcome in story.checks if outcome.edit for row in evidence(outcome)
        ],
        "next": _next(target),
        "plot": report.svg(drawn),
    }
    folder = target.home.path
    page, picture = folder / "report.html", folder / "report.png"
    write_text(page, report.page("report.html.j2", **content))
    drawn.savefig(picture, dpi=110)
    return [page, picture]


def _result(
    trained: list[dict[str, Any]], story: Story, stats: dict[str, Any], file: Path
) -> dict[str, Any]:
    judge = load_stack(file).services[SERVICE].judge
    return {
        "versions": trained,
        "moves": story.moves,
        "requests": stats,
        "judge": {"alpha": judge.alpha, "beta": judge.beta},
        "seconds": story.phases,
    }


def _next(target: Target) -> list[dict[str, str]]:
    commands = {
        "git diff stacks": "every move, as a reviewer would see it",
        "xdg-open .modelramp/report.html": "the report",
        **target.again,
        f".venv/bin/drift-check --stack {target.stack} --json": "judge by hand",
        f".venv/bin/modelramp local down{target.option}": "end every process",
    }
    return [{"command": command, "what": what} for command, what in commands.items()]


def _say_goodbye(target: Target, story: Story, stats: dict[str, Any], paths: list[Path]) -> None:
    table = Table(title="Moves", box=None, title_justify="left")
    for heading in ("time", "candidate", "percent", "verdict", "why"):
        table.add_column(heading, overflow="fold")
    for move in story.moves:
        table.add_row(
            move["time"][11:19],
            move["candidate"],
            f"{move['from']}% to {move['to']}%",
            move["verdict"],
            escape(move["reason"]),
        )
    CONSOLE.print(table)
    CONSOLE.print(
        f"\n{stats['sent']:,} requests sent, {stats['lost']:,} lost on the way, "
        f"{stats['failed']:,} failed by a version itself; {story.phases['total']:.0f} s in all."
    )
    for path in paths:
        CONSOLE.print(f"  {path.relative_to(target.home.root)}", highlight=False)
    CONSOLE.print("\nTry next:")
    for line in _next(target):
        CONSOLE.print(f"  [bold]{line['command']}[/bold]  {line['what']}", highlight=False)


@contextmanager
def _timed(story: Story, name: str) -> Generator[None]:
    began = time.monotonic()
    yield
    story.add(name, time.monotonic() - began)
