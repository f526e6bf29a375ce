"""Group commit: many small writes, one transaction, one fsync, and everybody answered after COMMIT.

While one batch is being committed the next one gathers, so the busier the process, the larger the batch; a lone write
waits for nobody. Equal writes (an `Operation`) are handed over together and become multi-row statements. If a batch
fails, each of its items is tried alone, so that one bad item sinks no neighbour; if the database itself is away, all
are told so.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from relay.errors import StoreUnavailable
from relay.frozen import frozen
from relay.store.failures import transaction_stands

log = structlog.get_logger(__name__)

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - In and Out of an operation
O = TypeVar("O")  # noqa: E741

BATCH_ITEMS = 96  # quick enough for the event loop's own thread: more waits for the next batch
# A busy writer leaves time between batches unless many wait: a transaction costs as much as ten of its rows. The longer
# transactions take, having much to do or a slow disk, the more time. A batch that comes after a rest begins at once.
BUSY_SHARE = 1 / 8  # of the time: what transactions may take
LONGEST_INTERVAL_SECONDS = 0.024  # from the beginning of one batch to that of the next
SMOOTHING = 1 / 8  # how much the last transaction says of the next ones
EAGER_ITEMS = 32  # waiting: a batch that is worth its transaction
PATIENCE_SECONDS = 0.016
PATIENT_ITEMS = 64  # more than this is a batch of its own
BRIEF_BYTES = 512 * 1024
MANY_INSERTS = 64  # items that insert: fewer are written where they are decided, sooner than the thread has the lock
RACES = 3  # how often an item is tried that another node's equal insert beat


@dataclass(frozen=True, slots=True, eq=False)
class Operation(Generic[I, O]):
    """A kind of write that can be done for many items at once: one outcome per item, in their order."""

    name: str
    apply: Callable[[Connection, list[I]], list[O]]
    weigh: Callable[[I], int] | None = None  # bytes that an item brings along, where they may be many
    inserts_last: bool = False  # nothing in its transaction looks at what it has inserted


class Transact(Protocol):
    """Run a function in one transaction; what it gives is there after COMMIT."""

    def __call__(
        self, fn: Callable[[Connection], T], *, brief: bool = False, inserts_last: bool = False
    ) -> Awaitable[T]: ...


Then = Callable[[Any, Exception | None], None]
"""What is called with the outcome after COMMIT, or with None and the error."""


@dataclass(slots=True, eq=False)
class _Entry:
    operation: Operation[Any, Any] | None  # None: `item` is a function of its own
    item: Any
    future: asyncio.Future[Any] | None = None  # whom to tell: one of the two
    then: Then | None = None


@frozen()
class _Raised:
    """What a function of its own raised; its savepoint is undone, the batch goes on."""

    error: Exception


class Writer:
    """The queue in front of the writing transactions. `lanes` batches may be under way side by side."""

    def __init__(self, transact: Transact, *, lanes: int = 1) -> None:
        self._transact = transact
        self._queue: deque[_Entry] = deque()
        self._patient: deque[_Entry] = deque()
        self._patience: asyncio.TimerHandle | None = None
        self._beginning: asyncio.Handle | None = None  # the next batch, when it has gathered a while
        self._began_at = -LONGEST_INTERVAL_SECONDS
        self._takes = 0.0  # seconds, a transaction of late
        self._lanes = self._free_lanes = lanes
        self._closed = False
        self._batches: set[asyncio.Task[None]] = set()

    async def write(self, fn: Callable[[Connection], T]) -> T:
        """See `Database.write`."""
        return await self._enqueue(None, fn)  # type: ignore[no-any-return] # the future carries fn's own type

    async def submit(self, operation: Operation[I, O], item: I) -> O:
        """See `Database.submit`."""
        return await self._enqueue(operation, item)  # type: ignore[no-any-return] # the future carries O

    async def submit_patiently(self, operation: Operation[I, O], item: I) -> O:
        """See `Database.submit_patiently`."""
        return await self._enqueue(operation, item, patient=True)  # type: ignore[no-any-return] # the future carries O

    def post(self, operation: Operation[I, O], item: I, then: Then) -> None:
        """See `Database.post`."""
        self._refuse_if_closed()
        self._put(_Entry(operation, item, then=then))

    def _enqueue(
        self, operation: Operation[Any, Any] | None, item: Any, *, patient: bool = False
    ) -> asyncio.Future[Any]:
        self._refuse_if_closed()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        entry = _Entry(operation, item, future)
        if not patient:
            self._put(entry)
            return future
        self._patient.append(entry)
        if len(self._patient) >= PATIENT_ITEMS:
            self._end_patience()
        elif self._patience is None:
            self._patience = loop.call_later(PATIENCE_SECONDS, self._end_patience)
        return future

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")

    def _put(self, entry: _Entry) -> None:
        self._queue.append(entry)
        if not self._free_lanes:
            return
        if len(self._queue) >= EAGER_ITEMS:  # now: what else is ready to be read meanwhile is for the next batch
            self._begin()
        elif self._beginning is None:
            loop = asyncio.get_running_loop()
            left = self._rest(loop)
            self._beginning = loop.call_later(left, self._begin) if left > 0 else loop.call_soon(self._begin)

    def _rest(self, loop: asyncio.AbstractEventLoop) -> float:
        """Seconds until the next batch is to begin; zero or less: now."""
        return self._began_at + min(self._takes / BUSY_SHARE, LONGEST_INTERVAL_SECONDS) - loop.time()

    def _end_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._patient:
            self._put(self._patient.popleft())  # the others come along

    def _next_batch(self) -> list[_Entry]:
        """What is urgent, and with it, since a transaction is made anyway, what could have waited."""
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_ITEMS))]
        room = BATCH_ITEMS - len(batch)
        batch += [self._patient.popleft() for _ in range(min(len(self._patient), room))]
        if self._patient and self._patience is None:  # there is no room, and no timer: they come along with the next
            self._queue.append(self._patient.popleft())
        return self._of_one_kind(batch) if self._lanes > 1 and batch else batch

    def _of_one_kind(self, batch: list[_Entry]) -> list[_Entry]:
        """Where batches run side by side, each holds rows of one kind only: of two that lock jobs and deliveries in a
        different order each would wait for the other until the server ends one of them, a second later."""
        kind = batch[0].operation
        end = 1 if kind is None else len(batch)  # a function may lock anything
        rest = [entry for number, entry in enumerate(batch) if number >= end or entry.operation is not kind]
        self._queue.extendleft(reversed(rest))
        return [entry for entry in batch[:end] if entry.operation is kind]

    def _begin(self) -> None:
        """Begin as many batches as there are lanes for what is queued."""
        if self._beginning is not None:
            self._beginning.cancel()
            self._beginning = None
        loop = asyncio.get_running_loop()
        while self._free_lanes and self._queue:
            self._free_lanes -= 1
            self._began_at = loop.time()
            batch = self._next_batch()
            task = loop.create_task(self._finish(batch, self._start(batch), self._began_at))
            self._batches.add(task)
            task.add_done_callback(self._batches.discard)

    def _begin_when_due(self) -> None:
        """A lane is free: begin at once what is enough, or has waited long enough; gather more for the rest."""
        loop = asyncio.get_running_loop()
        left = self._rest(loop)
        if left <= 0 or len(self._queue) >= EAGER_ITEMS or self._closed:
            self._begin()
        elif self._queue and self._beginning is None:
            self._beginning = loop.call_later(left, self._begin)

    def _start(self, batch: list[_Entry]) -> Awaitable[list[Any]]:
        """Begin its transaction. What goes wrong at once is told like all else: who put in the last entry is not to
        blame for the others, and the lane is free again."""
        try:
            return self._transact(partial(_apply, batch), brief=_is_brief(batch), inserts_last=_inserts_last(batch))
        except Exception as error:
            failed: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed

    async def _finish(self, batch: list[_Entry], outcomes: Awaitable[list[Any]], began_at: float) -> None:
        try:
            await self._answer_after(batch, outcomes)
        finally:
            took = asyncio.get_running_loop().time() - began_at
            self._takes += (took - self._takes) * SMOOTHING
            self._free_lanes += 1
            self._begin_when_due()

    async def _answer_after(self, batch: list[_Entry], committed: Awaitable[list[Any]], tries: int = RACES) -> None:
        try:
            outcomes = await committed
        except StoreUnavailable as error:
            for entry in batch:
                _fail(entry, error)
        except Exception as error:
            await self._isolate(batch, error, tries)
        except BaseException as error:
            for entry in batch:
                _fail(entry, StoreUnavailable("the write was interrupted"))
            raise error
        else:
            # soon, not now: the next batch is on its way to the disk before these are told
            asyncio.get_running_loop().call_soon(_answer_all, batch, outcomes)

    async def _isolate(self, batch: list[_Entry], error: Exception, tries: int) -> None:
        if len(batch) > 1:
            for entry in batch:
                await self._answer_after([entry], self._start([entry]))
        elif batch[0].operation is not None and isinstance(error, IntegrityError) and tries > 1:
            # an operation looks before it inserts: this time it will see
            await self._answer_after(batch, self._start(batch), tries - 1)
        else:
            _fail(batch[0], error)

    async def close(self) -> None:
        """Take nothing more, and return when what was taken is written."""
        self._closed = True
        self._end_patience()
        self._begin()
        while self._batches:
            await asyncio.gather(*self._batches, return_exceptions=True)
            self._end_patience()


def _is_brief(batch: list[_Entry]) -> bool:
    """Whether this is a few quick statements. Of a function of its own nobody can say."""
    weight = 0
    for entry in batch:
        if entry.operation is None:
            return False
        if entry.operation.weigh is not None:
            weight += entry.operation.weigh(entry.item)
    return weight <= BRIEF_BYTES


def _inserts_last(batch: list[_Entry]) -> bool:
    """Whether the inserts may be put off to the end, and are enough to be worth it."""
    if len(batch) < MANY_INSERTS:
        return False
    return all(entry.operation is not None and entry.operation.inserts_last for entry in batch)


def _apply(batch: list[_Entry], connection: Connection) -> list[Any]:
    """Everything of one batch, inside its transaction. Order between callers means nothing, so equals go together."""
    outcomes: dict[int, Any] = {}
    groups: dict[Operation[Any, Any], list[_Entry]] = {}
    for entry in batch:
        if entry.operation is None:
            outcomes[id(entry)] = _apply_alone(entry.item, connection, alone=len(batch) == 1)
        else:
            groups.setdefault(entry.operation, []).append(entry)
    for operation, entries in groups.items():
        results = operation.apply(connection, [entry.item for entry in entries])
        if len(results) != len(entries):
            raise AssertionError(f"{operation.name} gave {len(results)} outcomes for {len(entries)} items")
        for entry, result in zip(entries, results, strict=True):
            outcomes[id(entry)] = result
    return [outcomes[id(entry)] for entry in batch]


def _apply_alone(fn: Callable[[Connection], Any], connection: Connection, *, alone: bool) -> Any:
    if alone:
        return fn(connection)  # the transaction itself is undone if it raises
    try:
        with connection.begin_nested():
            return fn(connection)
    except Exception as error:
        if not transaction_stands(connection):
            raise
        return _Raised(error)


def _answer_all(batch: list[_Entry], outcomes: list[Any]) -> None:
    for entry, outcome in zip(batch, outcomes, strict=True):
        _answer(entry, outcome)


def _answer(entry: _Entry, outcome: Any) -> None:
    if entry.then is not None:
        _call(entry.then, outcome, None)  # an operation's outcome is never an error
    elif entry.future is None or entry.future.done():
        return  # the caller gave up waiting; the write stands
    elif isinstance(outcome, _Raised):
        entry.future.set_exception(outcome.error)
    else:
        entry.future.set_result(outcome)


def _call(then: Then, outcome: Any, error: Exception | None) -> None:
    try:
        then(outcome, error)
    except Exception:  # its own mistake: the others of the batch have to be told
        log.exception("write.not_told")


def _fail(entry: _Entry, error: Exception) -> None:
    if entry.then is not None:
        _call(entry.then, None, error)
    elif entry.future is not None and not entry.future.done():
        entry.future.set_exception(error)
