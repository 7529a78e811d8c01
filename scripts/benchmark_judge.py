"""Measures our judge against others on simulated rollouts and writes docs/benchmarks.md.

Run it as `python -m scripts.benchmark_judge`.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import Progress

from models.judging import Judge
from rollout.judge import Arm, Counts, Observations, Terms, judge
from rollout.judge.terms import ERRORS, RateTerms
from scripts.benchmark.cells import all_cells, quick_cells
from scripts.benchmark.document import Run, render
from scripts.benchmark.measure import run_cell
from scripts.benchmark.plots import draw_all
from scripts.benchmark.rollouts import plans, run_plan

CONSOLE = Console()
PROCESSES = 2
ROLLOUTS = 10_000
QUICK_ROLLOUTS = 100
VERDICTS = 100
RESULTS = Path("benchmarks/results.json")


@dataclass(frozen=True)
class Task:
    """Work for one of the processes.

    Attributes:
        function: what to call, a function of a module.
        argument: with what.
        cost: how much work it is, compared with the other tasks.
    """

    function: Callable[[Any], Any]
    argument: Any
    cost: float


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Few rollouts and few cells.")] = False,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("docs"),
    render_only: Annotated[
        bool, typer.Option("--render-only", help="Write the document anew from results.json.")
    ] = False,
) -> None:
    """Measures the judge and writes OUT/benchmarks.md, figures and raw numbers."""
    file, shape = out / RESULTS, TypeAdapter(Run)
    file.parent.mkdir(parents=True, exist_ok=True)
    if render_only:
        run = shape.validate_json(file.read_bytes())
    else:
        run = measure(quick=quick)
        file.write_bytes(shape.dump_json(run, indent=1) + b"\n")
    draw_all(run.results, file.parent)
    (out / "benchmarks.md").write_text(render(run), encoding="utf-8")
    CONSOLE.print(f"{out / 'benchmarks.md'}: {len(run.results)} cells, {run.minutes:.1f} minutes")


def time_of_a_verdict() -> float:
    """Returns the median time of a verdict on 10 metrics and 500 intervals, seconds.

    A healthy rollout of four steps, in the last of which the margin is to be ruled out; both
    versions' counts are read already.
    """
    terms, seen = long_rollout(metrics=10, intervals=500)
    now = seen.time_of(500)
    seconds: list[float] = []
    for _ in range(VERDICTS):
        begin = time.perf_counter()
        judge(terms, seen, now)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def long_rollout(*, metrics: int, intervals: int) -> tuple[Terms, Observations]:
    """Returns a rollout through 5, 10, 25 and 50% at 500 requests an interval."""
    random = np.random.default_rng(1)
    weights = np.repeat([5.0, 10.0, 25.0, 50.0], intervals // 4)
    requests = random.poisson(500, intervals)
    candidate = random.binomial(requests, weights / 100)
    names = [ERRORS, *(f"metric {number}" for number in range(2, metrics + 1))]

    def arm(version: str, total: NDArray[np.int64]) -> Arm:
        counts = {name: Counts.of(random.binomial(total, 0.01), total) for name in names}
        return Arm(version, counts, total.astype(float))

    start = datetime(2026, 11, 23, tzinfo=UTC)
    seen = Observations(
        start=start,
        interval_seconds=60,
        weights=weights,
        declared_now=50,
        stable=arm("1.0.0", requests - candidate),
        candidate=arm("1.1.0", candidate),
    )
    terms = Terms(
        percent=50,
        moved_at=seen.time_of(intervals * 3 // 4),
        bake_seconds=1800,
        evidence="margin",
        judge=Judge.model_validate({}),
        rates={name: RateTerms(margin=0.002, ceiling=0.02) for name in names},
    )
    return terms, seen


def measure(*, quick: bool) -> Run:
    """Runs every cell and every whole rollout."""
    # One thread in each process: the processes share the cores.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    begin = time.monotonic()
    cells, rollouts = (quick_cells(), QUICK_ROLLOUTS) if quick else (all_cells(), ROLLOUTS)
    tasks = [Task(run_cell, (cell, rollouts), rollouts * cell.scenario.looks) for cell in cells]
    tasks += [Task(run_plan, (plan, rollouts), rollouts * plan.horizon) for plan in plans()]
    done = run_all(tasks)
    return Run(
        results=done[: len(cells)],
        outcomes=done[len(cells) :],
        rollouts=rollouts,
        quick=quick,
        minutes=(time.monotonic() - begin) / 60,
        processes=PROCESSES,
        verdict_seconds=time_of_a_verdict(),
    )


def run_all(tasks: list[Task]) -> list[Any]:
    """Runs tasks in parallel, the longest first, and returns their results in the given order."""
    order = sorted(range(len(tasks)), key=lambda index: -tasks[index].cost)
    done: list[Any] = [None] * len(tasks)
    # Spawned, not forked: the children read the environment that limits their threads.
    with (
        multiprocessing.get_context("spawn").Pool(PROCESSES) as pool,
        Progress(console=CONSOLE) as progress,
    ):
        bar = progress.add_task("Judging", total=sum(task.cost for task in tasks))
        work = [(index, tasks[index]) for index in order]
        for index, result in pool.imap_unordered(run_task, work):
            done[index] = result
            progress.advance(bar, tasks[index].cost)
    return done


def run_task(numbered: tuple[int, Task]) -> tuple[int, Any]:
    """Runs one task and keeps its number."""
    index, task = numbered
    return index, task.function(task.argument)


if __name__ == "__main__":
    typer.run(main)
