"""The stand-in subscriber tells true signatures from false ones and misbehaves as asked."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
import pytest
from standardwebhooks import Webhook

from relay.demo.sink import Knobs, Sink
from relay.model import Secret
from tests.support.stopwatch import Stopwatch

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with Sink() as running:
        running.trust("/hooks", Secret(SECRET))
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    moment = datetime.now(UTC)
    signature = Webhook(secret).sign("res_1", moment, body.decode())
    return {"webhook-id": "res_1", "webhook-timestamp": str(int(moment.timestamp())), "webhook-signature": signature}


async def send(http: aiohttp.ClientSession, sink: Sink, body: bytes, headers: dict[str, str]) -> int:
    async with http.post(f"{sink.url}/hooks", data=body, headers=headers, allow_redirects=False) as answer:
        await answer.read()
        return answer.status


async def test_a_true_signature_is_verified_and_the_message_is_kept_as_it_came(
    http: aiohttp.ClientSession, sink: Sink
) -> None:
    assert await send(http, sink, b'{"a": 1 }', signed(b'{"a": 1 }')) == 200
    [message] = sink.messages
    assert (message.verified, message.body, message.message_id, message.path) == (True, b'{"a": 1 }', "res_1", "/hooks")


@pytest.mark.parametrize(
    "headers", [{}, signed(b"{}", OTHER), signed(b"{ }"), {**signed(b"{}"), "webhook-timestamp": "1"}]
)
async def test_a_false_or_missing_signature_is_seen(
    http: aiohttp.ClientSession, sink: Sink, headers: dict[str, str]
) -> None:
    await send(http, sink, b"{}", headers)
    assert [message.verified for message in sink.messages] == [False]
    assert sink.counts["forged"] == 1


async def test_either_of_two_secrets_is_good_while_a_rotation_overlaps(http: aiohttp.ClientSession, sink: Sink) -> None:
    sink.trust("/hooks", Secret(SECRET), Secret(OTHER))
    await send(http, sink, b"{}", signed(b"{}", SECRET))
    await send(http, sink, b"{}", signed(b"{}", OTHER))
    assert sink.counts["verified"] == 2


async def test_a_path_without_a_secret_is_recorded_unchecked(http: aiohttp.ClientSession, sink: Sink) -> None:
    async with http.post(f"{sink.url}/elsewhere", data=b"{}"):
        assert sink.messages[0].verified is None


async def test_statuses_are_answered_in_order_then_the_standing_one(http: aiohttp.ClientSession, sink: Sink) -> None:
    sink.knobs.statuses, sink.knobs.status = [503, 302], 410
    sink.knobs.headers = {"location": "http://127.0.0.1:1/"}
    assert [await send(http, sink, b"{}", {}) for _ in range(4)] == [503, 302, 410, 410]


async def test_a_large_answer_is_streamed_to_its_last_byte(http: aiohttp.ClientSession, sink: Sink) -> None:
    sink.knobs.body_bytes = 200_001
    async with http.post(f"{sink.url}/hooks", data=b"{}") as answer:
        assert len(await answer.read()) == 200_001


async def test_a_subscriber_that_hangs_has_recorded_the_message_and_still_ends_at_once(
    http: aiohttp.ClientSession,
) -> None:
    async with Sink(knobs=Knobs(answer_seconds=None)) as sink:
        sending = asyncio.create_task(send(http, sink, b"{}", {}))
        await sink.wait_for(1)
        assert not sending.done()
        watch = Stopwatch()
    assert watch.own_seconds < 1
    await sending


async def test_waiting_for_a_message_that_never_comes_ends_with_a_timeout(sink: Sink) -> None:
    with pytest.raises(TimeoutError):
        await sink.wait_for(1, seconds=0.05)
