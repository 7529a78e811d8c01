# pyright: basic
"""A server that speaks GitHub's API, or GitLab's: requests and their comments, two a page."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest


class Server:
    """Keeps requests and comments as GitHub or GitLab does; two a page."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.notes: list[dict[str, Any]] = []
        self.writes: list[tuple[str, str]] = []
        self.statuses: list[int] = []
        """Answers to give before real ones; from 5xx on the request is done all the same."""
        self.lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def reply(self, status: int, content: Any, **headers: str) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def handle_any(self) -> None:
                with server.lock:
                    length = int(self.headers.get("content-length", 0))
                    given = json.loads(self.rfile.read(length)) if length else {}
                    forced = server.statuses.pop(0) if server.statuses else None
                    if forced and 400 <= forced < 500:
                        self.reply(forced, {"message": "no"})
                        return
                    status, content, headers = server.answer(self.command, self.path, given)
                    self.reply(forced or status, content, **headers)

            do_GET = do_POST = do_PATCH = do_PUT = handle_any  # noqa: N815

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, method: str, path: str, given: dict) -> tuple[int, Any, dict[str, str]]:
        parts = urlsplit(path)
        asked = parse_qs(parts.query)
        if found := re.search(r"/(?:issues|merge_requests)/(\d+)/(?:comments|notes)$", parts.path):
            return self.answer_notes(method, path, int(found[1]), given)
        if found := re.search(r"/(?:issues/comments|merge_requests/\d+/notes)/(\d+)$", parts.path):
            self.writes.append((method, parts.path))
            note = self.notes[int(found[1]) - 1]
            note["body"] = given["body"]
            return 200, note, {}
        if method == "GET":
            wanted = (asked.get("head") or asked["source_branch"])[0].rpartition(":")[2]
            open_ones = [it for it in self.requests if it["open"]]
            return self.page(path, [it for it in open_ones if it["branch"] == wanted])
        self.writes.append((method, parts.path))
        if method == "POST":
            branch = given.get("head") or given["source_branch"]
            if any(it["open"] and it["branch"] == branch for it in self.requests):
                return (409 if "source_branch" in given else 422), {"message": "already"}, {}
            made = self.add(branch, given["title"], given.get("body") or given["description"])
            return 201, made, {}
        request = self.requests[int(parts.path.rpartition("/")[2]) - 1]
        if given in ({"state": "closed"}, {"state_event": "close"}):
            request["open"] = False
        else:
            request["title"] = given["title"]
            request["body"] = request["description"] = given.get("body") or given["description"]
        return 200, request, {}

    def page(self, path: str, found: list[Any]) -> tuple[int, Any, dict[str, str]]:
        number = int(parse_qs(urlsplit(path).query).get("page", ["1"])[0])
        left = found[2 * number - 2 :]
        following = path.partition("&page=")[0] + f"&page={number + 1}"
        more = {"Link": f'<{self.url}{following}>; rel="next"'} if len(left) > 2 else {}
        return 200, left[:2], more

    def answer_notes(
        self, method: str, path: str, request: int, given: dict
    ) -> tuple[int, Any, dict[str, str]]:
        if method == "GET":
            return self.page(path, [it for it in self.notes if it["request"] == request])
        self.writes.append((method, urlsplit(path).path))
        return 201, self.add_note(request, given["body"], "Bot"), {}

    def add_note(self, request: int, body: str, kind: str = "User") -> dict[str, Any]:
        made = {"id": len(self.notes) + 1, "request": request, "body": body, "user": {"type": kind}}
        self.notes.append(made)
        return made

    def add(self, branch: str, title: str, text: str) -> dict[str, Any]:
        number = len(self.requests) + 1
        url = f"{self.url}/page/{number}"
        made = {"number": number, "iid": number, "html_url": url, "web_url": url, "title": title}
        made |= {"body": text, "description": text, "branch": branch, "open": True}
        self.requests.append(made)
        return made

    @property
    def comments(self) -> list[str]:
        return [it["body"] for it in self.notes]

    @property
    def open(self) -> list[dict[str, Any]]:
        return [it for it in self.requests if it["open"]]


@pytest.fixture
def server() -> Generator[Server]:
    made = Server()
    threading.Thread(target=made.http.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.http.shutdown()
    made.http.server_close()


def environment(server: Server, kind: str = "github") -> dict[str, str]:
    return {
        "github": {
            "GITHUB_TOKEN": "T0KEN",
            "GITHUB_REPOSITORY": "ann/models",
            "GITHUB_API_URL": server.url,
        },
        "gitlab": {"GITLAB_TOKEN": "T0KEN", "CI_PROJECT_ID": "7", "CI_API_V4_URL": server.url},
    }[kind]
