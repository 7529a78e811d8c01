# pyright: basic
"""Six strategies, each with a good and a bad candidate, under traffic, on a real Kubernetes."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from ruamel.yaml import YAML

from local.cluster import control
from local.cluster.layout import ENDPOINTS
from models.rollout import Rollout
from models.stack import load_stack
from rollout import history
from rollout.declare import start_rollout, write_edit
from rollout.drift_check import drift_check
from rollout.edits import Approve
from rollout.plan import is_over
from rollout.prometheus import Prometheus
from tests.cluster.test_rollout import artifact_store
from tests.project import Project

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

STRATEGIES = {
    "canary": {"kind": "canary", "steps": [20, 50, 100], "bake": "4s"},
    "linear": {"kind": "linear", "increment": 50, "every": "4s"},
    "bluegreen": {"kind": "blue-green", "mirror": 100, "bake": "4s"},
    "shadow": {"kind": "shadow", "mirror": 100, "for": "10s"},
    "abtest": {"kind": "ab-test", "percent": 50, "bake": "4s"},
    "allatonce": {"kind": "all-at-once", "bake": "4s"},
}
TOGETHER = (("canary", "linear"), ("bluegreen", "shadow"), ("abtest", "allatonce"))
"""Two at a time: more servers that start would starve those that serve, on two cores."""

GOOD = {
    "canary": ["AddMove 50", "AddMove 100", "Promote 100"],
    "linear": ["AddMove 100", "Promote 100"],
    "bluegreen": ["AddMove 100", "Promote 100"],
    "shadow": ["Drop 0"],
    "abtest": ["Approve 100", "AddMove 100", "Promote 100"],
    "allatonce": ["Promote 100"],
}
"""The moves after the first one."""

RATE_PER_SECOND = 12
GIVE_UP_SECONDS = 400
GATEWAY = ENDPOINTS["gateway"]


@pytest.fixture(scope="module")
def trained(project: Project) -> list[dict[str, Any]]:
    project.home.path.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **control.environment()}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "examples.biopsy.train"),
            *("--tracking-uri", environment["MLFLOW_TRACKING_URI"]),
            *("--out", str(project.home.path / "rows.json")),
        ],
        cwd=project.root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["versions"]


@pytest.fixture(scope="module", params=TOGETHER, ids="-".join)
def some(
    request: pytest.FixtureRequest, project: Project, trained: list[dict[str, Any]]
) -> Generator[Project]:
    """Services like biopsy, a strategy each, their first version serving."""
    before = project.file.read_text()
    yaml = YAML()
    document = yaml.load(before)
    services = document["config"]["modelramp:services"]
    content = json.loads((project.home.path / "rows.json").read_text())
    row = dict(zip(content["columns"], content["rows"][0], strict=True))
    for name in request.param:
        service = copy.deepcopy(services["biopsy"])
        service["strategy"] = copy.deepcopy(STRATEGIES[name])
        if name == "bluegreen":
            service["strategy"]["smoke"] = [{"body": {"instances": [row]}}]
        service["risk"] = "low"
        service["runtime"] = {"kind": "mlflow", "cpu": "20m", "cpuLimit": "1", "memory": "512Mi"}
        service["judge"] |= {"minRequests": 50, "settle": "6s"}
        services[name] = service
    del services["biopsy"]
    del document["config"]["modelramp:artifacts"]["prefixes"]
    with project.file.open("w") as stream:
        yaml.dump(document, stream)
    for name in request.param:
        deploy(project, name, trained[0])
    project.pulumi("stack", "select", "--create").communicate(timeout=60)
    project.up()
    yield project
    project.pulumi("destroy", "--yes", "--skip-preview").communicate(timeout=600)
    project.file.write_text(before)


def deploy(project: Project, name: str, version: dict[str, Any]) -> None:
    """Declares a version whose artifact lies in the folder of the service."""
    store = artifact_store()
    _, _, bucket, folder = version["uri"].split("/", 3)
    target = f"{name}/{version['version']}"
    for it in store.list_objects_v2(Bucket=bucket, Prefix=f"{folder}/")["Contents"]:
        content = store.get_object(Bucket=bucket, Key=it["Key"])["Body"].read()
        store.put_object(Bucket=bucket, Key=it["Key"].replace(folder, target, 1), Body=content)
    entry = {key: version[key] for key in ("digest", "registry")}
    entry = {"uri": f"s3://{bucket}/{target}", **entry}
    now = datetime.now(UTC)
    start_rollout(project.file, name, version["version"], entry, now=now, why="new")


def rollouts(project: Project) -> dict[str, Rollout]:
    services = load_stack(project.file).services
    return {name: it.rollout for name, it in services.items() if it.rollout}


def roll_out(project: Project, version: dict[str, Any]) -> dict[str, list[str]]:
    """Lets drift-check and `pulumi up` take turns until all is decided; returns the moves."""
    moves: dict[str, list[str]] = {name: [] for name in rollouts(project)}
    for name in moves:
        deploy(project, name, version)
    project.up()
    metrics = Prometheus(ENDPOINTS["prometheus"])
    give_up_at = time.monotonic() + GIVE_UP_SECONDS
    outcomes = []
    while any(not is_over(it) for it in load_stack(project.file).services.values()):
        assert time.monotonic() < give_up_at, (moves, [it.verdict for it in outcomes])
        outcomes = list(drift_check(project.file, "cluster", metrics, gateway_url=GATEWAY))
        for outcome in outcomes:
            if outcome.edit:
                moves[outcome.service].append(f"{type(outcome.edit).__name__} {outcome.to_percent}")
            elif outcome.verdict and "waits for a person's approval" in outcome.verdict.reason:
                stack, edit = load_stack(project.file), Approve(100, "ann@example.org", "seen")
                now = datetime.now(UTC)
                write_edit(project.file, "cluster", outcome.service, stack, edit, now, by=edit.by)
                moves[outcome.service].append("Approve 100")
        if any(outcome.edit for outcome in outcomes):
            project.up()
        else:
            time.sleep(1)
    return moves


def under_traffic(project: Project, version: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Rolls a version out; returns the moves of each service, and what became of all requests."""
    with ExitStack() as stack:
        options = {"abtest": ("--bucket-header", "x-user-bucket")}
        reports = {
            name: stack.enter_context(
                project.traffic(RATE_PER_SECOND, name, *options.get(name, ()))
            )
            for name in rollouts(project)
        }
        moves = roll_out(project, version)
        time.sleep(3)
    lines = {name: report.read_text().splitlines()[-1] for name, report in reports.items()}
    return moves, {name: json.loads(line) for name, line in lines.items()}


