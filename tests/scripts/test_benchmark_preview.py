# pyright: basic
"""The benchmark of previews measures what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.stack import stack_from_config
from scripts.benchmark_preview import measure, stack_config


def test_every_service_has_a_candidate() -> None:
    stack = stack_from_config(stack_config(3), "benchmark")
    assert len(stack.services) == 3
    assert all(it.percents()["1.5.0"] == 5 for it in stack.services.values())


@pytest.mark.embedded
def test_programs_declare_the_same_objects(tmp_path: Path) -> None:
    measured = measure(tmp_path.resolve(), services=2, repeats=1)  # which compares the objects
    assert measured.objects == 23  # eleven for each service, and our ServingRuntime
    assert measured.components == 9
    assert len(measured.ours) == len(measured.raw) == len(measured.shells) == 1
    assert measured.ratio == pytest.approx(measured.ours[0] / measured.raw[0])
