"""The stand-in object storage opens for the right address alone, and only to who brings nothing else."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from relay.demo.storage import Storage
from tests.support.clock import FakeClock


@pytest.fixture
async def storage(clock: FakeClock) -> AsyncIterator[Storage]:
    running = Storage(clock)
    await running.start()
    yield running
    await running.stop()


async def get(url: str, **headers: str) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as answer:
        return answer.status, await answer.read()


async def test_a_thing_is_served_byte_for_byte_until_its_address_expires(storage: Storage, clock: FakeClock) -> None:
    url = storage.put(b'{"a": 1 }', seconds=60)
    assert await get(url) == (200, b'{"a": 1 }')
    await clock.elapse(60)
    status, body = await get(url)
    assert (status, b"expired" in body) == (403, True)


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
async def test_credentials_are_refused_and_noted(storage: Storage, header: str) -> None:
    status, body = await get(storage.put(b"x", seconds=60), **{header: "Bearer secret"})
    assert (status, b"InvalidArgument" in body, b"secret" in body) == (400, True, False)
    assert [asked.credentials for asked in storage.requests] == [(header,)]


async def test_an_address_that_was_cut_or_made_up_opens_nothing(storage: Storage) -> None:
    url = storage.put(b"x", seconds=60)
    assert (await get(url.partition("?")[0]))[0] == 403
    assert (await get(f"{storage.url}/bucket/none"))[0] == 404


async def test_every_address_is_new(storage: Storage) -> None:
    assert len({storage.put(b"x", seconds=60) for _ in range(3)}) == 3
