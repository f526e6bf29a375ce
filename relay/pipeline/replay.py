"""Stage 6: stored results become new deliveries, because somebody asked.

A replay is a row with a cursor. Its deliveries are planned page by page, each page in one transaction with the cursor,
so a restart half-way goes on where it stood; `run_once` plans one page. Sending them is the deliver stage's usual work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from relay.clock import Instant, after, parse_rfc3339, rfc3339
from relay.frozen import frozen
from relay.model import (
    DELIVERY,
    REPLAY,
    Delivery,
    DeliveryStatus,
    Replay,
    ReplayStatus,
    Result,
    Subscription,
    SubscriptionStatus,
    instant_of,
    new_id,
)
from relay.pipeline.bell import Bell
from relay.pipeline.fanout import DeliveryHands
from relay.pipeline.floor import Floor
from relay.pipeline.outcomes import Record
from relay.pipeline.sieve import Sieve, Sieves
from relay.store import deliveries, replaying, replays
from relay.store.configuration import Configuration
from relay.store.replaying import Candidates
from relay.store.rows import Connection

SAMPLES: Final = 5
TIMES: Final = ("created_after", "created_before")
HAVE: Final = frozenset((DeliveryStatus.DELIVERED, DeliveryStatus.PENDING))  # what `undelivered` leaves out


@frozen(kw_only=True)
class ReplayRequest:
    """What is to be delivered again, to whom and how."""

    filter: Mapping[str, Any]  # the keys of the contract; times are Instants; absent keys are left out
    subscription_ids: Sequence[str] | None
    mode: str
    new_message_id: bool
    rate_per_second: float | None


@frozen()
class DryRun:
    """What a replay would deliver."""

    count: int
    oldest: Instant | None
    newest: Instant | None
    samples: Sequence[str]


class Replayer:
    """Replays: try, start, plan, cancel."""

    def __init__(
        self,
        floor: Floor,
        hands: DeliveryHands,
        on_started: Callable[[], None] = lambda: None,
        bell: Bell | None = None,
    ) -> None:
        self._floor = floor
        self._hands = hands
        self._bell = bell or Bell()
        self._on_started = on_started
        self._sieves = Sieves(floor)

    async def wanted(self, subscription: Subscription, stored: Sequence[Result]) -> list[Result]:
        """Those of the results that a replay would deliver to it, as far as its own wishes go."""
        sieve = await self._sieves.of(stored, [subscription], await self._floor.configuration.refresh())
        return [result for result in stored if sieve.passes(subscription, result)]

    async def dry_run(self, request: ReplayRequest) -> DryRun:
        """Count what `start` would deliver now. Changes nothing."""
        now = self._floor.clock.now()
        configuration = await self._floor.configuration.refresh()
        targets = _targets(request.subscription_ids, configuration)
        upper_id = await self._floor.database.read(partial(replaying.newest_result_id, now=now))
        ids: list[str] = []
        count, cursor, last = 0, None, None
        while True:
            page = await self._page(request.filter, targets, cursor, upper_id)
            sieve = await self._sieves.of(page.results, targets, configuration)
            for result, _ in _pairs(page, targets, request.mode, request.filter, sieve):
                if result.id != last:
                    count, last = count + 1, result.id
                    ids = [*ids, result.id] if len(ids) < SAMPLES else ids
            if len(page.results) < replaying.PAGE:
                break
            cursor = page.results[-1].id
        return DryRun(count, instant_of(ids[0]) if ids else None, instant_of(last) if last else None, ids)

    async def _page(
        self, filter: Mapping[str, Any], targets: Sequence[Subscription], cursor: str | None, upper_id: str
    ) -> Candidates:
        query = partial(
            replaying.candidates,
            filter=filter,
            subscription_ids=[target.id for target in targets],
            after_id=cursor,
            upper_id=upper_id,
        )
        return await self._floor.database.read(query)

    async def start(self, request: ReplayRequest, record: Record[Replay] | None = None) -> Replay:
        """Store a replay; it is planned and sent from now on."""
        now = self._floor.clock.now()

        def write(connection: Connection) -> Replay:
            replay = Replay(
                id=new_id(REPLAY, now),
                status=ReplayStatus.RUNNING,
                filter=_to_json(request.filter),
                subscription_ids=request.subscription_ids,
                mode=request.mode,
                new_message_id=request.new_message_id,
                rate_per_second=request.rate_per_second,
                created_at=now,
                cursor=None,
                upper_id=replaying.newest_result_id(connection, now),
                total=0,
                planned=False,
            )
            replays.insert(connection, replay)
            if record is not None:
                record(connection, replay)
            return replay

        replay = await self._floor.database.write(write)
        self._on_started()
        return replay

    async def cancel(self, replay_id: str) -> Replay | None:
        """Stop it and end its pending deliveries; one that is over is returned as it is; None when there is none."""
        now = self._floor.clock.now()
        replay = await self._floor.database.write(partial(replays.cancel, id=replay_id))
        if replay is not None and replay.status is ReplayStatus.CANCELLED:
            while await self._floor.database.write(partial(deliveries.cancel_some, now=now, replay_id=replay_id)):
                pass
        return replay

    async def run_once(self) -> int:
        """Plan one page of each replay that needs it, and close those that are done; how many pages."""
        waiting = await self._floor.database.read(replaying.unplanned)
        for replay_id in waiting:
            await self._plan_page(replay_id)
        if not waiting and await self._floor.database.read(replaying.has_running):
            await self._floor.database.write(replaying.finish)
        return len(waiting)

    async def _plan_page(self, replay_id: str) -> None:
        configuration = self._floor.configuration.current
        now = self._floor.clock.now()
        sieve = await self._sieve_of(replay_id, configuration)

        def write(connection: Connection) -> bool:
            replay = replaying.locked(connection, replay_id)
            if replay is None or replay.planned or replay.status is not ReplayStatus.RUNNING:
                return True
            targets = _targets(replay.subscription_ids, configuration)
            page = replaying.candidates(
                connection,
                _from_json(replay.filter),
                [target.id for target in targets],
                after_id=replay.cursor,
                upper_id=replay.upper_id,
            )
            if not sieve.knows(page.results):
                return False
            new = _deliveries(replay, page, targets, now, sieve)
            return replaying.advance(connection, replay, page, new, config_version=configuration.version)

        if await self._floor.database.write(write):
            self._hands.hint()
            self._bell.ring_all()
        else:
            await self._floor.configuration.refresh(seen=configuration.version)

    async def _sieve_of(self, replay_id: str, configuration: Configuration) -> Sieve:
        """What the next page's subscriptions want of it; payloads are read and parsed ahead of the transaction."""
        replay = await self._floor.database.read(partial(replays.get, id=replay_id))
        targets = [] if replay is None else _targets(replay.subscription_ids, configuration)
        if replay is None or not self._sieves.read_payloads(targets, configuration):
            return self._sieves.by_heads(configuration)
        page = await self._page(_from_json(replay.filter), targets, replay.cursor, replay.upper_id)
        return await self._sieves.of(page.results, targets, configuration)


