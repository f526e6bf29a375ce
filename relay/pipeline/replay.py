"""Stage 6: stored results become new deliveries, because somebody asked.

A replay is a row with a cursor. Its deliveries are planned page by page, each page in one transaction with the cursor,
so a restart half-way goes on where it stood. Pages are planned while those whom they are for have little to do: the
rest of a replay, however large, is a cursor and not a queue, so it can be paused and its rate changed, and what comes
in live finds no backlog. Sending is the deliver stage's usual work, which lets live deliveries go first.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import structlog

from relay.clock import Instant, after, parse_rfc3339, rfc3339
from relay.errors import StoreError
from relay.frozen import frozen
from relay.ids import instant_of, new_id
from relay.model import REPLAY, Replay, ReplayStatus, Result, Subscription, SubscriptionStatus
from relay.pipeline.bell import Bell
from relay.pipeline.fanout import DeliveryHands
from relay.pipeline.floor import Floor
from relay.pipeline.outcomes import Record
from relay.pipeline.replay_page import deliveries_of, is_choosy, pairs_of, targets_of
from relay.pipeline.sieve import Sieves
from relay.store import deliveries, replaying, replays
from relay.store.replaying import ADVANCE, Advance, Candidates
from relay.store.rows import Connection

log = structlog.get_logger(__name__)

SAMPLES: Final = 5
TIMES: Final = (
    "created_after", "created_before", "job_created_after", "job_created_before", "delivery_created_after",
    "delivery_created_before",
)  # fmt: skip
AHEAD: Final = 48  # due deliveries of one subscription above which nothing more is planned for it; a lane reads 64
AHEAD_SECONDS: Final = 2.0  # the same where a rate is set
BUSY_SECONDS: Final = 0.05  # between two pages; longer where the event loop is late
LATE_SECONDS: Final = 0.005  # a sleep that takes so much longer: this process has more to do than it can
MOST_SHARE: Final = 0.6  # of the time: what comes in while the event loop is busier finds a queue
FALL, RISE = 0.6, 1.0  # of what is planned ahead, for too much work and for no more than there should be
LEAST_AHEAD: Final = 4.0
LEAST_COUNTED: Final = 40  # results of one step of the count, which asks for less as planning does
IDLE_SECONDS: Final = 1.0


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
    """Replays: try, start, plan, pause, resume, cancel."""

    def __init__(
        self,
        floor: Floor,
        hands: DeliveryHands,
        on_started: Callable[[], None] = lambda: None,
        bell: Bell | None = None,
        may_plan: Callable[[], bool] = lambda: True,
    ) -> None:
        self._floor = floor
        self._may_plan = may_plan  # not by a wrong clock: what it plans may be due hours later
        self._hands = hands
        self._bell = bell or Bell()
        self._on_started = on_started
        self._sieves = Sieves(floor)
        self._counts: dict[str, AsyncIterator[int]] = {}
        self._tidied: set[tuple[str, ReplayStatus]] = set()
        self._ahead = float(AHEAD)
        self._is_busy = False

    async def wanted(self, subscription: Subscription, stored: Sequence[Result]) -> list[Result]:
        """Those of the results that a replay would deliver to it, as far as its own wishes go."""
        sieve = await self._sieves.of(stored, [subscription], await self._floor.configuration.refresh())
        return [result for result in stored if sieve.passes(subscription, result)]

    async def dry_run(self, request: ReplayRequest) -> DryRun:
        """Count what `start` would deliver now. Changes nothing."""
        now = self._floor.clock.now()
        configuration = await self._floor.configuration.refresh()
        targets = targets_of(request.subscription_ids, configuration)
        upper_id = await self._floor.database.read(partial(replaying.newest_result_id, now=now))
        ids: list[str] = []
        count, last = 0, None
        async for page in self._pages(request.filter, targets, request.mode, None, upper_id):
            sieve = await self._sieves.of(page.results, targets, configuration)
            for result, _ in pairs_of(page, targets, request.mode, request.filter, sieve):
                if result.id != last:
                    count, last = count + 1, result.id
                    ids = [*ids, result.id] if len(ids) < SAMPLES else ids
        return DryRun(count, instant_of(ids[0]) if ids else None, instant_of(last) if last else None, ids)

    async def _pages(
        self,
        filter: Mapping[str, Any],
        targets: Sequence[Subscription],
        mode: str,
        cursor: str | None,
        upper_id: str,
        own: str = "",
    ) -> AsyncIterator[Candidates]:
        while True:
            limit = max(LEAST_COUNTED, round(replaying.PAGE * self._ahead / AHEAD)) if own else replaying.PAGE
            page = await self._page(filter, targets, mode, cursor, upper_id, own=own, limit=limit)
            yield page
            if page.is_last:
                return
            cursor = page.looked_to

    async def _page(
        self,
        filter: Mapping[str, Any],
        targets: Sequence[Subscription],
        mode: str,
        cursor: str | None,
        upper_id: str,
        *,
        limit: int,
        own: str = "",
    ) -> Candidates:
        query = partial(
            replaying.candidates,
            filter=filter,
            subscription_ids=[target.id for target in targets],
            after_id=cursor,
            upper_id=upper_id,
            limit=limit,
            own=own,
            standings=mode != "all" or is_choosy(filter),
        )
        return await self._floor.database.read(query)

    async def start(self, request: ReplayRequest, record: Record[Replay] | None = None) -> Replay:
        """Store a replay; it is planned and sent from now on.

        Whom it is for is settled here: one that is paused for a while, or made, half-way through would get half of it.
        """
        now = self._floor.clock.now()
        targets = targets_of(request.subscription_ids, await self._floor.configuration.refresh())

        def write(connection: Connection) -> Replay:
            replay = Replay(
                id=new_id(REPLAY, now),
                status=ReplayStatus.RUNNING,
                filter=_to_json(request.filter),
                subscription_ids=[target.id for target in targets],
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

    # --- while it runs ---

    async def cancel(self, replay_id: str) -> Replay | None:
        """Stop it and end its pending deliveries; one that is over is returned as it is; None when there is none."""
        replay = await self._floor.database.write(partial(replays.cancel, id=replay_id, now=self._floor.clock.now()))
        return replay and await self._tidy(replay)

    async def pause(self, replay_id: str) -> Replay | None:
        """Plan no more of it and hold what is planned; one that does not run is returned as it is."""
        return await self._turn(replay_id, ReplayStatus.RUNNING, ReplayStatus.PAUSED)

    async def resume(self, replay_id: str) -> Replay | None:
        """Go on with it; one that is not paused is returned as it is."""
        replay = await self._turn(replay_id, ReplayStatus.PAUSED, ReplayStatus.RUNNING)
        self._hands.hint()
        self._on_started()
        return replay

    async def _turn(self, replay_id: str, before: ReplayStatus, then: ReplayStatus) -> Replay | None:
        change = partial(replays.set_status, id=replay_id, before=before, after=then)
        replay = await self._floor.database.write(change)
        return replay and await self._tidy(replay)

    async def set_rate(self, replay_id: str, rate_per_second: float | None) -> Replay | None:
        """Another rate for what is not planned yet; one that is over is returned as it is."""
        change = partial(replays.set_rate, id=replay_id, rate_per_second=rate_per_second)
        return await self._floor.database.write(change)

    async def _tidy(self, replay: Replay) -> Replay | None:
        """Bring its pending deliveries where its status says, in transactions that hold nobody up."""
        write, now = self._floor.database.write, self._floor.clock.now()
        if replay.status is ReplayStatus.CANCELLED and replay.next_due_at is None:
            while await write(partial(deliveries.cancel_some, now=now, replay_id=replay.id)):
                pass
            await write(partial(replays.cleared, id=replay.id, now=now))
        elif replay.status in (ReplayStatus.PAUSED, ReplayStatus.RUNNING):
            some = replays.hold_some if replay.status is ReplayStatus.PAUSED else replays.let_go_some
            last: str | None = ""
            while last is not None:
                last = await write(partial(some, id=replay.id, after_id=last))
        self._tidied = {known for known in self._tidied if known[0] != replay.id} | {(replay.id, replay.status)}
        return await self._floor.database.read(partial(replays.get, id=replay.id))

    # --- planning ---

    async def run(self) -> None:
        """Until cancelled."""
        clock = self._floor.clock
        while True:
            if self._may_plan():
                await self.run_once()
            if not (self._is_busy and self._may_plan()):
                await clock.sleep(IDLE_SECONDS)
                continue
            began, worked = clock.monotonic(), clock.worked()
            pause = BUSY_SECONDS * (AHEAD / self._ahead) ** 0.5
            await clock.sleep(pause)
            took = clock.monotonic() - began
            self.adapt(took - pause, (clock.worked() - worked) / max(took, pause))

    def adapt(self, late_seconds: float, share: float = 0.0) -> None:
        """Live traffic goes first: while the event loop is late, or has had the processor for more than its `share`, a
        replay asks for less and less of it."""
        too_much = late_seconds > LATE_SECONDS or share > MOST_SHARE
        self._ahead = max(LEAST_AHEAD, self._ahead * FALL) if too_much else min(float(AHEAD), self._ahead + RISE)

    async def run_once(self) -> int:
        """Plan a page of each replay whose subscribers have room for it, close those that are done; how many pages."""
        living = await self._floor.database.read(replaying.living)
        self._counts = {replay.id: self._counts.get(replay.id) or self._count(replay) for replay in living}
        self._tidied &= {(replay.id, replay.status) for replay in living}
        pages, stuck = 0, set[str]()
        for replay in living:
            try:
                pages += await self._go_on(replay)
            except StoreError:
                raise
            except Exception:  # one bad replay, or one bad result, stops no other
                log.exception("replay.failed", replay_id=replay.id)
                stuck.add(replay.id)
        running = [replay for replay in living if replay.status is ReplayStatus.RUNNING and replay.id not in stuck]
        self._is_busy = any(not replay.planned or replay.expected is None for replay in running)
        if any(replay.planned for replay in running) and await self._floor.database.read(replaying.is_over):
            await self._floor.database.write(partial(replaying.finish, now=self._floor.clock.now()))
        return pages

    async def _go_on(self, replay: Replay) -> int:
        """What there is to do for one replay now; how many pages were planned."""
        if (replay.id, replay.status) not in self._tidied:  # whoever turned it may have died half-way
            await self._tidy(replay)
        pages = 0
        if replay.status is ReplayStatus.RUNNING and not replay.planned:
            pages = await self._plan_page(replay)
        if replay.expected is None and replay.status is not ReplayStatus.CANCELLED:
            try:
                await anext(self._counts[replay.id], 0)
            except BaseException:  # what has raised cannot be gone on with: it is counted anew
                del self._counts[replay.id]
                raise
        return pages

    async def _count(self, replay: Replay) -> AsyncIterator[int]:
        """How much there is to do in all, a page with each step; written down at the end."""
        configuration = self._floor.configuration.current
        targets = targets_of(replay.subscription_ids, configuration)
        filter, found, mode = _from_json(replay.filter), replay.total, replay.mode
        async for page in self._pages(filter, targets, mode, replay.cursor, replay.upper_id, replay.id):
            sieve = await self._sieves.of(page.results, targets, configuration)
            found += sum(1 for _ in pairs_of(page, targets, mode, filter, sieve))
            yield found
        await self._floor.database.write(partial(replaying.expect, replay_id=replay.id, count=found))

    async def _plan_page(self, replay: Replay) -> int:
        configuration, now = self._floor.configuration.current, self._floor.clock.now()
        targets = targets_of(replay.subscription_ids, configuration)
        room = await self._room(replay, targets, now)
        if not room:
            return 0
        filter = _from_json(replay.filter)
        page = await self._page(filter, targets, replay.mode, replay.cursor, replay.upper_id, limit=room)
        sieve = await self._sieves.of(page.results, targets, configuration)
        new, next_due_at = deliveries_of(replay, pairs_of(page, targets, replay.mode, filter, sieve), now)
        advance = Advance(
            replay=replay, page=page, new=new, config_version=configuration.version, next_due_at=next_due_at
        )
        if await self._floor.database.submit(ADVANCE, advance):
            self._hands.hint()
            self._bell.ring_all()
        else:
            await self._floor.configuration.refresh(seen=configuration.version)
        return 1

    async def _room(self, replay: Replay, targets: Sequence[Subscription], now: Instant) -> int:
        """How many results may be planned now. Subscriptions that take nothing at present are not waited for."""
        most = replaying.PAGE
        if replay.rate_per_second is not None:
            if replay.next_due_at is not None and replay.next_due_at > after(now, AHEAD_SECONDS):
                return 0
            most = math.ceil(replay.rate_per_second * AHEAD_SECONDS / max(1, len(targets)))
        active = [target.id for target in targets if target.status is SubscriptionStatus.ACTIVE]
        if not active:
            return min(most, replaying.PAGE)

        ahead = round(self._ahead)

        def hungriest(connection: Connection) -> int:
            least = ahead
            for count in replaying.due_counts(connection, active, now, ahead):
                least = min(least, count)
                if least <= ahead // 2:
                    break
            return ahead - least

        room = await self._floor.database.read(hungriest)
        return min(most, room) if room >= ahead // 2 else 0


def _to_json(filter: Mapping[str, Any]) -> dict[str, Any]:
    """The filter as it is stored and shown: times in RFC 3339."""
    return {key: rfc3339(value) if key in TIMES else value for key, value in filter.items()}


def _from_json(filter: Mapping[str, Any]) -> dict[str, Any]:
    return {key: parse_rfc3339(value) if key in TIMES and value is not None else value for key, value in filter.items()}
