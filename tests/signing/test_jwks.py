"""Ed25519 by published keys: which keys a JWK set has, and which signatures hold."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.signing.jwks import MAXIMUM_KEYS, ed25519_keys, ed25519_signature
from relay.signing.schemes import parse_template

# RFC 8037, appendix A: the key pair and the signature over the JWS signing input.
X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
SIGNED = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
SIGNATURE = base64.urlsafe_b64decode(
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg=="
)
HEX = SIGNATURE.hex()
KEY = {"kty": "OKP", "crv": "Ed25519", "x": X}


def keys_of(*listed: Any) -> tuple[bytes, ...]:
    return ed25519_keys(json.dumps({"keys": list(listed)}).encode())


def holds(got: str, *, encoding: str = "hex", prefix: str = "", body: bytes = SIGNED) -> bool:
    return ed25519_signature(
        keys=keys_of(KEY),
        encoding=encoding,
        prefix=prefix,
        template=parse_template("{body}"),
        headers={},
        body=body,
        got=got,
    )


def test_the_signature_of_rfc_8037_holds() -> None:
    assert holds(SIGNATURE.hex()) and holds(SIGNATURE.hex().upper())
    assert holds(base64.b64encode(SIGNATURE).decode(), encoding="base64")
    assert holds("v1=" + SIGNATURE.hex(), prefix="v1=")


@pytest.mark.parametrize(
    "got",
    ["", "00", HEX[:-1], HEX + "0", HEX[:-2] + "zz", " " + HEX, "00" * 64],
)
def test_other_signatures_do_not(got: str) -> None:
    assert not holds(got)


def test_other_encodings_prefixes_and_bodies_do_not() -> None:
    assert not holds(SIGNATURE.hex(), encoding="base64")
    assert not holds("!" * 88, encoding="base64")
    assert not holds(SIGNATURE.hex(), prefix="v1=")
    assert not holds(SIGNATURE.hex(), body=SIGNED + b".")


def test_keys_of_other_kinds_are_left_out() -> None:
    good = base64.urlsafe_b64decode(X + "=")
    assert keys_of(KEY | {"use": "sig", "kid": "1"}, KEY) == (good,)
    assert keys_of(KEY | {"x": X + "="}) == (good,)
    wrong: list[Any] = [
        {"kty": "RSA", "n": "x", "e": "AQAB"},
        KEY | {"crv": "X25519"},
        KEY | {"use": "enc"},
        KEY | {"x": X[:-1]},
        KEY | {"x": X + "AA"},
        KEY | {"x": "!" * 43},
        KEY | {"x": 7},
        {"kty": "OKP", "crv": "Ed25519"},
        None,
        "x",
    ]
    assert keys_of(*wrong) == ()
    assert keys_of(*wrong, KEY) == (good,)


def test_a_key_set_has_a_bound() -> None:
    many = [KEY | {"x": base64.urlsafe_b64encode(bytes([n]) * 32).decode()} for n in range(60)]
    assert len(keys_of(*many)) == MAXIMUM_KEYS
    assert ed25519_keys(json.dumps({"keys": [KEY], "pad": "x" * 70_000}).encode()) == ()


@pytest.mark.parametrize("jwks", [b"", b"{", b"[]", b"{}", b'{"keys":{}}', b"\xff", b"[" * 60_000])
def test_what_is_no_key_set_has_no_keys(jwks: bytes) -> None:
    assert ed25519_keys(jwks) == ()


@settings(deadline=None)
@given(st.binary(max_size=200), st.text(max_size=140))
def test_anything_is_judged_and_nothing_holds(jwks: bytes, got: str) -> None:
    assert ed25519_keys(jwks) == ()
    assert not holds(got)


def test_a_key_that_is_no_point_verifies_nothing() -> None:
    bad = (b"\xff" * 32, b"short")
    assert not ed25519_signature(
        keys=bad, encoding="hex", prefix="", template=(), headers={}, body=b"", got=SIGNATURE.hex()
    )
