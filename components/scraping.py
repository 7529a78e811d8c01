"""How Prometheus finds the pods of a model service."""

import json
from typing import Any, Final, TypedDict

import pulumi
import pulumi_kubernetes as kubernetes

from components.arguments import refuse
from components.pods import CONTAINER
from models.names import API_PREFIX, SERVICE_LABEL, VERSION_LABEL

SCRAPE_CONFIG_LABEL: Final = f"{API_PREFIX}/scrape-config"
"""Label of the ConfigMaps that hold a file for `scrape_config_files`."""

_META: Final = "__meta_kubernetes_pod"


class ScrapingArgs(TypedDict):
    """Arguments of `Scraping`."""

    namespace: str
    """Namespace of the pods."""

    port: int
    """Port of the model server's metrics; the container need not declare it."""

    path: str
    """Their path, such as /metrics."""

    operator: bool
    """Whether prometheus-operator runs Prometheus: then a PodMonitor, else a ConfigMap with a file
    for Prometheus's own `scrape_config_files`."""


class Scraping(pulumi.ComponentResource):
    """Has all versions' pods scraped, with the labels `model_service` and `model_version`."""

    def __init__(
        self, name: str, args: ScrapingArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        _validate(args)
        super().__init__("modelramp:index:Scraping", name, dict(args), opts)
        if args["operator"]:
            kubernetes.apiextensions.CustomResource(
                f"{name}-pods",
                api_version="monitoring.coreos.com/v1",
                kind="PodMonitor",
                metadata={"name": name, "namespace": args["namespace"]},
                spec={
                    "selector": {"matchLabels": {SERVICE_LABEL: name}},
                    "podTargetLabels": [SERVICE_LABEL, VERSION_LABEL],
                    "podMetricsEndpoints": [
                        {
                            "path": args["path"],
                            "relabelings": [_camel(rule) for rule in _targets(args)],
                        }
                    ],
                },
                # It was a child of ModelService.
                opts=pulumi.ResourceOptions(parent=self, aliases=[_former(name)]),
            )
        else:
            kubernetes.core.v1.ConfigMap(
                f"{name}-scrape-config",
                metadata={
                    "name": f"{name}-scrape-config",
                    "namespace": args["namespace"],
                    "labels": {SCRAPE_CONFIG_LABEL: "true"},
                },
                data={f"{name}.yaml": json.dumps(_scrape_configs(name, args), indent=2)},
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.register_outputs({})


def _former(name: str) -> pulumi.Alias:
    parent = pulumi.create_urn(name, "modelramp:index:ModelService")
    return pulumi.Alias(name=f"{name}-pods", parent=parent)


def _targets(args: ScrapingArgs) -> list[dict[str, Any]]:
    """One target a pod: of all containers' ports, the model server's, with the port of metrics."""
    return [
        {
            "source_labels": [f"{_META}_container_name"],
            "regex": CONTAINER,
            "action": "keep",
        },
        {
            "source_labels": ["__address__"],
            "regex": r"([^:]+|\[.+\])(?::\d+)?",  # of IPv6 too
            "target_label": "__address__",
            "replacement": f"$1:{int(args['port'])}",
            "action": "replace",
        },
    ]


def _camel(rule: dict[str, Any]) -> dict[str, Any]:
    """Writes a relabelling rule as prometheus-operator does."""
    names = {"source_labels": "sourceLabels", "target_label": "targetLabel"}
    return {names.get(key, key): value for key, value in rule.items()}


def _scrape_configs(name: str, args: ScrapingArgs) -> dict[str, Any]:
    def label(source: str, target: str) -> dict[str, Any]:
        return {"source_labels": [source], "target_label": target}

    namespace = args["namespace"]
    return {
        "scrape_configs": [
            {
                "job_name": f"{namespace}/{name}",
                "metrics_path": args["path"],
                "kubernetes_sd_configs": [
                    {
                        "role": "pod",
                        "namespaces": {"names": [namespace]},
                        "selectors": [{"role": "pod", "label": f"{SERVICE_LABEL}={name}"}],
                    }
                ],
                "relabel_configs": [
                    {
                        "source_labels": [f"{_META}_phase"],
                        "regex": "Running",
                        "action": "keep",
                    },
                    *_targets(args),
                    label("__meta_kubernetes_namespace", "namespace"),
                    label(f"{_META}_name", "pod"),
                    label(f"{_META}_container_name", "container"),
                    *(
                        label(f"{_META}_label_{it.replace('-', '_')}", it.replace("-", "_"))
                        for it in (SERVICE_LABEL, VERSION_LABEL)
                    ),
                ],
            }
        ]
    }


def _validate(args: ScrapingArgs) -> None:
    """Raises `InputPropertiesError` with everything that is wrong."""
    found: list[tuple[str, str]] = []
    if not 1 <= args["port"] <= 65535:
        found.append(("port", f"must be from 1 to 65535, got {args['port']:g}"))
    if not args["path"].startswith("/"):
        found.append(("path", f"must begin with /, got {args['path']!r}"))
    refuse("Scraping", found)