def test_a_good_candidate_goes_its_way(some: Project, trained: list[dict[str, Any]]):
    moves, requests = under_traffic(some, trained[1])
    assert moves == {name: GOOD[name] for name in moves}, logged(some)
    first, good = trained[0]["version"], trained[1]["version"]
    for name, rollout in rollouts(some).items():
        stable = first if name == "shadow" else good
        assert (name, rollout.stable, rollout.candidate) == (name, stable, None)
        assert logged(some)[name][-1]["to"] == (0 if name == "shadow" else 100)
        assert all(it["digest"] and it["reason"] for it in logged(some)[name])
        if name == "bluegreen":
            assert "1 of 1 smoke requests answered" in logged(some)[name][0]["reason"]
        summary = requests[name]
        assert summary["sent"] > 200
        assert (name, summary["gateway_statuses"]) == (name, {})
        assert {it["http_error"] for it in summary["versions"].values()} == {0}
        assert (set(summary["versions"]) == {first}) == (name == "shadow")


def test_a_bad_candidate_is_taken_back(some: Project, trained: list[dict[str, Any]]):
    stable = {name: it.stable for name, it in rollouts(some).items()}
    moves, requests = under_traffic(some, trained[2])
    assert {name: made[-1] for name, made in moves.items()} == dict.fromkeys(moves, "AddMove 0")
    assert all(it.is_taken_back for it in load_stack(some.file).services.values())
    assert {name: it.stable for name, it in rollouts(some).items()} == stable
    bad = trained[2]["version"]
    for name, summary in requests.items():
        assert (name, summary["gateway_statuses"]) == (name, {})
        versions = summary["versions"]
        assert {it["http_error"] for key, it in versions.items() if key != bad} == {0}
        # No user ever saw an answer of a shadow, or of a green that failed its checks.
        assert (bad in versions) == (name not in ("shadow", "bluegreen"))


def logged(project: Project) -> dict[str, list[dict[str, Any]]]:
    return {
        name: history.lines(history.history_path(project.file, "cluster", name))
        for name in rollouts(project)
    }
