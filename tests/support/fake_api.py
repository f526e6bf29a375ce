"""A relay's API for tests of its clients: real sockets, answers by a function of the test, every request kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    method: str
    path: str  # not decoded: what stood in the request line
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What to answer. A body that is not bytes goes out as JSON."""

    body: object = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Answers = Callable[[Request], Answer]


class FakeApi:
    """Answers by `answers`, which a test sets."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: Answers = lambda _: Answer({})
        self.url = ""

    @property
    def last(self) -> Request:
        return self.requests[-1]


def problem(status: int, code: str, detail: str, **more: object) -> Answer:
    """An RFC 9457 answer."""
    body = {"title": code, "status": status, "detail": detail, "code": code, "request_id": "req_1", **more}
    return Answer(json.dumps(body).encode(), status, {"content-type": "application/problem+json"})


def page(*items: Mapping[str, object], cursor: str | None = None) -> Answer:
    """One page of a list."""
    return Answer({"data": list(items), "next_cursor": cursor})


@contextmanager
def fake_api() -> Iterator[FakeApi]:
    """A server on 127.0.0.1 until the block ends."""
    api = FakeApi()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body)
            api.requests.append(request)
            answer = api.answers(request)
            sent = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {"content-type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_DELETE = do_PATCH = answer

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing: pytest shows what matters."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
