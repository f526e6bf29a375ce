"""The door for deliveries: POST a body to a subscriber, come back with what happened.

This is the hot path, so it talks to aiohttp directly. It raises nothing for network trouble: a delivery that did not
arrive is an expected outcome and comes back as a `Reply` with an error code.
"""

from __future__ import annotations

import asyncio
import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
import yarl

from relay.clock import Clock
from relay.errors import AddressRefused, Interrupted, OutboundError, ResolveFailed, TimedOut, UrlRefused
from relay.outbound.addresses import AddressPolicy
from relay.outbound.engine import (
    Engine,
    Timing,
    as_outbound_error,
    ended_with_connection,
    timing_of_call,
    wire_body,
    wire_url,
)
from relay.outbound.resolver import NameResolver
from relay.outbound.urls import Target, parse_url

MAX_READ_BYTES: Final = 16 * 1024
READ_BUFFER_BYTES: Final = 8 * 1024
MAX_EXCERPT_BYTES: Final = 1024
MAX_RETRY_AFTER: Final = 64
ANSWER_SECONDS: Final = 5.0
"""How long the body of an answer may take once its status is known: the status decides, the body only explains."""
MAX_KNOWN_URLS: Final = 4096

_UNSAFE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_Known = tuple[str, yarl.URL]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a delivery. `status` with `error_code` None means an answer came, whatever it says."""

    status: int | None
    retry_after: str | None  # as sent, at most 64 characters
    excerpt: str | None  # the first KiB of the answer as text that is safe to print
    error_code: str | None  # the code of an OutboundError
    duration_ms: int
    timing: Timing | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a URL would never be called. `setting` is what to add to the allow list, None if nothing would help."""

    code: str
    detail: str
    setting: str | None


class DeliveryDoor:
    """POSTs to subscribers. Public https everywhere; plain http, private addresses and short names where listed."""

    def __init__(
        self,
        policy: AddressPolicy,
        clock: Clock,
        *,
        ca_file: str | None = None,
        max_connections: int = 256,
        names: NameResolver | None = None,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._engine = Engine(policy, names or NameResolver(clock), ca_file=ca_file, max_connections=max_connections)
        self._known: dict[str, _Known] = {}

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_seconds: float = 30.0) -> Reply:
        """Send `body` and read at most 16 KiB of the answer. Redirects are answers like any other.

        `timeout_seconds` bounds everything: resolving, connecting, sending, reading.
        """
        started = self._clock.monotonic()
        heard = _Heard()
        timing = Timing()
        timing_of_call.set(timing)
        code: str | None = None
        try:
            scheme, wire = self._known.get(url) or self._learn(url)
            async with asyncio.timeout(timeout_seconds) as deadline:
                async with self._engine.session(scheme).post(
                    wire,
                    data=wire_body(body),
                    headers={"Accept-Encoding": "identity", **headers},
                    allow_redirects=False,
                    read_bufsize=READ_BUFFER_BYTES,
                ) as answer:
                    timing.first_byte_ms = round((self._clock.monotonic() - started) * 1000)
                    await heard.listen(answer, deadline)
        except (OutboundError, aiohttp.ClientError) as error:
            code = as_outbound_error(error).code
        except TimeoutError:
            code = TimedOut.code
        except (OSError, ValueError):  # ValueError: a header that cannot be sent
            code = Interrupted.code
        # Trouble after the status came is not the delivery's: the subscriber has said what became of it.
        code = code if heard.status is None else None
        duration_ms = round((self._clock.monotonic() - started) * 1000)
        return Reply(heard.status, heard.retry_after, _excerpt(heard.body), code, duration_ms, timing)

    async def check(self, url: str) -> Refusal | None:
        """Whether `url` would be refused, and what to add to the allow list if that would help. Opens no connection.

        A name that does not resolve is not refused: it may exist by the time something is delivered.
        """
        try:
            target = parse_url(url, allow_http=True, allow_short=True)
            wire_url(target)
            forbidden = await self._engine.forbidden(target)
        except UrlRefused as error:
            return Refusal(error.code, str(error), None)
        except ResolveFailed:
            return None
        if not forbidden:
            return None
        entries = ",".join(self._policy.suggest(address, target.port) for address in forbidden)
        return Refusal(AddressRefused.code, _why(target), entries)

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.close()

    def _learn(self, url: str) -> _Known:
        listing = self._policy.lists_anything
        target = parse_url(url, allow_http=listing, allow_short=listing)
        if len(self._known) >= MAX_KNOWN_URLS:
            del self._known[next(iter(self._known))]
        known = self._known[url] = (target.scheme, wire_url(target))
        return known


def _why(target: Target) -> str:
    if target.scheme == "http":
        return "plain http goes only to addresses that the allow list names"
    if target.is_short:
        return "a host name without a dot may only lead to addresses that the allow list names"
    return "the URL leads to an address that is not public"


class _Heard:
    """What has come of an answer so far."""

    __slots__ = ("body", "retry_after", "status")

    def __init__(self) -> None:
        self.status: int | None = None
        self.retry_after: str | None = None
        self.body = b""

    async def listen(self, answer: aiohttp.ClientResponse, deadline: asyncio.Timeout) -> None:
        self.status = answer.status
        self.retry_after = _retry_after(answer)
        content = answer.content
        if content.is_eof() and content.total_bytes <= MAX_READ_BYTES:
            self.body = content.read_nowait(-1)
            return
        soon = asyncio.get_running_loop().time() + ANSWER_SECONDS
        if (when := deadline.when()) is not None and soon < when and not deadline.expired():
            deadline.reschedule(soon)
        with ended_with_connection(answer):
            async for part in content.iter_any():
                self.body += part
                if len(self.body) >= MAX_READ_BYTES:
                    answer.close()  # the rest is not read, so the connection cannot be used again
                    return


def _excerpt(body: bytes) -> str | None:
    if not body:
        return None
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    return _UNSAFE.sub(
        "\N{REPLACEMENT CHARACTER}", decoder.decode(body[:MAX_EXCERPT_BYTES], len(body) <= MAX_EXCERPT_BYTES)
    )


def _retry_after(answer: aiohttp.ClientResponse) -> str | None:
    value = answer.headers.get("Retry-After")
    if value is None:
        return None
    return value[:MAX_RETRY_AFTER].encode("ascii", "replace").decode("ascii")
