# pyright: basic
"""Small programs on a real API server, through whichever Kubernetes plugin is present.

Without the official plugin this tests the stand-in; with it on PATH (or in ~/.pulumi), that one.
Pods here name a scheduler that does not exist, so that their statuses are what the tests say.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import pytest
import yaml

from local.home import Home
from local.plugins.cluster_api import ClusterApi
from local.plugins.environment import pulumi_environment
from local.plugins.kubeconfig import access, load
from tests.local.test_plugins_conformance import KUBERNETES, _is_stand_in, _plugin

pytestmark = pytest.mark.cluster

Variables: TypeAlias = Mapping[str, str]
NONE: Variables = {}
_SECONDS_OF_A_COMMAND = 180  # less than any wait that a test declares and expects to be ended
# Of its own for each run: definitions belong to no namespace.
GROUP = f"run-{secrets.token_hex(4)}.tests.modelramp.dev"
# Declares what objects.json holds: name -> {manifest, options}. {"secret": text} is a secret.
PROGRAM = """
import json
import re
import pulumi
import pulumi_kubernetes as k8s

CLASSES = {
    "ConfigMap": k8s.core.v1.ConfigMap,
    "CustomResourceDefinition": k8s.apiextensions.v1.CustomResourceDefinition,
    "Deployment": k8s.apps.v1.Deployment,
    "Namespace": k8s.core.v1.Namespace,
    "Secret": k8s.core.v1.Secret,
    "Service": k8s.core.v1.Service,
}

def plain(value):
    if isinstance(value, dict) and set(value) == {"secret"}:
        return pulumi.Output.secret(value["secret"])
    if isinstance(value, dict):
        return {key: plain(child) for key, child in value.items()}
    if isinstance(value, list):
        return [plain(child) for child in value]
    return value

def snake(name):
    return re.sub("([A-Z])", lambda match: "_" + match[1].lower(), name)

with open("objects.json") as file:
    entries = json.load(file)
made = {}
for name, entry in entries.items():
    manifest = plain(entry["manifest"])
    options = entry.get("options", {})
    timeouts = options.pop("timeouts", None)
    options = pulumi.ResourceOptions(
        depends_on=[made[other] for other in options.pop("after", [])],
        custom_timeouts=pulumi.CustomTimeouts(**timeouts) if timeouts else None,
        **options,
    )
    if manifest["kind"] in CLASSES:
        arguments = {snake(key): value for key, value in manifest.items()}
        arguments.pop("api_version")
        arguments.pop("kind")
        made[name] = CLASSES[manifest["kind"]](name, opts=options, **arguments)
    else:
        made[name] = k8s.apiextensions.CustomResource(
            name,
            api_version=manifest.pop("apiVersion"),
            kind=manifest.pop("kind"),
            opts=options,
            **manifest,
        )
        pulumi.export(name, made[name].spec)
