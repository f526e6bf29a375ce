"""A short piece of somebody's answer, safe to keep and to print."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote_plus

from relay.model import Secret

REDACTED: Final = "[redacted]"
SHORTEST_SECRET: Final = 4  # a shorter one would redact half the text
SHORTEST_VALUE: Final = 8  # of a URL's query, to count as a secret
SHORTEST_NAME: Final = 16  # of the last part of a URL's path

_TOKEN: Final = re.compile(r"\b[0-9a-f]{32}\.[0-9]{1,18}\.(?:[0-9a-f]{32}\.)?[A-Za-z0-9_-]{20,}")
# A URL ends where the next one begins, or each of many in a row would be followed to the end of them all.
_QUERY: Final = re.compile(
    r"""(https?:(?:\\?/){2}(?:[^\s"'<>?h]|h(?!ttps?:(?:\\?/){2}))*+)\?[^\s"'<>]+""", re.IGNORECASE
)


def safe_excerpt(data: bytes, secrets: Iterable[Secret]) -> str:
    """`data` as printable text without the secrets: some servers send the credentials back in their error page."""
    text = scrub(redact(data.decode("utf-8", "replace"), secrets))
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)


def without_values(text: str | None, headers: Mapping[str, str]) -> str | None:
    """A subscriber's answer without the values of the headers that it was sent: they are secrets of its operator's."""
    return redact(text, [Secret(value) for value in headers.values()]) if text and headers else text


def scrub(text: str) -> str:
    """`text` without what is as good as a key whoever's it is: the queries of URLs, for one may be presigned, and the
    tokens of callback URLs, which providers repeat in their answers."""
    text = _QUERY.sub(rf"\1?{REDACTED}", text) if "?" in text else text
    return _TOKEN.sub(REDACTED, text)


def url_secrets(url: str) -> list[Secret]:
    """What of a presigned URL opens anything, as it may come back in pieces: whole, and its longer values."""
    path, _, query = url.partition("?")
    values = [pair.partition("=")[2] for pair in query.split("&")]
    values = [form for value in values for form in (value, unquote_plus(value)) if len(form) >= SHORTEST_VALUE]
    name = path.rpartition("/")[2]
    return [Secret(text) for text in (url, *values, *([name] if len(name) >= SHORTEST_NAME else ()))]


def redact(text: str, secrets: Iterable[Secret]) -> str:
    """`text` without the secrets, and without the part of one that it ends with: it may have been cut right there."""
    forms = {form for secret in secrets for form in _forms(secret.reveal())}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, REDACTED)
    ending = max((_shared(text, form) for form in forms), default=0)
    return text[:-ending] + REDACTED if ending else text


def _shared(text: str, form: str) -> int:
    """How many characters at the end of `text` are the beginning of `form`."""
    if text[-SHORTEST_SECRET:] not in form:
        return 0
    longest = min(len(form), len(text))
    return next((n for n in range(longest, SHORTEST_SECRET - 1, -1) if text.endswith(form[:n])), 0)


@lru_cache(maxsize=256)  # of credentials that are held all the same; every pending answer is searched for them
def _forms(value: str) -> tuple[str, ...]:
    """As it is, without the scheme in front of it (`Basic …`), and as it may be written inside something else."""
    bare = value.rpartition(" ")[2]
    forms = [value, bare, base64.b64encode(value.encode()).decode()]
    forms += [quote(bare, safe=""), bare.replace("/", "\\/")]
    return tuple(form for form in forms if len(form) >= SHORTEST_SECRET)
