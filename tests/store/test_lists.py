"""Lists: pages hold every row once, times bound them, and indexes serve them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import pytest

from relay.clock import Instant
from relay.ids import lowest_id, new_id
from relay.model import JOB
from relay.store import (
    jobs,
)
from relay.store.database import Database, open_database
from relay.store.migrate import upgrade
from relay.store.rows import Window
from tests.support import noun_rows as make
from tests.support.clock import START

NOW = START


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    await upgrade(database_url)
    opened = await open_database(database_url)
    yield opened
    await opened.close()


async def test_pages_of_any_size_hold_every_row_once(database: Database) -> None:
    made = [make.job("wh_1", Instant(NOW + number)) for number in range(10)]
    await database.write(lambda conn: make.put(conn, *made))
    newest_first = [item.id for item in reversed(made)]
    for limit in (1, 3, 5, 10, 11):
        seen: list[str] = []
        before_id, more = None, True
        while more:
            page = await database.read(partial(jobs.page, window=Window(limit=limit, before_id=before_id)))
            seen += [item.id for item in page.items]
            before_id, more = page.items[-1].id, page.more
        assert seen == newest_first, limit


async def test_a_bound_in_time_is_a_bound_in_ids(database: Database) -> None:
    made = [make.job("wh_1", Instant(NOW + number)) for number in range(5)]
    await database.write(lambda conn: make.put(conn, *made))

    async def listed(window: Window) -> list[int]:
        page = await database.read(partial(jobs.page, window=window))
        return [item.created_at - NOW for item in page.items]

    assert await listed(Window(created_after=Instant(NOW + 3))) == [4, 3]
    assert await listed(Window(created_before=Instant(NOW + 2))) == [1, 0]
    assert await listed(Window(created_after=Instant(NOW + 1), created_before=Instant(NOW + 3))) == [2, 1]
    assert await listed(Window(created_after=Instant(-(10**15)), created_before=Instant(10**18))) == [4, 3, 2, 1, 0]


def test_the_lowest_id_of_an_instant_is_not_above_any_id_made_then() -> None:
    for number in range(50):
        now = Instant(NOW + number)
        assert lowest_id(JOB, now) <= new_id(JOB, now) < lowest_id(JOB, Instant(now + 1))
        assert len(lowest_id(JOB, now)) == len(new_id(JOB, now))
