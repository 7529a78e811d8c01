"""The two local targets behind the same few methods: processes, or a Kubernetes of one node."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import httpx

from local.cluster import control as cluster
from local.cluster.layout import ENDPOINTS, Layout
from local.embedded import control as embedded
from local.embedded.runtime import Binaries
from local.home import Home
from local.processes import end_marked_processes
from local.tools import Progress, ensure, shown
from models.errors import RuntimeTargetError

ANSWER_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Target(ABC):
    """Where a local stack runs.

    Attributes:
        home: the project.
    """

    stack: ClassVar[str]
    """The stack that is made for it."""

    option: ClassVar[str]
    """What picks it among the options of `modelramp local`."""

    again: ClassVar[Mapping[str, str]]
    """Commands that start it anew in the state that the stack file declares, and what they do."""

    home: Home

    @property
    def mark(self) -> Path:
        """The folder that processes started for this target are marked with."""
        return self.home.path

    @abstractmethod
    def end_left_behind(self) -> int:
        """Ends what a killed command left: servers, traffic, a running `pulumi`."""

    @abstractmethod
    def fetch(self, progress: Progress) -> object:
        """Finds, downloads or builds what `up` runs."""

    @abstractmethod
    def up(self, progress: Progress) -> dict[str, str]:
        """Starts what does not run; returns the endpoints, URLs by name."""

    @abstractmethod
    def down(self) -> int:
        """Ends everything; returns how many processes there were."""

    @abstractmethod
    def status(self) -> dict[str, Any] | None:
        """Returns what runs, or None when nothing does."""

    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """Returns what clients of the model registry and its store need in their environment."""

    @property
    def kubeconfig(self) -> Path | None:
        """Of the cluster; None if it is none."""
        return None

    @abstractmethod
    def wait_applied(self, service: str) -> None:
        """Waits until what `pulumi up` declared is what runs."""


class EmbeddedTarget(Target):
    """Processes of this machine, without a cluster."""

    stack = "local"
    option = ""
    again = MappingProxyType(
        {".venv/bin/modelramp local up": "start it all again, in the state the file declares"}
    )

    def fetch(self, progress: Progress) -> Binaries:
        """See `Target`."""
        return Binaries(
            envoy=ensure("envoy", progress),
            prometheus=ensure("prometheus", progress),
            versitygw=ensure("versitygw", progress),
        )

    def up(self, progress: Progress) -> dict[str, str]:
        """See `Target`."""
        binaries = self.fetch(progress)
        with shown(progress, "Starting Envoy, Prometheus, MLflow and the artifact store", None, ""):
            return embedded.up(self.home, binaries)["endpoints"]

    def end_left_behind(self) -> int:
        """See `Target`."""
        return embedded.down(self.home)

    def down(self) -> int:
        """See `Target`."""
        return embedded.down(self.home)

    def status(self) -> dict[str, Any] | None:
        """See `Target`."""
        return embedded.status(self.home)

    def environment(self) -> Mapping[str, str]:
        """See `Target`."""
        now = self.status()
        return embedded.store_environment(self.home, now) if now else {}

    def wait_applied(self, service: str) -> None:
        """See `Target`."""
        del service  # it applies all or nothing
        embedded.wait_applied(self.home)


class ClusterTarget(Target):
    """A Kubernetes of one node with KServe."""

    stack = "cluster"
    option = " --cluster"
    again = MappingProxyType(
        {
            ".venv/bin/modelramp local up --cluster": "make the cluster again",
            'eval "$(.venv/bin/modelramp local env --cluster)"': "set up pulumi and kubectl for it",
            "pulumi up --refresh --stack cluster": "bring it to the state that the file declares",
        }
    )

    def fetch(self, progress: Progress) -> object:
        """See `Target`."""
        return cluster.fetch(progress)

    def up(self, progress: Progress) -> dict[str, str]:
        """See `Target`; from then on no proxy is asked for the cluster by this command."""
        endpoints = cluster.up(progress)
        os.environ["NO_PROXY"] = cluster.environment()["NO_PROXY"]
        return endpoints

    @property
    def mark(self) -> Path:
        """See `Target`; apart from what runs without a cluster."""
        return self.home.path / "cluster"

    def end_left_behind(self) -> int:
        """See `Target`."""
        return end_marked_processes(self.mark)

    def down(self) -> int:
        """See `Target`."""
        return self.end_left_behind() + cluster.down()

    def status(self) -> dict[str, Any] | None:
        """See `Target`."""
        return cluster.status()

    def environment(self) -> Mapping[str, str]:
        """See `Target`."""
        return cluster.environment()

    @property
    def kubeconfig(self) -> Path:
        """See `Target`."""
        return Layout.default().kubeconfig

    def wait_applied(self, service: str) -> None:
        """See `Target`; `pulumi up` waited for the versions, the gateway follows in moments."""
        url = f"{ENDPOINTS['gateway']}/v2/models/{service}/ready"
        give_up_at = time.monotonic() + ANSWER_TIMEOUT_SECONDS
        while not _answers(url):
            if time.monotonic() > give_up_at:
                raise RuntimeTargetError(f"{url} did not answer in {ANSWER_TIMEOUT_SECONDS:g} s")
            time.sleep(0.2)


def target_of(home: Home, *, on_cluster: bool) -> Target:
    """Returns the target that a command was asked for."""
    return ClusterTarget(home) if on_cluster else EmbeddedTarget(home)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5.0, trust_env=False).is_success
    except httpx.HTTPError:
        return False
