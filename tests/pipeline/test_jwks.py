"""Keys that a provider publishes: fetched when they are needed, by all who wait together, and not for ever."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay import errors
from relay.demo import proofs
from relay.model import Secret, Webhook
from relay.outbound.provider_door import ProviderRequest
from relay.pipeline.jwks import AGAIN_SECONDS, ANEW_SECONDS, PublishedKeys
from relay.pipeline.outcomes import Refused
from relay.pipeline.receive import Answer
from relay.pipeline.verify import is_authenticated, secrets_problem, verify
from relay.providers.loader import load_profiles
from relay.providers.profile import VerificationScheme
from relay.signing.jwks import ed25519_keys
from relay.signing.standard_webhooks import Reason
from relay.store import schema
from tests.support.clock import FakeClock
from tests.support.doors import Page, PlainProvider
from tests.support.stage import Stage
from tests.support.store import count

SEED: Final = Secret("the key of today")
OLD: Final = Secret("the key of yesterday")
DAY: Final = 86_400.0
BODY: Final = b'{"request_id": "r-1", "status": "OK", "payload": {"x": 1}}'
CALLBACK: Final = load_profiles(None)["fal"].callback
assert CALLBACK is not None
SCHEME: Final[VerificationScheme] = CALLBACK.verification


def key_set(*seeds: Secret) -> Page:
    return Page(200, json.dumps({"keys": [proofs.jwk(seed) for seed in seeds]}).encode())


def keys(*seeds: Secret) -> tuple[bytes, ...]:
    return ed25519_keys(key_set(*seeds).body)


def signed(now: int, body: bytes = BODY, seed: Secret = SEED, **changes: str) -> dict[str, str]:
    """The headers of a notification as fal signs it."""
    named, user, seconds = "r-1", "u-1", str(now // 1000)
    signature = proofs.ed25519_hex(seed, named, user, seconds, hashlib.sha256(body).hexdigest())
    return {
        "x-fal-webhook-request-id": named,
        "x-fal-webhook-user-id": user,
        "x-fal-webhook-timestamp": seconds,
        "x-fal-webhook-signature": signature,
        **{name.replace("_", "-"): text for name, text in changes.items()},
    }


# --- the check itself ---


def check(now: Any, headers: dict[str, str], seeds: Sequence[Secret] = (SEED,), body: bytes = BODY) -> str | None:
    return verify(SCHEME, {}, tuple(headers.items()), body, now, keys(*seeds))


def test_a_signature_by_any_of_the_published_keys_is_taken_and_authenticates(clock: FakeClock) -> None:
    now = clock.now()
    assert check(now, signed(now)) is None
    assert check(now, signed(now), (OLD, SEED)) is None
    assert is_authenticated(SCHEME, {})
    assert secrets_problem(SCHEME, {}) is None, "there is nothing to be given"


@pytest.mark.parametrize("part", ["request-id", "user-id", "timestamp"])
def test_every_part_of_what_is_signed_counts(clock: FakeClock, part: str) -> None:
    now = clock.now()
    other = {**signed(now), f"x-fal-webhook-{part}": str(now // 1000 - 1)}
    assert check(now, other) == Reason.SIGNATURE_WRONG
    without = signed(now)
    del without[f"x-fal-webhook-{part}"]
    assert check(now, without) is not None


def test_what_is_not_signed_so_is_refused(clock: FakeClock) -> None:
    now = clock.now()
    assert check(now, signed(now), (OLD,)) == Reason.SIGNATURE_WRONG
    assert check(now, signed(now), ()) == Reason.SIGNATURE_WRONG
    assert check(now, signed(now), body=BODY + b" ") == Reason.SIGNATURE_WRONG
    assert check(now, signed(now - 301_000)) == Reason.TIMESTAMP_OUTSIDE_TOLERANCE
    assert check(now, {}) == Reason.SIGNATURE_MISSING
    twice = (*signed(now).items(), ("X-Fal-Webhook-Signature", "00"))
    assert verify(SCHEME, {}, twice, BODY, now, keys(SEED)) == Reason.SIGNATURE_REPEATED
    for garbage in ("zz", "00", "0" * 128, "é" * 128, signed(now)["x-fal-webhook-signature"][:-1]):
        assert check(now, signed(now, x_fal_webhook_signature=garbage)) == Reason.SIGNATURE_WRONG


def test_the_witness_signs_as_the_standard_library_of_the_field_does() -> None:
    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(SEED.reveal().encode()).digest())
    assert keys(SEED) == (key.public_key().public_bytes_raw(),)


# --- the keeper ---


class Publisher(PlainProvider):
    """A provider that publishes what it is told to."""

    def __init__(self, *seeds: Secret) -> None:
        self.page: Page | errors.OutboundError = key_set(*seeds)
        self.open = asyncio.Event()
        self.open.set()
        super().__init__(self._answer)

    async def _answer(self, request: ProviderRequest) -> Page:
        await self.open.wait()
        if isinstance(self.page, errors.OutboundError):
            raise self.page
        return self.page


def fits(*seeds: Secret) -> Any:
    wanted = set(keys(*seeds))
    return lambda known: bool(wanted & set(known))


async def test_the_keys_are_fetched_once_and_kept_for_a_day(clock: FakeClock) -> None:
    door = Publisher(SEED)
    published = PublishedKeys(door, clock)
    for _ in range(3):
        assert await published.keys_for(SCHEME, fits(SEED)) == keys(SEED)
        clock.advance(DAY / 3 - 1)
    [request] = door.requests
    assert (request.url, request.authorization) == ("https://rest.fal.ai/.well-known/jwks.json", None)
    assert request.allowed_origins == {"https://rest.fal.ai"}
    assert request.max_bytes == request.max_decoded_bytes == 65_536
    clock.advance(4)
    await published.keys_for(SCHEME, fits(SEED))
    assert len(door.requests) == 2


async def test_all_who_wait_share_one_fetch(clock: FakeClock) -> None:
    door = Publisher(SEED)
    door.open.clear()
    published = PublishedKeys(door, clock)
    waiting = [asyncio.create_task(published.keys_for(SCHEME, fits(SEED))) for _ in range(50)]
    await clock.settle()
    waiting[0].cancel()
    await clock.settle()
    door.open.set()
    found = await asyncio.gather(*waiting[1:])
    assert found == [keys(SEED)] * 49 and len(door.requests) == 1


async def test_a_signature_that_fits_no_key_has_them_fetched_anew_once_a_minute(clock: FakeClock) -> None:
    door = Publisher(OLD)
    published = PublishedKeys(door, clock)
    assert await published.keys_for(SCHEME, fits(OLD)) == keys(OLD)
    door.page = key_set(OLD, SEED)
    clock.advance(ANEW_SECONDS)
    assert await published.keys_for(SCHEME, fits(SEED)) == keys(OLD, SEED), "the provider has a new key"
    for _ in range(20):
        assert await published.keys_for(SCHEME, fits(Secret("forged"))) == keys(OLD, SEED)
    assert len(door.requests) == 2
    clock.advance(ANEW_SECONDS)
    await published.keys_for(SCHEME, fits(Secret("forged")))
    assert len(door.requests) == 3


BROKEN = [
    errors.ConnectFailed("no"),
    errors.TimedOut("no"),
    errors.BodyTooLarge("no"),
    Page(500, b""),
    Page(404, key_set(SEED).body),
    Page(200, b'{"keys": []}'),
    Page(200, b"<html>"),
    Page(200, json.dumps({"keys": [{"kty": "RSA", "n": "AQ", "e": "AQAB"}]}).encode()),
]


@pytest.mark.parametrize("page", BROKEN, ids=range(len(BROKEN)))
async def test_keys_that_cannot_be_had_are_not_asked_for_at_every_call(clock: FakeClock, page: Any) -> None:
    door = Publisher(SEED)
    door.page = page
    published = PublishedKeys(door, clock)
    for _ in range(10):
        assert await published.keys_for(SCHEME, fits(SEED)) is None
    assert len(door.requests) == 1
    door.page = key_set(SEED)
    clock.advance(AGAIN_SECONDS)
    assert await published.keys_for(SCHEME, fits(SEED)) == keys(SEED)


async def test_known_keys_serve_on_while_newer_ones_cannot_be_had(clock: FakeClock) -> None:
    door = Publisher(OLD)
    published = PublishedKeys(door, clock)
    await published.keys_for(SCHEME, fits(OLD))
    clock.advance(ANEW_SECONDS)
    door.page = errors.ConnectFailed("no")
    assert await published.keys_for(SCHEME, fits(SEED)) is None, "it may be by a key that is new"
    assert await published.keys_for(SCHEME, fits(OLD)) == keys(OLD)
    assert len(door.requests) == 2
    clock.advance(AGAIN_SECONDS)
    assert await published.keys_for(SCHEME, fits(SEED)) is None
    assert len(door.requests) == 3, "what failed is tried again sooner"
    clock.advance(DAY)
    assert await published.keys_for(SCHEME, fits(OLD)) is None, "nobody knows whether it is still one of theirs"


async def test_what_is_wrong_whatever_the_keys_are_asks_for_none(clock: FakeClock) -> None:
    door = Publisher(SEED)
    assert await PublishedKeys(door, clock).keys_for(SCHEME, lambda _: True) == ()
    assert door.requests == []


# --- notifications ---


async def fal(stage: Stage) -> Webhook:
    return await stage.add_webhook(provider="fal", credentials={"api_key": Secret("the-key-of-fal")})


async def test_a_notification_signed_by_a_published_key_is_the_result(stage: Stage) -> None:
    stage.provider.answering = Publisher(SEED).answering
    answer = await stage.accept(await fal(stage), BODY, headers=signed(stage.clock.now()))
    await stage.work_until_idle()
    assert await stage.payload(await stage.result(answer.job_id)) == BODY
    assert [request.url for request in stage.provider.requests] == [SCHEME.jwks_url]


async def test_a_wrong_signature_is_401_and_kept_to_be_judged_again(stage: Stage) -> None:
    publisher = Publisher(SEED)
    stage.provider.answering = publisher.answering
    answer = await stage.receive(await fal(stage), BODY, headers=signed(stage.clock.now(), seed=OLD))
    assert isinstance(answer, Answer)
    assert (answer.http_status, answer.status, answer.reason) == (401, "rejected", Reason.SIGNATURE_WRONG)
    assert await count(stage.database, schema.jobs) == 0
    publisher.page = key_set(SEED, OLD)
    stage.clock.advance(ANEW_SECONDS)
    again = await stage.receiver.reprocess(answer.notification_id or "")
    assert not isinstance(again, Refused) and again is not None and again.status == "accepted"


async def test_without_the_keys_the_answer_is_come_again_and_nothing_is_lost_or_stored(stage: Stage) -> None:
    publisher = Publisher(SEED)
    publisher.page = errors.ConnectFailed("no")
    stage.provider.answering = publisher.answering
    webhook = await fal(stage)
    headers = signed(stage.clock.now())
    answer = await stage.receive(webhook, BODY, headers=headers)
    assert isinstance(answer, Answer)
    assert (answer.http_status, answer.reason) == (503, "keys_unavailable") and answer.retry_after
    assert await count(stage.database, schema.notifications) == 0
    unsigned = await stage.receive(webhook, BODY)
    assert isinstance(unsigned, Answer) and unsigned.http_status == 401, "no key could make that right"
    publisher.page = key_set(SEED)
    stage.clock.advance(AGAIN_SECONDS)
    await stage.accept(webhook, BODY, headers=headers)


async def test_a_stored_one_is_not_judged_again_while_the_keys_cannot_be_had(sqlite_stage: Stage) -> None:
    stage, publisher = sqlite_stage, Publisher(SEED)
    stage.provider.answering = publisher.answering
    answer = await stage.receive(await fal(stage), BODY, headers=signed(stage.clock.now(), seed=OLD))
    assert isinstance(answer, Answer) and answer.notification_id is not None
    publisher.page = errors.ConnectFailed("no")
    stage.clock.advance(2 * DAY)
    refused = await stage.receiver.reprocess(answer.notification_id)
    assert isinstance(refused, Refused) and refused.code == "keys_unavailable"
