# pyright: basic
"""The machine that the local cluster runs on."""

from __future__ import annotations

import re
from pathlib import Path

from local.cluster.node import KUBELET_SETTINGS
from local.cluster.programs import NODE_TOOLS, ensure_programs
from local.commands import run
from local.tools import Silent


def machine_settings() -> dict[str, str]:
    """Returns what a Kubernetes changes on a machine where it is not kept in."""
    iptables = ensure_programs(NODE_TOOLS, Silent())["iptables-save"]
    settings = {name: Path("/proc/sys", name).read_text() for name in KUBELET_SETTINGS}
    settings["forwarding"] = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    rules = run([iptables], folder=Path("/"), timeout_seconds=20)
    settings["rules"] = re.sub(r"\[\d+:\d+\]|^#.*$", "", rules, flags=re.MULTILINE)
    folders = ("/var/lib", "/var/lib/kubelet", "/var/lib/cni", "/opt", "/usr/libexec", "/var/log")
    for folder in folders:
        settings[folder] = "\n".join(sorted(it.name for it in Path(folder).glob("*")))
    return settings
