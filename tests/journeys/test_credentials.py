"""Credentials of one webhook are seen by no origin but its own: hostile URLs in fourteen providers' messages.

Every profile's webhook has an origin of its own, which is a socket that keeps all that it hears, and so is the place
that the URLs lead to. A URL stands wherever a notification or an answer could name a place. The profiles verify
nothing here: what is tried is what somebody may do who got past that.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlencode

import orjson
import pytest

from relay.demo.recorder import CREDENTIAL_HEADERS
from relay.providers.callback import VerificationScheme
from relay.providers.loader import load_profiles
from relay.providers.profile import Profile
from tests.outbound.test_urls import REFUSED
from tests.support.journey import ADMIN_KEY, World, eventually, travelling
from tests.support.providers.ways import WAYS
from tests.support.raw_provider import Heard, RawProvider, answer
from tests.support.trip import BY_URL, PARAMETERS

WITH_PRESIGNED: Final = {"pulse", "reducto"}
AT_ONCE: Final = 8  # notifications under way
USERNAME: Final = "customer"
SUBMITTED: Final = 1000  # from here on the numbers of jobs that are submitted through Relay
EVERY: Final = 6  # of the URLs one is also tried in the answer to a submit
SHARES: Final = 4  # each odd URL is tried at every fourth provider: which URL is which does not depend on the provider
LONGEST: Final = 8000  # longer ones are no URL to anybody, and there are many places to put them


@dataclass
class Elsewhere(RawProvider):
    """Notes who connects, whether or not they then say anything that it understands."""

    met: int = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.met += 1
        await super()._serve(reader, writer)


class Hostile:
    """Fourteen origins, two places that are none of them, and the corpus of URLs with both put in.

    To `storage` lead the URLs of the two providers that have presigned ones, to `nowhere` those of all others.
    """

    def __init__(self, origins: Mapping[str, RawProvider], storage: Elsewhere, nowhere: Elsewhere) -> None:
        self.origins, self.storage, self.nowhere = origins, storage, nowhere
        for name, origin in origins.items():
            origin.saying = self._saying(name)

    def urls(self, provider: str) -> list[str]:
        """The hostile URLs for this provider: of the odd ones its share, and plain ones, the plainest last."""
        place = self.storage if provider in WITH_PRESIGNED else self.nowhere
        own, other = (one.url.removeprefix("http://") for one in (self.origins[provider], place))
        mine = [url for url in REFUSED if len(url) < LONGEST][sorted(self.origins).index(provider) % SHARES :: SHARES]
        odd = [url.replace("https:", "http:") for url in mine]
        mixed = [url.replace("api.good.test", own).replace("evil.test", other) for url in odd]
        return [*mixed, f"http://{other}", f"HTTP://{other}/x?token=1", f"http://{other}/steal?by={provider}"]

    def some(self, provider: str) -> list[int]:
        """A few of them, the plain one with them."""
        return [*range(0, len(self.urls(provider)), EVERY), len(self.urls(provider)) - 1]

    def key(self, provider: str) -> str:
        return f"the-key-of-{provider}-4711"

    def traces(self, provider: str) -> list[str]:
        """What the credentials look like wherever they are."""
        key = self.key(provider)
        return [key, base64.b64encode(f"{USERNAME}:{key}".encode()).decode()]

    def message(self, provider: str, number: int) -> dict[str, Any]:
        """A finished job by every name that one may have, and the URL in every place."""
        job_id, url = f"{provider}-job-{number}", self.urls(provider)[number % SUBMITTED]
        names = ("id", "job_id", "traceID", "request_id", "generation_id", "transcript_id", "snapshot_id")
        ids = dict.fromkeys(names, job_id)
        word = WAYS[provider].words[2] or "completed"
        links = [{"rel": "self", "href": url}, {"rel": "results", "href": url}]
        places = dict.fromkeys(("url", "response_url", "responseUrl", "status_url", "cancel_url", "next"), url)
        there = {**places, "is_url": True, "type": "url", "result": {"type": "url", "url": url}}
        return {
            **ids,
            **places,
            "status": word,
            "state": word,
            "result": there,
            "_links": links,
            "urls": {"get": url, "cancel": url},
            "output_file_id": url[:500],
            "data": {"id": job_id, "job_id": job_id, "status": word, "state": word, **places},
            "eventData": {"actorRunId": job_id},
            "resource": {"id": job_id, "status": word, **places},
        }

    def _saying(self, provider: str) -> Any:
        submits = iter([SUBMITTED + number for number in self.some(provider)])

        async def saying(heard: Heard) -> bytes:
            found = re.search(r"-job-(\d+)", heard.line)
            number = next(submits) if found is None and heard.line.startswith("POST") else found and int(found[1])
            said = {} if number is None else {**self.message(provider, number), "response": {"text": "tea"}}
            return answer(200, orjson.dumps(said))

        return saying


def unverified() -> Mapping[str, Profile]:
    """The shipped profiles, which take whatever comes."""
    found = {}
    for name, profile in load_profiles(None).items():
        callback = profile.callback and replace(profile.callback, verification=VerificationScheme())
        found[name] = replace(profile, callback=callback)
    return MappingProxyType(found)


@pytest.fixture
async def hostile() -> AsyncIterator[Hostile]:
    async with AsyncExitStack() as stack:
        origins = {name: await stack.enter_async_context(RawProvider()) for name in WAYS}
        storage, nowhere = [await stack.enter_async_context(Elsewhere()) for _ in range(2)]
        yield Hostile(origins, storage, nowhere)


async def register(world: World, hostile: Hostile, provider: str) -> dict[str, Any]:
    basic = load_profiles(None)[provider].auth.kind == "basic"
    key = hostile.key(provider)
    body = {
        "name": provider,
        "provider": provider,
        "credentials": {"username": USERNAME, "password": key} if basic else {"api_key": key},
        "origins": [hostile.origins[provider].url],
        "parameters": PARAMETERS.get(provider, {}),
        "poll_seconds": [0.01, 3600],
        "fetch_max_in_flight": 64,
    }
    return await world.post("/v1/webhooks", body)


async def try_everything(world: World, hostile: Hostile, provider: str) -> None:
    """Notify of every URL, ask to follow a job at every URL, have every URL named by answers."""
    webhook, gate = await register(world, hostile, provider), asyncio.Semaphore(AT_ONCE)
    calls_back = load_profiles(None)[provider].callback is not None

    async def try_one(number: int, url: str) -> None:
        job_id, origin = f"{provider}-job-{number}", hostile.origins[provider].url
        named = {"webhook_id": webhook["id"], "provider_job_id": job_id}
        async with gate:
            if provider in BY_URL or not calls_back:
                await world.post("/v1/jobs", {**named, "response_url": f"{origin}/app/sub/requests/{job_id}"})
            if calls_back:
                told = await world.notify(webhook["callback_url"], hostile.message(provider, number))
                assert told.status == 200, (url, told.raw)
            tracked = await world.call("POST", "/v1/jobs", {**named, "response_url": url})
            assert tracked.status in (200, 201, 422), (url, tracked.raw)

    urls = hostile.urls(provider)
    await asyncio.gather(*(try_one(number, url) for number, url in enumerate(urls)))
    heard = hostile.origins[provider].heard

    async def asked() -> dict[str, Any]:
        return {"jobs": {found for one in heard for found in re.findall(r"-job-(\d+)", one.line)}}

    await eventually(asked, lambda found: len(found["jobs"]) == len(urls), seconds=60)


async def submit_and_cancel(world: World, hostile: Hostile, provider: str) -> None:
    """Have the answers to submits name URLs, and cancel wherever that leads."""
    (webhook,) = [one for one in await world.page("/v1/webhooks") if one["provider"] == provider]
    wanted = WAYS[provider].submit(None)
    path = f"/submit/{webhook['id']}{wanted.path}?{urlencode(wanted.query)}"
    key = {"authorization": ADMIN_KEY} if provider == "assemblyai" else {}
    for _ in hostile.some(provider):
        told = await world.call("POST", path, wanted.body, key)
        assert told.status == 200, told.raw
        told = await world.call("DELETE", f"/v1/jobs/{told.headers['relay-job-id']}")
        assert told.status in (200, 202, 409, 502), told.raw


@pytest.mark.usefixtures("silence")
async def test_credentials_are_seen_by_no_origin_but_their_own(
    hostile: Hostile, sqlite_stage_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.app.relay.load_profiles", lambda _: unverified())
    async with travelling(sqlite_stage_url, tmp_path) as world:
        await asyncio.gather(*(try_everything(world, hostile, provider) for provider in WAYS))
        await asyncio.gather(*(submit_and_cancel(world, hostile, provider) for provider in WAYS))
        await eventually(lambda: _led(hostile), lambda found: found["by"] >= WITH_PRESIGNED, seconds=10)
    assert hostile.nowhere.met == 0
    for heard in hostile.storage.heard:
        assert not [name for name, _ in heard.headers if name in CREDENTIAL_HEADERS], heard.line
    for provider in WAYS:
        _is_only_at_its_own(hostile, provider)


def _is_only_at_its_own(hostile: Hostile, provider: str) -> None:
    seen = {
        name
        for name, origin in {**hostile.origins, "storage": hostile.storage}.items()
        for one in origin.heard
        if any(trace in one.everything for trace in hostile.traces(provider))
    }
    assert seen == {provider}


async def _led(hostile: Hostile) -> dict[str, Any]:
    """Whose messages led elsewhere."""
    return {"by": {found for one in hostile.storage.heard for found in re.findall(r"by=([a-z-]+)", one.line)}}
