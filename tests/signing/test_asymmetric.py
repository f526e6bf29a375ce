"""Ed25519 signatures, verified by `cryptography` alone as a subscriber would: nothing of our signer is used for it."""

from __future__ import annotations

import base64

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from relay.model import Secret
from relay.signing.asymmetric import decode_private_key, generate_private_key, public_key_of
from relay.signing.standard_webhooks import generate_secret, sign, signing_key

ID, SECONDS, BODY = "res_0192f0c1a2b37c4d8e5f60718293a4b5", 1_674_087_231, b'{"type":"result.completed"}'
# The key pair of the specification's own example: 64 bytes, whose second half is the public key.
PUBLISHED = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="


def verifies(public_key: str, header: str, body: bytes = BODY) -> bool:
    """By RFC 8032 and the specification's text: `{id}.{timestamp}.{body}`, base64 after `v1a,`."""
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.removeprefix("whpk_"), validate=True))
    offered = [base64.b64decode(item[4:], validate=True) for item in header.split(" ") if item.startswith("v1a,")]
    for signature in offered:
        try:
            key.verify(signature, f"{ID}.{SECONDS}.".encode() + body)
        except InvalidSignature:
            continue
        return True
    return False


def test_what_we_sign_verifies_with_the_public_key_and_with_no_other() -> None:
    mine, other = generate_private_key(), generate_private_key()
    header = sign(ID, SECONDS, BODY, [signing_key(mine)])
    assert header.startswith("v1a,") and " " not in header
    assert verifies(public_key_of(mine), header)
    assert not verifies(public_key_of(other), header)
    assert not verifies(public_key_of(mine), header, BODY + b" ")


def test_the_specifications_own_key_has_the_form_we_take_and_make() -> None:
    raw = base64.b64decode(PUBLISHED.removeprefix("whsk_"))
    assert public_key_of(Secret(PUBLISHED)) == "whpk_" + base64.b64encode(raw[32:]).decode()
    seed_alone = Secret("whsk_" + base64.b64encode(raw[:32]).decode())
    assert public_key_of(seed_alone) == public_key_of(Secret(PUBLISHED))
    made = base64.b64decode(generate_private_key().reveal().removeprefix("whsk_"))
    assert len(made) == len(raw)


def test_both_kinds_sign_side_by_side() -> None:
    private, shared = generate_private_key(), generate_secret()
    header = sign(ID, SECONDS, BODY, [signing_key(private), signing_key(shared)])
    assert [item.partition(",")[0] for item in header.split(" ")] == ["v1a", "v1"]
    assert verifies(public_key_of(private), header)
    assert header.split(" ")[1] == sign(ID, SECONDS, BODY, [signing_key(shared)])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("whsec_" + "A" * 44, "begins with whsk_"),
        ("whsk_planted!", "not base64"),
        ("whsk_" + base64.b64encode(b"x" * 31).decode(), "this one 31"),
        ("whsk_" + base64.b64encode(b"x" * 64).decode(), "do not belong together"),
    ],
)
def test_what_is_no_private_key_is_refused_without_repeating_it(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        decode_private_key(Secret(text))
    assert "planted" not in str(caught.value)
