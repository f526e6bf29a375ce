"""The client without an event loop is the one with it, line by line."""

from __future__ import annotations

from tests.client.make_blocking import CLIENT, blocking, made


def test_what_is_there_is_what_would_be_made() -> None:
    there = {path.name: path.read_text("utf-8") for path in (CLIENT / "blocking").glob("*.py")}
    assert there == made(), "run `python -m tests.client.make_blocking`"


def test_nothing_that_waits_is_left() -> None:
    source = (
        'async def f(api: AsyncApi) -> None:\n    """`await f()`"""\n    async with api:  # await\n        await g()\n'
    )
    assert blocking(source) == 'def f(api: Api) -> None:\n    """`f()`"""\n    with api:  # await\n        g()\n'
