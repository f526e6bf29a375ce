"""What the playground's cards promise is what a real relay makes of it, by the forms of the dashboard."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil
import pytest

from relay.app import run_serve
from relay.clock import SystemClock
from relay.demo.playground import MARK, Playground
from relay.demo.scenarios import SCENARIOS
from tests.crash.rig import Program
from tests.support.journey import ADMIN_KEY, Caller, process_environment, processes, running, settings_of, travelling
from tests.support.ports import free_port

# By scenario: how the job ends, and what the subscriber answered.
ENDS: Final[dict[str, tuple[str, list[int]]]] = {one.name: ("completed", [200]) for one in SCENARIOS} | {
    "failed": ("failed", [200]),
    "cancelled": ("cancelled", [200]),
    "gone": ("expired", [200]),
    "gone-quietly": ("expired", [200]),
    "subscriber-down": ("completed", [503, 200]),
    "subscriber-refuses": ("completed", [422, 422, 422]),
}
# By scenario: what its page tells besides, as it is the same for every provider.
TELLS: Final = {
    "not-ready": "[3-9] attempts",
    "stumbles": "503, then 429, then",
    "presigned": "&#34;markdown&#34;",
    "silent": "nobody called",
    "twice": "answered 200, 200",
    "forged": "answered 401",
}
SLOW: Final = "gone-quietly"
STAND_INS: Final = 9  # four providers, each with object storage, and the subscriber


class Person:
    """Somebody at the dashboard, without JavaScript."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url

    async def get(self, path: str) -> str:
        """A page."""
        async with self._session.get(self._url + path) as answer:
            assert answer.status == 200, f"{path}: {answer.status}"
            return await answer.text()

    async def post(self, path: str, **fields: str) -> tuple[int, str]:
        """Send a form; the status and where it leads."""
        found = re.search(r'name="token" value="([^"]+)"', await self.get("/ui/settings"))
        assert found
        headers = {"origin": self._url, "sec-fetch-site": "same-origin"}
        given = {"token": found[1], **fields}
        async with self._session.post(self._url + path, data=given, headers=headers, allow_redirects=False) as answer:
            return answer.status, answer.headers.get("location", await answer.text())

    async def play(self, provider: str, scenario: str, **more: str) -> str:
        """Press a card; the job's id."""
        status, place = await self.post("/ui/playground", provider=provider, scenario=scenario, **more)
        assert status == 303, place
        return place.rpartition("job=")[2]


@asynccontextmanager
async def somebody(url: str) -> AsyncIterator[Person]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        headers = {"origin": url, "sec-fetch-site": "same-origin"}
        async with session.post(f"{url}/ui/sign-in", data={"key": ADMIN_KEY}, headers=headers) as answer:
            assert answer.status == 200
        yield Person(session, url)


async def _ended(world: Caller, job_id: str) -> tuple[str, str]:
    """The status of the job and of its delivery to the playground's subscriber, once both are final."""
    job = await world.until(f"/v1/jobs/{job_id}", lambda job: job["status"] not in ("waiting", "fetching"))
    path = f"/v1/deliveries?job_id={job_id}"
    found = await world.until(path, lambda page: page["data"] and page["data"][0]["status"] != "pending")
    return job["status"], found["data"][0]["status"]


async def _plays(directory: Path, wanted: list[tuple[str, str]]) -> None:
    """Play all of them at once; each must end as its card says, and the page must say so."""
    url = f"sqlite:///{directory / 'relay.db'}"
    patience: dict[str, Any] = {"lease_seconds": 600, "delivery_timeout_seconds": 600}
    async with travelling(url, directory, hurry=20, plays=True, **patience) as world:  # in spite of the hurry
        async with somebody(world.url) as person:
            jobs = [(name, await person.play(provider, name)) for provider, name in wanted]
            for name, job_id in jobs:
                status, answers = ENDS[name]
                delivered = "delivered" if answers[-1] == 200 else "exhausted"
                assert await _ended(world, job_id) == (status, delivered), name
                page = await person.get(f"/ui/playground?job={job_id}")
                assert re.findall(r'<span class="(?:ok|bad)-text">(\d+)</span>', page) == [*map(str, answers)], name
                assert "does not verify" not in page and page.count("> verified<") == len(answers), name
                assert "data-every" not in page and re.search(TELLS.get(name, ""), page), name


async def test_every_scenario_of_every_stand_in_ends_as_its_card_says(tmp_path: Path) -> None:
    wanted = [(provider, one.name) for one in SCENARIOS if one.name != SLOW for provider in one.providers]
    assert len(wanted) > 30
    await _plays(tmp_path, wanted)


@pytest.mark.slow
async def test_a_bare_410_is_believed_after_two_minutes(tmp_path: Path) -> None:
    await _plays(tmp_path, [("netnut", SLOW)])


