from __future__ import annotations

import signal
import socket
import time

import pytest

from tests.crash.audit import audit, drain, query, read_contents
from tests.crash.conftest import SQLITE_FIRST
from tests.crash.world import Kind, World
from tests.support.stopwatch import own_seconds_to_end

pytestmark = [pytest.mark.timeout(300), pytest.mark.acceptance]

LEASED = "SELECT id FROM {} WHERE due_at IS NOT NULL AND lease_until IS NOT NULL"
DUE = "SELECT id FROM {} WHERE due_at IS NOT NULL"


def _rows(world: World, statement: str) -> int:
    return sum(len(query(world.url, statement.format(table))) for table in ("jobs", "deliveries"))


# tests/workers/test_leases.py gives leases back on PostgreSQL too.
@SQLITE_FIRST
def test_sigterm_under_load_finishes_what_is_under_way_and_loses_nothing(kind: Kind) -> None:
    with World(kind, hold_delivery=0.3) as world:
        relay = world.relay()
        relay.await_ready()
        world.register()
        load = world.load(rate=60)
        time.sleep(1.0)

        assert relay.stop(seconds=12) == 0
        assert _rows(world, LEASED) == 0

        again = world.relay()
        again.await_ready()
        counts = load.stop()
        drain(world)
        assert audit(world.acks(), read_contents(world.url), world.received()).lines() == []
        assert set(counts) <= {"200", "503", "refused", "unanswered"}
        assert again.stop() == 0


@SQLITE_FIRST
def test_sigterm_gives_back_the_leases_of_what_cannot_be_finished_in_time(kind: Kind) -> None:
    with World(kind, hold_delivery=60, settings={"RELAY_SHUTDOWN_SECONDS": "1"}) as world:
        relay = world.relay()
        relay.await_ready()
        world.register()
        load = world.load(rate=30)
        time.sleep(1.0)
        load.stop()
        assert _rows(world, LEASED) > 0

        relay.signal(signal.SIGTERM)
        assert own_seconds_to_end(relay.process, 60) < 6
        assert relay.process.returncode == 0
        assert _rows(world, LEASED) == 0
        assert _rows(world, DUE) > 0


def test_a_request_that_is_half_sent_when_sigterm_comes_is_answered() -> None:
    with World("sqlite") as world:
        relay = world.relay()
        relay.await_ready()
        world.register()
        body = b'{"traceID":"late","status":"completed"}'
        head = f"POST {world.callback} HTTP/1.1\r\nhost: relay\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", world.port), timeout=10) as caller:
            caller.sendall(head + body[:10])
            time.sleep(0.3)
            relay.signal(signal.SIGTERM)
            time.sleep(0.5)
            caller.sendall(body[10:])
            answer = caller.recv(65_536)

        assert answer.startswith(b"HTTP/1.1 200 ")
        assert relay.process.wait(15) == 0
        assert len(query(world.url, "SELECT id FROM notifications")) == 1
