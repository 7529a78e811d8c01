# pyright: basic
from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.errors import ConfigError, MetricsError
from rollout.drift_check import Outcome, drift_check
from tests.rollout.test_collect import Recorded
from tests.stacks import LOCAL

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)


class Broken(Recorded):
    def samples(self, query, start, end, step_seconds):
        raise MetricsError("Prometheus is on holiday")


class Harmful(Recorded):
    candidate_errors = 10


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "Pulumi.local.yaml"
    path.write_text(LOCAL)
    return path


def run(file: Path, metrics: Recorded, **options: object) -> list[Outcome]:
    return list(drift_check(file, "local", metrics, clock=lambda: NOW, **options))  # type: ignore[arg-type]


def history(file: Path) -> list[dict[str, object]]:
    log = file.parent / "history" / "local" / "fraud.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_a_good_candidate_is_advanced_and_logged(file: Path):
    fraud, churn = run(file, Recorded())
    assert churn.verdict is None
    assert (fraud.from_percent, fraud.to_percent) == (5, 25)
    assert 'percent: 25, at: "2026-11-23T10:00:00Z"' in file.read_text()
    (line,) = history(file)
    assert (line["from"], line["to"], line["verdict"]) == (5, 25, "advance")
    assert line["metrics"][0]["name"] == "errorRate"  # type: ignore[index]


def test_a_bad_candidate_is_taken_back_and_then_left_alone(file: Path):
    assert run(file, Harmful())[0].to_percent == 0
    assert run(file, Harmful())[0].verdict is None
    assert [line["verdict"] for line in history(file)] == ["revert"]


def test_no_metrics_change_nothing_and_are_not_logged(file: Path):
    (outcome,) = run(file, Broken(), only="fraud")
    assert outcome.verdict is not None
    assert (outcome.verdict.kind, outcome.verdict.reason) == (
        "no-data",
        "Prometheus is on holiday",
    )
    assert file.read_text() == LOCAL
    assert not history(file)


def test_an_edit_made_meanwhile_wins_and_stops_no_other_service(file: Path):
    class Edited(Recorded):
        def samples(self, query, start, end, step_seconds):
            file.write_text(LOCAL.replace("percent: 5,", "percent: 1,"))
            return super().samples(query, start, end, step_seconds)

    fraud, churn = run(file, Edited())
    assert fraud.verdict is not None
    assert fraud.verdict.kind == "hold"
    assert "changed meanwhile" in fraud.verdict.reason
    assert churn.service == "churn"
    assert "percent: 1," in file.read_text()
    assert not history(file)


def test_a_dry_run_decides_but_writes_nothing(file: Path):
    assert run(file, Recorded(), dry_run=True)[0].to_percent == 25
    assert file.read_text() == LOCAL
    assert not history(file)


def test_an_unknown_service_is_named_with_the_known_ones(file: Path):
    with pytest.raises(ConfigError, match="no service 'frud'; there are: fraud, churn"):
        run(file, Recorded(), only="frud")
