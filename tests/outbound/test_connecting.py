"""A peer that lets nobody in holds a call for as long as connecting may take, not for all the time the call has."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from relay.errors import ConnectFailed
from relay.outbound import engine
from tests.outbound.test_provider_door import door_to, fetch, request_to

CALL_SECONDS = 60.0


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CONNECT_SECONDS", 0.2)


@pytest.fixture
def full() -> Iterator[int]:
    """The port of a server that has as many connections as it takes: the system leaves more without an answer."""
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port: int = server.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        yield port
        for each in waiting:
            each.close()


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that is connected to and says nothing, TLS or other."""
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.mark.usefixtures("hurry")
async def test_a_connection_that_is_not_answered_is_given_up(full: int) -> None:
    async with door_to("127.0.0.1") as door:
        with pytest.raises(ConnectFailed, match="in time"):
            await fetch(door, request_to(f"http://127.0.0.1:{full}/", timeout_seconds=CALL_SECONDS))


@pytest.mark.usefixtures("hurry")
async def test_tls_that_does_not_come_up_is_given_up(silent: int) -> None:
    async with door_to("127.0.0.1") as door:
        with pytest.raises(ConnectFailed, match="in time"):
            await fetch(door, request_to(f"https://127.0.0.1:{silent}/", timeout_seconds=CALL_SECONDS))
