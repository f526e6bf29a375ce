"""Whether a signing secret of somebody's own can be guessed. A made one is random and needs no judging.

Nobody can measure how a secret was chosen; these are the ways in which bad ones look: published, repeated, counted,
made of few characters, made of words that stand where a secret should be.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

LEAST_BITS: Final = 64.0  # by the bytes' own frequencies; 24 random bytes have some 110, 24 random digits some 75

PUBLISHED: Final = (  # in documentation and test suites of Standard Webhooks, Svix and OpenAI
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    "whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c=",
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
)
WORDS: Final = (b"secret", b"password", b"passw0rd", b"changeme", b"change-me", b"change_me", b"example", b"webhook")
WORDS_TOO: Final = (b"whsec_", b"12345678", b"abcdefgh", b"qwertyui", b"testtest", b"letmein", b"placeholder")


def weakness(text: str, key: bytes) -> str | None:
    """What makes the secret `text`, whose key is `key`, guessable; None = nothing that can be seen. Never quotes it."""
    if text in PUBLISHED:
        return "is published as an example"
    if _period(key) <= len(key) // 2:
        return "repeats itself"
    if _counts(key):
        return "counts instead of being random"
    lowered = key.lower()
    if any(word in lowered for word in (*WORDS, *WORDS_TOO)):
        return "is made of words that are tried first"
    if _bits(key) < LEAST_BITS:
        return "has too few different characters"
    return None


def _period(key: bytes) -> int:
    """The length of the shortest piece that the key is a repetition of (cut off anywhere)."""
    return next(length for length in range(1, len(key) + 1) if key[length:] == key[: len(key) - length])


def _counts(key: bytes) -> bool:
    """Whether most bytes are as far from the one before as everywhere else: 0, 1, 2, 3 or z, y, x."""
    steps = Counter((after - before) % 256 for before, after in zip(key, key[1:], strict=False))
    return steps.most_common(1)[0][1] > (len(key) - 1) / 2


def _bits(key: bytes) -> float:
    shares = [count / len(key) for count in Counter(key).values()]
    return -len(key) * sum(share * math.log2(share) for share in shares)
