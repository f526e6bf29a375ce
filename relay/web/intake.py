"""Reading a request body under two caps: what one notification may weigh, and what all of them may weigh together."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from starlette.types import Receive


class Unread(Enum):
    """Why there is no body."""

    TOO_LARGE = "too_large"
    OVER_BUDGET = "over_budget"
    DISCONNECTED = "disconnected"


class ByteBudget:
    """How many bytes of request bodies may be in memory at one time."""

    __slots__ = ("_free", "total")

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total

    @property
    def used(self) -> int:
        """Bytes that are reserved now."""
        return self.total - self._free

    def take(self, size: int) -> bool:
        """Reserve `size` bytes, or nothing at all."""
        if size > self._free:
            return False
        self._free -= size
        return True

    def give_back(self, size: int) -> None:
        """Release what was taken."""
        self._free += size


@dataclass(slots=True)
class BodyReader:
    """Reads one body. What it reserved stays reserved until `close`, for the body is in memory until then."""

    budget: ByteBudget
    maximum: int
    reserved: int = 0

    async def read(self, receive: Receive, declared: int | None) -> bytes | Unread:
        """The whole body, or why not. `declared` is the Content-Length, None if the request has none."""
        if declared is not None and not self._reserve(declared):
            return Unread.TOO_LARGE if declared > self.maximum else Unread.OVER_BUDGET
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return Unread.DISCONNECTED
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > self.reserved and not self._reserve(size):
                return Unread.TOO_LARGE if size > self.maximum else Unread.OVER_BUDGET
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunk if len(chunks) == 1 else b"".join(chunks)

    def close(self) -> None:
        """Give back the reservation."""
        self.budget.give_back(self.reserved)
        self.reserved = 0

    def _reserve(self, size: int) -> bool:
        if size > self.maximum or not self.budget.take(size - self.reserved):
            return False
        self.reserved = size
        return True
