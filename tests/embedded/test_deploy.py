# pyright: basic
"""`deploy`, the gates and the registry that follows, against a real MLflow server and store."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import mlflow
import numpy as np
import pytest
from mlflow.sklearn import load_model
from typer.testing import CliRunner, Result

from examples.biopsy.train import Candidate, Split, better_model, fair_model, register, split_data
from local import stores
from local.processes import Supervisor, free_port
from local.tools import ensure
from models.errors import ConfigError, RegistryError, StackFileError
from models.stack import load_stack
from rollout import history
from rollout.deploy import prepare
from rollout.deploy import start as begin
from rollout.git import Repository
from rollout.registry_follow import follow, follow_quietly
from scripts.main import _app
from tests.rollout.forge_server import Server, environment, server  # noqa: F401
from tests.rollout.test_git import git

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(300)]

DOCUMENTED = (Path(__file__).parents[2] / "docs" / "registry.md").read_text().split("```")[3]
DOCUMENTED = DOCUMENTED.removeprefix("python\n")
DATA = f"sha256:{'d' * 64}"

PROD = """\
config:
  modelramp:cluster:
    target: cluster
    namespace: models
    gateway: gateway/models
    prometheus: http://127.0.0.1:9
    registry: "{url}"
    registryAliases: true
  modelramp:services:
    biopsy: # nuclei
      owner: pathology-ml
      risk: medium
      runtime: {{kind: mlflow}}
      strategy: {{kind: canary, steps: [5, 25, 100], bake: 10m}}
      slo: {{errorRate: 0.01, latency: {{thresholdMs: 250, share: 0.99}}}}
      drift: {{reference: {{tolerance: 0.1}}}}
      gates:
        betterThanStable: {{metric: accuracy}}
        latencyP99Ms: 50
        fairness: [{{metric: parity_gap, max: 0.1}}]
        staging: {{stack: staging, bake: 1h}}
      card: {{purpose: to show, data: nuclei, limits: none for people, contact: us}}
"""
STAGING = """\
config:
  modelramp:cluster:
    target: cluster
    namespace: models
    gateway: gateway/models
    prometheus: http://127.0.0.1:9
    registry: "{url}"
  modelramp:services:
    biopsy:
      owner: pathology-ml
      runtime: {{kind: mlflow}}
      strategy: {{kind: canary, steps: [50, 100]}}
      slo: {{latency: {{thresholdMs: 250, share: 0.99}}}}
      gates: {{modelCard: false}}
"""


class Place:
    """A project with two stacks, and a registry with three versions."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url = root, url
        (root / "stacks").mkdir()
        (root / "Pulumi.yaml").write_text("name: x\nruntime: python\nstackConfigDir: stacks\n")
        self.prod, self.staging = (root / f"stacks/Pulumi.{it}.yaml" for it in ("prod", "staging"))
        self.prod.write_text(PROD.format(url=url))
        self.staging.write_text(STAGING.format(url=url))

    def deploy(self, *arguments: str, expect: int = 0) -> dict:
        done = run("deploy", "biopsy", *arguments, "--json")
        assert done.exit_code == expect, (done.stdout, done.exception)
        return json.loads(done.stdout)

    def log(self, stack: str) -> list[dict]:
        return history.lines(history.history_path(self.prod, stack, "biopsy"))

    @property
    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(self.url)

    def rehearsed(self) -> None:
        """Lets three hours pass on staging, and tries a rollback there."""
        path = history.history_path(self.staging, "staging", "biopsy")
        (deployed,) = history.lines(path)
        past = datetime.now(UTC) - timedelta(hours=3)
        drill = {**deployed, "verdict": "rollback", "digest": None, "reason": "drill: as agreed"}
        path.unlink()
        for line in (deployed, drill):
            history.append(path, {**line, "at": past.isoformat()})


def run(*arguments: str) -> Result:
    return CliRunner().invoke(_app, arguments)


def states(told: dict) -> dict[str, str]:
    return {it["gate"]: it["state"] for it in told["gates"]}


