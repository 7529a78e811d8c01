# pyright: basic
"""The main job on a real Kubernetes with KServe, and what happens when parts of it die."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import httpx
import psutil
import pytest
from ruamel.yaml import YAML
from scipy.stats import binomtest

from local.cluster import control
from local.cluster.kubectl import Kubectl
from local.cluster.layout import ENDPOINTS, Layout
from local.processes import marked_processes
from models.names import BACKEND_HEADER, VERSION_HEADER
from models.stack import load_stack
from rollout.declare import start_rollout
from rollout.drift_check import drift_check
from rollout.edits import Drop
from rollout.prometheus import Prometheus
from tests.cluster.machine import machine_settings
from tests.project import Project, moves_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

GATEWAY = ENDPOINTS["gateway"]
PREDICT = f"{GATEWAY}/v1/models/biopsy:predict"
STABLE, CANDIDATE = "biopsy-v2-0-0-predictor", "biopsy-v2-1-0-predictor"
SPLIT = "service/models/{}/80/http"


@pytest.fixture(scope="module")
def told(project: Project) -> dict[str, Any]:
    project.run("quickstart", "--cluster", "--keep", timeout_seconds=1000)
    return json.loads((project.home.path / "quickstart.json").read_text())


def test_the_good_version_walks_to_100_percent(told):
    walked = moves_of(told, "2.0.0")
    assert walked[0] == (0, 5, "start")
    assert [to for _, to, _ in walked] == [5, 25, 50, 100, 100]
    assert walked[-1] == (100, 100, "promote")


def test_the_broken_version_is_taken_back(told):
    assert moves_of(told, "3.0.0") == [(0, 5, "start"), (5, 0, "revert")]


def test_no_request_was_lost_by_a_move(told):
    requests = told["requests"]
    assert requests["lost"] == 0
    assert requests["sent"] > 10_000
    assert requests["byVersion"]["1.0.0"]["http_error"] == 0
    assert requests["byVersion"]["2.0.0"]["http_error"] == 0


def test_the_report_is_the_same_as_on_the_embedded_target(told, project: Project):
    page = (project.home.path / "report.html").read_text()
    assert "<svg" in page
    assert "stacks/Pulumi.cluster.yaml" in page
    assert "modelramp local down --cluster" in page
    log = project.root / "stacks" / "history" / "cluster" / "biopsy.jsonl"
    logged = [json.loads(line)["verdict"] for line in log.read_text().splitlines()]
    decided = [move["verdict"] for move in told["moves"]]
    assert logged[-len(decided) :] == decided


# From here on a twin of version 2 is the candidate.


@pytest.fixture(scope="module")
def canary(told, project: Project) -> Project:
    """Version 2.1.0 at 5%."""
    twin = next(it for it in told["versions"] if it["version"] == "2.0.0")
    entry = {key: twin[key] for key in ("uri", "digest", "registry")}
    start_rollout(project.file, "biopsy", "2.1.0", entry, now=datetime.now(UTC), why="a twin")
    project.up()
    return project


@contextlib.contextmanager
def edited(project: Project) -> Generator[Any]:
    """Yields what the stack file declares of the service, to be changed as a person would."""
    with edited_services(project) as services:
        yield services["biopsy"]


@contextlib.contextmanager
def edited_services(project: Project) -> Generator[Any]:
    """The same of all services."""
    yaml = YAML()
    yaml.width = 4096
    document = yaml.load(project.file.read_text())
    yield document["config"]["modelramp:services"]
    with project.file.open("w") as stream:
        yaml.dump(document, stream)


def declare(project: Project, percent: int) -> None:
    """Adds a move."""
    with edited(project) as service:
        service["rollout"]["moves"].append(moved(percent))


def moved(percent: int) -> dict[str, Any]:
    return {"percent": percent, "at": datetime.now(UTC).isoformat()}


def weights(kubectl: Kubectl, service: str = "biopsy") -> dict[str, int]:
    route = kubectl.get(f"httproute/{service}", "--namespace=models")
    return {it["name"]: it["weight"] for it in route["spec"]["rules"][-1]["backendRefs"]}


def body(project: Project) -> dict[str, Any]:
    return {"instances": [json.loads((project.home.path / "rows.json").read_text())["rows"][0]]}


def answers(project: Project, count: int, **headers: str) -> Counter[str]:
    """Sends requests; returns how many each version answered."""
    with httpx.Client(timeout=10, trust_env=False) as client:
        seen = [
            client.post(PREDICT, json=body(project), headers=headers).raise_for_status()
            for _ in range(count)
        ]
    return Counter(answer.headers[VERSION_HEADER] for answer in seen)


def counted(cluster: str) -> float:
    """Returns how many requests Prometheus knows that Envoy sent to one of its clusters."""
    query = f'sum(envoy_cluster_upstream_rq_total{{envoy_cluster_name=~"{cluster}"}})'
    url = f"{ENDPOINTS['prometheus']}/api/v1/query"
    answer = httpx.get(url, params={"query": query}, timeout=10, trust_env=False).json()
    result = answer["data"]["result"]
    return float(result[0]["value"][1]) if result else 0.0


def settled(cluster: str) -> float:
    """Returns the count once it does not change any more: scrapes lag by a second or two."""
    last, now = -1.0, counted(cluster)
    while now != last:
        time.sleep(2.5)
        last, now = now, counted(cluster)
    return now


def until_answers(version: str, project: Project) -> None:
    """Waits until the gateway and a version are back."""
    give_up_at = time.monotonic() + 180
    while True:
        try:
            answers(project, 1, **{VERSION_HEADER: version})
        except httpx.HTTPError:
            assert time.monotonic() < give_up_at, f"{version} is not back"
            time.sleep(1)
        else:
            return


def test_kserve_itself_says_that_the_versions_are_ready(canary: Project, kubectl: Kubectl):
    for name in ("biopsy-v2-0-0", "biopsy-v2-1-0"):
        service = kubectl.get(f"inferenceservice/{name}", "--namespace=models")
        conditions = {it["type"]: it["status"] for it in service["status"]["conditions"]}
        assert conditions["Ready"] == "True"
        assert conditions["PredictorReady"] == "True"
        (pod,) = kubectl.get(
            "pods", "--namespace=models", f"-lserving.kserve.io/inferenceservice={name}"
        )["items"]
        (loader,) = pod["spec"]["initContainers"]
        assert loader["image"].startswith("modelramp.local/storage-initializer:")
        uri = load_stack(canary.file).services["biopsy"].versions["2.0.0"].uri
        assert loader["args"] == [uri, "/mnt/models"]
        (state,) = pod["status"]["initContainerStatuses"]
        assert state["state"]["terminated"]["reason"] == "Completed"


def test_one_url_is_answered_by_every_version_through_every_rule(canary: Project):
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [0.0]}
    for version in ("1.0.0", "2.0.0", "2.1.0"):
        header = {VERSION_HEADER: version}
        assert answers(canary, 3, **header) == {version: 3}
        for path in ("v1/models/biopsy", "v2/models/biopsy", "v2/models/biopsy/ready"):
            answer = httpx.get(f"{GATEWAY}/{path}", headers=header, timeout=10, trust_env=False)
            assert (path, answer.status_code) == (path, 200)
            assert answer.headers[VERSION_HEADER] == version
        # The model refuses it, but the model it is.
        url = f"{GATEWAY}/v2/models/biopsy/infer"
        answer = httpx.post(
            url, json={"inputs": [tensor]}, headers=header, timeout=10, trust_env=False
        )
        assert (answer.status_code, answer.headers[VERSION_HEADER]) == (400, version)
    assert set(answers(canary, 200)) == {"2.0.0", "2.1.0"}


def test_traffic_splits_as_declared_and_only_that_is_counted(canary: Project, kubectl: Kubectl):
    assert weights(kubectl) == {STABLE: 95, CANDIDATE: 5}
    before = {name: settled(SPLIT.format(name)) for name in (STABLE, CANDIDATE)}
    seen = answers(canary, 3000)
    pinned = answers(canary, 100, **{VERSION_HEADER: "2.1.0"})
    assert pinned == {"2.1.0": 100}
    assert binomtest(seen["2.1.0"], 3000, 0.05).pvalue > 1e-4
    after = {name: settled(SPLIT.format(name)) for name in (STABLE, CANDIDATE)}
    assert after[CANDIDATE] - before[CANDIDATE] == seen["2.1.0"]
    assert after[STABLE] - before[STABLE] == seen["2.0.0"]


@contextlib.contextmanager
def strategy(project: Project, at_percent: int, **declared: object) -> Generator[None]:
    """The service by another strategy for a while, its candidate at a percentage."""
    text = project.file.read_text()
    with edited(project) as service:
        service["strategy"] = declared
        service["rollout"]["moves"].append(moved(at_percent))
    project.up()
    yield
    project.file.write_text(text)
    project.up()


def test_shadow_traffic_reaches_the_candidate_and_is_not_counted(canary: Project):
    mirror, own = "httproute/models/biopsy/rule/.*mirror.*", SPLIT.format(CANDIDATE)
    with strategy(canary, 0, kind="shadow", mirror=50):
        time.sleep(3)
        before = (settled(mirror), settled(own))
        assert answers(canary, 400) == {"2.0.0": 400}
        after = (settled(mirror), settled(own))
    assert after[1] == before[1]
    assert binomtest(int(after[0] - before[0]), 400, 0.5).pvalue > 1e-4


def test_an_ab_test_splits_by_user_and_counts_each_arm(canary: Project):
    arms = (SPLIT.format(STABLE), SPLIT.format(CANDIDATE))
    with strategy(canary, 25, kind="ab-test", percent=25, header="x-bucket"):
        time.sleep(3)
        before = [settled(arm) for arm in arms]
        for bucket in range(100):
            version = "2.1.0" if bucket < 25 else "2.0.0"
            assert answers(canary, 2, **{"x-bucket": str(bucket)}) == {version: 2}
        assert answers(canary, 20) == {"2.0.0": 20}
        assert answers(canary, 20, **{"x-bucket": "no number"}) == {"2.0.0": 20}
        assert [settled(arm) - was for arm, was in zip(arms, before, strict=True)] == [190, 50]


def test_blue_green_switches_everything_and_back(canary: Project):
    with strategy(canary, 0, kind="blue-green"):
        assert answers(canary, 50) == {"2.0.0": 50}
        assert answers(canary, 5, **{VERSION_HEADER: "2.1.0"}) == {"2.1.0": 5}
        with strategy(canary, 100, kind="blue-green"):
            time.sleep(1)
            assert answers(canary, 50) == {"2.1.0": 50}
        time.sleep(1)
        assert answers(canary, 50) == {"2.0.0": 50}


def test_an_image_of_ones_own_is_served_counted_and_its_answers_traced(canary: Project):
    text = canary.file.read_text()
    with edited_services(canary) as services:
        served = copy.deepcopy(services["biopsy"])
        served["rollout"] = {"stable": "2.0.0"}
        served["runtime"] = {
            "kind": "custom",
            "protocol": "v1",
            "readyPath": "/v2/health/ready",
            "image": "modelramp.local/server:dev",
            "cpu": "100m",
            "memory": "768Mi",
            "args": ["--model_name=own", "--model_version=of-its-own"],
        }
        del served["slo"]["accuracy"]
        served.pop("alerts", None)
        served["versions"] = {"2.0.0": copied("own", served["versions"]["2.0.0"])}
        services["own"] = served
    canary.up()
    backend = "service/models/own-v2-0-0-predictor/80/http"
    before = settled(backend)
    url = f"{ENDPOINTS['gateway']}/v1/models/own:predict"
    with httpx.Client(timeout=10, trust_env=False) as client:
        seen = [client.post(url, json=body(canary)).raise_for_status() for _ in range(30)]
    assert {it.headers[BACKEND_HEADER] for it in seen} == {backend}
    assert settled(backend) - before == 30
    canary.file.write_text(text)
    canary.up()


def test_files_are_predicted_by_the_version_that_serves(canary: Project, kubectl: Kubectl):
    content = json.loads((canary.home.path / "rows.json").read_text())
    names, rows = content["columns"], content["rows"][:60]
    store = artifact_store()
    for number in range(3):
        lines = [",".join(names), *(",".join(map(str, row)) for row in rows[number::3])]
        body = "\n".join(lines).encode()
        store.put_object(Bucket="mlflow", Key=f"batch/in/{number}.csv", Body=body)
    text = canary.file.read_text()
    with edited(canary) as service:
        declared = {"input": "s3://mlflow/batch/in", "output": "s3://mlflow/batch/out"}
        service["batch"] = {"scores": {**declared, "format": "csv", "parallelism": 2}}
    canary.up()
    (job,) = kubectl.get("jobs", "--namespace=models")["items"]
    name = job["metadata"]["name"]
    kubectl.wait("Complete", f"job/{name}", "models")
    canary.file.write_text(text)
    canary.up()
    shards = [
        json.loads(store.get_object(Bucket="mlflow", Key=key)["Body"].read())
        for key in (f"batch/out/{name}/_manifest-{shard}.json" for shard in range(2))
    ]
    assert sum(len(shard["files"]) for shard in shards) == 3
    assert sum(shard["rows"] for shard in shards) == 60
    assert {shard["version"] for shard in shards} == {"2.0.0"}
    answer = store.get_object(Bucket="mlflow", Key=f"batch/out/{name}/0.csv")["Body"].read()
    header, first, *_ = answer.decode().splitlines()
    assert header.endswith(",prediction")
    assert first.rsplit(",", 1)[1] in {"0", "1"}


def copied(service: str, version: dict[str, str]) -> dict[str, str]:
    """Returns a version whose artifact lies in the folder of another service."""
    store, (_, _, bucket, folder) = artifact_store(), version["uri"].split("/", 3)
    for it in store.list_objects_v2(Bucket=bucket, Prefix=f"{folder}/")["Contents"]:
        key = it["Key"].replace(folder, f"{service}/copy", 1)
        content = store.get_object(Bucket=bucket, Key=it["Key"])["Body"].read()
        store.put_object(Bucket=bucket, Key=key, Body=content)
    return {**version, "uri": f"s3://{bucket}/{service}/copy"}


def artifact_store() -> Any:
    given = control.environment()
    return boto3.client(
        "s3",
        endpoint_url=ENDPOINTS["store"],
        aws_access_key_id=given["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )


def test_no_request_fails_while_weights_move(canary: Project, kubectl: Kubectl):
    with canary.traffic(200) as report:
        for percent in (50, 0, 100, 0, 25, 5):
            time.sleep(2)
            declare(canary, percent)
            canary.up()
            assert weights(kubectl) == {STABLE: 100 - percent, CANDIDATE: percent}
        time.sleep(2)
    summary = json.loads(report.read_text().splitlines()[-1])
    assert summary["summary"]
    assert summary["sent"] > 3000
    assert summary["gateway_failures"] == 0
    assert {version["http_error"] for version in summary["versions"].values()} == {0}
    assert set(summary["versions"]) == {"2.0.0", "2.1.0"}


@contextlib.contextmanager
def suspended(*words: str) -> Generator[None]:
    """Stops processes whose command line has a word in it: who asks them waits for nothing."""
    running = [*marked_processes(Layout.default().root), *containers()]
    found = {word: [it for it in running if word in " ".join(it.cmdline())] for word in words}
    assert all(found.values()), found
    stopped = [it for processes in found.values() for it in processes]
    for process in stopped:
        process.suspend()
    try:
        yield
    finally:
        for process in stopped:
            process.resume()


def rolled_back(project: Project) -> tuple[float, dict[str, Any]]:
    """Rolls back while a person sends requests; returns when the candidate answered last."""
    began = time.monotonic()
    process = rollback(project)
    last = began
    with httpx.Client(timeout=10, trust_env=False) as client:
        while process.poll() is None or time.monotonic() - last < 1:
            assert time.monotonic() < began + 120, "the candidate still gets traffic"
            answer = client.post(PREDICT, json=body(project)).raise_for_status()
            if answer.headers.get(VERSION_HEADER) == "2.1.0":
                last = time.monotonic()
    told = told_by(process)
    seconds = last - began
    print(f"0% at Envoy {seconds:.1f} s after the command was typed")  # noqa: T201
    assert answers(project, 200) == {"2.0.0": 200}
    return seconds, told


def rollback(project: Project) -> subprocess.Popen[str]:
    return project.start("rollback", "biopsy", "--stack=cluster", "--json", with_pulumi=True)


def told_by(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Waits for a rollback; returns the JSON among what it printed."""
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    told, _ = json.JSONDecoder().raw_decode(output[output.index("{\n") :])
    return told


