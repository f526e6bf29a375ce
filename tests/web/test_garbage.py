"""Whatever bytes arrive, the answer is a client error or none, and the connection ends."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.web.connections import ConnectionLimits
from tests.support.edge import Edge, post

_IMPATIENT = ConnectionLimits(
    idle_seconds=0.02, request_seconds=0.02, keep_alive_seconds=0.02, linger_seconds=0.02, sweep_seconds=0.005
)
_LINES = ["content-length: 5", "content-length: 0", "transfer-encoding: chunked", "host: a", "5", "0", "hello", ": "]
_LINES += ["connection: upgrade\r\nupgrade: h2c", "connection: close", "expect: 100-continue", "accept: text/html", ""]
_STARTS = ["POST ", "GET ", "POST /in/good-token HTTP/1.1\r\n", "/in/x", " HTTP/1.0\r\n", "\n", "\0", "\xff"]
_WHOLE = [post(), post(b"hello", version="1.0"), b"OPTIONS * HTTP/1.1\r\n\r\n", b"\r\n\r\n"]
_PIECES = st.sampled_from([*[f"{x}\r\n".encode() for x in _LINES], *[x.encode("latin-1") for x in _STARTS], *_WHOLE])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.one_of(_PIECES, st.binary(max_size=20)), max_size=12).map(b"".join), max_size=3))
async def test_no_garbage_is_answered_with_a_500_or_with_silence(edge: Edge, writes: list[bytes]) -> None:
    if not edge.running:
        await edge.start(_IMPATIENT)
    client = await edge.connect()
    for data in writes:
        try:
            await client.send(data)
        except ConnectionError:
            break
    said = await client.ended()
    client.close()
    for line in said.split(b"\r\n"):
        if line.startswith(b"HTTP/1.1 5"):
            assert line.startswith(b"HTTP/1.1 503 ")
