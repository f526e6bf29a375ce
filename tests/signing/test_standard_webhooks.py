import base64
import hashlib
import hmac
import timeit
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from relay.clock import Instant, SystemClock
from relay.errors import SignatureError
from relay.model import Secret
from relay.signing.standard_webhooks import (
    MAXIMUM_SIGNATURES,
    Reason,
    check,
    decode_secret,
    generate_secret,
    sign,
    verify,
)
from tests.support.bad_signatures import malformed_signatures
from tests.support.later import later

svix = later("svix")

KEY = bytes(range(32))
OLD_KEY = bytes(range(100, 124))
ID = "res_0192f0c1a2b37c4d8e5f60718293a4b5"
SECONDS = 1_674_087_231
NOW = Instant(SECONDS * 1000)
BODY = b'{"type":"result.completed"}'


def signature(*keys: bytes) -> str:
    return sign(ID, SECONDS, BODY, keys or (KEY,))


def headers(signatures: str | None = None, **changed: str) -> dict[str, str]:
    given_headers = {
        "id": ID,
        "timestamp": str(SECONDS),
        "signature": signature() if signatures is None else signatures,
    }
    return {f"webhook-{name}": value for name, value in (given_headers | changed).items()}


def refusal(changed: Mapping[str, str], *, body: bytes = BODY, now: Instant = NOW) -> str:
    """Why it is refused; anything but a SignatureError fails the test."""
    with pytest.raises(SignatureError) as caught:
        verify(changed, body, [KEY], now)
    return str(caught.value)


def test_openais_published_example_verifies() -> None:
    key = decode_secret(Secret("whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c="))
    body = (
        b'{"id": "evt_685c059ae3a481909bdc86819b066fb6", "object": "event", "created_at": 1750861210, '
        b'"type": "response.completed", "data": {"id": "resp_123"}}'
    )
    expected = "v1,gUAg4R2hWouRZqRQG4uJypNS8YK885G838+EHb4nKBY="
    message_id = "wh_685c059ae39c8190af8c71ed1022a24d"
    assert sign(message_id, 1_750_861_210, body, [key]) == expected
    given_headers = {"webhook-id": message_id, "webhook-timestamp": "1750861210", "webhook-signature": expected}
    verify(given_headers, body, [key], Instant(1_750_861_210_000))


def test_the_official_packages_take_what_we_sign() -> None:
    secret, now = generate_secret(), SystemClock().now() // 1000
    signed = sign(ID, now, BODY, [OLD_KEY, decode_secret(secret)])
    sent = {"webhook-id": ID, "webhook-timestamp": str(now), "webhook-signature": signed}
    assert standardwebhooks.Webhook(secret.reveal()).verify(BODY, sent) == {"type": "result.completed"}
    svix.webhooks.Webhook(secret.reveal()).verify(BODY, sent)
    svix.webhooks.Webhook(secret.reveal()).verify(
        BODY, {name.replace("webhook", "svix"): v for name, v in sent.items()}
    )


@pytest.mark.parametrize("package", [standardwebhooks, svix], ids=["standardwebhooks", "svix"])
def test_we_take_what_the_official_packages_sign(package: Any) -> None:
    secret = generate_secret()
    moment = datetime.fromtimestamp(SECONDS, UTC)
    signed = package.Webhook(secret.reveal()).sign(ID, moment, BODY.decode())
    assert signed == sign(ID, SECONDS, BODY, [decode_secret(secret)])
    verify(headers(signed), BODY, [decode_secret(secret)], NOW)


@pytest.mark.parametrize("family", ["webhook", "svix", "Webhook", "SVIX"])
def test_header_names_are_taken_in_both_families_and_any_case(family: str) -> None:
    verify({name.replace("webhook", family): value for name, value in headers().items()}, BODY, [KEY], NOW)


def test_the_two_families_are_not_mixed() -> None:
    mixed = headers() | {"svix-signature": signature()}
    del mixed["webhook-signature"]
    assert refusal(mixed) == Reason.SIGNATURE_MISSING


def test_one_name_in_two_spellings_is_refused() -> None:
    assert refusal(headers() | {"Webhook-Signature": signature()}) == Reason.SIGNATURE_REPEATED


@pytest.mark.parametrize("missing", ["id", "timestamp", "signature"])
def test_a_missing_or_empty_header_is_refused(missing: str) -> None:
    assert refusal(headers(**{missing: ""})) == Reason.SIGNATURE_MISSING
    assert refusal({k: v for k, v in headers().items() if k != f"webhook-{missing}"}) == Reason.SIGNATURE_MISSING


RIGHT = signature().removeprefix("v1,")


