"""Sends real rows at a steady rate, and reports their true labels later.

    python -m examples.biopsy.traffic --url http://127.0.0.1:8000 --rows rows.json --report s.jsonl

Requests leave on schedule whether or not earlier ones were answered, and latency counts from the
scheduled moment, so a slow server cannot hide by slowing the sender down. SIGTERM or SIGINT ends it
with a summary, the report's last line and the only one on standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, TextIO
from zlib import crc32

import aiohttp
import uvloop

from models.names import VERSION_HEADER

TIMEOUT_SECONDS = 10.0
LABEL_BATCH_SECONDS = 0.5
QUANTILES = (0.5, 0.95, 0.99)
_SERVER_ERROR = 500


@dataclass(frozen=True)
class Answer:
    """How a request ended.

    Attributes:
        version: that answered; empty if none did: a failure of gateway or connection.
        status: of HTTP; 0 if there was no answer.
        latency_seconds: since the moment it was scheduled for.
    """

    version: str
    status: int
    latency_seconds: float


@dataclass
class Tally:
    """Counts of one second, or of all."""

    sent: int = 0
    answers: list[Answer] = field(default_factory=list[Answer])
    labels: int = 0
    labels_failed: int = 0

    def line(self, at: datetime, **more: object) -> dict[str, object]:
        """Returns the tally as a line of the report.

        `versions` holds, by version, `ok`, `client_error` (4xx), `http_error` (5xx) and latency
        quantiles in milliseconds; `gateway_failures` counts requests that no version answered, by
        status in `gateway_statuses`, where 0 is no answer.
        """
        by_version: dict[str, list[Answer]] = defaultdict(list)
        for answer in self.answers:
            by_version[answer.version].append(answer)
        failures = by_version.pop("", [])
        return {
            "time": at.isoformat(timespec="milliseconds"),
            "sent": self.sent,
            "gateway_failures": len(failures),
            "gateway_statuses": Counter(str(it.status) for it in failures),
            "labels": self.labels,
            "labels_failed": self.labels_failed,
            "versions": {name: _of_version(found) for name, found in sorted(by_version.items())},
            **more,
        }


def _of_version(answers: Sequence[Answer]) -> dict[str, float]:
    errors = sum(answer.status >= _SERVER_ERROR for answer in answers)
    ok = sum(answer.status < 400 for answer in answers)
    latencies = sorted(answer.latency_seconds for answer in answers)
    return {
        "ok": ok,
        "client_error": len(answers) - ok - errors,
        "http_error": errors,
        **{
            f"p{round(100 * share)}_ms": round(1000 * quantile(latencies, share), 2)
            for share in QUANTILES
        },
    }


def quantile(ascending: Sequence[float], share: float) -> float:
    """Returns the smallest of the sorted values that at least this share does not exceed."""
    return ascending[max(0, -(-round(share * 1e6) * len(ascending) // 1_000_000) - 1)]


def due_seconds(rate: float) -> Iterator[float]:
    """Yields when requests are due, in seconds from the start, `rate` of them a second."""
    number = 0
    while True:
        yield number / rate
        number += 1


def picks(count: int, seed: int) -> Iterator[int]:
    """Yields row numbers below `count` for ever, drawn with replacement by a fixed seed."""
    random = Random(seed)  # noqa: S311  no secrets here
    while True:
        yield random.randrange(count)


class Traffic:
    """Sends requests and labels, and counts."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        service: str,
        bodies: Sequence[bytes],
        labels: Sequence[Any],
        label_delay_seconds: float,
        bucket_header: str | None,
    ) -> None:
        """Prepares the sender.

        Args:
            session: whose base URL is the gateway's.
            service: name of the model service.
            bodies: requests of the v1 protocol, each of one row.
            labels: their true labels.
            label_delay_seconds: how long after the answer a label is known.
            bucket_header: header with a user's number, 0 to 99, as A/B tests split by it; each
                request is of another user.
        """
        self._session = session
        self._predict_path = f"/v1/models/{service}:predict"
        self._feedback_path = f"/v2/models/{service}/feedback"
        self._bodies = bodies
        self._labels = labels
        self._label_delay_seconds = label_delay_seconds
        self._bucket_header = bucket_header
        # (when it is known, version, label), in the order of time
        self._pending: deque[tuple[float, str, dict[str, Any]]] = deque()
        self.second = Tally()
        self.total = Tally()
        self.running: set[asyncio.Task[None]] = set()

    async def send_until(self, stop: asyncio.Event, rate: float, seed: int) -> None:
        """Sends `rate` requests a second until `stop` is set."""
        start = time.perf_counter()
        for number, (due, row) in enumerate(
            zip(due_seconds(rate), picks(len(self._bodies), seed), strict=False)
        ):
            wait = start + due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            if stop.is_set():
                return
            # With the seed, so that two senders' ids do not meet.
            task = asyncio.create_task(
                self._send(f"{seed:x}-{start:.6f}-{number}", row, start + due)
            )
            self.running.add(task)
            task.add_done_callback(self.running.discard)

    async def _send(self, request_id: str, row: int, due: float) -> None:
        self.second.sent += 1
        self.total.sent += 1
        version, status = "", 0
        headers = {"content-type": "application/json", "x-request-id": request_id}
        if self._bucket_header:
            headers[self._bucket_header] = str(crc32(request_id.encode()) % 100)
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self._session.post(
                self._predict_path, data=self._bodies[row], headers=headers
            ) as response:
                await response.read()
                status = response.status
                version = response.headers.get(VERSION_HEADER, "")
        now = time.perf_counter()
        answer = Answer(version, status, now - due)
        self.second.answers.append(answer)
        self.total.answers.append(answer)
        if version and status < 400:
            label = {"id": request_id, "row": 0, "label": self._labels[row]}
            self._pending.append((now + self._label_delay_seconds, version, label))

    async def report_labels(self, *, all_of_them: bool = False) -> None:
        """Reports the labels that are known by now, a request a version."""
        now = time.perf_counter()
        known: dict[str, list[dict[str, Any]]] = defaultdict(list)
        while self._pending and (all_of_them or self._pending[0][0] <= now):
            _, version, label = self._pending.popleft()
            known[version].append(label)
        for version, labels in known.items():
            accepted = False
            # The header takes the labels past the split, to the version that predicted.
            with suppress(aiohttp.ClientError, TimeoutError):
                async with self._session.post(
                    self._feedback_path, json={"labels": labels}, headers={VERSION_HEADER: version}
                ) as response:
                    accepted = response.ok
            for tally in (self.second, self.total):
                tally.labels += len(labels) if accepted else 0
                tally.labels_failed += 0 if accepted else len(labels)


