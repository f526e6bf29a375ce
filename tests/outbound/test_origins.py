"""The rule of the house: credentials go to their origins and nowhere else, whatever string comes as a URL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.clock import SystemClock
from relay.errors import ForeignOrigin, OutboundError, UrlRefused
from relay.model import Secret
from relay.outbound import AddressPolicy, Authorization, ProviderDoor, ProviderRequest
from tests.outbound.conftest import Watch
from tests.outbound.test_urls import REFUSED
from tests.support.outbound import (
    FakeNameserver,
    RawServer,
    always,
    loopback_zone,
    names_of,
    nameserver,
    raw_server,
    response,
)

SECRET = "dXNlcjpwYXNz"


@dataclass
class World:
    """A provider at `good.test`, a listener that must stay lonely, and a nameserver that leads every name to them."""

    loop: asyncio.AbstractEventLoop
    provider: RawServer
    canary: RawServer
    fake: FakeNameserver
    door: ProviderDoor

    @property
    def origin(self) -> str:
        return f"http://good.test:{self.provider.port}"

    def send(self, url: str) -> OutboundError | None:
        """Call `url` with the provider's credentials; what it raised."""

        async def call() -> OutboundError | None:
            request = ProviderRequest(
                method="GET",
                url=url,
                authorization=Authorization(frozenset({self.origin}), {"Authorization": Secret(f"Basic {SECRET}")}),
                allowed_origins=frozenset({self.origin}),
                timeout_seconds=5,
                max_bytes=1000,
                max_decoded_bytes=1000,
            )
            try:
                async with self.door.stream(request) as answer:
                    assert answer.status == 200
            except OutboundError as error:
                return error
            return None

        return self.loop.run_until_complete(call())


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    loop = asyncio.new_event_loop()
    clock = SystemClock()
    stack = AsyncExitStack()

    async def build() -> World:
        provider = await stack.enter_async_context(raw_server(always(response(b"ok"))))
        canary = await stack.enter_async_context(raw_server(always(response(b"caught"))))
        fake = await stack.enter_async_context(nameserver(loopback_zone, ttl=60))
        # Every port of the loopback address is listed: what keeps the canary lonely is the origin check alone.
        door = ProviderDoor(AddressPolicy(["127.0.0.0/8"]), clock, names=names_of(clock, fake))
        stack.push_async_callback(door.close)
        return World(loop, provider, canary, fake, door)

    built = loop.run_until_complete(build())
    yield built
    loop.run_until_complete(stack.aclose())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def assert_only_the_provider_was_called(world: World, watch: Watch) -> None:
    assert set(watch.connected) <= {("127.0.0.1", world.provider.port)}
    assert watch.resolved == []
    assert {name for name, _ in world.fake.asked} <= {"good.test"}
    assert world.canary.connections == 0


@pytest.mark.parametrize("path", ["/", "", "/v1/jobs/1?x=y", "//admin", "?x=1"])
def test_the_providers_own_urls_are_called_with_credentials(world: World, path: str) -> None:
    before = len(world.provider.requests)
    assert world.send(world.origin + path) is None
    assert SECRET.encode() in world.provider.requests[before]


@pytest.mark.parametrize("url", [url for url in REFUSED if url != "http://api.good.test/"])
@pytest.mark.parametrize("at_the_canary", [True, False])
def test_an_odd_url_is_never_called(world: World, watch: Watch, url: str, at_the_canary: bool) -> None:
    if at_the_canary:
        url = url.replace("evil.test", f"evil.test:{world.canary.port}").replace("https:", "http:")
    url = url.replace("api.good.test", f"good.test:{world.provider.port}")
    error = world.send(url)
    assert isinstance(error, (UrlRefused, ForeignOrigin))
    assert watch.connected == []
    assert_only_the_provider_was_called(world, watch)


def strings(world: World) -> st.SearchStrategy[str]:
    own, evil = world.origin, f"evil.test:{world.canary.port}"
    pieces = st.sampled_from(
        [
            own,
            own.removeprefix("http://"),
            evil,
            f"http://{evil}",
            "http://",
            "https://",
            "HTTP://",
            "good.test",
            "GOOD.test",
        ]
        + [f":{world.provider.port}", f":{world.canary.port}", f"127.0.0.1:{world.canary.port}", "localhost", "[::1]"]
        + list("@/\\:#?%.;&= \t\n\0")
        + ["%2e", "%40", "%00", "%0d%0aHost:", "..", "。", "\uff0f", "\u2100", "xn--"]
    )
    mixed = st.lists(st.one_of(pieces, st.text(max_size=3)), max_size=8).map("".join)
    return st.one_of(st.text(), mixed, mixed.map(lambda tail: own + tail), mixed.map(lambda head: head + own))


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_the_string_only_the_providers_origin_is_called(
    world: World, watch: Watch, data: st.DataObject
) -> None:
    world.send(data.draw(strings(world)))
    assert_only_the_provider_was_called(world, watch)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tail=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\\@#"), max_size=60))
def test_path_and_query_are_sent_as_they_were_vetted(world: World, tail: str) -> None:
    before = len(world.provider.requests)
    if world.send(f"{world.origin}/{tail}") is None:
        assert world.provider.requests[before].split(b" ", 2)[1] == f"/{tail}".encode()
