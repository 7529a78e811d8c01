"""Where the local target keeps its files: one folder, `.modelramp/`, beside `Pulumi.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from models.errors import ConfigError, Problem


@dataclass(frozen=True)
class Home:
    """Paths of one project's local state.

    Attributes:
        root: the folder that holds `Pulumi.yaml`, absolute.
    """

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Home:
        """Returns the home of the project that `start` (default: the working directory) lies in.

        Raises:
            ConfigError: no `Pulumi.yaml` here or in any folder above.
        """
        here = (start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if (folder / "Pulumi.yaml").is_file():
                return cls(folder)
        raise ConfigError([Problem(str(here), "no Pulumi.yaml here or in a folder above it")])

    @property
    def path(self) -> Path:
        """The folder itself, `.modelramp/`."""
        return self.root / ".modelramp"

    @property
    def manifests(self) -> Path:
        """Where the Kubernetes provider renders YAML to, and the embedded runtime reads it."""
        return self.path / "manifests"

    @property
    def logs(self) -> Path:
        """One log file per process."""
        return self.path / "logs"

    @property
    def status_file(self) -> Path:
        """What the embedded runtime runs now: processes, endpoints, routes (JSON)."""
        return self.path / "status.json"

    @property
    def pulumi_state(self) -> Path:
        """The file backend of the local stack."""
        return self.path / "pulumi"


def cache_path() -> Path:
    """The user's cache folder for tools, shared by all projects of this user."""
    return user_cache_path("modelramp", appauthor=False)
