"""Where the local cluster keeps its files, and its addresses.

There is one on a machine, for all projects, as there is one network: it lies in the user's cache
folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from local.home import cache_path

# A range kept for tests of networks (RFC 2544), which no real network uses.
HOST_ADDRESS = "198.18.77.1"
NODE_ADDRESS = "198.18.77.2"
NETWORK_BITS = 30

PODS = "10.244.0.0/22"
SERVICES = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
DOMAIN = "cluster.local"

API_PORT = 6443
STORE_PORT = 7070
MLFLOW_PORT = 5000
GATEWAY_PORT = 30080
PROMETHEUS_PORT = 30090

NODE_NAME = "modelramp"
NODE_LABEL = "modelramp.dev/local-cluster"
"""Carried by the node: what kills and deletes runs only where it is."""


def address(port: int) -> str:
    """Returns `address:port` of something that the node serves."""
    return f"{NODE_ADDRESS}:{port}"


ENDPOINTS = {
    "kubernetes": f"https://{address(API_PORT)}",
    "gateway": f"http://{address(GATEWAY_PORT)}",
    "prometheus": f"http://{address(PROMETHEUS_PORT)}",
    "mlflow": f"http://{address(MLFLOW_PORT)}",
    "store": f"http://{address(STORE_PORT)}",
}
"""What this machine and the pods reach it by, URLs by name."""


@dataclass(frozen=True)
class Layout:
    """Files of the cluster.

    Attributes:
        root: the folder that holds all of them, and marks the node's processes.
    """

    root: Path

    @classmethod
    def default(cls) -> Layout:
        """The layout of this user's cluster."""
        return cls(cache_path() / "cluster")

    @property
    def containerd(self) -> Path:
        """Images and what is unpacked of them; kept when the cluster is deleted."""
        return self.root / "containerd"

    @property
    def data(self) -> Path:
        """The artifact store and the model registry; kept when the cluster is deleted."""
        return self.root / "data"

    @property
    def logs(self) -> Path:
        """One log file per process; kept until the next cluster."""
        return self.root / "logs"

    @property
    def node(self) -> Path:
        """Everything that is deleted with the cluster."""
        return self.root / "node"

    @property
    def config(self) -> Path:
        """Configuration files of the node's processes."""
        return self.node / "config"

    @property
    def certificates(self) -> Path:
        """The cluster's certificate authority and what it has signed."""
        return self.node / "certificates"

    @property
    def authority(self) -> Path:
        """The certificate that all of the cluster's servers are signed by."""
        return self.certificates / "ca.crt"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.node / "admin.kubeconfig"

    @property
    def containerd_socket(self) -> Path:
        """Where containerd listens."""
        return self.node / "containerd.sock"

    @property
    def status_file(self) -> Path:
        """What runs on the node (JSON)."""
        return self.node / "status.json"

    @property
    def request_file(self) -> Path:
        """What the node was started with (JSON)."""
        return self.node / "request.json"

    @property
    def steps_file(self) -> Path:
        """Digests of what was applied to this cluster, by name (JSON)."""
        return self.node / "steps.json"
