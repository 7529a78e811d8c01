# pyright: basic
"""The parts of the benchmark that need no server."""

from __future__ import annotations

from datetime import UTC, datetime

from models.metric_sources import METRIC_SOURCES
from models.stack import parse_stack
from rollout.plan import is_over
from scripts.benchmark_collect import MINUTES, open_metrics, stack_lines

NOW = datetime(2026, 11, 24, 6, tzinfo=UTC)


def test_the_stack_file_declares_what_is_measured():
    stack = parse_stack("\n".join(stack_lines(5, 2, NOW, "http://127.0.0.1")), "x")
    moving = [name for name, it in stack.services.items() if not is_over(it)]
    assert (len(stack.services), moving) == (5, ["service-0", "service-1"])
    for name in moving:
        service = stack.services[name]
        assert service.rollout is not None
        assert service.rollout.started_at is not None
        # One interval a minute: all of the first epoch, and nothing of the second.
        assert (NOW - service.rollout.started_at).total_seconds() == 60 * MINUTES
        assert 500 * service.judge.interval_seconds >= 60 * MINUTES


def test_the_series_are_those_that_are_asked_for():
    *lines, last = open_metrics(2, 1, NOW)
    assert last == "# EOF"
    series = {line.rsplit(" ", 2)[0] for line in lines}
    moving = [it for it in series if "service-0" in it]
    assert len(moving) == 2 * (2 * 10 + 2 * 2 + 1)
    # At rest: requests sent and three classes of answers, at two gateway pods.
    assert len(series) - len(moving) == 2 * 4
    wanted = METRIC_SOURCES["mlflow"].selector(
        "routed", namespace="models", service="service-0", version="1.1.0"
    )
    assert any(it.startswith(wanted.removesuffix("}")) for it in moving)