@pytest.mark.parametrize("value", malformed_signatures(RIGHT))
def test_a_malformed_signature_is_refused(value: str) -> None:
    assert refusal(headers(value)) == Reason.SIGNATURE_WRONG


def test_spare_bits_of_base64_do_not_make_a_second_valid_signature() -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = alphabet[alphabet.index(RIGHT[-2]) + 1]
    twin = RIGHT[:-2] + last + "="
    assert base64.b64decode(twin) == base64.b64decode(RIGHT)
    assert refusal(headers(f"v1,{twin}")) == Reason.SIGNATURE_WRONG


def test_the_work_for_a_list_of_signatures_is_bounded() -> None:
    filler = ["v1a,x"] * (MAXIMUM_SIGNATURES - 1)
    verify(headers(" ".join([*filler, signature()])), BODY, [KEY], NOW)
    assert refusal(headers(" ".join(["v1a,x", *filler, signature()]))) == Reason.SIGNATURE_WRONG


def test_ten_thousand_signatures_are_refused_at_once() -> None:
    flood = headers(" ".join(["v1," + "A" * 44] * 10_000))
    assert min(timeit.repeat(lambda: check(flood, BODY, [KEY], NOW), number=1, repeat=20)) < 0.005


def test_a_list_verifies_by_any_of_its_signatures_and_skips_versions_it_does_not_know() -> None:
    verify(headers(f"v1a,abc junk v1,abc  {signature()} v9,x"), BODY, [KEY], NOW)


@pytest.mark.parametrize(
    "text",
    ["nan", "inf", "-1", "+1674087231", "1e9", "1674087231.9", "0x63c8893f", "9" * 400, "9" * 13, " 1674087231",
     "1674087231 ", "1_674_087_231", "١٦٧٤٠٨٧٢٣١", "1674087231\n", "\ud800"],
)  # fmt: skip
def test_a_timestamp_that_is_not_whole_seconds_is_refused(text: str) -> None:
    digest = hmac.digest(KEY, f"{ID}.{text}.".encode("utf-8", "surrogatepass") + BODY, hashlib.sha256)
    assert refusal(headers("v1," + base64.b64encode(digest).decode(), timestamp=text)) == Reason.TIMESTAMP_MALFORMED


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_a_timestamp_within_five_minutes_is_taken(seconds: int) -> None:
    verify(headers(), BODY, [KEY], Instant((SECONDS + seconds) * 1000))


@pytest.mark.parametrize("seconds", [-301, -300.001, 300.001, 301])
def test_a_timestamp_further_away_is_refused(seconds: float) -> None:
    reason = refusal(headers(), now=Instant(round((SECONDS + seconds) * 1000)))
    assert reason == Reason.TIMESTAMP_OUTSIDE_TOLERANCE


def test_the_timestamp_is_signed_as_it_stands_in_the_header() -> None:
    padded = f"0{SECONDS}"
    assert refusal(headers(timestamp=padded)) == Reason.SIGNATURE_WRONG
    digest = hmac.digest(KEY, f"{ID}.{padded}.".encode() + BODY, hashlib.sha256)
    verify(headers("v1," + base64.b64encode(digest).decode(), timestamp=padded), BODY, [KEY], NOW)


def test_borders_between_id_timestamp_and_body_cannot_be_moved() -> None:
    signed = sign(f"msg.{SECONDS}", SECONDS + 1, BODY, [KEY])
    verify(headers(signed, id="msg"), f"{SECONDS + 1}.".encode() + BODY, [KEY], NOW)  # what a sender of such ids risks
    assert refusal(headers(signed, id=f"msg.{SECONDS}", timestamp=str(SECONDS + 1))) == Reason.SIGNATURE_WRONG


@pytest.mark.parametrize("message_id", ["", "caf\u00e9", "\ud800", "a.b"])
def test_an_odd_id_is_refused(message_id: str) -> None:
    assert refusal(headers(id=message_id)) in (Reason.SIGNATURE_MISSING, Reason.SIGNATURE_WRONG)


@pytest.mark.parametrize("body", [b"", b"\xff\xfe\x00", b"\x00" * 100_000, "naïve".encode("utf-16")])
def test_any_bytes_can_be_signed_and_verified(body: bytes) -> None:
    verify(headers(sign(ID, SECONDS, body, [KEY])), body, [KEY], NOW)


def test_during_a_rotation_both_keys_sign_and_either_verifies() -> None:
    both = signature(KEY, OLD_KEY)
    assert both.split(" ") == [signature(KEY), signature(OLD_KEY)]
    for key in (KEY, OLD_KEY):
        verify(headers(both), BODY, [key], NOW)
        verify(headers(signature(key)), BODY, [KEY, OLD_KEY], NOW)
    with pytest.raises(SignatureError):
        verify(headers(both), BODY, [bytes(32)], NOW)


