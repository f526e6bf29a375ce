"""`relay.results`: how jobs ended, with the payload as the provider sent it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from relay.client.aio.api import AsyncApi
from relay.client.files import Writing
from relay.client.paths import one
from relay.client.things import JobFields, ResultFields, Webhook, given, read

PATH = "/v1/results"
Bytes = bytes  # a method has the name


@dataclass(frozen=True, kw_only=True)
class Result(ResultFields):
    """How a job ended. The payload is asked for when it is wanted."""

    api: AsyncApi = field(repr=False, compare=False)

    async def bytes(self) -> Bytes:
        """The payload, byte for byte. Raises NotFound where there is none."""
        return b"".join([piece async for piece in self.chunks()])

    async def chunks(self) -> AsyncIterator[Bytes]:
        """The payload in pieces, for what is too large for memory."""
        async for piece in self.api.download(one(PATH, self.id, "payload")):
            yield piece

    async def json(self) -> Any:
        """The payload read as JSON. Raises ValueError for what is none."""
        return json.loads(await self.bytes())

    async def text(self) -> str:
        """The payload read as UTF-8. Raises UnicodeDecodeError."""
        return (await self.bytes()).decode()

    async def save(self, path: Path | str) -> Path:
        """Write the payload to a file and say where. A download that breaks leaves the old file as it was."""
        with Writing(Path(path)) as file:
            async for piece in self.chunks():
                file.write(piece)
        return Path(path)


class Results:
    """How jobs ended."""

    def __init__(self, api: AsyncApi) -> None:
        self._api = api

    async def get(self, result: ResultFields | str) -> Result:
        """One, by its id."""
        return read(Result, await self._api.call("GET", one(PATH, result)), api=self._api)

    async def list(
        self,
        *,
        types: Sequence[str] | None = None,
        webhook: Webhook | str | None = None,
        job: JobFields | str | None = None,
        unrouted: bool | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> AsyncIterator[Result]:
        """Those that match, newest first, page by page. `unrouted`: those that no subscription wanted."""
        params = given(
            type=types,
            webhook_id=webhook,
            job_id=job,
            unrouted=unrouted,
            created_after=created_after,
            created_before=created_before,
        )
        async for item in self._api.pages(PATH, params):
            yield read(Result, item, api=self._api)

    async def erase(self, result: ResultFields | str) -> None:
        """Erase its payload everywhere. That there was a result stays known."""
        await self._api.call("DELETE", one(PATH, result))