def says(told: dict, gate: str) -> str:
    return next(it["says"] for it in told["gates"] if it["gate"] == gate)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Generator[Place]:
    root = tmp_path_factory.mktemp("project").resolve()
    home = root / ".modelramp"
    store, registry = (f"127.0.0.1:{free_port()}" for _ in range(2))
    supervisor = Supervisor(home)
    with pytest.MonkeyPatch.context() as patch:
        try:
            binary = ensure("versitygw")
            start(supervisor, stores.store_process(home, binary, store))
            stores.ensure_bucket(home, store)
            start(
                supervisor,
                stores.store_process(home, binary, store),
                stores.registry_process(home, registry, store),
            )
            for name, value in stores.client_environment(home, store).items():
                patch.setenv(name, value)
            patch.chdir(root)
            made = Place(root, f"http://{registry}")
            train(made)
            yield made
        finally:
            supervisor.shutdown()


def start(supervisor: Supervisor, *specs) -> None:
    supervisor.apply(specs)
    give_up_at = time.monotonic() + 60
    while not all(supervisor.is_ready(it.name) for it in specs):
        assert time.monotonic() < give_up_at
        supervisor.tick()
        time.sleep(0.1)


SPLIT = split_data()


def train(place: Place) -> None:
    rows, labels = SPLIT.train_rows.iloc[:, :9], SPLIT.train_labels
    nine = Split(rows, labels, rows, labels)
    register(Candidate("1.0.0", fair_model(), SPLIT), place.url)
    register(Candidate("2.0.0", better_model(), SPLIT), place.url)
    register(Candidate("1.0.1", fair_model(), nine), place.url)


def evaluate(place: Place, number: int) -> None:
    """Logs on which rows of the holdout a version is right, and the rest, as documented."""
    model: Any = load_model(f"models:/biopsy/{number}")
    right = np.asarray(model.predict(SPLIT.holdout_rows)) == SPLIT.holdout_labels.to_numpy()
    names = {
        "tracking_uri": place.url,
        "number": number,
        "data_hash": DATA,
        "ids": [str(it) for it in SPLIT.holdout_rows.index],
        "right": [float(it) for it in right],
        "losses": [0.1 if it else 2.3 for it in right],
    }
    exec(DOCUMENTED, names)  # noqa: S102


def test_the_life_of_two_versions(place: Place):
    before = place.prod.read_bytes()

    # Nothing was logged, nothing was rehearsed: all that is missing is said at once.
    told = place.deploy("1.0.0", "--stack", "prod", expect=1)
    assert states(told) == {
        "stackFile": "passed",
        "betterThanStable": "passed",
        "latencyP99Ms": "failed",
        "fairness parity_gap": "failed",
        "staging": "failed",
        "modelCard": "passed",
        "referenceProfile": "passed",
    }
    assert "log_load_test" in says(told, "latencyP99Ms")
    assert "never promoted there" in says(told, "staging")
    assert place.prod.read_bytes() == before
    assert not place.log("prod")

    for number in (1, 2):
        evaluate(place, number)
    assert place.deploy("1.0.0", "--stack", "staging")["toPercent"] == 100
    place.rehearsed()

    # A dry run writes nothing, the deployment does.
    assert place.deploy("1.0.0", "--stack", "prod", "--dry-run")["written"] is False
    assert place.prod.read_bytes() == before
    told = place.deploy("1.0.0", "--stack", "prod")
    assert told["written"] is True
    service = load_stack(place.prod).services["biopsy"]
    assert service.rollout is not None
    assert service.rollout.stable == "1.0.0"
    assert service.versions["1.0.0"].digest == told["entry"]["digest"]
    assert service.versions["1.0.0"].inputs == dict.fromkeys(SPLIT.train_rows, "double")
    assert "# nuclei" in place.prod.read_text()
    (line,) = place.log("prod")
    assert (line["verdict"], line["to"], line["run"]) == ("deploy", 100, told["run"])
    assert "forced" not in line

    # The better version was not rehearsed: a person passes that, and it is written down.
    told = place.deploy("2.0.0", "--stack", "prod", expect=1)
    failed = [gate for gate, state in states(told).items() if state == "failed"]
    assert failed == ["staging"]
    assert "McNemar" in says(told, "betterThanStable")
    told = place.deploy("2.0.0", "--stack", "prod", "--force", "staging is down")
    assert states(told)["staging"] == "forced"
    assert place.log("prod")[-1]["forced"] == "staging is down"
    rollout = load_stack(place.prod).services["biopsy"].rollout
    assert rollout is not None
    assert (rollout.candidate, rollout.percent) == ("2.0.0", 5)
    assert "forced past staging: staging is down" in (rollout.moves[0].why or "")

    # The registry has followed by itself.
    aliases = place.client.get_registered_model("biopsy").aliases
    assert {name: int(it) for name, it in aliases.items()} == {"champion": 1, "challenger": 2}
    tags = place.client.get_model_version("biopsy", "2").tags
    assert json.loads(tags["modelramp.stack.prod"])["role"] == "candidate"
    assert json.loads(tags["modelramp.stack.prod"])["percent"] == 5
    assert follow(place.prod, "prod", place.url, datetime.now(UTC)) == []


