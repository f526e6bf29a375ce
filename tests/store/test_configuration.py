from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import Connection

from relay.errors import KeyMissing
from relay.ids import new_id
from relay.model import SubscriptionStatus
from relay.store import subscriptions, webhooks
from relay.store.configuration import Configuration, ConfigurationCache, bump, current_version
from relay.store.database import Database, open_database
from tests.support.store import NOW, a_subscription, a_webhook, seal, unseal


async def _register(database: Database) -> None:
    await database.write(partial(webhooks.insert, webhook=a_webhook(), seal=seal))


async def test_everything_that_is_registered_is_known_after_a_refresh(database: Database) -> None:
    cache = ConfigurationCache(database, unseal)
    assert (await cache.refresh()).version == 1
    subscription = a_subscription(headers={"x-team": "a"})
    await _register(database)
    await database.write(partial(subscriptions.insert, subscription=subscription, seal=seal))
    assert cache.current.webhooks == {}
    configuration = await cache.refresh()
    assert configuration.version == 3
    assert list(configuration.webhooks.values()) == [a_webhook()]
    assert list(configuration.subscriptions.values()) == [subscription]
    assert cache.current is configuration


async def test_nothing_is_read_again_while_the_version_stands(database: Database) -> None:
    loads: list[int] = []
    cache = ConfigurationCache(database, unseal, lambda: loads.append(1))
    first = await cache.refresh()
    assert await cache.refresh() is first
    await database.write(bump)
    assert (await cache.refresh()).version == 2
    assert len(loads) == 2


async def test_many_that_saw_the_same_old_version_read_once(database: Database) -> None:
    loads: list[int] = []
    cache = ConfigurationCache(database, unseal, lambda: loads.append(1))
    old = await cache.refresh()
    await database.write(bump)
    found = await asyncio.gather(*(cache.refresh(seen=old.version) for _ in range(20)))
    assert {configuration.version for configuration in found} == {2}
    assert len(loads) == 2


async def test_a_change_that_is_undone_is_no_new_version(database: Database) -> None:
    def change_mind(connection: Connection) -> None:
        webhooks.insert(connection, a_webhook(), seal)
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(change_mind)
    assert await database.read(current_version) == 1


async def test_a_secret_that_cannot_be_opened_leaves_the_old_configuration(database: Database) -> None:
    def missing(*_: object) -> bytes:
        raise KeyMissing("k1")

    cache = ConfigurationCache(database, missing)
    old = await cache.refresh()
    await _register(database)
    with pytest.raises(KeyMissing):
        await cache.refresh()
    assert cache.current is old


async def test_another_node_hears_of_a_change_by_its_version(migrated_postgres_url: str) -> None:
    one, two = await open_database(migrated_postgres_url), await open_database(migrated_postgres_url)
    cache = ConfigurationCache(two, unseal)
    await cache.refresh()
    await asyncio.gather(*(one.write(bump) for _ in range(10)), *(two.write(bump) for _ in range(10)))
    await _register(one)
    configuration = await cache.refresh()
    assert configuration.version == 22 and len(configuration.webhooks) == 1
    await one.close()
    await two.close()


def test_only_active_subscriptions_are_sent_to_and_all_but_deleted_ones_receive() -> None:
    active = a_subscription()
    paused = a_subscription(id=new_id("sub", NOW), status=SubscriptionStatus.PAUSED)
    disabled = a_subscription(id=new_id("sub", NOW), status=SubscriptionStatus.DISABLED)
    deleted = replace(a_subscription(id=new_id("sub", NOW)), deleted_at=NOW)
    everybody = {item.id: item for item in (active, paused, disabled, deleted)}
    configuration = Configuration(1, {}, everybody, {})
    assert configuration.receiving_subscriptions() == [active, paused, disabled]
    assert [configuration.may_deliver(item_id) for item_id in (*everybody, "sub_unknown")] == [True] + [False] * 4
