from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.client import Event, NotAnEnvelope, SignatureError, unwrap, verify
from relay.clock import Instant
from relay.model import Secret
from relay.signing.asymmetric import generate_private_key, public_key_of
from relay.signing.standard_webhooks import generate_secret, sign, signing_key
from tests.support.bad_signatures import malformed_signatures

NOW = Instant(1_763_750_000_000)
SECOND = NOW // 1000
ID = "res_" + "1" * 32
SECRET = generate_secret().reveal()
PAYLOAD = b'{"b": 1e400, "a": [-0, 1.0, 12345678901234567890123], "a": "\\u00e9"}'
ENVELOPE = {
    "type": "result.completed",
    "timestamp": "2026-11-21T19:00:00.250Z",
    "data": {"result_id": ID, "job_id": "job_1", "provider_job_id": "p", "status": "completed", "metadata": {"n": 1}},
}


def body_with(member: bytes) -> bytes:
    return json.dumps(ENVELOPE).encode()[:-2] + b"," + member + b"}}"


BODY = body_with(b'"payload":' + PAYLOAD)


def signed(body: bytes = BODY, secret: str = SECRET, second: int = SECOND) -> dict[str, str]:
    signature = sign(ID, second, body, [signing_key(Secret(secret))])
    return {"webhook-id": ID, "webhook-timestamp": str(second), "webhook-signature": signature}


def test_a_delivery_is_read_with_the_providers_own_bytes() -> None:
    event = unwrap(BODY, signed(), SECRET, now=NOW)
    assert (event.id, event.type, event.result_id, event.job_id) == (ID, "result.completed", ID, "job_1")
    assert (event.provider_job_id, event.status, event.metadata) == ("p", "completed", {"n": 1})
    assert event.timestamp.isoformat() == "2026-11-21T19:00:00.250000+00:00"
    assert event.payload_bytes == PAYLOAD
    assert event.payload["a"] == "é"
    assert "payload" not in event.data
    assert event.body == BODY
    assert SECRET not in repr(event)


def test_the_id_is_the_one_that_was_signed_whatever_else_is_said() -> None:
    as_svix = {f"svix-{name.removeprefix('webhook-')}": value for name, value in signed().items()}
    for said in ("res_another", ID + "x", ""):
        assert unwrap(BODY, {**as_svix, "webhook-id": said}, SECRET, now=NOW).id == ID
        assert unwrap(BODY, {**signed(), "svix-id": said}, SECRET, now=NOW).id == ID


def test_headers_may_be_pairs_that_can_be_read_but_once() -> None:
    assert unwrap(BODY, iter(signed().items()), SECRET, now=NOW).id == ID


def test_a_payload_that_python_does_not_read_is_there_as_bytes() -> None:
    digits = b"9" * 5000
    body = body_with(b'"payload":' + digits)
    event = unwrap(body, signed(body), SECRET, now=NOW)
    assert event.payload_bytes == digits
    assert event.status == "completed"
    with pytest.raises(ValueError, match="digits"):
        _ = event.payload


@pytest.mark.parametrize(
    ("member", "payload", "url"),
    [
        (b'"payload_base64":"' + base64.b64encode(b"\xff\x00%PDF") + b'"', b"\xff\x00%PDF", None),
        (b'"payload_url":"https://relay/x"', None, "https://relay/x"),
        (b'"payload":null', None, None),
        (b'"payload": "text"', "text", None),
        (b'"partial":false', None, None),
    ],
)
def test_the_payload_of_every_kind_of_envelope(member: bytes, payload: object, url: str | None) -> None:
    body = body_with(member)
    event = unwrap(body, signed(body), SECRET, now=NOW)
    assert (event.payload, event.payload_url) == (payload, url)


def test_any_of_several_secrets_will_do_and_of_both_kinds() -> None:
    private = generate_private_key()
    public = public_key_of(private)
    other = generate_secret().reveal()
    keys = [other, SECRET, public]
    unwrap(BODY, signed(), keys, now=NOW)
    unwrap(BODY, signed(secret=private.reveal()), keys, now=NOW)
    unwrap(BODY, signed(secret=private.reveal()), public, now=NOW)
    with pytest.raises(SignatureError, match="signature_wrong"):
        unwrap(BODY, signed(), [other, public], now=NOW)
    with pytest.raises(SignatureError, match="signature_wrong"):
        unwrap(BODY, signed(secret=private.reveal()), public_key_of(generate_private_key()), now=NOW)


def test_headers_come_as_every_framework_has_them() -> None:
    headers = signed()
    for given_ in (
        {name.title(): text for name, text in headers.items()},
        list(headers.items()),
        [(name.encode(), text.encode()) for name, text in headers.items()],
        {name.replace("webhook", "svix"): text for name, text in headers.items()},
    ):
        assert unwrap(BODY, given_, SECRET, now=NOW).id == ID


@pytest.mark.parametrize("body", [BODY.decode(), json.loads(body_with(b'"payload":1')), None])
def test_a_body_that_was_read_already_is_refused_with_what_to_do(body: Any) -> None:
    with pytest.raises(TypeError, match="pass the raw body"):
        unwrap(body, signed(), SECRET, now=NOW)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_" + base64.b64encode(b"8 bytes!").decode(), "whpk_AAAA", []])
