"""A short piece of somebody's answer, safe to keep and to print."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Final

from relay.model import Secret

REDACTED: Final = "[redacted]"
SHORTEST_SECRET: Final = 4  # a shorter one would redact half the text


def safe_excerpt(data: bytes, secrets: Iterable[Secret]) -> str:
    """`data` as printable text without the secrets: some servers send the credentials back in their error page."""
    text = data.decode("utf-8", "replace")
    for secret in secrets:
        for form in _forms(secret.reveal()):
            text = text.replace(form, REDACTED)
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)


def _forms(value: str) -> list[str]:
    """As it is, and without the scheme in front of it (`Basic …`)."""
    forms = [value, value.rpartition(" ")[2], base64.b64encode(value.encode()).decode()]
    return [form for form in forms if len(form) >= SHORTEST_SECRET]