"""


def definition(group: str) -> dict[str, Any]:
    """Widgets have a default, limits and a field that never changes."""
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "weight": {"type": "integer", "minimum": 0, "maximum": 100},
                    "mode": {"type": "string", "default": "plain"},
                    "fixed": {
                        "type": "string",
                        "x-kubernetes-validations": [
                            {"rule": "self == oldSelf", "message": "fixed is immutable"}
                        ],
                    },
                    "token": {"type": "string", "maxLength": 12},
                },
            },
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


class Cluster:
    """What the tests do to the cluster beside Pulumi."""

    def __init__(self, kubeconfig: Path) -> None:
        self.api = ClusterApi(access(load(str(kubeconfig)), None, None), threading.Event())

    def get(self, manifest: dict[str, Any]) -> dict[str, Any]:
        live = self.api.get(manifest)
        assert live is not None, manifest["metadata"]
        return live

    def set_status(self, manifest: dict[str, Any], status: dict[str, Any]) -> None:
        self._merge(f"{self.api._path(manifest)}/status", {"status": status})

    def merge(self, manifest: dict[str, Any], patch: dict[str, Any]) -> None:
        self._merge(self.api._path(manifest), patch)

    def apply(self, manifest: dict[str, Any], manager: str, *, force: bool = False) -> None:
        self.api.apply(manifest, manager, force=force, dry_run=False)

    def pods(self, namespace: str) -> list[dict[str, Any]]:
        return self.api.list("v1", "Pod", namespace)

    def _merge(self, path: str, patch: dict[str, Any]) -> None:
        self.api._request("PATCH", path, body=patch, content_type="application/merge-patch+json")


@dataclass
class Project:
    """A stack, the program's objects, and a namespace of its own."""

    root: Path
    environment: dict[str, str]
    cluster: Cluster
    namespace: str
    objects: dict[str, Any] = field(default_factory=dict)

    def declare(self, name: str, manifest: dict[str, Any], **options: Any) -> dict[str, Any]:
        self.objects[name] = {"manifest": manifest, "options": options}
        self._write()
        return manifest

    def drop(self, name: str) -> None:
        del self.objects[name]
        self._write()

    def _write(self) -> None:
        (self.root / "objects.json").write_text(json.dumps(self.objects))

    def widget(self, name: str = "widget", **spec: Any) -> dict[str, Any]:
        return {
            "apiVersion": f"{GROUP}/v1",
            "kind": "Widget",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec or {"weight": 1},
        }

    def config_map(self, name: str = "settings", **data: str) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": self.namespace},
            "data": data,
        }

    def deployment(self, name: str = "server", **labels: str) -> dict[str, Any]:
        labels = labels or {"app": name}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "schedulerName": "nobody",
                        "containers": [{"name": "main", "image": "example/none:1"}],
                    },
                },
            },
        }

    def command(self, *arguments: str) -> list[str]:
        return ["pulumi", *arguments, "--non-interactive", "--color=never"]

    def run(self, *arguments: str, fails: bool = False, environment: Variables = NONE) -> str:
        """Runs the CLI and returns its output; with `fails`, also what it complains of."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.root,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=_SECONDS_OF_A_COMMAND,
            check=False,
        )
        assert (done.returncode != 0) == fails, f"{done.stdout}\n{done.stderr}"
        return done.stdout + (done.stderr if fails else "")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def up(self, *, fails: bool = False, environment: Variables = NONE) -> str:
        return self.run("up", "--skip-preview", "--yes", fails=fails, environment=environment)

    def preview(self, environment: Variables = NONE) -> dict[str, dict[str, Any]]:
        """Returns the steps that change something, by resource name."""
        output = self.run("preview", "--json", "--diff", environment=environment)
        return {
            step["urn"].rpartition("::")[2]: step
            for step in json.loads(output)["steps"]
            if step["op"] != "same"
        }

    def state(self) -> dict[str, dict[str, Any]]:
        return {
            resource["urn"].rpartition("::")[2]: resource
            for resource in json.loads(self.run("stack", "export"))["deployment"].get(
                "resources", []
            )
        }

    @property
    def is_stand_in(self) -> bool:
        return _is_stand_in(_plugin(self.environment, KUBERNETES))


@pytest.fixture(scope="module")
def cluster(kubeconfig: Path) -> Iterator[Cluster]:
    cluster = Cluster(kubeconfig)
    cluster.apply(definition(GROUP), "tests")
    name = definition(GROUP)
    eventually(lambda: _is_established(cluster.get(name)))
    yield cluster
    cluster.api.delete(name, "Background")


def _is_established(live: dict[str, Any]) -> bool:
    conditions = live.get("status", {}).get("conditions") or []
    return any(entry["type"] == "Established" and entry["status"] == "True" for entry in conditions)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    name = f"provider-{secrets.token_hex(4)}"
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    cluster.apply(manifest, "tests")
    yield name
    for entry in cluster.api.list(f"{GROUP}/v1", "Widget", name):
        cluster.merge(entry, {"metadata": {"finalizers": None}})
    cluster.api.delete(manifest, "Background")


@pytest.fixture
def project(
    tmp_path: Path, kubeconfig: Path, cluster: Cluster, namespace: str
) -> Iterator[Project]:
    yield from make_project(tmp_path, kubeconfig, cluster, namespace)


def make_project(
    root: Path, kubeconfig: Path, cluster: Cluster, namespace: str
) -> Iterator[Project]:
    options = {"toolchain": "pip", "virtualenv": sys.prefix}
    (root / "Pulumi.yaml").write_text(
        json.dumps({"name": "provider", "runtime": {"name": "python", "options": options}})
    )
    (root / "__main__.py").write_text(PROGRAM)
    environment = pulumi_environment(Home(root), kubeconfig=kubeconfig)
    project = Project(root, environment, cluster, namespace)
    project._write()
    project.run("stack", "init", "test")
    yield project
    # The objects go with their namespace.
    project.run("stack", "rm", "test", "--force", "--yes")


def eventually(holds: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)


@contextmanager
def meanwhile(do: Callable[[], None]) -> Iterator[None]:
    """Does something beside, and fails if that fails."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            do()
        except BaseException as error:  # noqa: BLE001 (raised again below)
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()
    if failures:
        raise failures[0]


