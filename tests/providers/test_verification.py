"""How the fourteen providers' notifications prove themselves, by official packages and published vectors."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
import standardwebhooks
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay.clock import Instant
from relay.model import Secret
from relay.pipeline.verify import verify
from relay.providers.callback import VerificationScheme
from relay.signing import jwks, schemes
from tests.providers.wire import PROFILES
from tests.support.later import later

svix = later("svix")

SECRET = "whsec_" + "c2VjcmV0c2VjcmV0" * 3
NOW = Instant(1_795_305_600_000)
BODY = b'{"type":"job.completed","data":{"job_id":"j1"}}'


def scheme_of(provider: str) -> VerificationScheme:
    callback = PROFILES[provider].callback
    assert callback is not None
    return callback.verification


def judged(
    provider: str, headers: Mapping[str, str], body: bytes = BODY, now: Instant = NOW, secret: str | None = SECRET,
    parameters: Mapping[str, str] | None = None,
) -> str | None:  # fmt: skip
    given = {} if secret is None else {"secret": Secret(secret)}
    scheme, secrets = scheme_of(provider).bound(parameters or {}, given)
    return verify(scheme, secrets, list(headers.items()), body, now)


STANDARD = ["pulse", "openai", "replicate", "reducto"]


@pytest.mark.parametrize("provider", STANDARD)
def test_notifications_signed_by_the_official_packages_verify(provider: str) -> None:
    moment = datetime.fromtimestamp(NOW / 1000, UTC)
    text = BODY.decode()
    standard = standardwebhooks.Webhook(SECRET).sign("msg_1", moment, text)
    by_svix = svix.Webhook(SECRET).sign("msg_1", moment, text)
    for family, signature in (("webhook", standard), ("svix", by_svix), ("webhook", f"v1,AAAA {standard}")):
        headers = {f"{family}-id": "msg_1", f"{family}-timestamp": str(NOW // 1000), f"{family}-signature": signature}
        assert judged(provider, headers) is None
        assert judged(provider, headers, BODY + b" ") == "signature_wrong"
        assert judged(provider, headers, secret="whsec_" + "b3RoZXJvdGhlcm90" * 3) == "signature_wrong"
        assert judged(provider, headers, now=Instant(NOW + 301_000)) == "timestamp_outside_tolerance"
        assert judged(provider, {name: value for name, value in headers.items() if "sign" not in name}) is not None
    assert judged(provider, {}) == "signature_missing"


def test_openais_public_test_vector_verifies() -> None:
    body = (
        b'{"id": "evt_685c059ae3a481909bdc86819b066fb6", "object": "event", "created_at": 1750861210, '
        b'"type": "response.completed", "data": {"id": "resp_123"}}'
    )
    headers = {
        "webhook-id": "wh_685c059ae39c8190af8c71ed1022a24d",
        "webhook-timestamp": "1750861210",
        "webhook-signature": "v1,gUAg4R2hWouRZqRQG4uJypNS8YK885G838+EHb4nKBY=",
    }
    secret = "whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c="
    assert judged("openai", headers, body, Instant(1_750_861_210_000), secret) is None
    assert judged("openai", headers, body[:-1], Instant(1_750_861_210_000), secret) == "signature_wrong"


def test_without_a_secret_notifications_are_hints() -> None:
    for provider in (
        "openai",
        "pulse",
        "replicate",
        "reducto",
        "firecrawl",
        "apify",
        "assemblyai",
        "brightdata",
        "netnut",
    ):
        assert judged(provider, {}, secret=None) is None


def test_firecrawl_signs_the_body_in_hex() -> None:
    signature = "sha256=" + hmac.new(b"account-secret", BODY, hashlib.sha256).hexdigest()
    name = "x-firecrawl-signature"
    assert judged("firecrawl", {name: signature}, secret="account-secret") is None
    for wrong in (signature[:-1] + "z", signature.removeprefix("sha256="), "sha256=", signature.upper()):
        assert judged("firecrawl", {name: wrong}, secret="account-secret") == "signature_wrong"
    assert judged("firecrawl", {}, secret="account-secret") == "signature_missing"


def test_inference_net_shows_the_webhook_id_which_is_the_secret_by_itself() -> None:
    given = {"webhook_id": "AhALzdz8S"}
    name = "x-inference-webhook-id"
    assert judged("inference-net", {name: "AhALzdz8S"}, secret=None, parameters=given) is None
    assert judged("inference-net", {name: "other"}, secret=None, parameters=given) == "signature_wrong"
    assert judged("inference-net", {}, secret=None, parameters=given) == "signature_missing"
    assert judged("inference-net", {name: "AhALzdz8S"}, secret="another", parameters=given) == "signature_wrong"


@pytest.mark.parametrize(
    ("provider", "parameters", "header"),
    [
        ("assemblyai", {}, "x-relay-secret"),
        ("assemblyai", {"webhook_auth_header_name": "X-Mine"}, "x-mine"),
        ("apify", {}, "x-relay-secret"),
        ("apify", {"webhook_header": "X-Mine"}, "x-mine"),
        ("brightdata", {}, "authorization"),
    ],
)
def test_a_shared_header_may_have_a_name_of_the_webhooks_choice(
    provider: str, parameters: dict[str, str], header: str
) -> None:
    assert judged(provider, {header: SECRET}, parameters=parameters) is None
    assert judged(provider, {header: "x"}, parameters=parameters) == "signature_wrong"
    assert judged(provider, {"x-other": SECRET}, parameters=parameters) == "signature_missing"


def test_a_shared_header_of_a_chooser_is_no_proof_of_the_body() -> None:
    assert not scheme_of("assemblyai").authenticates and scheme_of("inference-net").authenticates


# --- fal ---

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def published(key: Ed25519PrivateKey) -> tuple[bytes, ...]:
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    x = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    return jwks.ed25519_keys(json.dumps({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}]}).encode())


def fal_headers(body: bytes, seconds: int) -> dict[str, str]:
    digest = hashlib.sha256(body).hexdigest()
    signed = f"req-1\nuser-1\n{seconds}\n{digest}".encode()
    return {
        "x-fal-webhook-request-id": "req-1",
        "x-fal-webhook-user-id": "user-1",
        "x-fal-webhook-timestamp": str(seconds),
        "x-fal-webhook-signature": KEY.sign(signed).hex(),
    }


def fal_signed(headers: Mapping[str, str], body: bytes, keys: tuple[bytes, ...]) -> bool:
    scheme = scheme_of("fal")
    return jwks.ed25519_signature(
        keys=keys,
        encoding=scheme.encoding,
        prefix=scheme.prefix,
        template=schemes.parse_template(scheme.template),
        headers=headers,
        body=body,
        got=headers.get(scheme.header.lower(), ""),
    )


def test_fal_signs_with_a_published_key() -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    headers = fal_headers(BODY, NOW // 1000)
    assert fal_signed(headers, BODY, published(KEY))
    assert fal_signed(headers, BODY, (*published(other), *published(KEY)))
    assert not fal_signed(headers, BODY, published(other))
    assert not fal_signed(headers, BODY, ())
    assert not fal_signed(headers, BODY + b" ", published(KEY))
    assert not fal_signed(headers | {"x-fal-webhook-user-id": "u"}, BODY, published(KEY))
    assert not fal_signed({}, BODY, published(KEY))


def test_fals_profile_says_where_the_keys_are_and_how_long_they_hold() -> None:
    scheme = scheme_of("fal")
    assert scheme.jwks_url == "https://rest.fal.ai/.well-known/jwks.json"
    assert scheme.jwks_seconds <= 86_400 and scheme.tolerance_seconds == 300
    assert scheme.timestamp_header.lower() == "x-fal-webhook-timestamp"
