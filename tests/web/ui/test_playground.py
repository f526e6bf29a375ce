"""The playground's page: closed unless it is asked for, hostile to nothing but hostile content."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from relay.clock import Instant
from relay.demo.playground import MARK, Playground
from relay.demo.recorder import Called
from relay.demo.sink import Message
from relay.model import DeliveryStatus, JobStatus
from relay.signing.browser import Sessions
from relay.web.ui.guard import COOKIE
from relay.web.ui.playground import LONGEST_PROMPT
from tests.support.clock import FakeClock
from tests.support.dashboard import HOSTILE, SAME_ORIGIN, Dashboard, dashboard_of, elements
from tests.support.management import KEYS, open_management, webhook_body
from tests.support.noun_rows import (
    attempt,
    delivery,
    job,
    notification,
    put_attempt,
    put_delivery,
    put_job,
    put_notification,
    put_result,
    result,
)

HOOKS = "https://billing.example/hooks"
POSTS = ("/ui/playground", "/ui/playground/remove")


class Scripted(Playground):
    """Nobody listens; what was heard is given."""

    heard: tuple[Message, ...] = ()
    calls: tuple[Called, ...] = ()

    def registration(self, provider: str, scenario: str) -> dict[str, Any]:
        return webhook_body(f"playground-{provider}", metadata={MARK: provider})

    def subscription(self) -> dict[str, Any]:
        return {**super().subscription(), "url": HOOKS}

    def received(self, job_id: str) -> list[Message]:
        return list(self.heard)

    def notified(self, provider: str, provider_job_id: str) -> list[Called]:
        return list(self.calls)


@dataclass
class Played:
    """A dashboard with a playground on a database of its own, which holds one job of it."""

    dashboard: Dashboard
    stage: Scripted
    now: Instant

    async def play(self, text: str) -> str:
        """A job that the subscriber has refused once; all that a stranger may write is `text`. The page's address."""
        management, now, stage = self.dashboard.management, self.now, self.stage
        webhook = await management.make("/v1/webhooks", stage.registration("netnut", "straight"))
        subscription = await management.subscription(**stage.subscription(), webhook_ids=[webhook["id"]])
        await management.subscription("everything")
        done = job(webhook["id"], now, status=JobStatus.FAILED, due_at=None, provider_job_id=text, notified_at=now,
                   metadata={MARK: "straight", text: text}, completed_at=now, last_error=text)  # fmt: skip
        made = result(
            done.id, webhook["id"], now, text.encode(), status=JobStatus.FAILED, error=text, content_type=text
        )
        done = replace(done, result_id=made.id)
        sent = delivery(made.id, subscription["id"], now, attempts=1, last_error=text)

        def store(conn: Any) -> None:
            put_job(conn, done)
            put_result(conn, made, text.encode())
            put_delivery(conn, sent)
            put_attempt(conn, attempt(done.id, 1, now, error_code=text, http_status=None, response_excerpt=text))
            put_attempt(conn, attempt(sent.id, 1, now, error_code=text, http_status=None, response_excerpt=text))
            put_notification(conn, notification(webhook["id"], now, job_id=done.id, reason=text))

        await management.database.write(store)
        headers = {f"x-{text}": text, "relay-attempt": text, "relay-trigger": text, "webhook-id": text}
        first = Message(now, "/", headers, text.encode(), False, 503)
        stage.heard = (first, replace(first, body=text.encode("utf-16")))
        stage.calls = (Called(401, 1.0, now, text, text.encode(), headers),)
        return f"/ui/playground?job={done.id}"


@asynccontextmanager
async def playing(database: Path, clock: FakeClock) -> AsyncIterator[Played]:
    management = await open_management(f"sqlite:///{database}", clock, migrate=False)
    stage = Scripted(clock)
    management.services = replace(management.services, playground=stage)
    dashboard = dashboard_of(management, database.parent)
    await dashboard.sign_in()
    try:
        yield Played(dashboard, stage, clock.now())
    finally:
        await dashboard.client.aclose()
        await management.close()


@pytest.fixture
async def played(empty_file: Path, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Played]:
    async with playing(Path(shutil.copy(empty_file, tmp_path / "played.db")), clock) as made:
        yield made


async def test_a_relay_that_was_not_told_to_plays_nothing_and_says_how(dashboard: Dashboard) -> None:
    page = await dashboard.get("/ui/playground")
    assert "It is off on this relay" in page and "<code>RELAY_PLAYGROUND=on</code>" in page
    assert elements(page).running == [] and 'action="/ui/playground' not in page
    for path in POSTS:
        answer = await dashboard.post(path, {"provider": "netnut", "scenario": "straight"})
        assert answer.status_code == 405
    assert (await dashboard.management.client.get("/v1/webhooks")).json()["data"] == []