def annotated(manifest: dict[str, Any], **annotations: str) -> dict[str, Any]:
    keys = {f"pulumi.com/{key}": value for key, value in annotations.items()}
    old = manifest["metadata"].get("annotations", {})
    return manifest | {"metadata": manifest["metadata"] | {"annotations": old | keys}}


def condition(name: str, status: str, **more: Any) -> dict[str, Any]:
    return {"type": name, "status": status} | more


class TestPreview:
    def test_says_what_the_server_says(self, project: Project) -> None:
        widget = project.declare("widget", project.widget(weight=101))
        output = project.run("preview", fails=True)
        assert "spec.weight" in output
        assert "less than or equal to 100" in output
        assert project.cluster.api.get(widget) is None

        project.declare("widget", project.widget(weight=5))
        assert project.preview()["widget"]["op"] == "create"
        assert re.search(r'mode *: "plain"', project.run("preview", "--diff"))
        assert project.cluster.api.get(widget) is None

    def test_knows_objects_whose_namespace_or_kind_comes_with_them(self, project: Project) -> None:
        name, group = f"{project.namespace}-inner", f"{project.namespace}.{GROUP}"
        project.declare(
            "inner", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        )
        project.declare("definition", _for_typed_sdk(definition(group)))
        inside = project.config_map(a="1")
        inside["metadata"]["namespace"] = name
        project.declare("settings", inside, after=["inner"])
        widget = project.widget(weight=1) | {"apiVersion": f"{group}/v1"}
        project.declare("widget", widget, after=["definition"])

        steps = project.preview()
        assert {step["op"] for step in steps.values()} == {"create"}
        assert {"inner", "definition", "settings", "widget"} <= set(steps)

        project.up()
        assert project.cluster.get(widget)["spec"] == {"weight": 1, "mode": "plain"}
        assert project.preview() == {}
        project.run("destroy", "--yes", "--skip-preview")
        assert project.cluster.api.get(definition(group)) is None

    def test_unreachable_cluster(self, project: Project, tmp_path: Path) -> None:
        project.declare("settings", project.config_map(a="1"))
        project.up()
        nowhere = yaml.safe_load(Path(project.environment["KUBECONFIG"]).read_text())
        # Unreachable at once and for good; one that does not answer is waited for.
        nowhere["clusters"][0]["cluster"]["tls-server-name"] = "nowhere.example"
        file = tmp_path / "nowhere.kubeconfig"
        file.write_text(yaml.safe_dump(nowhere))
        # Given so that the provider stays the same: another cluster would mean other objects.
        environment = {"KUBECONFIG": str(file)}
        project.run("config", "set", "kubernetes:clusterIdentifier", "same")
        project.declare("more", project.config_map("more", a="1"))

        assert project.preview(environment)["more"]["op"] == "create"
        output = project.up(fails=True, environment=environment)
        assert "cannot be reached" in output or "unreachable" in output
        if project.is_stand_in:
            assert "does not trust" in output
        refresh = ("refresh", "--yes", "--skip-preview")
        project.run(*refresh, fails=True, environment=environment)
        assert "settings" in project.state()
        environment["PULUMI_K8S_DELETE_UNREACHABLE"] = "true"
        project.run(*refresh, environment=environment)
        assert "settings" not in project.state()