def try_again(project: Project, percent: int) -> None:
    """Gives the candidate traffic anew, as `retry` and time would."""
    with edited(project) as service:
        service["rollout"].pop("rejected", None)
    declare(project, percent)


def test_rollback_takes_seconds_with_prometheus_mlflow_and_git_gone(
    canary: Project, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ENDPOINTS["mlflow"])
    for line in ("init -q", "remote add origin http://127.0.0.1:9/none.git"):
        subprocess.run(["git", *line.split()], cwd=canary.root, check=True, timeout=30)
    declare(canary, 50)
    canary.up()
    assert set(answers(canary, 40)) == {"2.0.0", "2.1.0"}
    with suspended("/bin/prometheus ", " mlflow.server"):
        seconds, told = rolled_back(canary)
    assert seconds < 5
    assert told["seconds"]["weights"] <= told["seconds"]["pulumi"]
    assert weights(kubectl) == {STABLE: 100, CANDIDATE: 0}
    # The component's own record of its arguments is no object of the cluster.
    said = canary.up().splitlines()
    assert not [it for it in said if "kubernetes:" in it and "updat" in it], said
    assert weights(kubectl) == {STABLE: 100, CANDIDATE: 0}
    try_again(canary, 50)
    canary.up()


def test_rollback_does_not_wait_for_another_up(canary: Project, kubectl: Kubectl):
    """The other one waits a minute for a new service that never becomes Ready."""
    text = canary.file.read_text()
    with edited_services(canary) as services:
        service = copy.deepcopy(services["biopsy"])
        digest = {"digest": f"sha256:{'0' * 64}"}
        second = copied("second", service["versions"]["2.0.0"]) | digest
        service |= {"rollout": {"stable": "2.0.0"}, "versions": {"2.0.0": second}}
        service["judge"] = {"readyDeadline": "60s"}
        services["second"] = service
    other = canary.pulumi("up", "--yes", "--skip-preview")
    assert other.stdout
    next(line for line in other.stdout if "second-v2-0-0" in line and " creating" in line)
    with canary.traffic(50) as report:
        seconds, told = rolled_back(canary)
        assert other.poll() is None, "it still holds the lock"
    assert seconds < 5
    assert "pulumi" not in told["seconds"]
    summary = json.loads(report.read_text().splitlines()[-1])
    assert summary["gateway_failures"] == 0
    assert {it["http_error"] for it in summary["versions"].values()} == {0}
    other.communicate(timeout=300)
    assert other.returncode == 1
    with edited_services(canary) as services:
        del services["second"]
    canary.up()
    assert weights(kubectl) == {STABLE: 100, CANDIDATE: 0}
    assert answers(canary, 200) == {"2.0.0": 200}
    canary.file.write_text(text)
    declare(canary, 5)
    canary.up()


