"""Messages of pull subscriptions while other nodes do the same."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

from sqlalchemy import Connection

from relay.store import pulling, subscriptions
from relay.store.database import open_database
from tests.support.store import a_delivery, a_subscription, delivery_of, hold_until, put_deliveries, seal


async def test_what_two_nodes_adopt_at_once_can_be_taken(migrated_postgres_url: str) -> None:
    """All nodes of a new version start together. What the second one moved again had no time left to be found by."""
    one, two = await open_database(migrated_postgres_url), await open_database(migrated_postgres_url)
    puller = a_subscription(kind="pull", url=None)
    await one.write(partial(subscriptions.insert, subscription=puller, seal=seal))
    stray = a_delivery(subscription_id=puller.id)
    await put_deliveries(one, stray)
    begun, released, loop = asyncio.Event(), threading.Event(), asyncio.get_running_loop()

    def adopt_and_wait(connection: Connection) -> None:
        pulling.adopt(connection)
        loop.call_soon(begun.set)
        hold_until(connection, released)

    first = asyncio.ensure_future(one.write(adopt_and_wait))
    await begun.wait()
    second = asyncio.ensure_future(two.write(pulling.adopt))
    await asyncio.wait([second], timeout=0.2)
    released.set()
    await asyncio.gather(first, second)
    adopted = await delivery_of(one, stray.id)
    assert (adopted.due_at, adopted.pull_at) == (None, stray.due_at)
    await one.close()
    await two.close()