class TestApply:
    def test_changes_one_field_and_leaves_what_others_set(self, project: Project) -> None:
        widget = project.declare("widget", project.widget(weight=5, mode="plain"))
        project.up()
        before = project.cluster.get(widget)
        assert project.preview() == {}
        project.cluster.merge(widget, {"metadata": {"annotations": {"theirs": "kept"}}})

        project.declare("widget", project.widget(weight=25, mode="plain"))
        steps = project.preview()
        assert set(steps) == {"widget"}
        assert set(steps["widget"]["detailedDiff"]) == {"spec.weight"}
        assert project.cluster.get(widget)["spec"]["weight"] == 5
        started = time.monotonic()
        project.up()
        print(f"up of one field: {time.monotonic() - started:.1f} s")  # noqa: T201

        live = project.cluster.get(widget)
        assert live["spec"]["weight"] == 25
        assert live["metadata"]["annotations"] == {"theirs": "kept"}
        assert live["metadata"]["uid"] == before["metadata"]["uid"]
        state = project.state()["widget"]["outputs"]
        managers = {
            (entry["manager"], entry["operation"]): entry["fieldsV1"]
            for entry in live["metadata"]["managedFields"]
        }
        assert state["__fieldManager"].startswith("pulumi-kubernetes-")
        assert "f:weight" in managers[state["__fieldManager"], "Apply"]["f:spec"]
        assert ("pulumi-kubernetes", "Update") not in managers

    def test_removes_what_is_declared_no_more(self, project: Project) -> None:
        widget = project.declare("widget", project.widget(weight=5, mode="fast"))
        project.up()
        project.declare("widget", project.widget(weight=5))
        project.up()
        assert project.cluster.get(widget)["spec"] == {"weight": 5, "mode": "plain"}

    def test_conflict_names_object_field_and_manager(self, project: Project) -> None:
        widget = project.declare("widget", project.widget(weight=5))
        project.up()
        project.cluster.apply(project.widget(weight=50), "autoscaler", force=True)

        project.declare("widget", project.widget(weight=6))
        for output in (project.run("preview", fails=True), project.up(fails=True)):
            assert ".spec.weight" in output
            assert "autoscaler" in output
            assert "widget" in output
            if project.is_stand_in:
                assert f"Widget {project.namespace}/widget" in output
                assert "pulumi.com/patchForce" in output
        assert project.cluster.get(widget)["spec"]["weight"] == 50

        project.declare("widget", annotated(project.widget(weight=6), patchForce="true"))
        project.up()
        assert project.cluster.get(widget)["spec"]["weight"] == 6

    def test_ignored_changes_leave_the_field_to_its_owner(self, project: Project) -> None:
        widget = project.declare("widget", project.widget(weight=5, mode="plain"))
        project.up()
        project.cluster.apply(project.widget(weight=50), "autoscaler", force=True)

        changed = project.widget(weight=7, mode="fast")
        project.declare("widget", changed, ignore_changes=["spec.weight"])
        project.up()
        assert project.cluster.get(widget)["spec"] == {"weight": 50, "mode": "fast"}

    def test_create_does_not_overwrite_what_is_there(self, project: Project) -> None:
        widget = project.widget(weight=1)
        project.cluster.apply(widget, "somebody")
        project.declare("widget", project.widget(weight=2))
        output = project.up(fails=True)
        assert "import" in output
        assert project.cluster.get(widget)["spec"]["weight"] == 1

        project.run("config", "set", "kubernetes:upsertExistingObjects", "true")
        project.declare("widget", annotated(project.widget(weight=2), patchForce="true"))
        project.up()
        assert project.cluster.get(widget)["spec"]["weight"] == 2