async def test_what_it_makes_is_named_takes_nothing_else_and_is_removed(tmp_path: Path) -> None:
    async with travelling(f"sqlite:///{tmp_path / 'relay.db'}", tmp_path, hurry=20, plays=True) as world:
        mine = await world.webhook("playground-of-mine")
        billing = await world.subscribe("billing")
        async with somebody(world.url) as person:
            await person.play("netnut", "straight")
            job_id = await person.play("freddy", "straight")
            await _ended(world, job_id)
            assert "get what is played here too: billing" in await person.get("/ui/playground")
            named = {item["name"]: item["id"] for item in await world.page("/v1/webhooks")}
            assert set(named) == {"playground-of-mine", "playground-netnut", "playground-freddy"}
            (made, _) = await world.page("/v1/subscriptions")
            assert made["name"] == "playground"
            assert set(made["webhook_ids"]) == {named["playground-netnut"], named["playground-freddy"]}
            assert (await world.get(f"/v1/jobs/{job_id}"))["metadata"] == {MARK: "straight"}
            assert (await person.post("/ui/playground/remove"))[0] == 303
        assert [item["id"] for item in await world.page("/v1/webhooks")] == [mine["id"]]
        assert [item["id"] for item in await world.page("/v1/subscriptions")] == [billing["id"]]


async def test_the_webhooks_of_a_relay_that_was_stopped_are_made_anew(tmp_path: Path) -> None:
    url, ids, earlier = f"sqlite:///{tmp_path / 'relay.db'}", list[str](), ""
    for _ in range(2):  # the second one's stand-ins have other ports and other secrets
        async with travelling(url, tmp_path, hurry=20, plays=True) as world, somebody(world.url) as person:
            job_id = await person.play("pulse", "straight")
            assert await _ended(world, job_id) == ("completed", "delivered")
            assert "> verified<" in await person.get(f"/ui/playground?job={job_id}")
            (webhook,), (subscription,) = await world.page("/v1/webhooks"), await world.page("/v1/subscriptions")
            if earlier:
                assert "started again since" in await person.get(f"/ui/playground?job={earlier}")
            ids, earlier = [*ids, webhook["id"], subscription["id"]], job_id
    assert len(set(ids)) == 4


async def test_stand_ins_call_the_relay_here_whatever_its_public_url_is(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'relay.db'}"
    settings = settings_of(url, tmp_path, public_url="https://relay.example")
    async with Playground(SystemClock()) as playground, running(settings, playground=playground):
        async with somebody(settings.local_url) as person, aiohttp.ClientSession() as session:
            job_id = await person.play("inference-net", "straight")
            assert await _ended(Caller(session, settings.local_url), job_id) == ("completed", "delivered")
            assert "the notification brought it along" in await person.get(f"/ui/playground?job={job_id}")


def test_a_relay_that_shares_its_database_plays_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_of("postgresql://nobody@127.0.0.1:1/none", tmp_path)
    assert run_serve(settings, with_worker=True, playground=Playground) == 2
    assert "RELAY_PLAYGROUND needs SQLite" in capsys.readouterr().err


async def test_stand_ins_take_nothing_from_strangers() -> None:
    async with Playground(SystemClock()) as playground, aiohttp.ClientSession() as session:
        asked = [f"http://{entry.replace('/32', '')}" for entry in playground.provider_addresses]
        asked += [f"http://{entry.replace('/32', '')}" for entry in playground.subscriber_addresses]
        assert len(asked) == STAND_INS
        answers = set()
        for url in asked:
            for path in ("/-/trigger", "/-/knobs", "/search", "/extract", "/playground", "/"):
                async with session.post(
                    url + path, json={"prompt": "x", "callback_url": "http://127.0.0.1:1/"}
                ) as told:
                    answers.add(told.status)
        assert answers == {401, 404}


def _listening(program: Program) -> int:
    """How many sockets of a process listen."""
    found = psutil.Process(program.process.pid).net_connections("tcp")
    return sum(one.status == psutil.CONN_LISTEN for one in found)


@pytest.mark.parametrize(("options", "more"), [([], 0), (["--playground"], STAND_INS)])
async def test_a_relay_plays_only_when_it_is_told_to(tmp_path: Path, options: list[str], more: int) -> None:
    port = free_port()
    env = process_environment(f"sqlite:///{tmp_path / 'relay.db'}", tmp_path, port)
    del env["RELAY_EGRESS_ALLOW"], env["RELAY_PROVIDER_EGRESS_ALLOW"]
    command = [sys.executable, "-m", "relay", "serve", *options]
    async with processes(tmp_path, relay=(command, env)) as (program,), somebody(f"http://127.0.0.1:{port}") as person:
        assert _listening(program) == 1 + more
        page = await person.get("/ui/playground")
        assert ("relay serve --playground" in page) == (not options)
        assert ('<form method="post" action="/ui/playground"' in page) == bool(options)
        if options:
            job_id = await person.play("netnut", "straight")
            url = f"http://127.0.0.1:{port}"
            async with aiohttp.ClientSession() as session:
                assert await _ended(Caller(session, url), job_id) == ("completed", "delivered")
            assert "> verified<" in await person.get(f"/ui/playground?job={job_id}")
        else:
            assert (await person.post("/ui/playground", provider="netnut", scenario="straight"))[0] == 405
            assert (await person.post("/ui/playground/remove"))[0] == 405
