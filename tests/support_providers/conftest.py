"""One stand-in after the other, with a customer and somebody who is called back."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from relay.demo.sink import Sink
from tests.support.clock import FakeClock
from tests.support.providers import PROVIDERS
from tests.support.providers.customer import Customer, customer_of
from tests.support.providers.ways import listen, start


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    """Who is called back; it says 200."""
    async with Sink() as running:
        yield running


@pytest.fixture(params=sorted(PROVIDERS))
async def customer(request: pytest.FixtureRequest, clock: FakeClock, sink: Sink) -> AsyncIterator[Customer]:
    """A customer of each of the fourteen."""
    async with customer_of(start(request.param, clock=clock, seed="a test")) as made:
        listen(made.stand_in, f"{sink.url}/in/x")
        yield made


@pytest.fixture
def callback_url(sink: Sink) -> str:
    return f"{sink.url}/in/x"