class TestWaiting:
    def test_for_conditions_and_values(self, project: Project) -> None:
        wanted = json.dumps(
            [
                "condition=Ready",
                "condition=Stalled=False",
                "jsonpath={.status.parts[?(@.name=='b')].state}=done",
            ]
        )
        widget = project.declare("widget", annotated(project.widget(), waitFor=wanted))
        seen: list[float] = []

        def come() -> None:
            eventually(lambda: project.cluster.api.get(widget))
            conditions = [condition("Ready", "True"), condition("Stalled", "False")]
            parts = [{"name": "a", "state": "done"}, {"name": "b", "state": "busy"}]
            project.cluster.set_status(widget, {"conditions": conditions, "parts": parts})
            time.sleep(2)
            parts[1]["state"] = "done"
            seen.append(time.monotonic())
            project.cluster.set_status(widget, {"conditions": conditions, "parts": parts})

        with meanwhile(come):
            project.up()
            ended = time.monotonic()
        assert seen
        assert ended > seen[0]
        assert project.state()["widget"]["outputs"]["status"]["parts"][1]["state"] == "done"

    def test_ready_of_an_older_generation_does_not_count(self, project: Project) -> None:
        manifest = annotated(
            project.widget(weight=1), waitFor="condition=Ready", timeoutSeconds="3"
        )
        widget = project.declare("widget", manifest)
        ready = {"observedGeneration": 1, "conditions": [condition("Ready", "True")]}

        def come() -> None:
            eventually(lambda: project.cluster.api.get(widget))
            project.cluster.set_status(widget, ready)

        with meanwhile(come):
            project.up()
        manifest["spec"]["weight"] = 2
        project.declare("widget", manifest)
        project.up(fails=True)
        project.cluster.set_status(widget, ready | {"observedGeneration": 2})
        project.up()

    def test_time_out_says_why_and_the_next_up_goes_on(self, project: Project) -> None:
        manifest = annotated(project.widget(), waitFor="condition=Ready", timeoutSeconds="6")
        widget = project.declare("widget", manifest)

        def break_it() -> None:
            eventually(lambda: project.cluster.api.get(widget))
            owner = {
                "apiVersion": widget["apiVersion"],
                "kind": "Widget",
                "name": "widget",
                "uid": project.cluster.get(widget)["metadata"]["uid"],
            }
            server = project.deployment()
            server["metadata"]["ownerReferences"] = [owner]
            project.cluster.apply(server, "operator")
            eventually(lambda: project.cluster.pods(project.namespace))
            project.cluster.set_status(
                widget,
                {"conditions": [condition("Ready", "False", reason="NoPods", message="none up")]},
            )
            (pod,) = project.cluster.pods(project.namespace)
            waiting = {"reason": "ImagePullBackOff", "message": "no such image example/none:1"}
            project.cluster.set_status(
                pod,
                {
                    "phase": "Pending",
                    "containerStatuses": [_container(state={"waiting": waiting})],
                },
            )

        started = time.monotonic()
        with meanwhile(break_it):
            output = project.up(fails=True)
        assert time.monotonic() - started >= 6  # and less than the 600 s that are the default
        if project.is_stand_in:
            assert f"Widget {project.namespace}/widget is there, but not ready after 6 s" in output
            assert "ImagePullBackOff: no such image example/none:1" in output
            assert "container main" in output
            assert "condition Ready is False: NoPods: none up" in output
        assert project.state()["widget"]["initErrors"]
        uid = project.cluster.get(widget)["metadata"]["uid"]

        project.cluster.set_status(widget, {"conditions": [condition("Ready", "True")]})
        project.up()
        assert "initErrors" not in project.state()["widget"]
        assert project.cluster.get(widget)["metadata"]["uid"] == uid

    def test_custom_timeouts_come_first_and_skip_await_skips(self, project: Project) -> None:
        never = annotated(project.widget(), waitFor="condition=Ready", timeoutSeconds="500")
        project.declare("widget", never, timeouts={"create": "2s", "update": "2s"})
        project.up(fails=True)  # in less than the 500 s

        project.declare("widget", annotated(never, skipAwait="true"))
        project.up()

    def test_wrong_expression_fails_before_anything_is_made(self, project: Project) -> None:
        if not project.is_stand_in:
            pytest.skip("the official plugin makes the object first")
        project.declare("widget", annotated(project.widget(), waitFor="Ready"))
        assert 'must begin with "condition="' in project.run("preview", fails=True)

    def test_deployment_and_its_service(self, project: Project) -> None:
        deployment = project.declare("server", project.deployment())
        project.declare(
            "service",
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "server", "namespace": project.namespace},
                "spec": {"selector": {"app": "server"}, "ports": [{"port": 80}]},
            },
        )
        ready: list[float] = []

        def come() -> None:
            eventually(lambda: project.cluster.pods(project.namespace))
            (pod,) = project.cluster.pods(project.namespace)
            time.sleep(2)
            ready.append(time.monotonic())
            # The controller leaves out pods that are on no node, as these are.
            project.cluster.apply(_endpoints(project.namespace, "server"), "tests")
            status = {
                "phase": "Running",
                "podIP": "192.0.2.7",
                "podIPs": [{"ip": "192.0.2.7"}],
                "conditions": [condition(name, "True") for name in ("Ready", "ContainersReady")],
                "containerStatuses": [_container(ready=True, state={"running": {}})],
            }
            project.cluster.set_status(pod, status)

        with meanwhile(come):
            project.up()
            ended = time.monotonic()
        assert ready
        assert ended > ready[0]
        assert project.cluster.get(deployment)["status"]["availableReplicas"] == 1

        # A refresh notes that it is not well any more, and does not fail for that.
        (pod,) = project.cluster.pods(project.namespace)
        project.cluster.set_status(pod, {"conditions": [condition("Ready", "False")]})
        eventually(lambda: not project.cluster.get(deployment)["status"].get("availableReplicas"))
        project.run("refresh", "--yes", "--skip-preview")
        assert project.state()["server"]["initErrors"]

    def test_interrupt_ends_a_wait_and_keeps_the_object(self, project: Project) -> None:
        widget = project.declare("widget", annotated(project.widget(), waitFor="condition=Ready"))
        process = project.start("up", "--skip-preview", "--yes")
        eventually(lambda: project.cluster.api.get(widget))
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=_SECONDS_OF_A_COMMAND)
        assert process.returncode != 0, output
        assert project.state()["widget"]["initErrors"]

        project.cluster.set_status(widget, {"conditions": [condition("Ready", "True")]})
        project.up()


