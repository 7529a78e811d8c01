"""Measures `pulumi preview` of many services against a raw program with the same resources.

Run it as `python -m scripts.benchmark_preview`. The raw program is what one would have without us:
every Kubernetes object with all its inputs, read from a file and handed to Pulumi. It is written
from what our own program registers, so both have the same objects, and the engine checks neither
against a cluster: the provider renders YAML. A third program, the raw one with empty components
above its objects, tells what Pulumi takes for components from what ours do.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from ruamel.yaml import YAML

from local.home import Home
from local.plugins.environment import pulumi_environment
from models.errors import ToolError
from scripts.screen import ToolProgress

CONSOLE = Console()
ROOT = Path(__file__).resolve().parents[1]
SERVICES = 300
REPEATS = 7
GOAL = 1.1
STACK = "benchmark"

PROJECT = f"""\
name: {{name}}
runtime: {{{{name: python, options: {{{{toolchain: pip, virtualenv: {ROOT}/.venv}}}}}}}}
main: stacks
stackConfigDir: stacks
"""

RAW = '''\
"""Every object of the stack, and nothing else."""

import json
from pathlib import Path

import pulumi
import pulumi_kubernetes as kubernetes

provider = kubernetes.Provider("kubernetes", render_yaml_to_directory="manifests")
components, made = {}, {}
for it in json.loads(Path(__file__).with_name("objects.json").read_text()):
    inputs = it["inputs"]
    parent = None
    if "parent" in it:
        key = tuple(it["parent"])
        if key not in components:
            components[key] = pulumi.ComponentResource(*key)
            components[key].register_outputs({})
        parent = components[key]
    options = pulumi.ResourceOptions(
        provider=provider, parent=parent, depends_on=[made[name] for name in it["dependsOn"]]
    )
    if inputs["kind"] == "ConfigMap":
        made[it["name"]] = kubernetes.core.v1.ConfigMap(
            it["name"], metadata=inputs["metadata"], data=inputs["data"], opts=options
        )
    else:
        made[it["name"]] = kubernetes.apiextensions.CustomResource(
            it["name"],
            api_version=inputs["apiVersion"],
            kind=inputs["kind"],
            metadata=inputs["metadata"],
            spec=inputs["spec"],
            opts=options,
        )
'''

PHASES = """\
import json, sys, time
begin = time.perf_counter()
import pulumi_kubernetes
raw = time.perf_counter()
import components.stack
from models.stack import CONFIG_KEYS, stack_from_config
imported = time.perf_counter()
stack_from_config(json.load(sys.stdin), "benchmark")
validated = time.perf_counter()
print(json.dumps([raw - begin, imported - raw, validated - imported]))
"""


@dataclass(frozen=True)
class Measured:
    """What one run of the benchmark found; all times in seconds.

    Attributes:
        services: in the stack.
        objects: Kubernetes objects, the same in both programs.
        components: what our program registers beside them.
        ours: wall times of `pulumi preview` of our program, in the order they were taken.
        raw: those of the raw program, taken in turn with ours.
        shells: those of the raw program with empty components, taken in turn with ours.
        ratio: of the medians of ours and the raw program.
        ratio_of_shells: of the medians of ours and the raw program with empty components.
        import_raw: importing what the raw program imports; median.
        import_ours: importing what ours imports beside that; median.
        config: parsing and validating the stack's config; median.
        load: of the machine in the last minute, at the begin and the end.
    """

    services: int
    objects: int
    components: int
    ours: list[float]
    raw: list[float]
    shells: list[float]
    ratio: float
    ratio_of_shells: float
    import_raw: float
    import_ours: float
    config: float
    load: tuple[float, float]


def main(
    services: Annotated[int, typer.Option(help="How many.", min=1)] = SERVICES,
    repeats: Annotated[int, typer.Option(help="Previews of each program.", min=1)] = REPEATS,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measures how much longer a preview takes than that of a raw program."""
    with tempfile.TemporaryDirectory(prefix="modelramp-benchmark-") as folder:
        measured = measure(Path(folder).resolve(), services, repeats)
    if as_json:
        print(json.dumps(asdict(measured)))  # noqa: T201
    else:
        show(measured)


def measure(folder: Path, services: int, repeats: int) -> Measured:
    """Previews both programs alternately, in projects below `folder`."""
    load = os.getloadavg()[0]
    environment = pulumi_environment(Home(folder), ToolProgress(Console(stderr=True)))
    config = stack_config(services)
    ours, raw, shells = (folder / name for name in ("ours", "raw", "shells"))
    write_project(ours, (ROOT / "stacks" / "__main__.py").read_text(encoding="utf-8"), config)
    steps = preview_steps(ours, environment)
    parented = objects_of(steps)
    objects = [{key: it for key, it in one.items() if key != "parent"} for one in parented]
    for project, declared in ((raw, objects), (shells, parented)):
        write_project(project, RAW, {})
        text = json.dumps(declared)
        (project / "stacks" / "objects.json").write_text(text, encoding="utf-8")
        if {_text(it) for it in objects_of(preview_steps(project, environment))} != {
            _text(it) for it in parented
        }:
            raise ToolError(f"the program {project.name} does not declare the same objects")

    seconds: dict[Path, list[float]] = {ours: [], raw: [], shells: []}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for repeat in progress.track(range(repeats), description="Previews"):
            for project in sorted(seconds, reverse=bool(repeat % 2)):
                begin = time.perf_counter()
                pulumi(project, environment, "preview", "--stack", stack_of(project))
                seconds[project].append(time.perf_counter() - begin)
    median = {project: statistics.median(it) for project, it in seconds.items()}
    phases = [phase_seconds(config) for _ in range(repeats)]
    import_raw, import_ours, validation = map(statistics.median, zip(*phases, strict=True))
    return Measured(
        services=services,
        objects=len(objects),
        components=sum(step["newState"]["type"].startswith("modelramp:") for step in steps),
        ours=seconds[ours],
        raw=seconds[raw],
        shells=seconds[shells],
        ratio=median[ours] / median[raw],
        ratio_of_shells=median[ours] / median[shells],
        import_raw=import_raw,
        import_ours=import_ours,
        config=validation,
        load=(load, os.getloadavg()[0]),
    )


