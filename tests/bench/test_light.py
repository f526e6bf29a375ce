"""The light neighbours answer properly and note what came when."""

import asyncio
import time
from array import array
from collections.abc import Callable
from functools import partial

import aiohttp
import orjson
import pytest

from tests.bench.light import CHUNK, Provider, Seen, Subscriber


async def listen(protocol: Callable[[], asyncio.Protocol]) -> tuple[asyncio.Server, str]:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(("size", "seconds"), [(2048, 0.0), (3 * len(CHUNK) + 17, 0.01), (len(CHUNK), 0.001)])
async def test_a_result_has_the_size_asked_for_and_names_its_trace(size: int, seconds: float) -> None:
    server, url = await listen(partial(Provider, size, seconds, array("d")))
    async with aiohttp.ClientSession() as http, http.get(f"{url}/results/bench-0000000007") as answer:
        body = await answer.read()
    server.close()
    assert len(body) == size
    assert orjson.loads(body)["traceID"] == "bench-0000000007"


async def test_the_subscriber_notes_the_first_arrival_of_each_number_by_path() -> None:
    seen = Seen()
    server, url = await listen(partial(Subscriber, seen))
    before = time.monotonic()
    async with aiohttp.ClientSession() as http:
        for path, body in [
            ("a", b"bench-0000000002"),
            ("a", b"x bench-0000000002"),
            ("b", b"bench-0000005000"),
            ("a", b"-"),
        ]:
            async with http.post(f"{url}/{path}", data=body) as answer:
                assert answer.status == 200
        async with http.get(f"{url}/report") as answer:
            report = orjson.loads(await answer.read())
        async with http.get(f"{url}/times?/a") as answer:
            times = array("d", await answer.read())
    server.close()
    assert report == {"counts": {"/a": 1, "/b": 1}, "repeats": 1, "unmarked": 1}
    assert before < times[2] < time.monotonic()
    assert seen.arrivals[b"/b"][5000] > 0


async def test_a_body_in_pieces_is_put_together() -> None:
    seen = Seen()
    server, url = await listen(partial(Subscriber, seen))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    for piece in (b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-le", b"ngth: 18\r\n\r\nx bench-0000", b"000003 y"):
        writer.write(piece[: len(piece)])
        await writer.drain()
        await asyncio.sleep(0.01)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
    server.close()
    assert seen.arrivals[b"/a"][3] > 0


async def test_hang_never_answers_and_slow_answers_late() -> None:
    server, url = await listen(partial(Subscriber, Seen()))
    started = time.monotonic()
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{url}/slow/0.2", data=b"bench-0000000001") as answer:
            assert answer.status == 200
        assert time.monotonic() - started > 0.19
        with pytest.raises(TimeoutError):
            await http.post(f"{url}/hang", data=b"bench-0000000001", timeout=aiohttp.ClientTimeout(total=0.1))
    server.close()
