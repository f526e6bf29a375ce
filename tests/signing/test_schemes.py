import base64
import hashlib
import hmac

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.clock import Instant
from relay.model import Secret
from relay.signing.schemes import (
    Part,
    basic,
    header_equals,
    hmac_signature,
    key_bytes,
    parse_template,
    signed_bytes,
    timestamp_fresh,
)
from relay.signing.standard_webhooks import Reason

KEY = b"firecrawl-signing-secret"
BODY = b'{"taskId":"t-1","n":12345678901234567890,"f":1.50,"deep":[{"x":"\xc3\xa9"}],"yes":true,"none":null}'
NOW = Instant(1_795_000_000_000)


def test_a_template_is_read_into_its_parts() -> None:
    assert parse_template("{header:X-Ts}.{body}") == (Part("header", "x-ts"), Part("literal", "."), Part("body"))
    assert parse_template("v0:{json:a.b}:{body}!") == (
        Part("literal", "v0:"),
        Part("json", "a.b"),
        Part("literal", ":"),
        Part("body"),
        Part("literal", "!"),
    )
    assert parse_template("{body}") == (Part("body"),)


@pytest.mark.parametrize("template", ["{bodi}", "{header:}", "{json:}", "{", "}", "{{body}}", "{body", "{header:a{b}}"])
def test_an_unknown_piece_of_a_template_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="signed template"):
        parse_template(template)


@pytest.mark.parametrize(
    ("template", "signed"),
    [
        ("{body}", BODY),
        ("{header:x-ts}.{body}", b"17." + BODY),
        ("{json:taskId}.{header:x-ts}", b"t-1.17"),
        ("{json:n}", b"12345678901234567890"),
        ("{json:f}", b"1.50"),
        ("{json:deep.0.x}", "é".encode()),
        ("{header:x-latin}", b"\xe9"),
    ],
)
def test_what_was_signed_is_made_from_the_request_byte_for_byte(template: str, signed: bytes) -> None:
    headers = {"x-ts": "17", "x-latin": "\xe9"}
    assert signed_bytes(parse_template(template), headers, BODY) == signed


@pytest.mark.parametrize(
    "template",
    ["{header:gone}", "{json:gone}", "{json:taskId.x}", "{json:deep}", "{json:deep.1.x}", "{json:deep.-1.x}",
     "{json:deep.99999999999999999999.x}", "{json:yes}", "{json:none}"],
)  # fmt: skip
def test_a_value_that_is_not_there_signs_nothing(template: str) -> None:
    assert signed_bytes(parse_template(template), {}, BODY) is None


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe\xff", b"[" * 100_000, b'{"taskId":' * 5000, b"9" * 10_000, b'{"taskId":"\\ud800"}']
)
def test_a_body_that_cannot_be_read_raises_nothing(body: bytes) -> None:
    signed_bytes(parse_template("{json:taskId}"), {}, body)


def matches(
    got: str, *, keys: tuple[bytes, ...] = (KEY,), body: bytes = BODY, encoding: str = "hex", prefix: str = "sha256="
) -> bool:
    return hmac_signature(
        algorithm="sha256",
        encoding="base64" if encoding == "base64" else "hex",
        prefix=prefix,
        template=parse_template("{header:x-ts}.{body}"),
        keys=keys,
        headers={"x-ts": "17"},
        body=body,
        got=got,
    )


DIGEST = hmac.digest(KEY, b"17." + BODY, hashlib.sha256)
RIGHT = "sha256=" + DIGEST.hex()


def test_the_right_signature_matches_in_both_encodings_and_by_any_key() -> None:
    assert matches(RIGHT)
    assert matches(base64.b64encode(DIGEST).decode(), encoding="base64", prefix="")
    assert matches(RIGHT, keys=(b"new", KEY))


@pytest.mark.parametrize(
    "got",
    ["", "sha256=", RIGHT.removeprefix("sha256="), RIGHT.upper(), RIGHT + "\n", " " + RIGHT, RIGHT[:-1], RIGHT + "0",
     RIGHT.replace("sha256", "sha1"), RIGHT + "é", RIGHT + "\ud800", "sha256=" + base64.b64encode(DIGEST).decode(),
     f"{RIGHT},{RIGHT}"],
)  # fmt: skip
def test_a_malformed_signature_does_not_match(got: str) -> None:
    assert not matches(got)