def stack_config(services: int) -> dict[str, Any]:
    """Returns the config of a stack in which every service has a candidate at 5%."""

    def version(number: str, digit: int) -> dict[str, Any]:
        return {
            "uri": f"s3://models/{number}",
            "digest": f"sha256:{str(digit) * 64}",
            "registry": f"models:/service/{digit}",
        }

    service = {
        "owner": "ml",
        "risk": "high",
        "runtime": {"kind": "mlflow", "replicas": 4, "cpu": "1", "memory": "2Gi"},
        "versions": {"1.4.0": version("1.4.0", 0), "1.5.0": version("1.5.0", 1)},
        "strategy": {"kind": "canary", "steps": [1, 5, 25, 50, 100], "bake": "30m"},
        "slo": {
            "errorRate": 0.01,
            "latency": {"thresholdMs": 250, "share": 0.99},
            "accuracy": 0.9,
        },
        "rollout": {
            "stable": "1.4.0",
            "candidate": "1.5.0",
            "moves": [
                {"percent": 1, "at": "2026-11-23T08:00:00Z"},
                {"percent": 5, "at": "2026-11-23T09:00:00Z"},
            ],
        },
    }
    return {
        "cluster": {"target": "embedded", "namespace": "models", "gateway": "gateway/models"},
        "services": {f"service-{number:03}": service for number in range(services)},
    }


def write_project(folder: Path, program: str, config: Mapping[str, Any]) -> None:
    """Writes a Pulumi project with one stack."""
    stacks = folder / "stacks"
    stacks.mkdir(parents=True)
    (folder / "Pulumi.yaml").write_text(PROJECT.format(name="modelramp"), encoding="utf-8")
    (stacks / "__main__.py").write_text(program, encoding="utf-8")
    values = {f"modelramp:{key}": value for key, value in config.items()}
    yaml = YAML(typ="safe")
    yaml.width = 4096
    with (stacks / f"Pulumi.{stack_of(folder)}.yaml").open("w", encoding="utf-8") as file:
        yaml.dump({"config": values}, file)


def stack_of(project: Path) -> str:
    """Returns the name of a project's stack: one backend holds them all."""
    return f"{STACK}-{project.name}"


def preview_steps(project: Path, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """Makes the stack, and returns what the engine would do."""
    pulumi(project, environment, "stack", "init", stack_of(project))
    text = pulumi(project, environment, "preview", "--json", "--stack", stack_of(project))
    return json.loads(text)["steps"]


def pulumi(project: Path, environment: Mapping[str, str], *arguments: str) -> str:
    """Runs the Pulumi CLI; returns what it printed."""
    done = subprocess.run(
        ["pulumi", *arguments, "--non-interactive", "--color=never"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ToolError(f"pulumi {arguments[0]} failed: ...{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def objects_of(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns name, inputs, parent and dependencies of all Kubernetes objects of a preview."""
    states = [step["newState"] for step in steps]
    own = [it for it in states if it["type"].startswith("kubernetes:")]
    names = {it["urn"] for it in own}
    return [
        {
            "name": _name(it["urn"]),
            "inputs": it["inputs"],
            "parent": [it["parent"].split("::")[2].split("$")[-1], _name(it["parent"])],
            "dependsOn": sorted(_name(urn) for urn in it.get("dependencies", ()) if urn in names),
        }
        for it in own
    ]


def _text(declared: Mapping[str, Any]) -> str:
    """Returns name, inputs and dependencies as text that can be compared."""
    return json.dumps([declared[key] for key in ("name", "inputs", "dependsOn")], sort_keys=True)


def _name(urn: str) -> str:
    return urn.rsplit("::", 1)[-1]


def phase_seconds(config: Mapping[str, Any]) -> list[float]:
    """Returns how long our program's first phases take, by themselves."""
    done = subprocess.run(
        [sys.executable, "-c", PHASES],
        cwd=ROOT,
        input=json.dumps(config),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def show(measured: Measured) -> None:
    """Prints the ratio, and where the time goes."""
    table = Table("preview", "median", "fastest", "slowest")
    programs = {
        "ours": measured.ours,
        "raw program": measured.raw,
        "the same with empty components": measured.shells,
    }
    for name, seconds in programs.items():
        cells = (statistics.median(seconds), min(seconds), max(seconds))
        table.add_row(name, *(f"{it:.2f} s" for it in cells))
    CONSOLE.print(table)
    more = statistics.median(measured.ours) - statistics.median(measured.raw)
    known = measured.import_ours + measured.config
    CONSOLE.print(
        f"ratio {measured.ratio:.2f} (goal {GOAL} or less), to the program with empty components "
        f"{measured.ratio_of_shells:.2f}; {measured.services} services, "
        f"{measured.objects} objects, {measured.components} components; load "
        f"{measured.load[0]:.1f} to {measured.load[1]:.1f} on {os.cpu_count()} processors"
    )
    CONSOLE.print(
        f"ours takes {more:.2f} s more: {measured.import_ours:.2f} s imports beside Pulumi's own "
        f"({measured.import_raw:.2f} s), {measured.config:.2f} s config, "
        f"{more - known:.2f} s making and registering components"
    )


if __name__ == "__main__":
    typer.run(main)
