"""The shape of a message, and an excerpt of it that can be shown: names and types, and values without secrets. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

from relay.model import Secret
from relay.pipeline.excerpt import REDACTED, redact, scrub

LARGEST_BYTES: Final = 256 * 1024  # a larger message is not looked into
EXCERPT_BYTES: Final = 4096
MOST_FIELDS: Final = 200  # of a query, that are told apart
DEEPEST: Final = 12
ELEMENTS: Final = 20  # of a list, that are looked at
SHOWN_ELEMENTS: Final = 3
SHOWN_CHARACTERS: Final = 160  # of one text

_SECRET_NAME: Final = re.compile(
    r"secret|token|passw|api.?key|authori[sz]ation|credential|signature|cookie|private.?key|access.?key|bearer", re.I
)
_SECRET_TEXT: Final = re.compile(
    r"(?<=/in/)[A-Za-z0-9._~-]{16,}"
    r"|\b(?:Bearer|Basic|Key|Token)\s+[A-Za-z0-9._~+/=-]{8,}"
    r"|\b(?:whsec_|whsk_|sk-|rk_|eyJ)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?<=://)[^\s/@]+@"
    r"|(?<=/)[A-Za-z0-9._~%+=-]{40,}"  # a part of a path that may be all one needs to know
)


def document_of(body: bytes, query: str = "") -> Any:
    """The message as a tree: its JSON, or else its text; without a body what its query says."""
    if not body and query:
        fields = query.count("&") + 1
        return dict(parse_qsl(query, keep_blank_values=True)) if fields <= MOST_FIELDS else f"{fields} parameters"
    if len(body) > LARGEST_BYTES:
        return f"{len(body)} bytes"
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")


def shape_of(document: Any, http_status: int | None, content_type: str | None) -> str:
    """The SHA-256, in hexadecimal, of names and types: equal for messages that differ in values only."""
    media_type = (content_type or "").partition(";")[0].strip().lower()
    return hashlib.sha256(orjson.dumps([http_status, media_type, _shape(document, 0)])).hexdigest()


def excerpt_of(document: Any, secrets: Sequence[Secret]) -> str:
    """At most 4 KiB of it: members that look like keys, URL queries and the given secrets are taken out."""
    shown = document if isinstance(document, str) else _shown(document, secrets, 0, hidden=False)
    text = _text(shown, secrets, EXCERPT_BYTES) if isinstance(shown, str) else orjson.dumps(shown).decode()
    clean = "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)
    return clean.encode("utf-8", "replace")[:EXCERPT_BYTES].decode("utf-8", "ignore")


def _shape(value: Any, depth: int) -> Any:
    if isinstance(value, dict):
        if depth == DEEPEST:
            return "object"
        return [[name, _shape(value[name], depth + 1)] for name in sorted(value)]
    if isinstance(value, list):
        if depth == DEEPEST:
            return "list"
        return {"list": sorted({orjson.dumps(_shape(item, depth + 1)).decode() for item in value[:ELEMENTS]})}
    return "null" if value is None else "number" if isinstance(value, float) else type(value).__name__


def _shown(value: Any, secrets: Sequence[Secret], depth: int, *, hidden: bool) -> Any:
    if isinstance(value, str):
        return REDACTED if hidden and value else _text(value, secrets, SHOWN_CHARACTERS)
    if isinstance(value, dict | list) and depth == DEEPEST:
        return "…"
    if isinstance(value, list):
        found = [_shown(item, secrets, depth + 1, hidden=hidden) for item in value[:SHOWN_ELEMENTS]]
        return found if len(value) <= SHOWN_ELEMENTS else [*found, f"… ({len(value)} elements)"]
    if isinstance(value, dict):
        return {
            _text(name, secrets, SHOWN_CHARACTERS): _shown(
                item, secrets, depth + 1, hidden=hidden or _SECRET_NAME.search(name) is not None
            )
            for name, item in value.items()
        }
    return value


def _text(text: str, secrets: Sequence[Secret], most: int) -> str:
    """Without secrets first and then short, lest half a secret is left."""
    clean = _SECRET_TEXT.sub(REDACTED, scrub(redact(text, secrets)))
    return clean if len(clean) <= most else f"{clean[:most]}… ({len(clean)} characters)"