def test_a_candidate_that_never_becomes_ready_gets_no_traffic(canary: Project, kubectl: Kubectl):
    text = canary.file.read_text()
    with edited_services(canary) as services:
        service = services["biopsy"]
        # Another service, new in the same `up`.
        second = copied("second", service["versions"]["2.0.0"])
        services["second"] = {
            **copy.deepcopy(service),
            "rollout": {"stable": "2.0.0"},
            "versions": {"2.0.0": second},
        }
        # The artifact is not what the registry said: the server refuses it.
        entry = {**service["versions"].pop("2.1.0"), "digest": f"sha256:{'0' * 64}"}
        service["versions"]["2.2.0"] = entry
        service["rollout"] |= {"candidate": "2.2.0", "moves": [moved(5)]}
        service["judge"]["readyDeadline"] = "60s"
    said = canary.up(expect=1)
    assert "biopsy-v2-2-0" in said
    assert re.search("digest", said), "the server's own reason"
    assert weights(kubectl) == {STABLE: 95, CANDIDATE: 5}
    assert set(answers(canary, 200)) == {"2.0.0", "2.1.0"}
    # The other service is served all the same: it became ready while this one was waited for.
    assert weights(kubectl, "second") == {"second-v2-0-0-predictor": 100}
    # The gateway never heard of the candidate: that Prometheus can't scrape it has to do.
    metrics = Prometheus(ENDPOINTS["prometheus"])
    give_up_at = time.monotonic() + 90
    while True:
        (outcome,) = drift_check(canary.file, "cluster", metrics, only="biopsy")
        if outcome.edit:
            break
        assert time.monotonic() < give_up_at, outcome
        time.sleep(2)
    assert isinstance(outcome.edit, Drop)
    rollout = load_stack(canary.file).services["biopsy"].rollout
    assert rollout
    assert rollout.candidate is None
    canary.file.write_text(text)
    canary.up()
    names = {
        it["metadata"]["name"]
        for it in kubectl.get("inferenceservices", "--namespace=models")["items"]
    }
    assert names == {"biopsy-v1-0-0", "biopsy-v2-0-0", "biopsy-v2-1-0"}


