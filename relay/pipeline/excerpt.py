"""A short piece of somebody's answer, safe to keep and to print."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote

from relay.model import Secret

REDACTED: Final = "[redacted]"
SHORTEST_SECRET: Final = 4  # a shorter one would redact half the text


def safe_excerpt(data: bytes, secrets: Iterable[Secret]) -> str:
    """`data` as printable text without the secrets: some servers send the credentials back in their error page."""
    text = redact(data.decode("utf-8", "replace"), secrets)
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)


def without_values(text: str | None, headers: Mapping[str, str]) -> str | None:
    """A subscriber's answer without the values of the headers that it was sent: they are secrets of its operator's."""
    return redact(text, [Secret(value) for value in headers.values()]) if text and headers else text


def redact(text: str, secrets: Iterable[Secret]) -> str:
    """`text` without the secrets, and without the part of one that it ends with: it may have been cut right there."""
    forms = {form for secret in secrets for form in _forms(secret.reveal())}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, REDACTED)
    ending = max((_shared(text, form) for form in forms), default=0)
    return text[:-ending] + REDACTED if ending else text


def _shared(text: str, form: str) -> int:
    """How many characters at the end of `text` are the beginning of `form`."""
    longest = min(len(form), len(text))
    return next((n for n in range(longest, SHORTEST_SECRET - 1, -1) if text.endswith(form[:n])), 0)


def _forms(value: str) -> list[str]:
    """As it is, without the scheme in front of it (`Basic …`), and as it may be written inside something else."""
    bare = value.rpartition(" ")[2]
    forms = [value, bare, base64.b64encode(value.encode()).decode()]
    forms += [quote(bare, safe=""), bare.replace("/", "\\/")]
    return [form for form in forms if len(form) >= SHORTEST_SECRET]
