"""The stand-ins by themselves; with the real engine: test_plugins_conformance.py."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from local import tools
from local.home import Home
from local.plugins import environment as environment_module
from local.plugins import rendered
from local.plugins.differences import differences, prune
from local.plugins.environment import pulumi_environment
from local.plugins.kubernetes_provider import KubernetesProvider
from local.plugins.properties import from_struct, to_struct
from local.plugins.protocol import provider_pb2, provider_pb2_grpc
from models.errors import ToolError

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
ROUTE_TYPE = "kubernetes:gateway.networking.k8s.io/v1:HTTPRoute"


def secret(value: object) -> dict[str, object]:
    return {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "value": value}


def manifest(kind: str = "HTTPRoute", name: str = "fraud", **fields: Any) -> dict[str, Any]:
    api_versions = {"HTTPRoute": "gateway.networking.k8s.io/v1"}
    return {
        "apiVersion": api_versions.get(kind, "v1"),
        "kind": kind,
        "metadata": {"name": name, "namespace": "models"},
        **fields,
    }


@pytest.fixture
def provider(tmp_path: Path) -> KubernetesProvider:
    provider = KubernetesProvider()
    variables = {"kubernetes:config:renderYamlToDirectory": str(tmp_path / "out")}
    provider.Configure(provider_pb2.ConfigureRequest(variables=variables), CONTEXT)
    return provider


class Context(grpc.ServicerContext):
    """What the provider's methods get from gRPC; `abort` is all they use."""


Context.__abstractmethods__ = frozenset()
CONTEXT = Context()  # type: ignore[abstract]


def check(
    provider: KubernetesProvider,
    news: dict[str, Any],
    olds: dict[str, Any] | None = None,
    type_token: str = ROUTE_TYPE,
) -> tuple[dict[str, Any], list[str]]:
    response = provider.Check(
        provider_pb2.CheckRequest(
            type=type_token,
            name="route",
            olds=to_struct(olds or {}),
            news=to_struct(news),
            randomSeed=b"seed",
        ),
        CONTEXT,
    )
    return from_struct(response.inputs), [failure.reason for failure in response.failures]


def create(provider: KubernetesProvider, inputs: dict[str, Any]) -> Any:
    request = provider_pb2.CreateRequest(properties=to_struct(inputs))
    return provider.Create(request, CONTEXT)


def diff(provider: KubernetesProvider, state: Any, news: dict[str, Any]) -> Any:
    return provider.Diff(provider_pb2.DiffRequest(olds=state, news=to_struct(news)), CONTEXT)


class TestDifferences:
    @pytest.mark.parametrize(
        ("old", "new", "expected"),
        [
            ({"a": 1}, {"a": 1}, {}),
            ({"a": 1}, {"a": 2}, {"a": "UPDATE"}),
            ({"a": 1}, {}, {"a": "DELETE"}),
            ({}, {"a": {"b": 1}}, {"a": "ADD"}),
            ({"a": [1, 2, 3]}, {"a": [1, 5]}, {"a[1]": "UPDATE", "a[2]": "DELETE"}),
            ({"a": [{"b": 1}]}, {"a": [{"b": 1}, {"b": 2}]}, {"a[1]": "ADD"}),
            ({"a": {"x.y/z": 1}}, {"a": {"x.y/z": 2}}, {'a["x.y/z"]': "UPDATE"}),
            ({"a": 1}, {"a": UNKNOWN}, {"a": "UPDATE"}),
            ({"a": UNKNOWN}, {"a": UNKNOWN}, {"a": "UPDATE"}),
            ({"a": 1}, {"a": "1"}, {"a": "UPDATE"}),
            ({"a": 1}, {"a": True}, {"a": "UPDATE"}),
            ({"a": {"b": 1}}, {"a": [1]}, {"a": "UPDATE"}),
        ],
    )
    def test_names_exactly_what_differs(
        self, old: dict[str, Any], new: dict[str, Any], expected: dict[str, str]
    ) -> None:
        assert {found.text: found.kind for found in differences(old, new)} == expected

    @pytest.mark.parametrize(
        ("old", "new", "replaces"),
        [
            (manifest(), manifest(name="other"), ["metadata.name"]),
            (manifest(spec={"a": 1}), manifest(spec={"a": 2}), []),
            (
                manifest("ConfigMap", data={"a": "1"}),
                manifest("ConfigMap", data={"a": "2"}),
                ["data.a"],
            ),
            (manifest("ConfigMap", data={"a": "1"}), manifest("ConfigMap"), ["data"]),
            ({"apiVersion": "v1", "kind": "Pod"}, manifest("Pod"), ["metadata"]),
        ],
    )
    def test_names_what_replaces(
        self, old: dict[str, Any], new: dict[str, Any], replaces: list[str]
    ) -> None:
        assert [found.text for found in differences(old, new) if found.replaces] == replaces

    def test_mutable_config_map_is_updated(self) -> None:
        old, new = manifest("ConfigMap", data={"a": "1"}), manifest("ConfigMap", data={"a": "2"})
        (found,) = differences(old, new, mutable=frozenset({"ConfigMap"}))
        assert not found.replaces

    def test_prune_keeps_what_was_declared(self) -> None:
        live = {"spec": {"a": 1, "default": 2}, "rules": [{"a": 1, "b": 2}, {"a": 3}], "status": {}}
        declared = {"spec": {"a": 0}, "rules": [{"a": 0}]}
        assert prune(live, declared) == {"spec": {"a": 1}, "rules": [{"a": 1}]}


TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=20) | st.sampled_from(
    ["y", "n", "No", "on", "null", "~", "1e3", "1.0", "0x1f", "1:30", "0o7", "a\nb\n", "- a", "#"]
)
VALUES = st.recursive(
    TEXT | st.booleans() | st.integers(-(2**50), 2**50),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(TEXT.filter(lambda key: not key.startswith("x")), children, max_size=3)
    ),
    max_leaves=8,
)


class TestRendered:
    @settings(max_examples=200, deadline=None)
    @given(spec=VALUES)
    def test_every_reader_reads_what_was_written(
        self, spec: object, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder = tmp_path_factory.getbasetemp() / "rendered"
        written = manifest(spec=spec)
        file = rendered.write(written, folder)
        assert rendered.read(file) == written
        assert yaml.safe_load(file.read_text(encoding="utf-8")) == written
        assert YAML(typ="safe", pure=True).load(file) == written

    @pytest.mark.parametrize(
        ("written", "name"),
        [
            (manifest(), "1-manifest/gateway.networking.k8s.io_v1-httproute-models-fraud.yaml"),
            (
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "models"}},
                "1-manifest/v1-namespace-default-models.yaml",
            ),
            (
                {
                    "apiVersion": "apiextensions.k8s.io/v1",
                    "kind": "CustomResourceDefinition",
                    "metadata": {"name": "a.b.c"},
                },
                "0-crd/apiextensions.k8s.io_v1-customresourcedefinition-default-a.b.c.yaml",
            ),
            (
                manifest("ClusterRole", name="system:x"),
                "1-manifest/v1-clusterrole-models-system:x.yaml",
            ),
        ],
    )
    def test_files_are_named_as_by_the_official_provider(
        self, written: dict[str, Any], name: str, tmp_path: Path
    ) -> None:
        assert rendered.write(written, tmp_path) == tmp_path / name

    def test_schema_extensions_get_their_dashes(self, tmp_path: Path) -> None:
        written = manifest(spec={"x_kubernetes_list_type": "map"})
        file = rendered.write(written, tmp_path)
        assert "x-kubernetes-list-type: map" in file.read_text()
        assert rendered.read(file) == written

    def test_failed_write_keeps_the_old_file_and_leaves_no_other(self, tmp_path: Path) -> None:
        file = rendered.write(manifest(spec={"a": 1}), tmp_path)
        with pytest.raises(yaml.YAMLError):
            rendered.write(manifest(spec={"a": object()}), tmp_path)
        assert rendered.read(file) == manifest(spec={"a": 1})
        assert list(file.parent.iterdir()) == [file]

    @pytest.mark.parametrize("text", ["", "- a\n", "a: [\n"])
    def test_what_is_no_object_is_refused(self, text: str, tmp_path: Path) -> None:
        file = tmp_path / "a.yaml"
        file.write_text(text)
        with pytest.raises(ValueError, match=r"a\.yaml"):
            rendered.read(file)


