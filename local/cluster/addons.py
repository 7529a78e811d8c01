"""What is installed on the bare Kubernetes: names, gateway, metrics, KServe, the models' namespace.

Charts and bundles are those of the projects themselves; what is changed in them says why.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

from local.cluster.images import REGISTRY
from local.cluster.kubectl import Kubectl
from local.cluster.layout import (
    DNS_SERVICE,
    DOMAIN,
    GATEWAY_PORT,
    PROMETHEUS_PORT,
    STORE_PORT,
    Layout,
    address,
)
from local.cluster.programs import (
    COREDNS_VERSION,
    ENVOY_GATEWAY_VERSION,
    KSERVE_VERSION,
    PROMETHEUS_OPERATOR_VERSION,
)
from local.commands import run
from local.files import write_json
from local.stores import REGION, Credentials
from local.tools import TOOLS, Progress, shown
from models.metric_sources import METRIC_SOURCES

_MANIFESTS = Path(__file__).with_name("manifests")
_OPERATOR_NAMESPACE = "monitoring"
_RENDER_TIMEOUT_SECONDS = 60

Object = dict[str, Any]


@dataclass(frozen=True)
class Addon:
    """Objects that belong together.

    Attributes:
        name: shown while it is applied.
        objects: in the order in which they are applied.
        available: `namespace/name` of Deployments that must be available in the end.
        conditions: further conditions to wait for, as `(condition, resource, namespace)`.
    """

    name: str
    objects: Sequence[Object]
    available: tuple[str, ...] = ()
    conditions: tuple[tuple[str, str, str], ...] = ()

    @property
    def digest(self) -> str:
        """Changes with any change of any object."""
        return hashlib.sha256(json.dumps(self.objects, sort_keys=True).encode()).hexdigest()


def addons(layout: Layout, programs: Mapping[str, Path]) -> list[Addon]:
    """Returns everything that is installed, in order.

    Args:
        layout: of the cluster.
        programs: where the charts lie, beside the programs.
    """
    bundle = _operator_bundle(programs)  # megabytes, which two of them share
    return [
        Addon(
            "names",
            _manifests(
                "dns",
                coredns=_image("coredns", COREDNS_VERSION),
                domain=DOMAIN,
                dns_service=DNS_SERVICE,
            ),
            available=("kube-system/coredns",),
        ),
        _definitions(programs, bundle),
        _envoy_gateway(programs),
        _prometheus_operator(bundle),
        _kserve(layout, programs),
        _runtimes(programs),
        Addon(
            "gateway",
            _manifests(
                "gateway",
                envoy=_image("envoy", TOOLS["envoy"].version),
                gateway_port=str(GATEWAY_PORT),
                latency_edges_ms=json.dumps(METRIC_SOURCES["mlflow"].latency_edges_ms),
            ),
            conditions=(("Programmed", "gateway/models", "gateway"),),
        ),
        _prometheus(),
        _models(layout),
    ]


def apply(layout: Layout, kubectl: Kubectl, wanted: Sequence[Addon], progress: Progress) -> None:
    """Applies what is not applied yet, and waits until all of it is there.

    What needs something that is still starting is applied again until it is taken.

    Raises:
        ToolError: something was refused, or did not become available in time.
    """
    try:
        applied = json.loads(layout.steps_file.read_text())
    except FileNotFoundError:
        applied = {}
    with shown(progress, "Installing what models need on Kubernetes", 2 * len(wanted), "steps"):
        for addon in wanted:
            if applied.get(addon.name) != addon.digest:
                kubectl.apply(addon.objects)
                applied[addon.name] = addon.digest
                write_json(layout.steps_file, applied)
            progress.advance(1)
        for addon in wanted:
            _wait(kubectl, addon)
            progress.advance(1)


def _wait(kubectl: Kubectl, addon: Addon) -> None:
    for deployment in addon.available:
        namespace, name = deployment.split("/")
        kubectl.wait("Available", f"deployment/{name}", namespace)
    for condition, resource, namespace in addon.conditions:
        kubectl.wait(condition, resource, namespace)


def _image(name: str, version: str) -> str:
    return f"{REGISTRY}/{name}:{version}"


def _manifests(name: str, **values: str) -> list[Object]:
    text = (_MANIFESTS / f"{name}.yaml").read_text(encoding="utf-8")
    return _documents(Template(text).substitute(values))


class _Loader(yaml.CSafeLoader):
    """Reads megabytes of definitions in a second, and a bare `=`, of which YAML 1.1 is unsure."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda _, node: str(node.value))