def test_rollback_drops_a_half_made_candidate(canary: Project, kubectl: Kubectl):
    text = canary.file.read_text()
    with edited(canary) as service:
        entry = {**service["versions"]["2.1.0"], "digest": f"sha256:{'0' * 64}"}
        service["versions"]["2.2.0"] = entry
        service["rollout"] |= {"candidate": "2.2.0", "moves": [moved(5)]}
        service["judge"]["readyDeadline"] = "30s"
    making = canary.pulumi("up", "--yes", "--skip-preview")
    assert making.stdout
    next(line for line in making.stdout if "biopsy-v2-2-0" in line and " creating" in line)
    # The route is as before: 2.1.0 goes on having its share.
    told = told_by(rollback(canary))
    assert (told["edit"], told["candidate"]) == ("Drop", None)
    making.communicate(timeout=300)
    assert making.returncode == 1
    canary.up()
    assert weights(kubectl)[STABLE] == 100
    canary.file.write_text(text)
    canary.up()
    assert weights(kubectl) == {STABLE: 95, CANDIDATE: 5}


def node_process(name: str) -> psutil.Process:
    (found,) = [
        process
        for process in marked_processes(Layout.default().root)
        if Path(process.cmdline()[0]).name == name
    ]
    return found


def test_an_api_server_killed_during_an_up_only_delays_it(canary: Project, kubectl: Kubectl):
    declare(canary, 25)
    process = canary.pulumi("up", "--yes", "--skip-preview")
    assert process.stdout
    # The first object is being written; the route comes after it.
    seen = next(line for line in process.stdout if " updating " in line)
    assert weights(kubectl) == {STABLE: 95, CANDIDATE: 5}, seen
    node_process("kube-apiserver").kill()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert weights(kubectl) == {STABLE: 75, CANDIDATE: 25}
    assert set(answers(canary, 200)) == {"2.0.0", "2.1.0"}