class TestRead:
    def test_drift_is_seen_and_taken_back(self, project: Project) -> None:
        # Whoever edits a field owns it; so it has to be taken back by force.
        manifest = annotated(project.widget(weight=5), patchForce="true")
        widget = project.declare("widget", manifest)
        settings = project.declare("settings", project.config_map(a="1"))
        project.up()
        project.cluster.merge(widget, {"spec": {"weight": 50}})
        project.cluster.merge(widget, {"metadata": {"labels": {"theirs": "kept"}}})
        project.cluster.api.delete(settings, "Background")

        project.run("refresh", "--yes", "--skip-preview")
        steps = project.preview()
        assert set(steps) == {"widget", "settings"}
        assert steps["settings"]["op"] == "create"
        assert set(steps["widget"]["detailedDiff"]) == {"spec.weight"}
        project.up()
        live = project.cluster.get(widget)
        assert live["spec"]["weight"] == 5
        assert live["metadata"]["labels"] == {"theirs": "kept"}
        assert project.cluster.get(settings)["data"] == {"a": "1"}
        assert project.preview() == {}

    def test_import_option_adopts(self, project: Project) -> None:
        settings = project.config_map(a="1")
        project.cluster.apply(settings, "somebody")
        uid = project.cluster.get(settings)["metadata"]["uid"]
        project.declare("settings", settings, import_=f"{project.namespace}/settings")
        project.up()
        assert project.state()["settings"]["id"] == f"{project.namespace}/settings"
        assert project.cluster.get(settings)["metadata"]["uid"] == uid
        project.declare("settings", settings)
        assert project.preview() == {}

    def test_import_command_adopts(self, project: Project) -> None:
        settings = project.config_map(a="1")
        project.cluster.apply(settings, "somebody")
        project.run(
            "import",
            "kubernetes:core/v1:ConfigMap",
            "settings",
            f"{project.namespace}/settings",
            "--yes",
            "--protect=false",
            "--generate-code=false",
        )
        project.declare("settings", settings)
        assert project.preview() == {}


class TestReplace:
    def test_under_the_same_name_the_old_one_goes_first(self, project: Project) -> None:
        settings = project.declare("settings", project.config_map(a="1"))
        project.up()
        uid = project.cluster.get(settings)["metadata"]["uid"]
        project.declare("settings", project.config_map(a="2"))
        assert project.preview()["settings"]["op"] in {"replace", "delete-replaced"}
        project.up()
        live = project.cluster.get(settings)
        assert live["data"] == {"a": "2"}
        assert live["metadata"]["uid"] != uid

    def test_renamed(self, project: Project) -> None:
        old = project.declare("settings", project.config_map("old", a="1"))
        project.up()
        new = project.declare("settings", project.config_map("new", a="1"))
        steps = project.preview()
        assert steps["settings"]["replaceReasons"] == ["metadata.name"]
        project.up()
        assert project.cluster.api.get(old) is None
        assert project.cluster.get(new)["data"] == {"a": "1"}

    def test_selector_of_a_deployment(self, project: Project) -> None:
        project.declare("server", annotated(project.deployment(app="a"), skipAwait="true"))
        project.up()
        project.declare("server", annotated(project.deployment(app="b"), skipAwait="true"))
        assert any("selector" in path for path in project.preview()["server"]["replaceReasons"])
        project.up()

    def test_where_the_server_says_immutable(self, project: Project) -> None:
        if not project.is_stand_in:
            pytest.skip("the official plugin fails with the server's error")
        widget = project.declare("widget", project.widget(weight=1, fixed="a"))
        project.up()
        uid = project.cluster.get(widget)["metadata"]["uid"]
        project.declare("widget", project.widget(weight=2, fixed="b"))
        step = project.preview()["widget"]
        assert step["replaceReasons"] == ["spec.fixed"]
        project.up()
        live = project.cluster.get(widget)
        assert live["spec"] == {"weight": 2, "fixed": "b", "mode": "plain"}
        assert live["metadata"]["uid"] != uid


