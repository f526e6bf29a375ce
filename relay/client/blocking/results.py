"""`relay.results`: how jobs ended, with the payload as the provider sent it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from relay.client.blocking.api import Api
from relay.client.files import Writing
from relay.client.paths import one
from relay.client.things import JobFields, ResultFields, Webhook, given, read

PATH = "/v1/results"
Bytes = bytes  # a method has the name


@dataclass(frozen=True, kw_only=True)
class Result(ResultFields):
    """How a job ended. The payload is asked for when it is wanted."""

    api: Api = field(repr=False, compare=False)

    def bytes(self) -> Bytes:
        """The payload, byte for byte. Raises NotFound where there is none."""
        return b"".join([piece for piece in self.chunks()])

    def chunks(self) -> Iterator[Bytes]:
        """The payload in pieces, for what is too large for memory."""
        for piece in self.api.download(one(PATH, self.id, "payload")):
            yield piece

    def json(self) -> Any:
        """The payload read as JSON. Raises ValueError for what is none."""
        return json.loads(self.bytes())

    def text(self) -> str:
        """The payload read as UTF-8. Raises UnicodeDecodeError."""
        return (self.bytes()).decode()

    def save(self, path: Path | str) -> Path:
        """Write the payload to a file and say where. A download that breaks leaves the old file as it was."""
        with Writing(Path(path)) as file:
            for piece in self.chunks():
                file.write(piece)
        return Path(path)


class Results:
    """How jobs ended."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def get(self, result: ResultFields | str) -> Result:
        """One, by its id."""
        return read(Result, self._api.call("GET", one(PATH, result)), api=self._api)

    def list(
        self,
        *,
        types: Sequence[str] | None = None,
        webhook: Webhook | str | None = None,
        job: JobFields | str | None = None,
        unrouted: bool | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> Iterator[Result]:
        """Those that match, newest first, page by page. `unrouted`: those that no subscription wanted."""
        params = given(
            type=types,
            webhook_id=webhook,
            job_id=job,
            unrouted=unrouted,
            created_after=created_after,
            created_before=created_before,
        )
        for item in self._api.pages(PATH, params):
            yield read(Result, item, api=self._api)

    def erase(self, result: ResultFields | str) -> None:
        """Erase its payload everywhere. That there was a result stays known."""
        self._api.call("DELETE", one(PATH, result))
