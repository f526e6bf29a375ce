"""`relay.deliveries`: one result to one subscription."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from relay.client.aio.api import AsyncApi
from relay.client.paths import one
from relay.client.things import Delivery, JobFields, ReplayFields, ResultFields, Subscription, given, read

PATH = "/v1/deliveries"


class Deliveries:
    """One result to one subscription."""

    def __init__(self, api: AsyncApi) -> None:
        self._api = api

    async def get(self, delivery: Delivery | str) -> Delivery:
        """One with its attempts, by its id."""
        return read(Delivery, await self._api.call("GET", one(PATH, delivery)))

    async def list(
        self,
        *,
        status: Sequence[str] | None = None,
        subscription: Subscription | str | None = None,
        result: ResultFields | str | None = None,
        job: JobFields | str | None = None,
        replay: ReplayFields | str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> AsyncIterator[Delivery]:
        """Those that match, newest first, page by page as they are consumed."""
        params = given(
            status=status,
            subscription_id=subscription,
            result_id=result,
            job_id=job,
            replay_id=replay,
            created_after=created_after,
            created_before=created_before,
        )
        async for item in self._api.pages(PATH, params):
            yield read(Delivery, item)

    async def retry(self, delivery: Delivery | str) -> Delivery:
        """Send it again now, with a fresh budget of attempts and the same `webhook-id`."""
        return read(Delivery, await self._api.call("POST", one(PATH, delivery, "retry")))

    async def cancel(self, delivery: Delivery | str) -> Delivery:
        """Make no further attempt."""
        return read(Delivery, await self._api.call("POST", one(PATH, delivery, "cancel")))
