"""A plain HTTP client that speaks with one stand-in as its row in `WAYS` says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from relay.demo.stand_in import StandIn
from tests.support.providers.ways import WAYS, Way, at, authorization


@dataclass(frozen=True)
class Said:
    """One answer."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(repr=False)  # names in lower case

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Customer:
    """Has the right credentials."""

    def __init__(self, stand_in: StandIn, http: aiohttp.ClientSession) -> None:
        self.stand_in = stand_in
        self.way: Way = WAYS[stand_in.NAME]
        self._http = http

    async def call(self, method: str, path: str, *, credentials: bool = True, **more: Any) -> Said:
        """Any request; `path` may be a whole URL."""
        url = path if path.startswith("http") else self.stand_in.url + path
        own = authorization(self.stand_in) if credentials else {}
        headers = {**own, **more.pop("headers", {})}
        async with self._http.request(method, url, headers=headers, allow_redirects=False, **more) as answer:
            lowered = {name.lower(): value for name, value in answer.headers.items()}
            return Said(answer.status, await answer.read(), lowered)

    async def ask(self, callback_url: str | None = None, **more: Any) -> Said:
        """Ask for work."""
        wanted = self.way.submit(callback_url)
        query = dict(wanted.query)
        return await self.call("POST", wanted.path, params=query, json=wanted.body, **more)

    async def submit(self, callback_url: str | None = None) -> str:
        """Ask for work; the id of the job."""
        said = await self.ask(callback_url)
        assert said.status == self.way.taken, said
        return str(at(said.json, self.way.job_id))

    async def status(self, job_id: str) -> Said:
        """What the status address answers."""
        return await self.call("GET", self.way.status.format(id=job_id))

    async def word(self, job_id: str) -> Any:
        """The status as the provider calls it."""
        return at((await self.status(job_id)).json, self.way.status_at)

    async def result(self, job_id: str) -> Said:
        """What the result address answers."""
        return await self.call("GET", self.way.result.format(id=job_id))

    async def cancel(self, job_id: str) -> Said:
        """Ask for the job to be cancelled."""
        assert self.way.cancel is not None, "this provider has no cancel"
        method, path = self.way.cancel
        return await self.call(method, path.format(id=job_id))


@asynccontextmanager
async def customer_of(stand_in: StandIn) -> AsyncIterator[Customer]:
    """Start the stand-in and a client of it."""
    async with stand_in, aiohttp.ClientSession() as http:
        yield Customer(stand_in, http)
