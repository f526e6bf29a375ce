"""Handing messages to a server on this machine, as a relay would have sent them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import httpx2

from relay.clock import Clock

SECONDS: Final = 30.0  # a relay's own RELAY_DELIVERY_TIMEOUT_SECONDS, unless set


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of one POST: a status, or why there is none."""

    status: int | None
    error: str | None
    duration_ms: int

    @property
    def taken(self) -> bool:
        """Whether the message counts as handled."""
        return self.status is not None and 200 <= self.status < 300


class Forwarder:
    """POSTs to one URL. Use it as a context manager. It follows no redirect and heeds no proxy variable."""

    def __init__(self, url: str, clock: Clock, seconds: float = SECONDS) -> None:
        self._url = url
        self._clock = clock
        self._client = httpx2.Client(timeout=seconds, follow_redirects=False, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def __call__(self, headers: Mapping[str, str], body: bytes) -> Answered:
        """One POST of these very bytes. Raises nothing: nobody answering is an answer too."""
        began = self._clock.monotonic()
        status, error = None, None
        try:
            status = self._client.post(self._url, content=body, headers=dict(headers)).status_code
        except httpx2.ConnectError:
            error = "nobody answers"
        except httpx2.TimeoutException:
            error = "no answer in time"
        except httpx2.HTTPError as failed:
            error = type(failed).__name__
        return Answered(status, error, round((self._clock.monotonic() - began) * 1000))
