# pyright: basic
"""Definitions of kinds of other projects, out of their Go modules."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.cluster.kubectl import Kubectl
from local.commands import run
from tests.cluster.objects import delete

KARPENTER = "github.com/aws/karpenter-provider-aws@v1.14.0", "pkg/apis/crds"
KEDA = "github.com/kedacore/keda/v2@v2.18.0", "config/crd/bases"
"""Of the version that KServe 0.20 is built with."""


@contextlib.contextmanager
def known(kubectl: Kubectl, source: tuple[str, str], *kinds: str) -> Generator[None]:
    """Defines kinds for a while; those that a cluster has already are left as they are."""
    there = {it["metadata"]["name"] for it in kubectl.get("customresourcedefinitions")["items"]}
    missing = [it for it in _read(source, kinds) if it["metadata"]["name"] not in there]
    if missing:
        kubectl.apply(missing)
    for it in missing:
        kubectl.wait("Established", f"crd/{it['metadata']['name']}", "default")
    yield
    delete(kubectl, missing)


def _read(source: tuple[str, str], kinds: tuple[str, ...]) -> list[dict[str, Any]]:
    if shutil.which("go") is None:
        pytest.skip("definitions come out of Go modules, and Go is not installed")
    module, folder = source
    # Away from the repository, which has no module.
    answer = run(("go", "mod", "download", "-json", module), folder=Path("/"), timeout_seconds=300)
    crds = Path(json.loads(answer)["Dir"]) / folder
    return [yaml.safe_load((crds / f"{kind}.yaml").read_text()) for kind in kinds]
