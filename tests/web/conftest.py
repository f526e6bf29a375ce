"""The inbound edge runs on uvloop in production and on asyncio elsewhere: its socket tests run on both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from tests.support.edge import Edge

_ON_BOTH = ("test_protocol.py", "test_connections.py", "test_callback.py", "test_server.py", "test_garbage.py")


@pytest.hookimpl(tryfirst=True)
def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]] | None:
    if item.path.name in _ON_BOTH:
        return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture(params=["direct", "direct-later", "asgi"])
async def edge(request: pytest.FixtureRequest) -> AsyncIterator[Edge]:
    """Callback endpoints on real sockets; everything that was started is stopped again.

    All ways to the endpoint have to behave alike: past ASGI, with a task or without one, and through it.
    """
    made = Edge(direct=request.param != "asgi", soon=request.param == "direct")
    yield made
    await made.close()
