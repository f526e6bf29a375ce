"""What the doctor says of what answers: a real relay, proxies that are in the way, and things that are no relay."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import relay
from relay.clock import Instant, SystemClock
from relay.doctor import outside
from relay.doctor.findings import Finding, Level
from relay.model import Secret
from relay.settings import Settings
from tests.support.fake_api import Answer, FakeApi, Request, fake_api, problem
from tests.support.journey import ADMIN_KEY, Caller, running, settings_of
from tests.support.ports import free_port

ALIVE = Answer({"status": "ok"})
READY = Answer({"status": "ok", "components": {"database": "ok"}})
NOT_FOUND = problem(404, "unknown", "no such callback address")


@pytest.fixture
def front() -> Iterator[FakeApi]:
    """What stands at the public address."""
    with fake_api() as server:
        server.answers = lambda request: ALIVE if request.path == "/livez" else NOT_FOUND
        yield server


def settings(url: str, tmp_path: Path, **more: Any) -> Settings:
    return Settings.model_validate({"public_url": url, "data_dir": tmp_path} | more)


def seen(found: Iterator[Finding]) -> list[tuple[str, Level]]:
    return [(finding.check, finding.level) for finding in found]


def test_a_proxy_that_lets_everything_through(front: FakeApi, tmp_path: Path) -> None:
    assert seen(outside.proxy(settings(front.url, tmp_path, max_notification_bytes=2048))) == [("proxy", Level.OK)]


def test_a_proxy_that_refuses_large_notifications(front: FakeApi, tmp_path: Path) -> None:
    front.answers = lambda request: ALIVE if request.path == "/livez" else Answer(b"<html>", 413)
    (finding,) = outside.proxy(settings(front.url, tmp_path))
    assert (finding.check, finding.level) == ("proxy", Level.FAIL)
    assert "client_max_body_size" in finding.advice


@pytest.mark.parametrize("status", [200, 403, 405, 502])
def test_a_proxy_that_does_not_pass_callbacks_on(front: FakeApi, tmp_path: Path, status: int) -> None:
    front.answers = lambda request: ALIVE if request.path == "/livez" else Answer(b"<html>", status)
    assert seen(outside.proxy(settings(front.url, tmp_path))) == [("proxy", Level.FAIL)]


def test_a_public_address_that_redirects(front: FakeApi, tmp_path: Path) -> None:
    front.answers = lambda _: Answer(b"", 301, {"location": "https://relay.example/"})
    (finding,) = outside.proxy(settings(front.url, tmp_path))
    assert (finding.check, finding.level) == ("public-url", Level.FAIL)
    assert "redirect" in finding.says


def test_a_public_address_of_something_else_or_of_nothing(front: FakeApi, tmp_path: Path) -> None:
    front.answers = lambda _: Answer(b"<html>Welcome to nginx!</html>", 200)
    assert seen(outside.proxy(settings(front.url, tmp_path))) == [("public-url", Level.FAIL)]
    nothing = settings(f"http://127.0.0.1:{free_port()}", tmp_path)
    assert seen(outside.proxy(nothing)) == [("public-url", Level.WARN)]


def test_an_api_that_faces_the_internet_although_it_has_a_port_of_its_own(front: FakeApi, tmp_path: Path) -> None:
    def answer(request: Request) -> Answer:
        return {"/livez": ALIVE, "/v1/stats": problem(401, "key_missing", "show a key")}.get(request.path, NOT_FOUND)

    front.answers = answer
    given = settings(front.url, tmp_path, management_port=8001)
    assert seen(outside.proxy(given)) == [("proxy", Level.OK), ("proxy", Level.WARN)]


async def test_a_real_relay_is_content_and_takes_the_largest_notification(
    sqlite_stage_url: str, tmp_path: Path
) -> None:
    given = settings_of(sqlite_stage_url, tmp_path)
    async with running(given):
        proxied = await asyncio.to_thread(lambda: list(outside.proxy(given)))
        found = await asyncio.to_thread(
            lambda: list(outside.running(given.public_url, Secret(ADMIN_KEY), SystemClock(), expected=True))
        )
        refused = await asyncio.to_thread(
            lambda: list(outside.trouble(given.public_url, Secret("rk_no-key-of-this-relay")))
        )
    assert [(each.check, each.level) for each in proxied] == [("proxy", Level.OK)]
    assert [(each.check, each.level) for each in found] == [
        ("running", Level.OK), ("version", Level.OK), ("key", Level.OK),
    ]  # fmt: skip
    assert [(each.check, each.level) for each in refused] == [("key", Level.FAIL)]


async def test_a_subscriber_that_the_allow_list_does_not_have(sqlite_stage_url: str, tmp_path: Path) -> None:
    given = settings_of(sqlite_stage_url, tmp_path)
    given = given.model_copy(update={"url": given.public_url})
    async with running(given), aiohttp.ClientSession() as session:
        api = Caller(session, given.public_url)
        await api.post("/v1/subscriptions", {"name": "billing", "url": "http://127.0.0.1:9000/hooks"})
        await api.post("/v1/subscriptions", {"name": "far", "url": "https://93.184.215.14/hooks"})
        found = await asyncio.to_thread(lambda: list(outside.subscribers(given, Secret(ADMIN_KEY), SystemClock())))
        narrow = given.model_copy(update={"egress_allow": ("10.0.0.0/8",)})
        unset = Settings.model_validate({"url": given.url})
        unsure = await asyncio.to_thread(lambda: list(outside.subscribers(unset, Secret(ADMIN_KEY), SystemClock())))
        refused = await asyncio.to_thread(lambda: list(outside.subscribers(narrow, Secret(ADMIN_KEY), SystemClock())))
    assert [(each.check, each.level) for each in found] == [("egress", Level.OK)]
    assert [each.level for each in unsure] == [Level.WARN]
    (finding,) = refused
    assert (finding.check, finding.level, "billing" in finding.says) == ("egress", Level.FAIL, True)
    assert finding.advice == "add 127.0.0.1/32:9000 to RELAY_EGRESS_ALLOW"


def test_nobody_where_somebody_says_that_a_relay_runs() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert seen(outside.running(url, None, SystemClock(), expected=True)) == [("running", Level.FAIL)]
    assert seen(outside.running(url, None, SystemClock(), expected=False)) == [("running", Level.OK)]


def test_a_relay_that_is_not_ready_or_is_none(front: FakeApi) -> None:
    front.answers = lambda _: Answer({"components": {"clock": "skewed", "database": "ok"}}, 503)
    (finding, *_) = outside.running(front.url, None, SystemClock(), expected=True)
    assert (finding.level, finding.says) == (Level.FAIL, "it is not ready: clock skewed")
    front.answers = lambda _: Answer(b"hello", 200)
    assert seen(outside.running(front.url, None, SystemClock(), expected=True)) == [("running", Level.FAIL)]


def test_another_version_there(front: FakeApi) -> None:
    front.answers = lambda _: Answer({"info": {"version": "99.1"}})
    (finding,) = outside.version(front.url)
    assert (finding.level, "99.1" in finding.says, relay.__version__ in finding.says) == (Level.WARN, True, True)


def test_a_clock_far_from_this_one() -> None:
    class Clock(SystemClock):
        def now(self) -> Instant:
            return Instant(1_764_000_000_000)

    assert seen(outside.time_of("Mon, 24 Nov 2025 16:00:01 GMT", Clock())) == []
    assert seen(outside.time_of("Mon, 24 Nov 2025 16:00:30 GMT", Clock())) == [("clock", Level.WARN)]
    assert seen(outside.time_of("yesterday", Clock())) == []


def test_a_relay_that_cannot_answer_is_not_said_to_refuse_the_key(front: FakeApi) -> None:
    front.answers = lambda _: problem(503, "store_unavailable", "The database cannot be used at this moment.")
    (found,) = outside.trouble(front.url, Secret("rk_key"))
    assert (found.check, found.level) == ("running", Level.FAIL)
    assert "database" in found.says and "RELAY_API_KEY" not in found.advice


def test_what_the_relay_itself_knows_to_be_wrong(front: FakeApi) -> None:
    def answer(request: Request) -> Answer:
        item = {"name": "billing", "status": "disabled"}
        if request.path == "/v1/webhooks":
            item = {"name": "netnut-prod", "status": "credentials_rejected"}
        if request.path == "/v1/stats":
            return Answer({"jobs_overdue": 3})
        return Answer({"data": [item], "next_cursor": None})

    front.answers = answer
    found = list(outside.trouble(front.url, Secret("rk_key")))
    assert [(each.check, each.level) for each in found] == [
        ("key", Level.OK), ("credentials", Level.WARN), ("subscriptions", Level.WARN), ("deadlines", Level.WARN),
    ]  # fmt: skip
    assert "netnut-prod" in found[1].says
    assert "billing" in found[2].says
    assert "--status waiting,fetching" in found[3].advice  # a job may be late without anybody knowing that it is done
    assert "rk_key" not in repr(found)