class TestDelete:
    def test_waits_for_finalizers(self, project: Project) -> None:
        manifest = project.widget()
        manifest["metadata"]["finalizers"] = [f"{GROUP}/hold"]
        widget = project.declare("widget", manifest, timeouts={"delete": "3s"})
        project.up()
        output = project.run("destroy", "--yes", "--skip-preview", fails=True)
        assert f"{GROUP}/hold" in output
        assert "widget" in project.state()
        released: list[float] = []

        def release() -> None:
            time.sleep(2)
            released.append(time.monotonic())
            project.cluster.merge(widget, {"metadata": {"finalizers": None}})

        with meanwhile(release):
            project.run("destroy", "--yes", "--skip-preview")
            ended = time.monotonic()
        assert ended > released[0]
        assert project.cluster.api.get(widget) is None
        assert "widget" not in project.state()

    def test_of_what_is_gone_is_fine(self, project: Project) -> None:
        widget = project.declare("widget", project.widget())
        project.up()
        project.cluster.api.delete(widget, "Background")
        project.drop("widget")
        project.up()
        assert "widget" not in project.state()

    def test_propagation_as_annotated(self, project: Project) -> None:
        manifest = annotated(
            project.deployment(), skipAwait="true", deletionPropagationPolicy="orphan"
        )
        project.declare("server", manifest)
        project.up()
        eventually(lambda: project.cluster.pods(project.namespace))
        project.drop("server")
        project.up()
        sets = project.cluster.api.list("apps/v1", "ReplicaSet", project.namespace)
        assert len(sets) == 1
        assert "ownerReferences" not in sets[0]["metadata"]


class TestSecrets:
    def test_are_encrypted_in_the_state_and_never_shown(self, project: Project) -> None:
        hidden = "correct-horse"
        project.declare(
            "credentials",
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "credentials", "namespace": project.namespace},
                "stringData": {"password": hidden},
            },
        )
        project.declare("settings", project.config_map(a="1") | {"data": {"a": {"secret": hidden}}})
        shown = project.run("preview", "--diff") + project.up()
        state = project.run("stack", "export")
        encoded = base64.b64encode(hidden.encode()).decode()
        for text in (shown, state):
            assert hidden not in text
            assert encoded not in text
        live = project.cluster.get(project.objects["credentials"]["manifest"])
        assert live["data"] == {"password": encoded}
        assert project.preview() == {}
        project.run("refresh", "--yes", "--skip-preview")
        assert encoded not in project.run("stack", "export")
        assert project.preview() == {}

    def test_are_not_in_errors(self, project: Project) -> None:
        if not project.is_stand_in:
            pytest.skip("the official plugin shows what the server says")
        hidden = "far too long for a token"
        project.declare("widget", project.widget(mode={"secret": hidden}, weight=1))
        project.up()
        project.declare("widget", project.widget(mode={"secret": hidden}, token=hidden))
        project.objects["widget"]["manifest"]["spec"]["weight"] = {"secret": 4711}
        project._write()
        output = project.up(fails=True)
        assert "[secret]" in output
        assert hidden not in output
        assert "4711" not in output