def _documents(text: str) -> list[Object]:
    return [item for item in yaml.load_all(text, Loader=_Loader) if item]


def _chart(
    programs: Mapping[str, Path], chart: Path, name: str, namespace: str, **values: str
) -> list[Object]:
    settings = [f"--set-string={key}={value}" for key, value in values.items()]
    command = (programs["helm"], "template", name, chart, "--namespace", namespace, *settings)
    return _documents(run(command, folder=chart, timeout_seconds=_RENDER_TIMEOUT_SECONDS))


def _definitions(programs: Mapping[str, Path], bundle: Sequence[Object]) -> Addon:
    """Custom resource definitions, which everything else needs."""
    chart = programs["envoy-gateway"].parent / "charts" / "gateway-helm"
    gateway = chart / "charts" / "crds" / "crds"
    files = [gateway / "gatewayapi-crds.yaml", *sorted((gateway / "generated").glob("*.yaml"))]
    kserve = programs["kserve-manager"].parent / "charts" / "kserve-crd"
    objects = [
        *(item for file in files for item in _documents(file.read_text(encoding="utf-8"))),
        *_chart(programs, kserve, "kserve-crd", "kserve"),
        *bundle,
    ]
    kind = "CustomResourceDefinition"
    return Addon("definitions", [item for item in objects if item["kind"] == kind])


def _operator_bundle(programs: Mapping[str, Path]) -> list[Object]:
    bundle = programs["prometheus-operator"].parent / "bundle.yaml"
    return _documents(bundle.read_text(encoding="utf-8"))


def _envoy_gateway(programs: Mapping[str, Path]) -> Addon:
    namespace = "envoy-gateway-system"
    source = programs["envoy-gateway"].parent / "charts" / "gateway-helm"
    with tempfile.TemporaryDirectory() as folder:
        # The chart in the sources lacks its values, which a release makes of a template.
        chart = shutil.copytree(source, Path(folder, "chart"))
        values = Template((source / "values.tmpl.yaml").read_text(encoding="utf-8"))
        image = {
            "GatewayImage": _image("envoy-gateway", ENVOY_GATEWAY_VERSION),
            "GatewayImagePullPolicy": "IfNotPresent",
        }
        (chart / "values.yaml").write_text(values.safe_substitute(image), encoding="utf-8")
        objects = _chart(programs, chart, "envoy-gateway", namespace, **{"crds.enabled": "false"})
    return Addon(
        "Envoy Gateway",
        [_namespace(namespace), *objects],
        available=(f"{namespace}/envoy-gateway",),
    )


def _prometheus_operator(bundle: Sequence[Object]) -> Addon:
    objects = [_namespace(_OPERATOR_NAMESPACE)]
    for item in bundle:
        if item["kind"] == "CustomResourceDefinition":
            continue
        if "namespace" in item["metadata"]:
            item["metadata"]["namespace"] = _OPERATOR_NAMESPACE
        for subject in item.get("subjects", ()):
            subject["namespace"] = _OPERATOR_NAMESPACE
        if item["kind"] == "Deployment":
            container = item["spec"]["template"]["spec"]["containers"][0]
            container["image"] = _image("prometheus-operator", PROMETHEUS_OPERATOR_VERSION)
            reloader = _image("prometheus-config-reloader", PROMETHEUS_OPERATOR_VERSION)
            container["args"] = [
                f"--prometheus-config-reloader={reloader}" if "reloader=" in argument else argument
                for argument in container["args"]
            ]
        objects.append(item)
    return Addon(
        "Prometheus operator", objects, available=(f"{_OPERATOR_NAMESPACE}/prometheus-operator",)
    )


