from __future__ import annotations

import base64
import random
import secrets
import string

import pytest

from relay.model import Secret
from relay.signing.standard_webhooks import decode_secret, generate_secret
from relay.signing.strength import PUBLISHED, weakness

WEAK = [
    ("x" * 24, "repeats"),
    ("ab" * 16, "repeats"),
    ("correct horse battery " * 2, "repeats"),
    ("whsec_" + base64.b64encode(bytes(32)).decode(), "repeats"),
    ("whsec_" + "a" * 32, "repeats"),
    ("whsec_" + base64.b64encode(bytes(range(32))).decode(), "counts"),
    (string.ascii_lowercase[:24], "counts"),
    (string.ascii_uppercase[::-1], "counts"),
    ("my-own-webhook-of-last-week-9", "words"),
    ("aVeryLongPassword2026isFine!", "words"),
    ("whsec_" + base64.b64encode(b"the-secret-that-nobody-knows").decode(), "words"),
    ("aabbaabaabbbabaabbabaaabab", "few different"),
    *((text, "published") for text in PUBLISHED if not text.startswith("whsk_")),
]


@pytest.mark.parametrize(("text", "reason"), WEAK)
def test_a_secret_that_can_be_guessed_is_refused_and_not_quoted(text: str, reason: str) -> None:
    found = weakness(text, decode_secret(Secret(text)))
    assert found is not None and reason in found and text not in found


def test_random_secrets_of_every_usual_make_are_taken() -> None:
    chance = random.Random(7)
    for _ in range(300):
        made = [
            generate_secret().reveal(),
            "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode(),
            secrets.token_hex(16),
            secrets.token_hex(32),
            secrets.token_urlsafe(24),
            "".join(chance.choices(string.ascii_letters, k=24)),
            "".join(chance.choices(string.digits, k=32)),
        ]
        assert [weakness(text, decode_secret(Secret(text))) for text in made] == [None] * len(made)