class TestServerThatGoesAway:
    @pytest.mark.parametrize("seconds", [8])
    def test_up_rides_it_out(
        self, tmp_path: Path, kubeconfig: Path, cluster: Cluster, namespace: str, seconds: float
    ) -> None:
        with Gate(kubeconfig) as gate:
            file = gate.kubeconfig(tmp_path / "gate.kubeconfig")
            projects = make_project(tmp_path, file, cluster, namespace)
            project = next(projects)
            changed = project.declare("changed", project.widget("changed", weight=1))
            project.up()
            awaited = annotated(project.widget("awaited"), waitFor="condition=Ready")
            project.drop("changed")
            project.declare("awaited", awaited)
            project.declare("changed", project.widget("changed", weight=2), after=["awaited"])
            project.declare("made", project.widget("made", weight=1), after=["awaited"])

            def disturb() -> None:
                # While one object is waited for; the others come when the server is just back.
                eventually(lambda: cluster.api.get(awaited))
                gate.close()
                time.sleep(seconds / 2)
                cluster.set_status(awaited, {"conditions": [condition("Ready", "True")]})
                time.sleep(seconds / 2)
                gate.open()

            with meanwhile(disturb):
                project.up()
            assert gate.refused > 0
            assert cluster.get(changed)["spec"]["weight"] == 2
            assert cluster.api.get(project.widget("made")) is not None
            assert project.preview() == {}
            next(projects, None)

    def test_writes_ride_it_out(
        self, tmp_path: Path, kubeconfig: Path, cluster: Cluster, namespace: str
    ) -> None:
        with Gate(kubeconfig) as gate:
            file = gate.kubeconfig(tmp_path / "gate.kubeconfig")
            projects = make_project(tmp_path, file, cluster, namespace)
            project = next(projects)
            if not project.is_stand_in:
                pytest.skip("the official plugin fails when a write is cut off")
            names = [f"widget-{index}" for index in range(12)]
            for weight in (1, 2):
                for name, before in zip(names, ["", *names], strict=False):
                    manifest = project.widget(name, weight=weight)
                    project.declare(name, manifest, **({"after": [before]} if before else {}))

                def disturb(weight: int = weight) -> None:
                    eventually(lambda: self.weight(cluster, project, names[2]) == weight)
                    gate.close()
                    time.sleep(3)
                    gate.open()

                with meanwhile(disturb):
                    project.up()
                assert {self.weight(cluster, project, name) for name in names} == {weight}
            assert gate.refused > 0
            assert project.preview() == {}
            next(projects, None)

    @staticmethod
    def weight(cluster: Cluster, project: Project, name: str) -> int | None:
        live = cluster.api.get(project.widget(name))
        return None if live is None else live["spec"]["weight"]

    def test_create_whose_answer_is_lost_is_not_made_twice(
        self, tmp_path: Path, kubeconfig: Path, cluster: Cluster, namespace: str
    ) -> None:
        with Gate(kubeconfig) as gate:
            file = gate.kubeconfig(tmp_path / "gate.kubeconfig")
            projects = make_project(tmp_path, file, cluster, namespace)
            project = next(projects)
            widget = project.declare("widget", project.widget(weight=1))
            gate.cut_after = lambda: cluster.api.get(widget) is not None
            if not project.is_stand_in:
                pytest.skip("the official plugin fails here")
            project.up()
            assert gate.cuts > 0
            assert cluster.get(widget)["spec"]["weight"] == 1
            assert project.preview() == {}
            next(projects, None)


class Gate:
    """A TCP proxy before the API server, which can be closed, or swallow an answer."""

    def __init__(self, kubeconfig: Path) -> None:
        self._config = yaml.safe_load(kubeconfig.read_text())
        self._server = urlsplit(self._config["clusters"][0]["cluster"]["server"])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._is_open = threading.Event()
        self._is_open.set()
        self._connections: list[socket.socket] = []
        self.refused = 0
        self.cuts = 0
        self.cut_after: Callable[[], bool] | None = None

    def __enter__(self) -> Gate:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.close()

    def kubeconfig(self, file: Path) -> Path:
        entry = self._config["clusters"][0]["cluster"]
        entry["server"] = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        entry["tls-server-name"] = self._server.hostname
        file.write_text(yaml.safe_dump(self._config))
        return file

    def close(self) -> None:
        self._is_open.clear()
        for connection in self._connections:
            _end(connection)
        self._connections.clear()

    def open(self) -> None:
        self._is_open.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._is_open.is_set():
                self.refused += 1
                client.close()
                continue
            server = socket.create_connection((self._server.hostname, self._server.port))
            self._connections += [client, server]
            threading.Thread(target=self._pump, args=(client, server), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool = False) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if answers and self.cut_after is not None and self.cut_after():
                    self.cut_after = None
                    self.cuts += 1
                    break
                sink.sendall(data)
        _end(source)
        _end(sink)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _container(**status: Any) -> dict[str, Any]:
    return {
        "name": "main",
        "image": "example/none:1",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
    } | status


def _endpoints(namespace: str, service: str) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": service}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{service}-tests", "namespace": namespace, "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.7"], "conditions": {"ready": True}}],
        "ports": [{"port": 80}],
    }


def _for_typed_sdk(value: Any) -> Any:
    """The typed SDK writes `x-kubernetes-...` with underscores."""
    if isinstance(value, dict):
        return {
            key.replace("-", "_") if key.startswith("x-") else key: _for_typed_sdk(child)
            for key, child in value.items()
        }
    if isinstance(value, list):
        return [_for_typed_sdk(child) for child in value]
    return value
