"""The queues are looked at now and then, however many look; a database that is away takes only its own gauges along."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from relay.app.observing import FRESH_SECONDS, BacklogWatch
from relay.errors import StoreUnavailable
from relay.metrics import Metrics
from relay.store.backlog import Backlog, Waiting
from relay.store.configuration import Configuration, ConfigurationCache
from relay.store.database import Database
from tests.support.clock import FakeClock
from tests.support.store import a_webhook
from tests.test_metrics import told


class Looked:
    """A database that counts how often it is read."""

    def __init__(self, found: Backlog) -> None:
        self.found = found
        self.times = 0
        self.is_away = False

    async def read(self, _: Callable[..., Any]) -> Backlog:
        self.times += 1
        if self.is_away:
            raise StoreUnavailable("away")
        return self.found


async def test_the_queues_are_read_once_for_all_who_look_in_a_while() -> None:
    first, second = a_webhook(name="a"), a_webhook(name="b", id="wh_" + "b" * 32)
    database = Looked(Backlog(Waiting(4, 2.5), Waiting(0, 0.0), {first.id: 1, second.id: 2}))
    clock, metrics = FakeClock(), Metrics()
    configuration = ConfigurationCache(cast(Database, database), lambda *_: b"")
    configuration.current = Configuration(1, {first.id: first, second.id: second}, {}, {})
    watch = BacklogWatch(cast(Database, database), configuration, clock, metrics)
    assert told(metrics) == {}  # not looked yet
    for _ in range(3):
        await watch.refresh()
    found = told(metrics)
    assert (found['relay_queue_due{queue="fetch"}'], found['relay_queue_oldest_age_seconds{queue="fetch"}']) == (4, 2.5)
    assert found[f'relay_fetch_at_risk{{provider="{first.provider}"}}'] == 3
    assert database.times == 1

    database.is_away = True
    clock.advance(FRESH_SECONDS)
    await watch.refresh()
    assert told(metrics) == {}
    assert database.times == 2
