"""Serves the components to programs in every language of Pulumi, by `PulumiPlugin.yaml`."""

import inspect
import sys
import tomllib
from pathlib import Path

import pulumi
from pulumi import provider

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    # Python was told to run this folder, so it looks for modules in it, and not beside it.
    sys.path[0] = str(ROOT)

from components.alert_routing import AlertRouting  # noqa: E402
from components.alert_rules import AlertRules  # noqa: E402
from components.artifact_store import ArtifactStore  # noqa: E402
from components.batch_job import BatchJob  # noqa: E402
from components.dashboards import Dashboards  # noqa: E402
from components.gpu_node_pool import GpuNodePool  # noqa: E402
from components.gpu_rules import GpuRules  # noqa: E402
from components.host import Host  # noqa: E402
from components.model_service import ModelService  # noqa: E402
from components.scraping import Scraping  # noqa: E402
from components.serving_runtime import MlflowRuntime  # noqa: E402

COMPONENTS: list[type[pulumi.ComponentResource]] = [
    AlertRouting,
    AlertRules,
    ArtifactStore,
    BatchJob,
    Dashboards,
    GpuNodePool,
    GpuRules,
    MlflowRuntime,
    ModelService,
    Scraping,
]

# Only from Python 3.13 on are docstrings without their indentation, which is code in Markdown.
for component in COMPONENTS:
    component.__doc__ = inspect.cleandoc(component.__doc__ or "")

if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    host = Host(COMPONENTS, project["name"], version=project["version"])
    provider.main(host, sys.argv[1:])
