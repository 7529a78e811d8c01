"""containerd as a process of the node, its configuration, and its images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from local.cluster.kubernetes import container_network
from local.cluster.layout import Layout
from local.commands import run
from local.files import write_text
from local.processes import ProcessSpec

NAMESPACE = "k8s.io"
IMPORT_TIMEOUT_SECONDS = 300

# Version 2 of the format is read by containerd 1.6 and by 2.x.
_CONFIGURATION = """\
version = 2
root = "{root}"
state = "/run/containerd"
oom_score = 0

[grpc]
  address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # A lower score than the machine gives needs a capability that containers lack.
  restrict_oom_score_adj = true
  disable_tcp_service = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{network}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{runc}"
      SystemdCgroup = false
"""


def write_configuration(layout: Layout, programs: Mapping[str, Path], pause: str) -> None:
    """Writes the configuration of containerd and of the pods' network."""
    network = layout.config / "network"
    write_text(network / "10-pods.conflist", container_network(layout))
    write_text(
        layout.config / "containerd.toml",
        _CONFIGURATION.format(
            root=layout.containerd,
            socket=layout.containerd_socket,
            pause=pause,
            plugins=programs["bridge"].parent,
            network=network,
            runc=programs["runc"],
        ),
    )


def containerd_process(layout: Layout, programs: Mapping[str, Path]) -> ProcessSpec:
    """The container runtime."""
    return ProcessSpec(
        name="containerd",
        command=(
            *(str(programs["containerd"]), "--config", str(layout.config / "containerd.toml")),
            *("--log-level", "warn"),
        ),
    )


class Images:
    """The images that containerd has.

    Args:
        layout: of the cluster.
        ctr: containerd's own client.
    """

    def __init__(self, layout: Layout, ctr: Path) -> None:
        self._command = (str(ctr), "--address", str(layout.containerd_socket), "-n", NAMESPACE)

    def take(self, archive: Path) -> None:
        """Imports an archive; images of the same name are replaced.

        Raises:
            ToolError: containerd refused it.
        """
        self._run("images", "import", str(archive), timeout_seconds=IMPORT_TIMEOUT_SECONDS)

    def label(self, reference: str, name: str, value: str) -> None:
        """Sets a label of an image."""
        self._run("images", "label", reference, f"{name}={value}", timeout_seconds=30)

    def labels(self) -> dict[str, str]:
        """Returns the labels of all images, as text, by reference."""
        lines = self._run("images", "list", timeout_seconds=30).splitlines()[1:]
        return {line.split()[0]: line.split()[-1] for line in lines if line.strip()}

    def _run(self, *arguments: str, timeout_seconds: float) -> str:
        command = (*self._command, *arguments)
        return run(command, folder=Path.cwd(), timeout_seconds=timeout_seconds)
