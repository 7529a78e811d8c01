"""A Prometheus server as a source of samples."""

from __future__ import annotations

import gc
import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from prometheus_api_client.exceptions import PrometheusApiClientException
from prometheus_api_client.prometheus_connect import PrometheusConnect
from urllib3.util import Retry

from models.errors import MetricsError
from models.metrics_server import PrometheusAccess
from rollout.collect import Series
from rollout.judge.series import Floats
from rollout.prometheus_session import session_of

LARGEST_ANSWER_POINTS = 10_000
"""A server refuses more than 11,000 points a series."""


class Prometheus:
    """A Prometheus server.

    Args:
        url: its base URL.
        access: how it is reached, where a URL is not enough.

    Raises:
        ConfigError: a secret or file that `access` names is not there.
    """

    def __init__(self, url: str, access: PrometheusAccess | None = None) -> None:
        access = access or PrometheusAccess.model_validate({})
        self._url = url
        # A server that does not answer in time is not asked again: the next check will.
        retry = Retry(total=2, read=0, backoff_factor=0.2)
        self._client = PrometheusConnect(
            url=url,
            session=session_of(access),
            timeout=math.ceil(access.timeout_seconds),  # it takes whole ones
            retry=retry,
            method="POST",
        )

    def samples(self, query: str, start: datetime, end: datetime, step_seconds: float) -> Series:
        """See `Metrics.samples`."""
        points = round((end - start).total_seconds() / step_seconds) + 1
        samples: dict[tuple[tuple[str, str], ...], Floats] = {}
        for first in range(0, points, LARGEST_ANSWER_POINTS):
            count = min(LARGEST_ANSWER_POINTS, points - first)
            begin = start + timedelta(seconds=step_seconds * first)
            for series in self._ask(query, begin, count, step_seconds):
                values = samples.setdefault(_labels(series), np.full(points, np.nan))
                values[first : first + count] = _on_grid(series, begin, step_seconds, count)
        return samples

    def _ask(
        self, query: str, start: datetime, points: int, step_seconds: float
    ) -> list[dict[str, Any]]:
        end = start + timedelta(seconds=step_seconds * (points - 1))
        # The client rounds its times to whole seconds; edges need not be whole.
        exact = {"start": f"{start.timestamp():.3f}", "end": f"{end.timestamp():.3f}"}
        try:
            with _without_cycles():
                return self._client.custom_query_range(
                    query, start_time=start, end_time=end, step=f"{step_seconds:g}", params=exact
                )
        except (PrometheusApiClientException, OSError, ValueError) as error:
            raise MetricsError(f"Prometheus at {self._url} did not answer: {error}") from error


@contextmanager
def _without_cycles() -> Generator[None]:
    """Looks for no cycles of objects in an answer, of which it has none: that took two thirds."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _labels(series: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(series["metric"].items()))


def _on_grid(
    series: Mapping[str, Any], start: datetime, step_seconds: float, points: int
) -> Floats:
    times: Floats = np.array([at for at, _ in series["values"]], dtype=np.float64)
    known: Floats = np.array([float(value) for _, value in series["values"]])
    index = np.round((times - start.timestamp()) / step_seconds).astype(int)
    there = (index >= 0) & (index < points)
    values = np.full(points, np.nan)
    values[index[there]] = known[there]
    return values
