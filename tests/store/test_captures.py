from __future__ import annotations

from functools import partial
from typing import Any

from relay.clock import Instant
from relay.store import captures, retention
from relay.store.captures import MOST, Capture
from relay.store.database import Database
from tests.support.store import NOW, OTHER_WEBHOOK_ID, WEBHOOK_ID


def a_capture(shape: str, **changes: Any) -> Capture:
    values: dict[str, Any] = {
        "webhook_id": WEBHOOK_ID,
        "kind": "pending",
        "shape": shape,
        "http_status": 202,
        "content_type": "application/json",
        "excerpt": "{}",
        "job_id": None,
        "captured_at": NOW,
    }
    return Capture(**(values | changes))


async def test_the_first_of_each_shape_is_kept_and_no_more_than_so_many_of_a_kind(database: Database) -> None:
    items = [a_capture(str(number), captured_at=Instant(NOW + number)) for number in range(10)]
    assert await database.write(partial(captures.keep, items=[*items, *items])) == MOST["pending"]
    later = a_capture("0", excerpt="later")
    assert await database.write(partial(captures.keep, items=[later])) == 0
    assert await database.read(partial(captures.of, webhook_id=WEBHOOK_ID)) == items[: MOST["pending"]]


async def test_kinds_and_webhooks_are_counted_apart(database: Database) -> None:
    full = [a_capture(str(number)) for number in range(MOST["pending"])]
    other = [a_capture("0", kind="failed"), a_capture("0", webhook_id=OTHER_WEBHOOK_ID)]
    assert await database.write(partial(captures.keep, items=[*full, *other])) == len(full) + 2
    assert [one.kind for one in await database.read(partial(captures.of, webhook_id=OTHER_WEBHOOK_ID))] == ["pending"]


async def test_old_ones_are_dropped(database: Database) -> None:
    items = [a_capture("old"), a_capture("new", captured_at=Instant(NOW + 1))]
    await database.write(partial(captures.keep, items=items))
    assert await database.write(partial(retention.drop_captures, before=Instant(NOW + 1))) == 1
    assert await database.read(partial(captures.of, webhook_id=WEBHOOK_ID)) == [items[1]]