def _prometheus() -> Addon:
    version = TOOLS["prometheus"].version
    return Addon(
        "Prometheus",
        _manifests(
            "prometheus",
            prometheus=_image("prometheus", version),
            prometheus_version=version,
            prometheus_port=str(PROMETHEUS_PORT),
        ),
        conditions=(("Available", "prometheus/main", _OPERATOR_NAMESPACE),),
    )


def _models(layout: Layout) -> Addon:
    keys = Credentials.of(layout.data)
    return Addon(
        "namespace of the models",
        _manifests(
            "models",
            store=address(STORE_PORT),
            region=REGION,
            access_key=keys.access_key,
            secret_key=keys.secret_key,
        ),
    )


def _kserve(layout: Layout, programs: Mapping[str, Path]) -> Addon:
    """KServe in Standard mode, without cert-manager: our own authority signs its webhooks."""
    namespace = "kserve"
    chart = programs["kserve-manager"].parent / "charts" / "kserve-resources"
    rendered = _chart(
        programs,
        chart,
        "kserve",
        namespace,
        **{
            "kserve.controller.deploymentMode": "Standard",
            "kserve.controller.image": f"{REGISTRY}/kserve-controller",
            "kserve.controller.tag": KSERVE_VERSION,
            "kserve.controller.imagePullPolicy": "IfNotPresent",
            "kserve.storage.image": f"{REGISTRY}/storage-initializer",
            "kserve.storage.tag": KSERVE_VERSION,
        },
    )
    pair = layout.certificates / "kserve-webhook"
    certificate: Object = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": "kserve-webhook-server-cert", "namespace": namespace},
        "stringData": {
            "tls.crt": pair.with_suffix(".crt").read_text(),
            "tls.key": pair.with_suffix(".key").read_text(),
        },
    }
    authority = base64.b64encode(layout.authority.read_bytes()).decode()
    objects = [
        _fitted(item, authority)
        for item in rendered
        if item["kind"] not in {"Certificate", "Issuer"}
        and item["metadata"]["name"] != certificate["metadata"]["name"]
    ]
    return Addon(
        "KServe",
        [_namespace(namespace), certificate, *objects],
        available=(f"{namespace}/kserve-controller-manager",),
    )


def _runtimes(programs: Mapping[str, Path]) -> Addon:
    """The runtimes that KServe ships; their images are not there, their definitions are."""
    chart = programs["kserve-manager"].parent / "charts" / "kserve-runtime-configs"
    values = {"kserve.servingruntime.enabled": "true"}
    return Addon("KServe's runtimes", _chart(programs, chart, "kserve", "kserve", **values))


def _fitted(item: Object, authority: str) -> Object:
    """Fits one of KServe's objects to a cluster without cert-manager and with our own routes."""
    if item["kind"].endswith("WebhookConfiguration"):
        item["metadata"].pop("annotations", None)
        for webhook in item["webhooks"]:
            webhook["clientConfig"]["caBundle"] = authority
    elif item["kind"] == "Deployment":
        pod = item["spec"]["template"]["spec"]
        # The sidecar only guards the controller's own metrics, and there is no image of it.
        pod["containers"] = [it for it in pod["containers"] if it["name"] == "manager"]
        manager = pod["containers"][0]
        manager["resources"]["limits"].pop("cpu")  # a start would take minutes
        for probe in ("livenessProbe", "readinessProbe"):
            manager[probe] |= {"initialDelaySeconds": 2, "periodSeconds": 2}
    elif item["metadata"]["name"] == "inferenceservice-config":
        ingress = json.loads(item["data"]["ingress"])
        ingress |= dict.fromkeys(
            ("disableIngressCreation", "disableIstioVirtualHost", "enableGatewayApi"), True
        )
        item["data"]["ingress"] = json.dumps(ingress)
    return item


def _namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
