# pyright: basic
from __future__ import annotations

from pathlib import Path

import pytest

from models.stack import load_stack
from rollout.drift_check import drift_check
from rollout.plots_page import plots_page
from tests.rollout.test_collect import Recorded
from tests.rollout.test_drift_check import NOW, Broken, Harmful
from tests.stacks import LOCAL


def page(tmp_path: Path, metrics, text: str = LOCAL, plotted=None) -> str:
    file = tmp_path / "Pulumi.local.yaml"
    file.write_text(text)
    outcomes = list(drift_check(file, "local", metrics, dry_run=True, clock=lambda: NOW))
    return plots_page(outcomes, load_stack(file), "local", plotted or metrics, NOW)


def test_a_rollout_has_its_plot_its_verdict_and_its_evidence(tmp_path: Path):
    drawn = page(tmp_path, Harmful())
    assert drawn.count("<svg") == 1
    assert '<b class="revert">revert</b>' in drawn
    assert "candidate 1.5.0, 5% to 0%, beside 1.4.0" in drawn
    assert "<td>errorRate<td>" in drawn
    assert "<!-- minutes -->" in drawn


def test_what_prometheus_does_not_tell_is_said(tmp_path: Path):
    drawn = page(tmp_path, Recorded(), plotted=Broken())
    assert "<svg" not in drawn
    assert "Prometheus is on holiday" in drawn


def test_without_a_rollout_there_is_nothing_to_plot(tmp_path: Path):
    at_rest = LOCAL[: LOCAL.index("        candidate:")]
    assert "No rollout is going on." in page(tmp_path, Recorded(), at_rest)


@pytest.mark.parametrize("bucket", ["$\\frac$", "<b>"])
def test_names_of_predictions_are_shown_as_they_are(tmp_path: Path, bucket: str):
    class Named(Recorded):
        def samples(self, *arguments):
            found = super().samples(*arguments)
            return {
                tuple((name, bucket if name == "bucket" else it) for name, it in key): values
                for key, values in found.items()
            }

    drawn = page(tmp_path, Named())
    assert "<svg" in drawn
    assert "<b>, " not in drawn
