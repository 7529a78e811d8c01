"""Pod monitors and PrometheusRules as the configuration of one Prometheus on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from local.embedded.manifests import InferenceService
from models.names import DECLARED_PERCENT, SERVICE_LABEL, VERSION_LABEL

SCRAPE_INTERVAL = "1s"
LOOKBACK = "5s"
"""Age after which a sample counts as missing: five scrapes; a stopped process shows at once."""

ENVOY_SERIES = "envoy_(cluster_upstream_rq.*|cluster_membership_healthy|http_downstream_rq.*)"


def configuration(
    pod_monitors: Sequence[Mapping[str, Any]],
    pods: Sequence[tuple[InferenceService, int]],
    envoy_admin_port: int,
    rule_files: Sequence[str],
) -> dict[str, Any]:
    """Returns `prometheus.yml`.

    Args:
        pod_monitors: PodMonitors, as rendered.
        pods: each running model server with its loopback port.
        envoy_admin_port: where Envoy's statistics are.
        rule_files: paths of rule files.
    """
    return {
        "global": {"scrape_interval": SCRAPE_INTERVAL, "evaluation_interval": SCRAPE_INTERVAL},
        "rule_files": list(rule_files),
        "scrape_configs": [
            {
                "job_name": "envoy",
                "metrics_path": "/stats/prometheus",
                "static_configs": [{"targets": [f"127.0.0.1:{envoy_admin_port}"]}],
                "metric_relabel_configs": [
                    {"source_labels": ["__name__"], "regex": ENVOY_SERIES, "action": "keep"}
                ],
            },
            *(
                job
                for monitor in pod_monitors
                for job in _jobs(monitor, [pod for pod in pods if _selects(monitor, pod[0])])
            ),
        ],
    }


def rule_file(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a PrometheusRule as the content of a rule file."""
    return {"groups": rule["spec"]["groups"]}


def services_recorded(rule: Mapping[str, Any]) -> set[str]:
    """Returns the model services whose declared weights a PrometheusRule records."""
    return {
        item["labels"]["service"]
        for group in rule["spec"]["groups"]
        for item in group["rules"]
        if item.get("record") == DECLARED_PERCENT
    }


def _labels(pod: InferenceService) -> dict[str, str]:
    return {SERVICE_LABEL: pod.service, VERSION_LABEL: pod.version}


def _selects(monitor: Mapping[str, Any], pod: InferenceService) -> bool:
    wanted = monitor["spec"]["selector"].get("matchLabels", {})
    return monitor["metadata"].get("namespace", "default") == pod.namespace and all(
        _labels(pod).get(key) == value for key, value in wanted.items()
    )


def _jobs(
    monitor: Mapping[str, Any], pods: Sequence[tuple[InferenceService, int]]
) -> list[dict[str, Any]]:
    """One scrape job per endpoint, named as prometheus-operator names it."""
    metadata, spec = monitor["metadata"], monitor["spec"]
    taken = spec.get("podTargetLabels", [])
    return [
        {
            "job_name": f"{metadata.get('namespace', 'default')}/{metadata['name']}/{index}",
            "metrics_path": endpoint.get("path", "/metrics"),
            "static_configs": [
                {
                    "targets": [f"127.0.0.1:{port}"],
                    "labels": {
                        "namespace": pod.namespace,
                        "pod": f"{pod.name}-{port}",
                        **{
                            key.replace("-", "_"): value
                            for key, value in _labels(pod).items()
                            if key in taken
                        },
                    },
                }
                for pod, port in pods
            ],
        }
        for index, endpoint in enumerate(spec["podMetricsEndpoints"])
    ]
