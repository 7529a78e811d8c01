"""Measures our judge against others on simulated rollouts and writes docs/benchmarks.md.

Run it as `python -m scripts.benchmark_judge`.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import Progress

from scripts.benchmark.cells import all_cells, quick_cells
from scripts.benchmark.document import Run, render
from scripts.benchmark.measure import run_cell
from scripts.benchmark.plots import draw_all
from scripts.benchmark.rollouts import plans, run_plan

CONSOLE = Console()
PROCESSES = 2
ROLLOUTS = 10_000
QUICK_ROLLOUTS = 100
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


def time_of_a_verdict() -> float | None:
    """Returns how many seconds a verdict on 10 metrics and 500 intervals takes; None: not known."""
    return None


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
