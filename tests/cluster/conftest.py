# pyright: basic
"""The cluster that these tests run on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def kubeconfig() -> Path:
    """An admin's kubeconfig."""
    file = os.environ.get("MODELRAMP_TEST_KUBECONFIG")
    if not file:
        pytest.skip("no cluster: MODELRAMP_TEST_KUBECONFIG is not set")
    return Path(file)
