from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from relay.client.forward import Answered, Forwarder
from relay.client.http import Api, ApiError
from relay.client.listen import Listener, Message, local_secret
from relay.clock import after, rfc3339
from relay.model import Secret
from relay.signing.standard_webhooks import decode_secret
from tests.support.clock import FakeClock
from tests.support.fake_api import Answer, FakeApi, Request, fake_api, problem

SUB = "sub_" + "1" * 32
RELEASE, ACK = f"/v1/subscriptions/{SUB}/release", f"/v1/subscriptions/{SUB}/ack"
OK, BUSY = Answered(200, None, 5), Answered(503, None, 5)


@dataclass
class Told:
    """All that a watcher was told, in order."""

    said: list[tuple[Any, ...]] = field(default_factory=list)
    beats: int = 0

    def handled(self, message: Message, answered: Answered, retry_seconds: float | None) -> None:
        self.said.append(("handled", message.id, retry_seconds))

    def lost(self, reason: str) -> None:
        self.said.append(("lost",))

    def back(self, seconds: float) -> None:
        self.said.append(("back", seconds))

    def woke(self, seconds: float) -> None:
        self.said.append(("woke", seconds))

    def missed(self, count: int) -> None:
        self.said.append(("missed", count))

    def alive(self) -> None:
        self.beats += 1


@dataclass
class Rig:
    """A listener on a relay whose answers the test sets."""

    server: FakeApi
    api: Api
    clock: FakeClock
    told: Told = field(default_factory=Told)
    answers: list[Answered] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    waiting: list[dict[str, Any]] = field(default_factory=list)
    down: dict[str, Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.server.answers = self.answer
        self.listener = Listener(self.api, SUB, self.handle, self.told, self.clock, self.clock.advance)

    def answer(self, request: Request) -> Answer:
        for part, answer in self.down.items():
            if request.path.endswith(part):
                return answer
        if request.method == "GET":
            return Answer({"data": [self.waiting.pop(0)] if self.waiting else [], "subscription_status": "active"})
        return Answer({"data": []})

    def handle(self, headers: Any, body: bytes) -> Answered:
        self.bodies.append(body)
        return self.answers.pop(0)

    def message(self, id: str, answered: Answered = OK, *, attempt: int = 1, **more: Any) -> None:
        self.answers.append(answered)
        given = {"message_id": id, "lease": f"{id}.{attempt}", "attempt": attempt, "headers": {"webhook-id": id}}
        self.waiting.append({**given, "created_at": rfc3339(self.clock.now()), "body": "{}", **more})

    def posted(self, path: str) -> list[Any]:
        return [request.json for request in self.server.requests if request.path == path]


@pytest.fixture
def rig(clock: FakeClock) -> Iterator[Rig]:
    with fake_api() as server, Api(server.url, Secret("rk_key")) as api:
        yield Rig(server, api, clock)


def test_what_is_handled_is_acknowledged_and_the_rest_given_back_later_each_time(rig: Rig) -> None:
    rig.message("one", body=None, body_base64=base64.b64encode(b"\xff").decode())
    for attempt in (1, 2, 3, 20):
        rig.message("two", BUSY, attempt=attempt)
    for _ in range(5):
        rig.listener.step()
    assert rig.posted(ACK) == [{"message_ids": ["one"]}]
    assert [body["delay_seconds"] for body in rig.posted(RELEASE)] == [1, 2, 4, 60]
    assert rig.posted(RELEASE)[0]["leases"] == ["two.1"]
    assert rig.bodies[:2] == [b"\xff", b"{}"]


def test_an_acknowledgement_that_could_not_be_sent_is_sent_before_anything_else(rig: Rig) -> None:
    rig.message("one")
    rig.down["/ack"] = problem(503, "store_unavailable", "away")
    rig.listener.step()
    rig.listener.step()
    assert len(rig.bodies) == 1
    rig.down.clear()
    rig.listener.step()
    assert [request.path for request in rig.server.requests[-2:]] == [ACK, f"/v1/subscriptions/{SUB}/messages"]
    assert [said[0] for said in rig.told.said] == ["handled", "lost", "back"]
    rig.listener.finish()
    assert len(rig.posted(ACK)) == 3


def test_a_relay_that_is_away_is_said_once_and_what_was_missed_is_counted(rig: Rig) -> None:
    rig.listener.step()
    rig.down["/messages"] = problem(503, "store_unavailable", "away")
    for _ in range(4):
        rig.listener.step()
    for id in ("one", "two"):
        rig.message(id)
    rig.clock.advance(30)
    rig.message("three", created_at=rfc3339(after(rig.clock.now(), 3600)))
    rig.down.clear()
    for _ in range(3):
        rig.listener.step()
    assert rig.told.said == [
        ("lost",),
        ("back", 37.5),  # after pauses of 0.5, 1, 2 and 4 s
        ("handled", "one", None),
        ("handled", "two", None),
        ("missed", 2),
        ("handled", "three", None),
    ]


def test_a_machine_that_slept_says_so(rig: Rig) -> None:
    rig.listener.step()
    rig.message("one")
    rig.clock.advance(600)
    for _ in range(2):
        rig.listener.step()
    assert rig.told.said == [("woke", 600.0), ("handled", "one", None), ("missed", 1)]


@pytest.mark.parametrize("status", [401, 403, 404, 409])
def test_a_relay_that_refuses_for_good_ends_it(rig: Rig, status: int) -> None:
    rig.down["/messages"] = problem(status, "no", "no")
    with pytest.raises(ApiError):
        rig.listener.step()


def test_the_secret_is_the_same_for_the_same_key_and_strong_enough() -> None:
    made = local_secret(Secret("rk_one"))
    assert made == local_secret(Secret("rk_one")) != local_secret(Secret("rk_two"))
    assert len(decode_secret(Secret(made))) == 32


def test_nobody_at_the_local_address_is_an_answer_too(clock: FakeClock) -> None:
    with fake_api() as server:
        server.answers = lambda _: Answer({}, 302, {"location": "http://example.com"})
        with Forwarder(f"{server.url}/hook", clock) as forward:
            answered = forward({"webhook-id": "res_1"}, b"body")
        assert (answered.status, answered.taken) == (302, False)
        assert (server.last.body, server.last.headers["webhook-id"]) == (b"body", "res_1")
    with Forwarder(f"{server.url}/hook", clock) as forward:
        assert forward({}, b"") == Answered(None, "nobody answers", 0)
