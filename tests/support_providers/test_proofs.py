"""What the stand-ins sign is verified by others: the packages of Standard Webhooks and Svix, and `cryptography`."""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import standardwebhooks
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from relay.clock import Instant
from relay.demo import proofs
from relay.demo.inference_net import InferenceNet
from relay.demo.knobs import Proof
from relay.demo.sink import Message, Sink
from relay.demo.stand_in import SIGNING_SECRET, WRONG_SECRET, StandIn
from relay.model import Secret
from tests.support.clock import FakeClock
from tests.support.later import later
from tests.support.providers import Fal
from tests.support.providers.customer import customer_of
from tests.support.providers.ways import SHARED, listen, start

svix = later("svix")

STANDARD = ("openai", "pulse", "replicate")
PROVED = (*STANDARD, "reducto", "fal", "firecrawl", "inference-net", "assemblyai", "brightdata")


@dataclass(frozen=True)
class Received:
    """A notification, and what there is to verify it with."""

    stand_in: StandIn
    message: Message
    keys: list[dict[str, str]]  # of a JWKS


async def one_message(name: str, proof: Proof, clock: FakeClock, sink: Sink) -> Received:
    async with customer_of(start(name, clock=clock)) as customer:
        listen(customer.stand_in, f"{sink.url}/in/x")
        customer.stand_in.knobs.proof = proof
        await customer.submit(f"{sink.url}/in/x")
        [message] = await sink.wait_for(1)
        if isinstance(customer.stand_in, Fal):
            said = await customer.call("GET", customer.stand_in.jwks_url, credentials=False)
            return Received(customer.stand_in, message, said.json["keys"])
        return Received(customer.stand_in, message, [])


def verified(received: Received, now: Instant) -> bool:
    """By another's implementation, or by the letter of the document where there is none."""
    stand_in, message, keys = received.stand_in, received.message, received.keys
    headers, name = dict(message.headers), stand_in.NAME
    secret = stand_in.signing_secret.reveal()
    if name in STANDARD or name == "reducto":
        return _by_package(name, secret, message, now)
    if name == "fal":
        return any(_ed25519(key, headers, message.body) for key in keys)
    if name == "firecrawl":
        digest = hmac.new(secret.encode(), message.body, hashlib.sha256).hexdigest()
        return headers.get("x-firecrawl-signature") == f"sha256={digest}"
    header = {"inference-net": "x-inference-webhook-id", "assemblyai": "x-team", "brightdata": "authorization"}[name]
    return headers.get(header) == SHARED


def _by_package(name: str, secret: str, message: Message, now: Instant) -> bool:
    package = svix if name == "reducto" else standardwebhooks
    wrong = svix.webhooks.WebhookVerificationError if name == "reducto" else standardwebhooks.WebhookVerificationError
    webhook = package.Webhook(secret)
    try:
        # Both look at the real clock; the timestamp is therefore checked here, against the clock of the stand-in.
        family = "svix" if name == "reducto" else "webhook"
        at = datetime.fromtimestamp(int(message.headers[f"{family}-timestamp"]), UTC)
        expected = webhook.sign(message.headers[f"{family}-id"], at, message.body.decode())
        if abs(at.timestamp() * 1000 - now) > 300_000:
            raise wrong("too old")
        return hmac.compare_digest(message.headers[f"{family}-signature"], expected)
    except (wrong, KeyError):
        return False


def _ed25519(key: dict[str, str], headers: dict[str, str], body: bytes) -> bool:
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "="))
    names = ("request-id", "user-id", "timestamp")
    lines = [headers.get(f"x-fal-webhook-{name}", "") for name in names]
    signed = "\n".join([*lines, hashlib.sha256(body).hexdigest()]).encode()
    try:
        public.verify(bytes.fromhex(headers.get("x-fal-webhook-signature", "")), signed)
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize("name", PROVED)
@pytest.mark.parametrize("proof", [Proof.GOOD, Proof.WRONG, Proof.MISSING])
async def test_only_a_good_proof_verifies(name: str, proof: Proof, clock: FakeClock, sink: Sink) -> None:
    assert verified(await one_message(name, proof, clock, sink), clock.now()) is (proof is Proof.GOOD)


@pytest.mark.parametrize("name", [*STANDARD, "reducto"])
async def test_a_stale_proof_is_right_but_old(name: str, clock: FakeClock, sink: Sink) -> None:
    received = await one_message(name, Proof.STALE, clock, sink)
    assert not verified(received, clock.now())
    assert verified(received, Instant(clock.now() - 600_000))


async def test_a_stale_proof_of_fal_is_right_but_old(clock: FakeClock, sink: Sink) -> None:
    received = await one_message("fal", Proof.STALE, clock, sink)
    assert verified(received, clock.now())
    assert clock.now() // 1000 - int(received.message.headers["x-fal-webhook-timestamp"]) == 600


@pytest.mark.parametrize("name", ["netnut", "runpod", "oxylabs", "apify"])
async def test_some_prove_nothing(name: str, clock: FakeClock, sink: Sink) -> None:
    received = await one_message(name, Proof.GOOD, clock, sink)
    assert not [header for header in received.message.headers if "signature" in header or header == "authorization"]


def test_the_public_vector_of_openai_comes_out() -> None:
    secret = Secret("whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c=")
    body = (
        b'{"id": "evt_685c059ae3a481909bdc86819b066fb6", "object": "event", "created_at": 1750861210, '
        b'"type": "response.completed", "data": {"id": "resp_123"}}'
    )
    at = Instant(1_750_861_210_000)
    made = proofs.standard_webhooks(secret, "wh_685c059ae39c8190af8c71ed1022a24d", at, body)
    assert made["webhook-signature"] == "v1,gUAg4R2hWouRZqRQG4uJypNS8YK885G838+EHb4nKBY="


@pytest.mark.parametrize("secret", [SIGNING_SECRET, WRONG_SECRET])
def test_secrets_are_long_enough_for_the_packages_and_not_shown(secret: Secret) -> None:
    assert len(base64.b64decode(secret.reveal().removeprefix("whsec_"))) >= 24
    assert "whsec" not in repr(secret)


async def test_a_notification_signed_now_passes_the_official_verification_itself(sink: Sink) -> None:
    for name, package in (("openai", standardwebhooks), ("reducto", svix)):
        async with customer_of(start(name)) as customer:  # by the real clock, which the packages look at
            listen(customer.stand_in, f"{sink.url}/in/x")
            await customer.submit(f"{sink.url}/in/x")
            message = (await sink.wait_for(1 if name == "openai" else 2))[-1]
            package.Webhook(customer.stand_in.signing_secret.reveal()).verify(message.body, dict(message.headers))


async def test_the_test_button_of_inference_net_shows_the_shared_header(clock: FakeClock, sink: Sink) -> None:
    async with InferenceNet(api_key=Secret("k"), clock=clock) as stand_in:
        stand_in.register(SHARED, f"{sink.url}/in/x")
        assert await stand_in.ping(SHARED) == 200
    [message] = sink.messages
    assert message.headers["x-inference-webhook-id"] == SHARED
    assert message.headers["x-inference-event"] == "webhook.test"
