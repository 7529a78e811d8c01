# pyright: basic
"""Options of the test run."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--yes-use-this-cluster",
        action="store_true",
        help="run the cluster tests on the kubeconfig context MODELRAMP_TEST_CONTEXT, not on one "
        "made here; tests that kill or delete are skipped",
    )
    parser.addoption(
        "--update-golden", action="store_true", help="write golden files anew; read the difference"
    )
