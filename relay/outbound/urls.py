"""URLs by refusal: what is not plainly an absolute http(s) URL in canonical spelling is never called.

Parsers disagree about odd spellings (tabs, backslashes, `0x7f.1`, userinfo, full-width dots), and every disagreement is
a way past a check. So there is one reading, it refuses instead of repairing, and the string that was read is the string
that is sent: only the letters of scheme and host are lowered and an empty path becomes `/`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from relay.errors import UrlRefused

MAX_URL_LENGTH: Final = 2048
LONGEST_URL: Final = 8192
"""Of one that is called and kept nowhere: a presigned one may carry a session token of some kilobytes."""
DEFAULT_PORTS: Final = {"https": 443, "http": 80}

_PRINTABLE: Final = re.compile(r"[!-~]*", re.ASCII)
_SHAPE: Final = re.compile(r"([A-Za-z]+://[^/?]*)(.*)", re.ASCII)
_AUTHORITY: Final = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>.*))?", re.ASCII)
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0x.*", re.ASCII)
# As in Google's `?GoogleAccessId=x@y`. Behind a path no parser takes it for the end of a userinfo.
_AT_IN_VALUES: Final = re.compile(r"[^@?/]*//[^@?/]+/[^@?]*\?(?:[^@=&]*+(?:=[^&]*+)?+(?:&|\Z))*+", re.ASCII)
_SEPARATORS: Final = re.compile(r"/|%2f|%5c", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that passed. `path` is what goes on the request line (path and query); `text` is the whole URL."""

    scheme: str
    host: str  # lower case; IPv6 without brackets
    port: int
    path: str
    text: str

    @property
    def origin(self) -> str:
        """`scheme://host`, with `:port` if it is not the scheme's own; IPv6 in brackets."""
        return _origin(self.scheme, self.host, self.port)

    @property
    def is_literal(self) -> bool:
        """Whether the host is an address, not a name."""
        return ":" in self.host or self.host.rpartition(".")[2].isdigit()

    @property
    def is_short(self) -> bool:
        """Whether the host is a name without a dot: it means something only inside somebody's network."""
        return not self.is_literal and "." not in self.host


def parse_url(
    raw: str, *, allow_http: bool = False, allow_short: bool = False, longest: int = MAX_URL_LENGTH
) -> Target:
    """Read an absolute URL or raise UrlRefused, whose text names the rule and never repeats the URL.

    `allow_http` lets plain http through, `allow_short` host names without a dot; both only make sense together with an
    address policy that lists where they may lead. Host names follow RFC 1123.
    """
    if len(raw) > longest:
        raise UrlRefused(f"longer than {longest} characters")
    _refuse_odd_characters(raw)
    shape = _SHAPE.fullmatch(raw)
    if shape is None:
        raise UrlRefused("not an absolute URL of the form https://host/path")
    site, rest = shape.groups()
    scheme, host, port, origin = _site(site, allow_http, allow_short)
    path = _path(rest)
    return Target(scheme, host, port, path, origin + path)


def canonical_origin(raw: str) -> str:
    """The canonical form of a configured origin, such as `https://api.example.com:8443`.

    Plain http and short names pass: whether they may be dialled is the address policy's to say. Raises UrlRefused.
    """
    target = parse_url(raw, allow_http=True, allow_short=True)
    if target.path != "/":
        raise UrlRefused("an origin has no path and no query")
    return target.origin


def _refuse_odd_characters(raw: str) -> None:
    if not _PRINTABLE.fullmatch(raw):
        raise UrlRefused("a character is not printable ASCII (write other letters as A-labels or percent-encoded)")
    if "\\" in raw or "#" in raw:
        raise UrlRefused("a backslash or # is not allowed")
    if "@" in raw and not _AT_IN_VALUES.fullmatch(raw):
        raise UrlRefused("an @ is only allowed in the value of a query parameter behind a path")


@lru_cache(maxsize=1024)
def _site(text: str, allow_http: bool, allow_short: bool) -> tuple[str, str, int, str]:
    """Scheme, host, port and origin of a URL's part before the path: few sites, many URLs, so it is remembered."""
    given_scheme, _, given = text.partition("://")
    scheme = given_scheme.lower()
    if scheme not in DEFAULT_PORTS:
        raise UrlRefused("the scheme is not https" + (" or http" if allow_http else ""))
    if scheme == "http" and not allow_http:
        raise UrlRefused("plain http is not allowed here")
    authority = _AUTHORITY.fullmatch(given)
    if authority is None:
        raise UrlRefused("the host is not a name or an address")
    host = _host(authority["host"].lower(), allow_short=allow_short)
    port = _port(authority["port"], scheme)
    return scheme, host, port, _origin(scheme, host, port)


def _origin(scheme: str, host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" if port == DEFAULT_PORTS[scheme] else f"{scheme}://{shown}:{port}"


def _host(text: str, *, allow_short: bool) -> str:
    if text.startswith("["):
        return _ipv6(text[1:-1])
    labels = text.split(".")
    if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlRefused("the host is not made of letters, digits and hyphens between single dots")
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(text)
    if len(labels) == 1 and not allow_short:
        raise UrlRefused("a host name without a dot is not allowed here")
    return text


def _ipv4(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise UrlRefused("an IPv4 address is written as four decimal numbers") from None


def _ipv6(text: str) -> str:
    try:
        canonical = "" if "%" in text else str(ipaddress.IPv6Address(text))
    except ValueError:
        canonical = ""
    if canonical != text:
        raise UrlRefused("an IPv6 address is written in its shortest form, without a zone")
    return canonical


def _port(text: str | None, scheme: str) -> int:
    if text is None:
        return DEFAULT_PORTS[scheme]
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise UrlRefused("the port is not a number from 1 to 65535")
    return int(text)


def _path(rest: str) -> str:
    path = rest if rest.startswith("/") else "/" + rest
    plain, mark, query = path.partition("?")
    if mark and not query:
        raise UrlRefused("an empty query is not allowed")  # URL libraries drop the mark: it would not be sent
    if "." not in plain and "%2" not in plain:
        return path
    segments = _SEPARATORS.split(plain)
    if any(segment.lower().replace("%2e", ".") in (".", "..") for segment in segments):
        raise UrlRefused("a path segment is . or ..")
    return path