def test_the_card_of_a_version(place: Place):
    file = place.root / "cards" / "biopsy.md"
    done = run("card", "biopsy", "2.0.0", "--stack", "prod", "--output", str(file))
    assert done.exit_code == 0
    text = file.read_text()
    tags = place.client.get_model_version("biopsy", "2").tags
    for what in (
        "# biopsy 2.0.0\n",
        "prod: candidate, 5% of the traffic",
        tags["modelramp.digest"],
        tags["modelramp.data_hash"],
        "| input | `worst radius` | `double` |",
        "p99 21.5 ms of 5,000 requests",
        "parity\\_gap: 0.02, must be at most 0.1",
        "forced past staging: staging is down",
    ):
        assert what in text, what
    assert "1.0.0" not in text
    assert run("card", "biopsy", "--stack", "prod").stdout.startswith("# biopsy 1.0.0\n")
    assert isinstance(run("card", "biopsy", "9.9.9", "--stack", "prod").exception, ConfigError)


def test_sync_says_what_it_would_change_and_then_changes_it(place: Place):
    place.client.delete_registered_model_alias("biopsy", "champion")
    for options in (["--dry-run"], []):
        said = run("registry", "sync", "--stack", "prod", *options).stdout
        assert "models:/biopsy/1" in said
        assert "champion" in said
    assert "as declared" in run("registry", "sync", "--stack", "prod").stdout


def test_what_nobody_can_force(place: Place):
    """Inputs changed within a major version."""
    before = place.staging.read_bytes()
    told = place.deploy("1.0.1", "--stack", "staging", "--force", "trust me", expect=1)
    assert "needs a new major version" in says(told, "stackFile")
    assert place.staging.read_bytes() == before


def test_a_digest_that_was_taken_back_cannot_be_forced(place: Place):
    before = place.staging.read_text()
    digest = place.client.get_model_version("biopsy", "2").tags["modelramp.digest"]
    rejected = f'[{{digest: "{digest}", at: "2026-11-23T08:00:00Z", why: slow}}]'
    place.staging.write_text(f"{before.rstrip()}\n        rejected: {rejected}\n")
    told = place.deploy("2.0.0", "--stack", "staging", "--force", "trust me", expect=1)
    assert "was taken back before" in says(told, "stackFile")
    place.staging.write_text(before)


def test_no_gate_is_forced_where_risk_is_high(place: Place):
    before = place.staging.read_text()
    risky = before.replace("owner: path", "risk: high\n      owner: path")
    risky = risky.replace("{modelCard: false}", "{modelCard: false, latencyP99Ms: 5}")
    place.staging.write_text(risky)
    told = place.deploy("2.0.0", "--stack", "staging", "--force", "trust me", expect=1)
    assert states(told)["latencyP99Ms"] == "failed"
    assert place.staging.read_text() == risky
    place.staging.write_text(before)


def test_a_file_that_was_changed_meanwhile_wins(place: Place):
    before, now = place.staging.read_text(), datetime.now(UTC)
    deployment = prepare(
        place.staging,
        "staging",
        "biopsy",
        "2.0.0",
        tracking_uri=place.url,
        model="biopsy",
        now=now,
    )
    assert deployment.is_allowed
    place.staging.write_text(before.replace("steps: [50, 100]", "steps: [10, 100]"))
    with pytest.raises(StackFileError, match="run it again"):
        begin(deployment, now)
    place.staging.write_text(before)