def _targets(wanted: Sequence[str] | None, configuration: Configuration) -> list[Subscription]:
    """The subscriptions that a replay is for: the named ones, else all active ones."""
    there = [item for item in configuration.subscriptions.values() if item.deleted_at is None]
    if wanted is None:
        return [item for item in there if item.status is SubscriptionStatus.ACTIVE]
    return [item for item in there if item.id in set(wanted)]


def _pairs(
    page: Candidates, targets: Sequence[Subscription], mode: str, filter: Mapping[str, Any], sieve: Sieve
) -> Iterator[tuple[Result, Subscription]]:
    """Who gets what. A filter by delivery status is about each subscription's own deliveries."""
    wanted = filter.get("delivery_status")
    for result in page.results:
        for target in targets:
            has = page.statuses.get((result.id, target.id), set())
            if wanted is not None and has.isdisjoint(wanted):
                continue
            if sieve.passes(target, result) and (mode == "all" or not has & HAVE):
                yield result, target


def _deliveries(
    replay: Replay, page: Candidates, targets: Sequence[Subscription], now: Instant, sieve: Sieve
) -> list[Delivery]:
    made: list[Delivery] = []
    pairs = _pairs(page, targets, replay.mode, replay.filter, sieve)
    for place, (result, target) in enumerate(pairs, start=replay.total):
        delivery_id = new_id(DELIVERY, now)
        wait = 0.0 if replay.rate_per_second is None else place / replay.rate_per_second
        waits_until = max(now, after(replay.created_at, wait))
        made.append(
            Delivery(
                id=delivery_id,
                result_id=result.id,
                subscription_id=target.id,
                replay_id=replay.id,
                message_id=delivery_id if replay.new_message_id else result.id,
                status=DeliveryStatus.PENDING,
                attempts=0,
                budget_from=0,
                created_at=now,
                settled_at=None,
                http_status=None,
                due_at=None if target.kind == "pull" else waits_until,
                lease_until=None,
                claims=0,
                last_error=None,
                pull_at=waits_until if target.kind == "pull" else None,
            )
        )
    return made


def _to_json(filter: Mapping[str, Any]) -> dict[str, Any]:
    """The filter as it is stored and shown: times in RFC 3339."""
    return {key: rfc3339(value) if key in TIMES else value for key, value in filter.items()}


def _from_json(filter: Mapping[str, Any]) -> dict[str, Any]:
    return {key: parse_rfc3339(value) if key in TIMES and value is not None else value for key, value in filter.items()}
