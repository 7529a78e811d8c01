# pyright: basic
"""The local cluster's parts that can be tried without one."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from local.cluster import addons, control, kubernetes, machine, node, programs
from local.cluster.certificates import Authority
from local.cluster.images import BuiltImage
from local.cluster.kubectl import Kubectl
from local.cluster.layout import NODE_ADDRESS, Layout
from local.cluster.node import Request
from local.processes import MARK
from local.tools import TOOLS, Silent
from models.errors import RuntimeTargetError, ToolError


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


class TestCertificates:
    def test_a_server_and_a_client_that_the_authority_signed_trust_each_other(self, tmp_path: Path):
        authority = Authority()
        authority.pair.write(tmp_path, "ca")
        authority.issue("server", hosts=("api.example", "127.0.0.1")).write(tmp_path, "server")
        authority.issue("somebody", "a-group").write(tmp_path, "client")
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
        server.load_verify_locations(tmp_path / "ca.crt")
        server.verify_mode = ssl.CERT_REQUIRED
        client = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
        client.load_cert_chain(tmp_path / "client.crt", tmp_path / "client.key")

        assert self.connect(server, client, "127.0.0.1") == {
            "organizationName": "a-group",
            "commonName": "somebody",
        }
        assert self.connect(server, client, "api.example")
        with pytest.raises(ssl.SSLError):
            self.connect(server, client, "other.example")
        with pytest.raises(ssl.SSLError):  # signed by somebody else
            self.connect(server, ssl.create_default_context(), "127.0.0.1")

    @staticmethod
    def connect(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> dict[str, str]:
        """Shakes hands in memory; returns whom the server saw."""
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = (
            client.wrap_bio(to_client, to_server, server_hostname=host),
            server.wrap_bio(to_server, to_client, server_side=True),
        )
        left = list(ends)
        for _ in range(10):
            for end in list(left):
                try:
                    end.do_handshake()
                    left.remove(end)
                except ssl.SSLWantReadError:
                    pass
        assert not left
        subject = (ends[1].getpeercert() or {})["subject"]
        return {key: value for ((key, value),) in subject}  # type: ignore[misc]

    def test_are_made_once_and_keys_are_the_owners_alone(self, layout: Layout):
        kubernetes.write_certificates(layout)
        before = {file: file.read_bytes() for file in layout.certificates.iterdir()}
        kubernetes.write_certificates(layout)
        assert {file: file.read_bytes() for file in layout.certificates.iterdir()} == before
        secret = [layout.kubeconfig, *layout.certificates.glob("*.key")]
        secret += layout.certificates.glob("*.kubeconfig")
        assert len(secret) >= 10
        assert {file.stat().st_mode & 0o777 for file in secret} == {0o600}

    def test_the_kubelet_is_a_node_and_the_administrator_a_master(self, layout: Layout):
        kubernetes.write_certificates(layout)
        for file, user, group in (
            (layout.kubeconfig, "modelramp", "system:masters"),
            (layout.certificates / "kubelet.kubeconfig", "system:node:modelramp", "system:nodes"),
        ):
            content = json.loads(file.read_text())
            assert content["clusters"][0]["cluster"]["server"] == f"https://{NODE_ADDRESS}:6443"
            data = base64.b64decode(content["users"][0]["user"]["client-certificate-data"])
            subject = x509.load_pem_x509_certificate(data).subject
            names = [
                subject.get_attributes_for_oid(oid)[0].value
                for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)
            ]
            assert names == [user, group]


class TestAddons:
    AUTHORITY = "Q0E="

    def test_webhooks_trust_our_authority_instead_of_cert_manager(self):
        hook = {"kind": "ValidatingWebhookConfiguration", "metadata": {"name": "x"}}
        hook["metadata"]["annotations"] = {"cert-manager.io/inject-ca-from": "kserve/serving-cert"}
        hook["webhooks"] = [{"clientConfig": {"service": {}}}, {"clientConfig": {}}]
        fitted = addons._fitted(hook, self.AUTHORITY)
        assert "annotations" not in fitted["metadata"]
        assert {it["clientConfig"]["caBundle"] for it in fitted["webhooks"]} == {self.AUTHORITY}

    def test_kserve_makes_no_routes_of_its_own(self):
        config = {
            "kind": "ConfigMap",
            "metadata": {"name": "inferenceservice-config"},
            "data": {"ingress": json.dumps({"disableIngressCreation": False, "kept": 1})},
        }
        ingress = json.loads(addons._fitted(config, self.AUTHORITY)["data"]["ingress"])
        ours = ("disableIngressCreation", "disableIstioVirtualHost", "enableGatewayApi")
        assert ingress == {**dict.fromkeys(ours, True), "kept": 1}

    def test_another_kind_of_object_is_left_alone(self):
        item = {"kind": "Service", "metadata": {"name": "x"}, "spec": {}}
        assert addons._fitted(json.loads(json.dumps(item)), self.AUTHORITY) == item

    def test_a_bare_equals_sign_is_text(self):
        assert addons._documents("enum: [=, '!=']\n---\n") == [{"enum": ["=", "!="]}]

    def test_manifests_are_filled_in_whole(self):
        (gateway,) = [
            item
            for item in addons._manifests(
                "gateway", envoy="e:1", gateway_port="30080", latency_edges_ms="[1, 2.5]"
            )
            if item["kind"] == "EnvoyProxy"
        ]
        kubernetes_ = gateway["spec"]["provider"]["kubernetes"]
        (port,) = kubernetes_["envoyService"]["patch"]["value"]["spec"]["ports"]
        assert port["nodePort"] == 30080
        patch = gateway["spec"]["bootstrap"]["jsonPatches"][1]["value"]
        assert patch["histogram_bucket_settings"][0]["buckets"] == [1, 2.5]
        with pytest.raises(KeyError):
            addons._manifests("gateway", envoy="e:1")

    def test_what_is_applied_is_not_applied_again(self, layout: Layout):
        class Fake(Kubectl):
            def __init__(self) -> None:
                self.applied: list[str] = []
                self.waited: list[str] = []

            def apply(self, objects):
                self.applied += [item["kind"] for item in objects]

            def wait(self, condition, resource, namespace):
                self.waited.append(f"{namespace}/{resource}={condition}")

        first = addons.Addon("one", [{"kind": "A"}], available=("ns/one",))
        second = addons.Addon("two", [{"kind": "B"}])
        kubectl = Fake()
        addons.apply(layout, kubectl, [first], Silent())
        addons.apply(layout, kubectl, [first, second], Silent())
        assert kubectl.applied == ["A", "B"]
        assert kubectl.waited == ["ns/deployment/one=Available"] * 2
        changed = addons.Addon("one", [{"kind": "A", "more": 1}])
        addons.apply(layout, kubectl, [changed, second], Silent())
        assert kubectl.applied == ["A", "B", "A"]


class TestKubectl:
    @staticmethod
    def program(folder: Path, script: str) -> Kubectl:
        file = folder / "kubectl"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        return Kubectl(file, folder / "kubeconfig")

    def test_apply_outwaits_a_webhook_that_starts(self, tmp_path: Path):
        script = f"""
            cat > {tmp_path}/given
            if [ -e {tmp_path}/tried ]; then exit 0; fi
            touch {tmp_path}/tried; echo "failed calling webhook" >&2; exit 1"""
        self.program(tmp_path, script).apply([{"kind": "A"}])
        assert json.loads((tmp_path / "given").read_text())["items"] == [{"kind": "A"}]

    def test_apply_tells_at_once_what_will_not_pass(self, tmp_path: Path):
        kubectl = self.program(tmp_path, f'echo x >> {tmp_path}/tries; echo "invalid" >&2; exit 1')
        with pytest.raises(ToolError, match="invalid"):
            kubectl.apply([{"kind": "A"}])
        assert (tmp_path / "tries").read_text() == "x\n"

    def test_wait_outwaits_an_object_that_is_not_there_yet(self, tmp_path: Path):
        script = f"""
            if [ -e {tmp_path}/tried ]; then echo "$@" > {tmp_path}/asked; exit 0; fi
            touch {tmp_path}/tried; echo "Error from server (NotFound): x" >&2; exit 1"""
        self.program(tmp_path, script).wait("Available", "deployment/x", "ns")
        asked = (tmp_path / "asked").read_text()
        assert "wait --for=condition=Available deployment/x --namespace=ns" in asked

    def test_another_refusal_is_told(self, tmp_path: Path):
        kubectl = self.program(tmp_path, 'echo "error: timed out waiting" >&2; exit 1')
        with pytest.raises(ToolError, match="timed out waiting"):
            kubectl.wait("Available", "deployment/x", "ns")


class TestImages:
    def test_only_another_build_is_imported(self):
        class Fake:
            def __init__(self) -> None:
                self.taken: list[str] = []

            def labels(self):
                return {"r/a:1": "modelramp.dev/key=11", "r/b:1": "modelramp.dev/key=old"}

            def take(self, archive):
                self.taken.append(archive.name)

            def label(self, reference, name, value):
                self.taken.append(f"{reference} {name}={value}")

        images = Fake()
        built = [
            BuiltImage(f"r/{name}:1", Path(f"{name}.tar"), key)
            for name, key in (("a", "11"), ("b", "22"), ("c", "33"))
        ]
        control._take_images(images, built, Silent())  # type: ignore[arg-type]
        assert images.taken == [
            "b.tar",
            "r/b:1 modelramp.dev/key=22",
            "c.tar",
            "r/c:1 modelramp.dev/key=33",
        ]


class TestMachine:
    def test_says_that_it_needs_root_and_what_else_there_is(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        monkeypatch.setattr(machine.shutil, "which", lambda name: None if name == "ip" else name)
        problems = machine.missing_of_the_machine()
        assert len(problems) == 2
        assert "needs root" in problems[0]
        assert "embedded target" in problems[0]
        assert problems[1] == "ip is not on PATH: install iproute2"

    def test_no_cluster_has_no_status_and_nothing_to_end(
        self, layout: Layout, monkeypatch: pytest.MonkeyPatch
    ):
        # Never those of this machine, which may have a cluster.
        monkeypatch.setattr(machine, "HOST_LINK", "no-such-link")
        monkeypatch.setattr(machine, "_other_cluster", lambda _: None)
        monkeypatch.setattr(machine, "CGROUPS", layout.root / "cgroups")
        (layout.root / "cgroups" / "memory" / "modelramp" / "pod").mkdir(parents=True)
        assert machine.status(layout) is None
        layout.node.mkdir()
        (layout.node / "left").touch()
        assert machine.stop_node(layout) == 0
        assert not layout.node.exists()
        assert not (layout.root / "cgroups" / "memory" / "modelramp").exists()

    def test_controllers_of_version_2_are_handed_on_as_far_as_they_can_be(self, tmp_path: Path):
        """As a kernel would: only what the parent has handed on can be handed on."""
        group = tmp_path / "modelramp"
        group.mkdir()
        (tmp_path / "cgroup.controllers").write_text("cpu memory hugetlb\n")
        (group / "cgroup.controllers").write_text("cpu memory\n")
        handed: list[tuple[str, str]] = []

        class Kernel(type(tmp_path)):
            def write_text(self, data: str, *args: object, **kwargs: object) -> int:
                if data == "+hugetlb":
                    raise OSError(2, "No such file or directory")
                handed.append((self.parent.name, data))
                return len(data)

        node.prepare_control_groups(Kernel(tmp_path))
        root = tmp_path.name
        assert handed == [
            (root, "+cpu"),
            (root, "+memory"),
            ("modelramp", "+cpu"),
            ("modelramp", "+memory"),
        ]

    def test_each_hierarchy_of_version_1_gets_a_group_that_pods_can_run_in(self, tmp_path: Path):
        for name in ("cpuset", "memory"):
            (tmp_path / name).mkdir()
        (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-1\n")
        node.prepare_control_groups(tmp_path)
        assert (tmp_path / "memory" / "modelramp").is_dir()
        assert (tmp_path / "cpuset" / "modelramp" / "cpuset.cpus").read_text() == "0-1\n"

    def test_one_at_a_time_starts_or_ends_it(self, layout: Layout, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(machine, "LOCK", layout.root / "lock")
        monkeypatch.setattr(machine, "missing_of_the_machine", list)
        refused = pytest.raises(RuntimeTargetError, match="another `modelramp`")
        with machine.locked(), refused, machine.locked():
            pass
        with machine.locked():
            pass

    def test_another_users_cluster_is_refused_and_left_alone(
        self, layout: Layout, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(machine, "HOST_LINK", "lo")  # one that is there
        touched: list[object] = []
        monkeypatch.setattr(machine, "_ip", lambda *arguments: touched.append(arguments))
        monkeypatch.setattr(machine, "_remove_groups", touched.append)
        code = "import time; time.sleep(30)"
        other = subprocess.Popen(
            [sys.executable, "-c", code, machine.NODE_MODULE],
            env={**os.environ, MARK: "/elsewhere/cluster"},
        )
        try:
            give_up_at = time.monotonic() + 10
            while machine._other_cluster(layout) is None:
                assert time.monotonic() < give_up_at
            request = Request({}, "pause:1")
            with pytest.raises(RuntimeTargetError, match="runs on this machine"):
                machine.start_node(layout, request)
            assert machine.stop_node(layout) == 0
            assert other.poll() is None
            assert touched == []
        finally:
            other.kill()
            other.wait()

    def test_a_request_survives_its_file(self, layout: Layout):
        request = Request({"etcd": Path("/x/etcd")}, "pause:1")
        request.write(layout.request_file)
        assert Request.read(layout.request_file) == request


def test_orphans_are_reaped_and_the_supervisors_children_are_left():
    """In a process that adopts orphans, as the first one of the node does."""
    code = """
import ctypes, os, subprocess, time
from local.cluster.node import _reap
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
subprocess.run(["sh", "-c", "sleep 0.1 & sleep 0.1 &"])  # two orphans
own = subprocess.Popen(["sh", "-c", "sleep 0.3; exit 7"])
time.sleep(0.2)
_reap({own.pid})
try:
    while os.waitpid(-1, os.WNOHANG)[0]:
        raise SystemExit("an orphan was left")
except ChildProcessError:
    raise SystemExit("the supervisor's own child was reaped")
time.sleep(0.2)
_reap({own.pid})
print(own.wait())
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr


def test_every_program_of_the_cluster_has_a_pinned_source():
    folder = Path(programs.__file__).parents[1] / "go"
    for tool in (*programs.NODE_TOOLS, *programs.IMAGE_TOOLS):
        assert tool.go or tool.debian, tool.name
        if tool.go:
            module = (folder / tool.go.folder / "go.mod").read_text().split()[1]
            assert module == f"modelramp/local/go/{tool.go.folder}"
            assert (folder / tool.go.folder / "go.sum").exists()
    assert TOOLS["versitygw"] in programs.NODE_TOOLS