def test_a_version_that_is_not_there(place: Place):
    done = run("deploy", "biopsy", "7.0.0", "--stack", "staging")
    assert isinstance(done.exception, RegistryError)
    for there in ("1.0.0 (number 1)", "2.0.0 (number 2)", "1.0.1 (number 3)"):
        assert there in str(done.exception)


def test_what_no_stack_names_is_archived_and_comes_back(place: Place):
    declared = place.staging.read_text()
    now = datetime.now(UTC)
    place.staging.write_text(STAGING.format(url=place.url))
    prod = place.prod.read_text()
    place.prod.write_text(PROD.format(url=place.url))
    follow_all(place, now)
    # Nothing is named any more, and then nothing is known of the model.
    place.staging.write_text(declared)
    place.prod.write_text(prod.replace('models:/biopsy/2"', 'models:/biopsy/1"'))
    follow_all(place, now)
    assert "modelramp.archived" not in place.client.get_model_version("biopsy", "2").tags
    follow_all(place, now + timedelta(days=31))
    assert "modelramp.archived" in place.client.get_model_version("biopsy", "2").tags
    assert "modelramp.archived" not in place.client.get_model_version("biopsy", "1").tags
    # Never declared, so not ours to archive.
    assert "modelramp.archived" not in place.client.get_model_version("biopsy", "3").tags
    place.prod.write_text(prod)
    follow_all(place, now + timedelta(days=32))
    assert "modelramp.archived" not in place.client.get_model_version("biopsy", "2").tags


def follow_all(place: Place, now: datetime) -> None:
    follow(place.prod, "prod", place.url, now)
    follow(place.staging, "staging", place.url, now)


def test_files_that_were_changed_afterwards(place: Place):
    uri = urlsplit(place.client.get_model_version_download_uri("biopsy", "3"))
    object_of = {"Bucket": uri.netloc, "Key": f"{uri.path.strip('/')}/MLmodel"}
    store = boto3.client("s3")
    text = store.get_object(**object_of)["Body"].read()
    store.put_object(**object_of, Body=text + b"# changed\n")
    done = run("deploy", "biopsy", "1.0.1", "--stack", "staging")
    assert isinstance(done.exception, RegistryError)
    assert "the files were changed afterwards" in str(done.exception)


def test_a_registry_that_is_down_only_warns(place: Place):
    warned: list[str] = []
    follow_quietly(place.prod, "prod", "http://127.0.0.1:9", datetime.now(UTC), warned.append)
    assert len(warned) == 1
    assert "modelramp registry sync" in warned[0]


def test_a_deployment_as_a_pull_request(place: Place, server: Server, monkeypatch):  # noqa: F811
    for name, value in environment(server).items():
        monkeypatch.setenv(name, value)
    root = place.root
    place.prod.write_text(PROD.format(url=place.url))
    place.deploy("1.0.0", "--stack", "prod", "--force", "as the first one")
    git(root, "init", "-q", "-b", "main")
    git(root, "init", "-q", "--bare", "-b", "main", "remote.git")
    git(root, "remote", "add", "origin", str(root / "remote.git"))
    Repository(root).commit([root / "Pulumi.yaml", root / "stacks"], "as it is")
    git(root, "push", "-q", "-u", "origin", "main")
    before = place.prod.read_bytes()

    told = place.deploy("2.0.0", "--stack", "prod", "--pull-request", expect=1)
    assert told["url"] is None
    assert not server.requests
    told = place.deploy("2.0.0", "--stack", "prod", "--pull-request", "--force", "a drill")
    (request,) = server.open
    assert told["url"] == request["html_url"]
    assert request["title"] == "prod: biopsy: candidate 2.0.0 begins at 5%"
    assert "| staging | forced |" in request["body"]
    assert place.prod.read_bytes() == before
    git(root, "fetch", "-q", "origin", "modelramp-deploy/prod/biopsy")
    changed = git(root, "diff", "--name-only", "main", "FETCH_HEAD")
    assert changed.split() == ["stacks/Pulumi.prod.yaml", "stacks/history/prod/biopsy.jsonl"]
    assert 'candidate: "2.0.0"' in git(root, "show", "FETCH_HEAD:stacks/Pulumi.prod.yaml")

    # Typed twice, there is one request still.
    again = place.deploy("2.0.0", "--stack", "prod", "--pull-request", "--force", "a drill")
    assert again["url"] == told["url"]
    assert len(server.requests) == 1