def containers() -> list[psutil.Process]:
    """Returns the first process of each of our containers."""
    found: list[psutil.Process] = []
    for process in marked_processes(Layout.default().root):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "containerd-shim-runc-v2" in process.cmdline()[0]:
                found += [it for it in process.children() if it.name() not in ("pause", "runc")]
    return found


def test_killed_containers_come_back_with_the_same_split(canary: Project, kubectl: Kubectl):
    killed = containers()
    assert len(killed) >= 8
    for process in killed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    for version in ("2.0.0", "2.1.0"):
        until_answers(version, canary)
    seen = answers(canary, 1000)
    assert binomtest(seen["2.1.0"], 1000, 0.25).pvalue > 1e-4
    assert weights(kubectl) == {STABLE: 75, CANDIDATE: 25}


def assert_nothing_is_left() -> None:
    layout = Layout.default()
    assert not list(marked_processes(layout.root))
    assert not Path("/sys/class/net/modelramp0").exists()
    assert "modelramp" not in Path("/proc/self/mounts").read_text()
    assert not list(Path("/sys/fs/cgroup").glob("**/modelramp"))
    assert not layout.node.exists()


def test_a_cluster_deleted_in_mid_canary_is_made_anew_from_git(canary: Project, kubectl: Kubectl):
    canary.local("down")
    assert_nothing_is_left()
    # The next one is not easily had: its start is killed in each phase, then the node itself.
    layout = Layout.default()
    for phase in (layout.kubeconfig, layout.status_file, layout.steps_file):
        process = canary.start("local", "up", "--cluster")
        give_up_at = time.monotonic() + 120
        while not phase.exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for process in marked_processes(layout.root):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    canary.local("up")
    # As a start leaves it that is killed with only the node's end of the link made.
    subprocess.run(["ip", "link", "set", "modelramp0", "down"], check=True, timeout=20)
    subprocess.run(["ip", "address", "flush", "dev", "modelramp0"], check=True, timeout=20)
    canary.local("up")
    status = canary.status()
    assert all(it["ready"] for it in status["processes"].values())
    assert len(status["pods"]) >= 6
    assert all(status["pods"].values())
    # Pulumi's state still knows the objects of the old cluster.
    canary.up("--refresh")
    assert weights(kubectl) == {STABLE: 75, CANDIDATE: 25}
    for version in ("2.0.0", "2.1.0"):
        until_answers(version, canary)
    seen = answers(canary, 1000)
    assert binomtest(seen["2.1.0"], 1000, 0.25).pvalue > 1e-4


def test_down_leaves_nothing(canary: Project, machine_before: dict[str, str]):
    interfaces = set(psutil.net_if_addrs())
    canary.local("down")
    assert_nothing_is_left()
    assert set(psutil.net_if_addrs()) == interfaces - {"modelramp0"}
    assert machine_settings() == machine_before
    assert not re.search("KUBE-|CNI-", machine_before["rules"])
    assert "nothing was running" in canary.local("down").stdout