@given(bit=st.integers(0, len(BODY) * 8 - 1))
def test_no_bit_of_a_signed_body_can_be_flipped(bit: int) -> None:
    changed = bytearray(BODY)
    changed[bit // 8] ^= 1 << bit % 8
    assert not matches(RIGHT, body=bytes(changed))


@given(got=st.text(st.characters()))
@example("\ud800")
@example("Basic \ud800")
def test_no_text_raises(got: str) -> None:
    assert not matches(got)
    assert not header_equals([Secret("x" * 40)], got)
    assert not basic(Secret("u"), Secret("p"), got)


def test_an_empty_key_matches_nothing() -> None:
    forged = "sha256=" + hmac.digest(b"", b"17." + BODY, hashlib.sha256).hex()
    assert not matches(forged, keys=(b"",))
    assert not matches(forged, keys=())


@pytest.mark.parametrize("algorithm", ["md5", "", "SHA256"])
def test_weak_and_unknown_algorithms_are_refused(algorithm: str) -> None:
    with pytest.raises(ValueError, match="algorithm"):
        hmac_signature(
            algorithm=algorithm, encoding="hex", prefix="", template=(), keys=[KEY], headers={}, body=b"", got="x"
        )


def test_keys_are_text_base64_or_whsec() -> None:
    encoded = base64.b64encode(bytes(32)).decode()
    assert key_bytes(Secret("é"), "utf8") == "é".encode()
    assert key_bytes(Secret(encoded), "base64") == bytes(32)
    assert key_bytes(Secret("whsec_" + encoded), "whsec") == bytes(32)


@pytest.mark.parametrize(("text", "encoding"), [("", "utf8"), ("", "base64"), ("$$$$", "base64"), ("whsec_", "whsec")])
def test_a_key_that_is_empty_or_garbled_is_refused_without_being_shown(text: str, encoding: str) -> None:
    with pytest.raises(ValueError, match="secret") as caught:
        key_bytes(Secret(text), encoding)
    assert "$" not in str(caught.value)


def test_a_shared_header_equals_one_of_the_expected_values() -> None:
    assert header_equals([Secret("new"), Secret("old")], "old")
    assert header_equals([Secret("é")], "\xe9")
    for got in (None, "", "ol", "oldd", "OLD", " old", "ołd"):
        assert not header_equals([Secret("new"), Secret("old")], got)


def test_an_empty_expected_value_never_matches() -> None:
    assert not header_equals([Secret("")], "")
    assert not header_equals([], "")


def credentials(text: bytes) -> str:
    return base64.b64encode(text).decode()


def test_basic_credentials_are_compared_whole() -> None:
    user, password = Secret("usér"), Secret("p:w")
    for right in ("Basic ", "basic ", "BASIC  "):
        assert basic(user, password, right + credentials("usér:p:w".encode()))
    for wrong in (b"us\xe9r:p:w", b"", b":", "usér:p".encode(), "usér".encode(), "usér:p:w\x00".encode()):
        assert not basic(user, password, f"Basic {credentials(wrong)}")
    right = credentials("usér:p:w".encode())
    for garbled in (
        None,
        "",
        "Basic",
        "Bearer " + right,
        right,
        "Basic " + right[:-1],
        f"Basic {right[:4]}!{right[4:]}",
    ):
        assert not basic(user, password, garbled)


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_a_timestamp_in_seconds_or_milliseconds_within_the_tolerance_is_fresh(seconds: int) -> None:
    assert timestamp_fresh(str(NOW // 1000 + seconds), NOW, 300.0) is None
    assert timestamp_fresh(str(NOW + seconds * 1000), NOW, 300.0) is None


def test_a_timestamp_outside_the_tolerance_or_of_another_form_is_not_fresh() -> None:
    for text in (str(NOW // 1000 - 301), str(NOW // 1000 + 301), str(NOW - 300_001), str(NOW + 300_001), "0"):
        assert timestamp_fresh(text, NOW, 300.0) is Reason.TIMESTAMP_OUTSIDE_TOLERANCE
    for text in ("", "nan", "-1", "1e9", "1.5", "0x1", "9" * 400, "١" * 13, "2026-11-21T19:00:00Z"):
        assert timestamp_fresh(text, NOW, 300.0) is Reason.TIMESTAMP_MALFORMED
