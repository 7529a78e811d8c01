# pyright: basic
"""Receivers are told over real HTTP, on this machine."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Generator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from models.notifications import Receiver
from models.stack import parse_stack
from rollout.drift_check import outcome_of
from rollout.edits import AddMove
from rollout.judge import Verdict
from rollout.notices import Notice, notices
from rollout.notify import notify
from tests.stacks import LOCAL

STACK = parse_stack(LOCAL, "x")
BEGUN = datetime(2026, 11, 23, 9, tzinfo=UTC)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
EVENING = datetime(2026, 11, 23, 18, tzinfo=UTC)
PATH = "/hooks/T0KEN"


class Server:
    """Takes what is posted, and answers what it is told to; `None` hangs up."""

    def __init__(self) -> None:
        self.bodies: list[dict] = []
        self.answers: list[int | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == PATH
                length = int(self.headers["Content-Length"])
                outer.bodies.append(json.loads(self.rfile.read(length)))
                answer = outer.answers.pop(0) if outer.answers else 200
                if answer is None:
                    return
                self.send_response(answer)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}{PATH}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Generator[Server]:
    server = Server()
    thread = threading.Thread(target=lambda: server.server.serve_forever(poll_interval=0.01))
    thread.start()
    monkeypatch.setenv("HOOK", server.url)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # of no use for this machine
    yield server
    server.server.shutdown()
    thread.join()
    server.server.server_close()


def receiver(**declared: object) -> Receiver:
    return Receiver.model_validate(
        {"name": "ops", "kind": "webhook", "urlFrom": {"env": "HOOK"}, **declared}
    )


def move() -> list[Notice]:
    outcome = outcome_of("fraud", STACK, None, AddMove(25, "w"))
    return notices("prod", STACK, [outcome], NOON, by="ann")


def hold(at: datetime, stack=STACK) -> list[Notice]:
    outcome = outcome_of("fraud", stack, Verdict("hold", "w"), None)
    return notices("prod", stack, [outcome], at, by="drift-check")


@pytest.fixture
def tell(tmp_path: Path):
    """Tells receivers; returns the warnings."""

    def telling(found: list[Notice], *receivers: Receiver) -> list[str]:
        warned: list[str] = []
        notify(receivers, found, tmp_path / "notified" / "prod.json", warned.append)
        return warned

    return telling


def test_each_kind_gets_what_it_takes(server: Server, tell):
    assert tell(move(), receiver(), receiver(name="chat", kind="slack")) == []
    webhook, slack = server.bodies
    assert (webhook["event"], webhook["to"]) == ("move", 25)
    assert {*slack} == {"text", "blocks"}


def test_a_receiver_gets_only_what_it_asks_for(server: Server, tell):
    assert tell(move(), receiver(on=["revert", "hold"]), receiver(name="b", on=["move"])) == []
    assert len(server.bodies) == 1


def test_a_long_hold_is_told_once_a_step_and_receiver(server: Server, tell):
    quick, slow = receiver(holdAfter="1h"), receiver(name="slow", holdAfter="6h")
    for at in (BEGUN, NOON, NOON, EVENING, EVENING):
        assert tell(hold(at), quick, slow) == []
    assert [it["at"][11:13] for it in server.bodies] == ["12", "18"]
    later = parse_stack(LOCAL.replace("T09:00:00Z", "T09:30:00Z"), "x")  # another step
    tell(hold(NOON, later), quick)
    assert len(server.bodies) == 3


def test_what_could_not_be_told_is_told_next_time(server: Server, tell):
    server.answers = [400]
    assert tell(hold(EVENING), receiver()) == ["ops was not told of fraud: it answered 400"]
    assert tell(hold(EVENING), receiver()) == []
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("answers", "posted", "warned"),
    [
        ([503], 1, ["ops was not told of fraud: it answered 503"]),
        ([None], 1, ["ops was not told of fraud: RemoteProtocolError"]),
        ([404], 1, ["ops was not told of fraud: it answered 404"]),
        ([302], 1, ["ops was not told of fraud: it answered 302"]),
    ],
)
def test_what_may_have_been_heard_is_not_said_twice(server, tell, answers, posted, warned):
    server.answers = answers
    assert tell(move(), receiver()) == warned
    assert len(server.bodies) == posted


def test_one_that_is_down_keeps_no_other_from_being_told(server: Server, tell, monkeypatch):
    monkeypatch.setenv("DOWN", "http://127.0.0.1:9/hooks/T0KEN")
    down = receiver(name="down", urlFrom={"env": "DOWN"})
    assert tell(move(), down, receiver()) == ["down was not told of fraud: ConnectError"]
    assert len(server.bodies) == 1


@pytest.mark.parametrize("url", ["", "T0KEN", "ftp://x/T0KEN", "http://", "http://x:T0KEN/", "\n"])
def test_a_secret_that_is_no_url_is_named_but_not_shown(tell, monkeypatch, url):
    monkeypatch.setenv("HOOK", url)
    (warned,) = tell(move(), receiver())
    assert "HOOK" in warned
    assert "T0KEN" not in warned


def test_the_url_may_be_in_a_file(server: Server, tell, tmp_path: Path):
    file = tmp_path / "hook"
    file.write_text(server.url + "\n")
    assert tell(move(), receiver(urlFrom={"file": str(file)})) == []
    (warned,) = tell(move(), receiver(urlFrom={"file": str(tmp_path / "none")}))
    assert "none cannot be read: FileNotFoundError" in warned


def test_the_url_is_in_no_log_and_in_no_memory(server: Server, tell, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx").setLevel(logging.DEBUG)
    logging.getLogger("httpcore").setLevel(logging.DEBUG)
    server.answers = [500]
    warned = tell(hold(EVENING), receiver(), receiver(name="b"))
    memory = (tmp_path / "notified" / "prod.json").read_text()
    seen = "".join([*warned, caplog.text, memory, *capfd.readouterr()])
    assert warned
    assert "T0KEN" not in seen
    assert str(server.server.server_address[1]) not in seen


def test_a_memory_that_is_broken_is_none(server: Server, tell, tmp_path: Path):
    memory = tmp_path / "notified" / "prod.json"
    memory.parent.mkdir()
    for broken in ("{", "[]", "\x00"):
        memory.write_text(broken)
        assert tell(hold(EVENING), receiver()) == []
    assert len(server.bodies) == 3
    memory.unlink()
    memory.mkdir()
    (warned,) = tell(hold(EVENING), receiver())
    assert "cannot be written" in warned
