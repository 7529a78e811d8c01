# pyright: basic
"""A project of its own for each test module."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from local.embedded import control
from tests.project import Project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Generator[Project]:
    made = Project(tmp_path_factory.mktemp("project").resolve(), "local")
    yield made
    control.down(made.home)