async def run(options: argparse.Namespace, report: TextIO) -> dict[str, object]:
    """Sends until SIGTERM, SIGINT or the end of `--seconds`; returns the summary."""
    content = json.loads(options.rows.read_text())
    bodies = [
        json.dumps({"instances": [dict(zip(content["columns"], row, strict=True))]}).encode()
        for row in content["rows"]
    ]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.seconds:
        loop.call_later(options.seconds, stop.set)
    async with aiohttp.ClientSession(
        options.url,
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
        connector=aiohttp.TCPConnector(limit=0),
    ) as session:
        traffic = Traffic(
            session,
            options.service,
            bodies,
            content["labels"],
            options.label_delay_seconds,
            options.bucket_header,
        )
        start = time.perf_counter()
        background = [
            asyncio.create_task(_each_second(traffic, report)),
            asyncio.create_task(_each_batch(traffic)),
        ]
        await traffic.send_until(stop, options.rate, options.seed)
        if traffic.running:
            await asyncio.wait(traffic.running)
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await traffic.report_labels(all_of_them=True)
    seconds = round(time.perf_counter() - start, 3)
    cpu_seconds = round(time.process_time(), 3)
    summary = traffic.total.line(
        datetime.now(UTC), summary=True, seconds=seconds, cpu_seconds=cpu_seconds
    )
    _write(report, summary)
    return summary


async def _each_second(traffic: Traffic, report: TextIO) -> None:
    while True:
        await asyncio.sleep(1)
        tally, traffic.second = traffic.second, Tally()
        _write(report, tally.line(datetime.now(UTC)))


async def _each_batch(traffic: Traffic) -> None:
    while True:
        await asyncio.sleep(LABEL_BATCH_SECONDS)
        await traffic.report_labels()


def _write(report: TextIO, line: dict[str, object]) -> None:
    report.write(json.dumps(line) + "\n")
    report.flush()


def main() -> None:
    """Reads the command line and sends."""
    parser = argparse.ArgumentParser(
        description="Sends real rows at a steady rate, and reports their true labels later.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--url", required=True, help="the gateway, or one model server")
    add("--service", default="biopsy", help="name of the model service")
    add("--rows", type=Path, required=True, help="rows and labels, as `train` writes them")
    add("--rate", type=float, default=200.0, help="requests a second")
    add("--label-delay-seconds", type=float, default=2.0, help="when labels are known")
    add("--bucket-header", help="for A/B tests: header with a number from 0 to 99 for each user")
    add("--report", type=Path, required=True, help="gets a JSON line a second")
    add("--seconds", type=float, default=0, help="how long; 0: until SIGTERM or SIGINT")
    add("--seed", type=int, default=1, help="of the choice of rows")
    options = parser.parse_args()
    with options.report.open("a") as report:
        print(json.dumps(uvloop.run(run(options, report))))


if __name__ == "__main__":
    main()
