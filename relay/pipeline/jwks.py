"""Public keys that a provider publishes: fetched when a notification needs them, shared by all that wait, kept a while.

Which keys there are is the provider's to change at any time, so a signature that fits none of the known ones has them
fetched anew; not more often than once a minute, for anybody can send a wrong signature.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from relay.clock import Clock
from relay.errors import OutboundError
from relay.outbound.provider_door import ProviderDoor, ProviderRequest
from relay.outbound.urls import parse_url
from relay.providers.profile import VerificationScheme
from relay.signing.jwks import MAXIMUM_JWKS_BYTES, ed25519_keys

log = structlog.get_logger(__name__)

Keys = tuple[bytes, ...]

LONGEST_SECONDS: Final = 86_400.0  # whatever the profile says
ANEW_SECONDS: Final = 60.0  # the least time between two fetches because of signatures that fit no key
AGAIN_SECONDS: Final = 5.0  # the least time between two fetches of which the first failed
TIMEOUT_SECONDS: Final = 10.0
_NEVER: Final = float("-inf")


@dataclass(slots=True)
class _Published:
    keys: Keys = ()
    good_until: float = _NEVER  # monotonic
    asked_at: float = _NEVER
    failed: bool = False  # the last time
    fetching: asyncio.Task[None] | None = None


class PublishedKeys:
    """The key sets of all providers that publish one, by URL."""

    def __init__(self, door: ProviderDoor, clock: Clock) -> None:
        self._door = door
        self._clock = clock
        self._sets: dict[str, _Published] = {}

    async def keys_for(self, scheme: VerificationScheme, settles: Callable[[Keys], bool]) -> Keys | None:
        """The keys to judge a message by; None = they cannot be had now, so that nothing can be said of it.

        `settles` says whether the message can be judged with these keys: it is theirs, or wrong whatever the keys are.
        """
        if settles(()):
            return ()
        known = self._sets.setdefault(scheme.jwks_url, _Published())
        if self._clock.monotonic() >= known.good_until and not await self._fetched(known, scheme, AGAIN_SECONDS):
            return None
        if settles(known.keys) or await self._fetched(known, scheme, ANEW_SECONDS):
            return known.keys
        return None

    async def _fetched(self, known: _Published, scheme: VerificationScheme, pause: float) -> bool:
        """Whether the set is as fresh as it can be: who comes while it is fetched waits for that."""
        pause = AGAIN_SECONDS if known.failed else pause
        if known.fetching is None and self._clock.monotonic() - known.asked_at < pause:
            return not known.failed
        if known.fetching is None:
            known.fetching = asyncio.create_task(self._fetch(known, scheme))
        await asyncio.shield(known.fetching)  # one who goes away does not take it from the others
        return not known.failed

    async def _fetch(self, known: _Published, scheme: VerificationScheme) -> None:
        code = "no_keys"
        try:
            keys = ed25519_keys(await self._ask(scheme.jwks_url))
        except OutboundError as error:
            keys, code = (), error.code
        finally:
            known.asked_at, known.fetching = self._clock.monotonic(), None
        known.failed = not keys
        if keys:
            known.keys = keys
            known.good_until = known.asked_at + min(scheme.jwks_seconds, LONGEST_SECONDS)
        else:
            log.warning("keys.unavailable", error_code=code)

    async def _ask(self, url: str) -> bytes:
        """What is at the URL; nothing for anything but a 200. Raises OutboundError."""
        request = ProviderRequest(
            method="GET",
            url=url,
            authorization=None,
            allowed_origins=frozenset({parse_url(url, allow_http=True, allow_short=True).origin}),
            headers={"accept": "application/json"},
            timeout_seconds=TIMEOUT_SECONDS,
            max_bytes=MAXIMUM_JWKS_BYTES,
            max_decoded_bytes=MAXIMUM_JWKS_BYTES,
        )
        async with self._door.stream(request) as answer:
            body = b"".join([piece async for piece in answer.iter_bytes()])
            return body if answer.status == 200 else b""