async def test_what_the_subscriber_received_makes_no_element_and_no_attribute(
    played: Played, empty_file: Path, tmp_path: Path, clock: FakeClock
) -> None:
    text = "\n".join(HOSTILE)
    page = await played.dashboard.get(await played.play(text))
    async with playing(Path(shutil.copy(empty_file, tmp_path / "benign.db")), clock) as plain:
        benign = await plain.dashboard.get(await plain.play("x" * len(text)))
    read = elements(page)
    assert read.running == []
    assert read.found == elements(benign).found
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\u202a-\u202e\u2066-\u2069]", page)
    assert benign.count("x" * len(text)) > 3 and page.count("{{7*7}} ${7*7} {%raw%}") > 3
    assert page.count("does not verify") == 2


async def test_what_others_will_get_is_said_before_anybody_plays(played: Played) -> None:
    await played.play("x")
    page = await played.dashboard.get("/ui/playground?provider=pulse")
    assert "will get what is played here too: everything" in page
    assert page.count('name="scenario"') == len(played.stage.scenarios("pulse"))


async def test_what_cannot_be_played_is_named(played: Played) -> None:
    for fields, told in (
        ({"provider": "acme", "scenario": "straight"}, ("#/provider", "netnut, pulse")),
        ({"provider": "netnut", "scenario": "forged"}, ("#/scenario", "nothing that netnut can play")),
        ({"provider": "netnut", "scenario": "straight", "prompt": "x" * (LONGEST_PROMPT + 1)}, ("#/prompt", "4000")),
    ):
        answer = await played.dashboard.post("/ui/playground", fields)
        assert answer.status_code == 422 and all(part in answer.text for part in told), fields
    await played.dashboard.get("/ui/playground?provider=acme", 404)
    await played.dashboard.get(f"/ui/playground?job=job_{'0' * 32}", 404)


async def test_a_job_of_somebody_else_is_no_play(played: Played) -> None:
    webhook = await played.dashboard.management.webhook()
    mine = job(webhook["id"], played.now)
    await played.dashboard.management.database.write(lambda conn: put_job(conn, mine))
    await played.dashboard.get(f"/ui/playground?job={mine.id}", 404)


async def test_a_read_key_looks_and_does_not_play(played: Played) -> None:
    place = await played.play("x")
    key = await played.dashboard.management.make("/v1/keys", {"name": "someone", "scope": "read"})
    await played.dashboard.sign_in(key["key"])
    page = await played.dashboard.get(place)
    assert "needs a key with the scope <code>write</code>" in page and 'action="/ui/playground' not in page
    sessions = Sessions(KEYS)
    session = sessions.read(played.dashboard.client.cookies[COOKIE], played.now)
    assert session is not None
    fields = {"token": sessions.form_token(session), "provider": "netnut", "scenario": "straight"}
    for path in POSTS:
        answer = await played.dashboard.client.post(path, data=fields, headers=SAME_ORIGIN)
        assert answer.status_code == 403 and "scope write" in answer.text, path


async def test_the_forms_are_closed_as_all_others_are(played: Played) -> None:
    client, fields = played.dashboard.client, {"provider": "netnut", "scenario": "straight"}
    token = {"token": await played.dashboard.token()}
    foreign = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}
    for path in POSTS:
        assert (await client.post(path, data=fields, headers=SAME_ORIGIN)).status_code == 403
        assert (await client.post(path, data=fields | token, headers=foreign)).status_code == 403
    client.cookies.clear()
    for path in POSTS:
        answer = await client.post(path, data=fields | token, headers=SAME_ORIGIN)
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/sign-in"), path
    assert (await client.get("/ui/playground")).headers["location"] == "/ui/sign-in?next=/ui/playground"


@pytest.mark.parametrize(
    ("status", "settled", "told"),
    [
        (DeliveryStatus.PENDING, None, "on its way to the subscriber"),
        (DeliveryStatus.EXHAUSTED, 0, "the delivery is exhausted and can be sent again"),
        (DeliveryStatus.DELIVERED, 1500, "Delivered 1.5 s after it was asked for; a signature does not verify"),
    ],
)
async def test_where_it_stands_is_said_in_a_sentence(
    played: Played, status: DeliveryStatus, settled: int | None, told: str
) -> None:
    place = await played.play("x")
    at = None if settled is None else played.now + settled

    def settle(conn: Any) -> None:
        values = {"status": str(status), "at": at, "due": None if settled is not None else played.now}
        conn.exec_driver_sql("UPDATE deliveries SET status = :status, settled_at = :at, due_at = :due", values)

    await played.dashboard.management.database.write(settle)
    page = await played.dashboard.get(place)
    assert told in page
    assert ('data-every="400"' in page) == (status is DeliveryStatus.PENDING)  # it hurries only while something comes