def test_no_key_and_an_empty_key_verify_nothing() -> None:
    for keys in ([], [b""]):
        with pytest.raises(SignatureError):
            verify(headers(sign(ID, SECONDS, BODY, [b""])), BODY, keys, NOW)


def test_nothing_is_signed_without_a_key() -> None:
    with pytest.raises(ValueError, match="no key"):
        sign(ID, SECONDS, BODY, [])


def test_check_gives_the_reason_as_a_value() -> None:
    assert check(headers(), BODY, [KEY], NOW) is None
    assert check({}, BODY, [KEY], NOW) is Reason.SIGNATURE_MISSING


@given(bit=st.integers(0, len(BODY) * 8 - 1))
def test_no_bit_of_the_body_can_be_flipped(bit: int) -> None:
    changed = bytearray(BODY)
    changed[bit // 8] ^= 1 << bit % 8
    assert refusal(headers(), body=bytes(changed)) == Reason.SIGNATURE_WRONG


@given(bit=st.integers(0, len(signature()) * 7 - 1))
def test_no_bit_of_the_signature_can_be_flipped(bit: int) -> None:
    text = signature()
    place, mask = bit // 7, 1 << bit % 7
    assert refusal(headers(text[:place] + chr(ord(text[place]) ^ mask) + text[place + 1 :])) == Reason.SIGNATURE_WRONG


@given(cut=st.integers(0, len(signature()) - 1), tail=st.text(st.characters(exclude_characters=" "), min_size=1))
def test_a_signature_can_be_neither_truncated_nor_extended(cut: int, tail: str) -> None:
    assert refusal(headers(signature()[:cut])) in (Reason.SIGNATURE_WRONG, Reason.SIGNATURE_MISSING)
    assert refusal(headers(signature() + tail)) == Reason.SIGNATURE_WRONG


@given(cut=st.integers(0, len(BODY) - 1), tail=st.binary(min_size=1))
def test_a_body_can_be_neither_truncated_nor_extended(cut: int, tail: bytes) -> None:
    assert refusal(headers(), body=BODY[:cut]) == Reason.SIGNATURE_WRONG
    assert refusal(headers(), body=BODY + tail) == Reason.SIGNATURE_WRONG


ANY_TEXT = st.text(st.characters(), max_size=200)  # surrogates too


@given(message_id=ANY_TEXT, timestamp=ANY_TEXT | st.just(str(SECONDS)), signatures=ANY_TEXT, body=st.binary())
def test_no_input_raises_anything_but_a_signature_error(
    message_id: str, timestamp: str, signatures: str, body: bytes
) -> None:
    refusal(headers(signatures, id=message_id, timestamp=timestamp), body=body)


@given(key=st.binary(min_size=24, max_size=64), body=st.binary(), seconds=st.integers(0, 10**11))
def test_what_is_signed_verifies(key: bytes, body: bytes, seconds: int) -> None:
    signed = sign(ID, seconds, body, [key])
    verify(headers(signed, timestamp=str(seconds)), body, [key], Instant(seconds * 1000))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds 0"),
        ("whsec_", "holds 0"),
        ("whsec_" + base64.b64encode(b"12345678").decode(), "holds 8"),
        ("whsec_" + base64.b64encode(bytes(23)).decode(), "holds 23"),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "holds 65"),
        ("x" * 23, "holds 23"),
        ("x" * 65, "holds 65"),
        ("whsec_" + "!" * 40, "not base64"),
        ("whsec_" + "é" * 40, "not base64"),
        ("whsec_" + "A" * 41, "not base64"),
        ("whsec_" + "AAAA" * 10 + "\n", "not base64"),
        ("whsec_" + "A-_A" * 10, "not base64"),
    ],
)
def test_a_secret_outside_the_specification_is_refused_with_a_reason_that_does_not_show_it(
    text: str, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        decode_secret(Secret(text))
    assert not text or text not in str(caught.value)


def test_secrets_are_base64_after_the_prefix_and_plain_text_without_it() -> None:
    assert decode_secret(Secret("whsec_" + base64.b64encode(KEY).decode())) == KEY
    assert decode_secret(Secret("whsec_" + base64.b64encode(KEY).decode().rstrip("="))) == KEY
    assert decode_secret(Secret("é" * 12)) == "é".encode() * 12


def test_generated_secrets_differ_and_decode() -> None:
    made = {generate_secret().reveal() for _ in range(100)}
    assert len(made) == 100
    assert {len(decode_secret(Secret(text))) for text in made} == {32}
