from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from relay.client.blocking.watch import Stream
from relay.client.http import Api, ApiError, Unexpected
from relay.model import Secret
from tests.support.clock import FakeClock
from tests.support.fake_api import Answer, FakeApi, fake_api, problem


class States(list[str]):
    """What a watcher was told."""

    def connected(self) -> None:
        self.append("connected")

    def lost(self, reason: str) -> None:
        self.append(f"lost: {reason}")

    def back(self, seconds: float) -> None:
        self.append(f"back after {seconds}")


@pytest.fixture
def server() -> Iterator[FakeApi]:
    with fake_api() as fake:
        yield fake


def _sse(*events: tuple[str, str, dict[str, Any]]) -> Answer:
    blocks = [f"id: {id}\nevent: {name}\ndata: {json.dumps(data)}\n\n" for id, name, data in events]
    return Answer(("retry: 5\n: watching\n\n" + "".join(blocks)).encode(), 200, {"content-type": "text/event-stream"})


def test_a_stream_that_breaks_goes_on_where_it_stopped_and_repeats_nothing(server: FakeApi, clock: FakeClock) -> None:
    one, two, three = ({"id": f"res_{number}", "type": "result.completed"} for number in (1, 2, 3))
    answers = [
        _sse(("10-a", "result.completed", one), ("11-b", "result.completed", two)),
        problem(503, "too_many_streams", "64 streams are open already."),
        _sse(
            ("9-g", "stream.gap", {"since": "a", "until": "b"}),
            ("11-b", "result.completed", two),
            ("12-c", "result.completed", three),
            ("12-d", "stream.end", {"reason": "stopping"}),
        ),
        problem(401, "unauthorized", "no"),
    ]
    server.answers = lambda _: answers.pop(0)
    states, seen = States(), []
    with Api(server.url, Secret("rk_key")) as api, pytest.raises(ApiError):
        for event in Stream(api, {"types": "result", "webhook_id": None}, states, clock, clock.advance).events():
            seen.append(event)
    assert seen == [one, two, {"type": "stream.gap", "since": "a", "until": "b"}, three]
    assert states == [
        "connected",
        "lost: the stream ended",
        "back after 1.5",
        "lost: the relay ended the stream (stopping)",
    ]
    assert [request.headers.get("last-event-id") for request in server.requests] == [None, "11-b", "11-b", "12-c"]
    assert server.requests[0].query == {"types": "result"}


def test_what_is_no_stream_is_not_read_and_once_connected_passes(server: FakeApi, clock: FakeClock) -> None:
    answers = [_sse(), Answer({"x": 1}), problem(403, "forbidden", "no")]
    server.answers = lambda _: answers.pop(0)
    states = States()
    with Api(server.url, Secret("rk_key")) as api, pytest.raises(ApiError):
        next(Stream(api, {}, states, clock, clock.advance).events())
    assert states == ["connected", "lost: the stream ended"]
    assert answers == []


def test_what_happens_before_the_second_connection_is_asked_for_too(server: FakeApi, clock: FakeClock) -> None:
    answers = [_sse(), problem(401, "unauthorized", "no")]
    server.answers = lambda _: answers.pop(0)
    opened_at = clock.now()
    with Api(server.url, Secret("rk_key")) as api, pytest.raises(ApiError):
        list(Stream(api, {}, States(), clock, clock.advance).events())
    assert "last-event-id" not in server.requests[0].headers
    assert server.requests[1].headers["last-event-id"] == f"{opened_at}-"


def test_only_a_line_feed_ends_a_line_of_the_stream(server: FakeApi, clock: FakeClock) -> None:
    data = {"id": "job_1", "type": "job.waiting", "data": {"provider_job_id": "a\u2028b\x85c\x0b\u2029d"}}
    line = json.dumps(data, ensure_ascii=False)
    body = f"retry: 5\r\n: watching\r\n\r\nid: 1-a\r\nevent: job.waiting\r\ndata: {line}\r\n\r\n".encode()
    answers = [Answer(body, 200, {"content-type": "text/event-stream"}), problem(401, "unauthorized", "no")]
    server.answers = lambda _: answers.pop(0)
    with Api(server.url, Secret("rk_key")) as api:
        events = Stream(api, {}, States(), clock, clock.advance).events()
        assert next(events) == data
        with pytest.raises(ApiError):
            next(events)


def test_what_never_was_a_relay_is_not_watched_for_ever(server: FakeApi, clock: FakeClock) -> None:
    server.answers = lambda _: Answer(b"<html>hello</html>", 200, {"content-type": "text/html"})
    with Api(server.url, Secret("rk_key")) as api, pytest.raises(Unexpected):
        next(Stream(api, {}, States(), clock, clock.advance).events())
    assert len(server.requests) == 1