class TestProvider:
    def test_names_itself_once(self, provider: KubernetesProvider) -> None:
        first, failures = check(provider, {"spec": {"a": 1}})
        assert failures == []
        assert first["apiVersion"] == "gateway.networking.k8s.io/v1"
        assert first["kind"] == "HTTPRoute"
        assert first["metadata"]["name"].startswith("route-")
        assert first["metadata"]["namespace"] == "default"
        again, _ = check(provider, {"spec": {"a": 2}}, olds=first)
        assert again["metadata"] == first["metadata"]
        renamed, _ = check(provider, manifest(), olds=first)
        assert renamed["metadata"]["name"] == "fraud"

    def test_cluster_scoped_kinds_get_no_namespace(self, provider: KubernetesProvider) -> None:
        news = {"metadata": {"name": "models"}}
        inputs, _ = check(provider, news, type_token="kubernetes:core/v1:Namespace")  # noqa: S106
        assert inputs == {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "models"}}
        assert create(provider, inputs).id == "models"

    def test_fields_set_by_a_cluster_are_dropped(self, provider: KubernetesProvider) -> None:
        news = manifest()
        news["metadata"] |= {"uid": "1", "resourceVersion": "2"}
        assert check(provider, news)[0] == manifest()

    @pytest.mark.parametrize(
        ("news", "reason"),
        [
            (manifest(spec={"key": [secret("hush")]}), r"spec\.key\[0\] is a secret"),
            (manifest(spec=secret({"a": UNKNOWN})), "spec is a secret"),
            (manifest("Secret", stringData={"key": "hush"}), "not rendered"),
            (manifest("Secret", data={"key": UNKNOWN}), "not rendered"),
            (manifest("RouteList"), "needs the official provider"),
            (manifest() | {"metadata": {"generateName": "a-"}}, "generateName"),
        ],
    )
    def test_refuses_what_must_not_be_rendered(
        self, provider: KubernetesProvider, news: dict[str, Any], reason: str
    ) -> None:
        _, failures = check(provider, news)
        assert len(failures) == 1
        assert re.search(reason, failures[0])
        assert "hush" not in failures[0]

    def test_secret_without_values_passes(self, provider: KubernetesProvider) -> None:
        assert check(provider, manifest("Secret", type="Opaque"))[1] == []

    def test_preview_of_create_and_update_touches_nothing(
        self, provider: KubernetesProvider, tmp_path: Path
    ) -> None:
        inputs = manifest(spec={"url": UNKNOWN})
        created = provider.Create(
            provider_pb2.CreateRequest(properties=to_struct(inputs), preview=True), CONTEXT
        )
        assert (created.id, from_struct(created.properties)) == ("", inputs)
        updated = provider.Update(
            provider_pb2.UpdateRequest(news=to_struct(inputs), preview=True), CONTEXT
        )
        assert from_struct(updated.properties) == inputs
        assert not (tmp_path / "out").exists()

    def test_state_is_as_the_official_provider_keeps_it(self, provider: KubernetesProvider) -> None:
        created = create(provider, manifest(spec={"weight": 5}))
        state = from_struct(created.properties)
        assert created.id == "models/fraud"
        assert state["spec"] == {"weight": 5}
        assert state["__inputs"] == manifest(spec={"weight": 5})
        assert state["__initialApiVersion"] == "gateway.networking.k8s.io/v1"
        assert state["__fieldManager"].startswith("pulumi-kubernetes-")
        updated = provider.Update(
            provider_pb2.UpdateRequest(
                olds=created.properties, news=to_struct(manifest(spec={"weight": 9}))
            ),
            CONTEXT,
        )
        after = from_struct(updated.properties)
        assert after["__fieldManager"] == state["__fieldManager"]
        assert after["spec"] == {"weight": 9}

    def test_replacing_under_the_same_name_deletes_first(
        self, provider: KubernetesProvider
    ) -> None:
        state = create(provider, manifest("ConfigMap", data={"a": "1"})).properties
        same_name = diff(provider, state, manifest("ConfigMap", data={"a": "2"}))
        assert (list(same_name.replaces), same_name.deleteBeforeReplace) == (["data.a"], True)
        renamed = diff(provider, state, manifest("ConfigMap", name="b", data={"a": "1"}))
        assert (list(renamed.replaces), renamed.deleteBeforeReplace) == (["metadata.name"], False)
        kind = renamed.detailedDiff["metadata.name"].kind
        assert kind == provider_pb2.PropertyDiff.UPDATE_REPLACE

    def test_autonamed_is_replaced_by_another_name(self, provider: KubernetesProvider) -> None:
        config_map = "kubernetes:core/v1:ConfigMap"
        inputs, _ = check(provider, {"data": {"a": "1"}}, type_token=config_map)
        state = create(provider, inputs).properties
        changed = diff(provider, state, inputs | {"data": {"a": "2"}})
        assert (list(changed.replaces), changed.deleteBeforeReplace) == (["data.a"], False)

    def test_secret_marks_in_the_old_state_are_no_difference(
        self, provider: KubernetesProvider
    ) -> None:
        state = from_struct(create(provider, manifest(spec={"a": 1})).properties)
        state["spec"] = secret(state["spec"])
        response = diff(provider, to_struct(state), manifest(spec={"a": 1}))
        assert response.changes == provider_pb2.DiffResponse.DIFF_NONE

    def test_read_imports_by_id(self, provider: KubernetesProvider) -> None:
        create(provider, manifest(spec={"a": 1}))
        found = provider.Read(provider_pb2.ReadRequest(type=ROUTE_TYPE, id="models/fraud"), CONTEXT)
        assert from_struct(found.inputs) == manifest(spec={"a": 1})
        gone = provider.Read(provider_pb2.ReadRequest(type=ROUTE_TYPE, id="models/no"), CONTEXT)
        assert gone.id == ""

    def test_delete_twice_is_no_error(self, provider: KubernetesProvider, tmp_path: Path) -> None:
        created = create(provider, manifest())
        request = provider_pb2.DeleteRequest(id=created.id, properties=created.properties)
        provider.Delete(request, CONTEXT)
        provider.Delete(request, CONTEXT)
        assert not list((tmp_path / "out").rglob("*.yaml"))

    def test_options_that_contradict_one_another_are_refused(
        self, provider: KubernetesProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KUBECONFIG", "/ambient")

        def failures(news: dict[str, Any]) -> list[str]:
            request = provider_pb2.CheckRequest(news=to_struct(news))
            return [failure.property for failure in provider.CheckConfig(request, CONTEXT).failures]

        render = {"renderYamlToDirectory": "out"}
        assert failures({}) == []
        assert failures({"alwaysRender": "true"}) == ["alwaysRender"]
        assert failures({"enableServerSideApply": "false"}) == ["enableServerSideApply"]
        assert failures(render) == []
        assert failures(render | {"kubeconfig": "/ambient"}) == []
        assert failures(render | {"kubeconfig": "/mine", "context": "c"}) == [
            "context",
            "kubeconfig",
        ]

    def test_other_folder_replaces_all(self, provider: KubernetesProvider) -> None:
        request = provider_pb2.DiffRequest(
            olds=to_struct({"renderYamlToDirectory": "a", "namespace": "x"}),
            news=to_struct({"renderYamlToDirectory": "b", "namespace": "y"}),
        )
        response = provider.DiffConfig(request, CONTEXT)
        assert list(response.diffs) == ["namespace", "renderYamlToDirectory"]
        assert list(response.replaces) == ["renderYamlToDirectory"]


class TestProcess:
    """The stand-ins as the engine starts them."""

    @staticmethod
    def start(module: str) -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"local.plugins.{module}", "127.0.0.1:1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        return process, int(process.stdout.readline())

    @pytest.mark.parametrize("module", ["kubernetes_provider", "language_host"])
    @pytest.mark.parametrize("ending", ["SIGINT", "SIGTERM", "engine gone"])
    def test_ends_quietly(self, module: str, ending: str) -> None:
        process, _ = self.start(module)
        if ending == "engine gone":
            assert process.stdin
            process.stdin.close()
        else:
            process.send_signal(signal.Signals[ending])
        assert process.wait(timeout=5) == 0
        assert process.stderr
        assert process.stderr.read() == ""

    def test_functions_of_the_official_provider_are_refused_clearly(self) -> None:
        process, port = self.start("kubernetes_provider")
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = provider_pb2_grpc.ResourceProviderStub(channel)
                with pytest.raises(grpc.RpcError) as caught:
                    stub.Invoke(provider_pb2.InvokeRequest(tok="kubernetes:yaml:decode"), timeout=5)
            assert "kubernetes:yaml:decode needs the official provider" in str(caught.value)
        finally:
            process.terminate()
            process.wait(timeout=5)

    def test_provider_does_not_import_the_sdk(self) -> None:
        code = "import sys, local.plugins.kubernetes_provider, local.plugins.language_host; "
        code += "print('pulumi' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert done.stdout == b"False\n"


class TestEnvironment:
    @pytest.fixture(autouse=True)
    def nothing_official(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A CLI without plugins, no network, an empty home folder."""
        cli = tmp_path / "cli" / "pulumi"
        cli.parent.mkdir()
        cli.write_text("")

        def ensure(name: str, _: tools.Progress) -> Path:
            if name == "pulumi":
                return cli
            raise ToolError("no network")

        monkeypatch.setattr(environment_module, "ensure", ensure)
        monkeypatch.setenv("HOME", str(tmp_path / "user"))
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        monkeypatch.setenv("KUBECONFIG", "/somebody/elses")
        monkeypatch.delenv("PULUMI_HOME", raising=False)
        monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)

    @staticmethod
    def plugins(home: Home) -> dict[str, str]:
        found = (home.path / "pulumi-home" / "plugins").glob("*/*")
        return {file.parent.name: file.read_text() for file in found}

    def test_keeps_apart_from_the_users_own(self, tmp_path: Path) -> None:
        home = Home(tmp_path / "project")
        environment = pulumi_environment(home)
        assert environment["PATH"] == f"{tmp_path}/cli:/usr/bin:/bin"
        assert environment["PULUMI_BACKEND_URL"] == f"file://{tmp_path}/project/.modelramp/pulumi"
        assert home.pulumi_state.is_dir()
        assert environment["PULUMI_HOME"] == f"{tmp_path}/project/.modelramp/pulumi-home"
        assert environment["PULUMI_CONFIG_PASSPHRASE"] == ""
        assert Path(environment["KUBECONFIG"]).read_text() == ""

    def test_a_passphrase_is_not_overwritten(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "mine")
        assert pulumi_environment(Home(tmp_path))["PULUMI_CONFIG_PASSPHRASE"] == "mine"  # noqa: S105

    def test_stand_ins_where_nothing_official_is(self, tmp_path: Path) -> None:
        home = Home(tmp_path)
        pulumi_environment(home)
        plugins = self.plugins(home)
        assert "local.plugins.language_host" in plugins["language-python-v3.259.0"]
        assert "local.plugins.kubernetes_provider" in plugins["resource-kubernetes-v4.34.2"]
        for file in (home.path / "pulumi-home" / "plugins").glob("*/*"):
            assert file.stat().st_mode & stat.S_IXUSR
            assert sys.executable in file.read_text()

    def test_users_plugin_takes_the_place_of_a_stand_in(self, tmp_path: Path) -> None:
        home = Home(tmp_path)
        pulumi_environment(home)
        folder = tmp_path / "user" / ".pulumi" / "plugins" / "resource-kubernetes-v4.34.2"
        folder.mkdir(parents=True)
        (folder / "pulumi-resource-kubernetes").write_text("official")
        pulumi_environment(home)
        assert self.plugins(home)["resource-kubernetes-v4.34.2"] == "official"
        assert (folder / "pulumi-resource-kubernetes").read_text() == "official"

        (folder / "pulumi-resource-kubernetes").unlink()
        pulumi_environment(home)
        assert "kubernetes_provider" in self.plugins(home)["resource-kubernetes-v4.34.2"]

    def test_inside_itself_changes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home = Home(tmp_path)
        first = pulumi_environment(home)
        before = self.plugins(home)
        monkeypatch.setenv("PULUMI_HOME", first["PULUMI_HOME"])
        assert pulumi_environment(home)["PULUMI_HOME"] == first["PULUMI_HOME"]
        assert self.plugins(home) == before

    def test_plugins_on_path_and_beside_the_cli_are_left_to_the_engine(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "cli" / "pulumi-language-python").write_text("official")
        official = tmp_path / "bin" / "pulumi-resource-kubernetes"
        official.parent.mkdir()
        official.write_text("official")
        official.chmod(0o755)
        monkeypatch.setenv("PATH", f"{official.parent}:{os.environ['PATH']}")
        home = Home(tmp_path)
        pulumi_environment(home)
        assert self.plugins(home) == {}


def test_versions_agree_with_the_sdk() -> None:
    """The engine looks for the plugin version that the SDK names."""
    import pulumi_kubernetes  # noqa: PLC0415

    named = Path(pulumi_kubernetes.__file__).with_name("pulumi-plugin.json")
    version = json.loads(named.read_text())["version"]
    assert tools.TOOLS["pulumi-resource-kubernetes"].version == version