def test_a_secret_that_is_none_is_the_programs_mistake_and_is_not_told(secret: str | list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        unwrap(BODY, signed(), secret, now=NOW)
    assert "8 bytes!" not in str(caught.value)
    with pytest.raises(ValueError, match="public key"):
        unwrap(BODY, signed(), generate_private_key().reveal(), now=NOW)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_header_that_is_missing_or_empty_or_there_twice_is_refused(missing: str) -> None:
    headers = signed()
    without = {name: text for name, text in headers.items() if name != missing}
    for wrong in (without, headers | {missing: ""}, [*headers.items(), (missing.title(), headers[missing])]):
        with pytest.raises(SignatureError):
            unwrap(BODY, wrong, SECRET, now=NOW)


def test_no_text_that_comes_close_to_a_signature_is_one() -> None:
    headers = signed()
    for text in malformed_signatures(headers["webhook-signature"].removeprefix("v1,")):
        with pytest.raises(SignatureError):
            unwrap(
                BODY, headers | {"webhook-signature": text}, [SECRET, public_key_of(generate_private_key())], now=NOW
            )


def test_no_text_that_comes_close_to_an_ed25519_signature_is_one() -> None:
    private = generate_private_key()
    headers, public = signed(secret=private.reveal()), public_key_of(private)
    right = headers["webhook-signature"].removeprefix("v1a,")
    digest = base64.b64decode(right)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    spare = right[:-3] + alphabet[alphabet.index(right[-3]) + 1] + "=="  # the same bytes to a lenient decoder
    assert base64.b64decode(spare) == digest
    cut = [f"v1a,{base64.b64encode(digest[:n]).decode()}" for n in range(64)]
    for text in [
        f"v1,{right}",
        f"v1a,{spare}",
        f"v1a,{right}=",
        f"v1a,{right.rstrip('=')}",
        f"v1a, {right}",
        f"v1a,{right}\n",
        *cut,
    ]:
        with pytest.raises(SignatureError):
            unwrap(BODY, headers | {"webhook-signature": text}, public, now=NOW)


@pytest.mark.parametrize(
    "text",
    ["nan", "inf", "-1", "1e9", "1674087231.9", "0x10", "9" * 400, "", str(SECOND - 301), str(SECOND + 301), "²"],
)
def test_a_timestamp_that_is_none_or_too_far_is_refused(text: str) -> None:
    with pytest.raises(SignatureError):
        unwrap(BODY, signed() | {"webhook-timestamp": text}, SECRET, now=NOW)


def test_how_far_is_the_callers_to_say() -> None:
    unwrap(BODY, signed(second=SECOND - 299), SECRET, now=NOW)
    unwrap(BODY, signed(second=SECOND - 900), SECRET, now=NOW, tolerance_seconds=1000)
    with pytest.raises(SignatureError, match="timestamp_outside_tolerance"):
        unwrap(BODY, signed(second=SECOND - 301), SECRET, now=NOW)


def test_an_id_with_a_full_stop_is_refused() -> None:
    moved = signed() | {"webhook-id": f"{ID}.{SECOND}"}
    with pytest.raises(SignatureError):
        unwrap(BODY, moved, SECRET, now=NOW)


@given(at=st.integers(0, len(BODY) * 8 - 1))
def test_one_changed_bit_is_found(at: int) -> None:
    changed = bytearray(BODY)
    changed[at // 8] ^= 1 << at % 8
    with pytest.raises(SignatureError):
        unwrap(bytes(changed), signed(), SECRET, now=NOW)


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"[]", b'{"type": "x"}', b'{"type":1,"timestamp":2,"data":3}', b"[" * 9999]
)
def test_what_is_signed_but_no_envelope_is_said_to_be_none(body: bytes) -> None:
    verify(body, signed(body), SECRET, now=NOW)
    with pytest.raises(NotAnEnvelope):
        unwrap(body, signed(body), SECRET, now=NOW)


def test_neither_a_network_library_nor_the_server_is_loaded_for_it() -> None:
    code = f"""
import sys, relay.client
event = relay.client.unwrap({BODY!r}, {signed()!r}, {SECRET!r}, now={NOW})
assert event.type == "result.completed"
print(*sys.modules, sep="\\n")
from relay.client import AsyncRelay, Relay
print("THE CLIENT", *sys.modules, sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    verifying, _, client = done.stdout.partition("THE CLIENT")
    server = {
        "starlette",
        "uvicorn",
        "sqlalchemy",
        "pydantic",
        "aiohttp",
        "alembic",
        "click",
        "structlog",
        "relay.settings",
    }
    assert set(verifying.split()) & (server | {"httpx2", "cryptography", "relay.store", "relay.web"}) == set()
    assert "httpx2" in client.split()
    assert set(client.split()) & (server | {"relay.store", "relay.web", "relay.pipeline"}) == set()


def test_an_event_is_a_value() -> None:
    first, second = (unwrap(BODY, signed(), SECRET, now=NOW) for _ in range(2))
    assert isinstance(first, Event)
    assert first == second
