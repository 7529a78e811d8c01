"""Where a stack's Prometheus and gateway answer."""

from __future__ import annotations

from local.embedded import control
from local.home import Home
from models.stack import Cluster


def prometheus_url(home: Home, cluster: Cluster) -> str:
    """Returns where metrics are; an embedded target that is down has none, which means no data."""
    if cluster.prometheus:
        return cluster.prometheus
    now = control.status(home)
    return now["endpoints"]["prometheus"] if now else "http://127.0.0.1:9"


def gateway_url(home: Home, cluster: Cluster) -> str | None:
    """Returns where smoke tests are sent, or None where nothing takes them."""
    if cluster.gateway_url:
        return cluster.gateway_url
    now = control.status(home) if cluster.target == "embedded" else None
    return now["endpoints"]["gateway"] if now else None
