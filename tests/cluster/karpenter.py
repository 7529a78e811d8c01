# pyright: basic
"""Karpenter's own definitions, out of its Go module."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.commands import run

MODULE = "github.com/aws/karpenter-provider-aws@v1.14.0"
KINDS = ("karpenter.sh_nodepools", "karpenter.k8s.aws_ec2nodeclasses")


def definitions(folder: Path) -> list[dict[str, Any]]:
    """Returns the definitions of NodePool and EC2NodeClass; `folder` is any, without a module."""
    if shutil.which("go") is None:
        pytest.skip("Karpenter's definitions come out of its Go module, and Go is not installed")
    answer = run(("go", "mod", "download", "-json", MODULE), folder=folder, timeout_seconds=300)
    crds = Path(json.loads(answer)["Dir"]) / "pkg/apis/crds"
    return [yaml.safe_load((crds / f"{kind}.yaml").read_text()) for kind in KINDS]
