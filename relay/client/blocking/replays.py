"""`relay.replays`: stored results, delivered again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from relay.client.answers import may_pass
from relay.client.blocking.api import Api
from relay.client.errors import ApiError, Unexpected, Unreachable, WaitTimeout
from relay.client.paths import one
from relay.client.things import DryRun, ReplayFields, ResultFields, Subscription, Webhook, given, read

PATH = "/v1/replays"
WAIT_SECONDS = 86_400.0
LOOK_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Replay(ReplayFields):
    """A replay and how far it was when it was asked for."""

    replays: Replays = field(repr=False, compare=False)

    def wait(self, timeout: float = WAIT_SECONDS, progress: Callable[[Replay], None] | None = None) -> Replay:
        """The replay once it is done or cancelled. `progress` is called with it whenever it has got further.

        Raises WaitTimeout, which carries it, when it is not over in `timeout` seconds; one that is paused is not over.
        What it says of `failed` is the caller's to judge.
        """
        return self.replays.wait(self, timeout, progress)


class Replays:
    """Stored results, delivered again."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def create(
        self,
        *,
        results: Sequence[ResultFields | str] | None = None,
        webhook: Webhook | str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        types: Sequence[str] | None = None,
        delivery_status: Sequence[str] | None = None,
        http_status: Sequence[int] | None = None,
        subscriptions: Sequence[Subscription | str] | None = None,
        mode: str = "undelivered",
        new_message_id: bool = False,
        rate_per_second: float | None = None,
    ) -> Replay:
        """Deliver again what matches; one condition at least is needed. `mode`: `undelivered` skips what a
        subscription already has, `all` does not. `new_message_id`: for subscribers that drop repeats."""
        body = _body(
            _filter(results, webhook, created_after, created_before, types, delivery_status, http_status),
            subscription_ids=subscriptions,
            mode=mode,
            new_message_id=new_message_id,
            rate_per_second=rate_per_second,
        )
        return self._read(self._api.call("POST", PATH, body=body))

    def dry_run(
        self,
        filter: Mapping[str, Any],
        *,
        subscriptions: Sequence[Subscription | str] | None = None,
        mode: str = "undelivered",
    ) -> DryRun:
        """What a replay of the API's `filter` would deliver. Nothing is sent."""
        body = _body(given(**filter), subscription_ids=subscriptions, mode=mode, dry_run=True)
        return read(DryRun, self._api.call("POST", PATH, body=body))

    def get(self, replay: ReplayFields | str) -> Replay:
        """One, by its id."""
        return self._read(self._api.call("GET", one(PATH, replay)))

    def list(self) -> Iterator[Replay]:
        """All of them, newest first, page by page as they are consumed."""
        for item in self._api.pages(PATH, {}):
            yield self._read(item)

    def update(self, replay: ReplayFields | str, *, rate_per_second: float | None) -> Replay:
        """Change the rate of one that is under way; None: as fast as the subscribers take them."""
        body = {"rate_per_second": rate_per_second}
        return self._read(self._api.call("PATCH", one(PATH, replay), body=body))

    def pause(self, replay: ReplayFields | str) -> Replay:
        """Send nothing more of it until it is resumed."""
        return self._read(self._api.call("POST", one(PATH, replay, "pause")))

    def resume(self, replay: ReplayFields | str) -> Replay:
        """Go on where it was paused."""
        return self._read(self._api.call("POST", one(PATH, replay, "resume")))

    def cancel(self, replay: ReplayFields | str) -> None:
        """Plan no more of it."""
        self._api.call("DELETE", one(PATH, replay))

    def wait(
        self,
        replay: ReplayFields | str,
        timeout: float = WAIT_SECONDS,
        progress: Callable[[Replay], None] | None = None,
    ) -> Replay:
        """As `Replay.wait`, by its id."""
        clock = self._api.clock
        end = clock.monotonic() + timeout
        last: Replay | None = None
        while True:
            try:
                found = self._read(self._api.call("GET", one(PATH, replay), once=True))
                if progress is not None and (last is None or found.raw != last.raw):
                    progress(found)
                last = found
                if found.is_over:
                    return found
            except (ApiError, Unreachable, Unexpected) as error:
                if not may_pass(error):
                    raise
            left = end - clock.monotonic()
            if left <= 0:
                stands = last.status if last else "out of reach"
                raise WaitTimeout(f"the replay is {stands} after {timeout:g} s", replay=last)
            self._api.pause(min(LOOK_SECONDS, left))

    def _read(self, item: Any) -> Replay:
        return read(Replay, item, replays=self)


def _filter(results: Any, webhook: Any, after: Any, before: Any, types: Any, statuses: Any, answers: Any) -> Any:
    return given(
        result_ids=results,
        webhook_id=webhook,
        created_after=after,
        created_before=before,
        types=types,
        delivery_status=statuses,
        http_status=answers,
    )


def _body(filter: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"filter": filter, **given(**more)}
