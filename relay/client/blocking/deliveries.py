"""`relay.deliveries`: one result to one subscription."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from relay.client.blocking.api import Api
from relay.client.paths import one
from relay.client.things import Delivery, JobFields, ReplayFields, ResultFields, Subscription, given, read

PATH = "/v1/deliveries"


class Deliveries:
    """One result to one subscription."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def get(self, delivery: Delivery | str) -> Delivery:
        """One with its attempts, by its id."""
        return read(Delivery, self._api.call("GET", one(PATH, delivery)))

    def list(
        self,
        *,
        status: Sequence[str] | None = None,
        subscription: Subscription | str | None = None,
        result: ResultFields | str | None = None,
        job: JobFields | str | None = None,
        replay: ReplayFields | str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> Iterator[Delivery]:
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
        for item in self._api.pages(PATH, params):
            yield read(Delivery, item)

    def retry(self, delivery: Delivery | str) -> Delivery:
        """Send it again now, with a fresh budget of attempts and the same `webhook-id`."""
        return read(Delivery, self._api.call("POST", one(PATH, delivery, "retry")))

    def cancel(self, delivery: Delivery | str) -> Delivery:
        """Make no further attempt."""
        return read(Delivery, self._api.call("POST", one(PATH, delivery, "cancel")))
