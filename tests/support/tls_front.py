"""A TLS front for a relay that speaks plain HTTP, like a load balancer: for clients that know https alone."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import trustme

PIECE_BYTES = 65_536
LINE_END = b" HTTP/1.1\r\n"  # of a request
PROTO = b"X-Forwarded-Proto: https\r\n"


@asynccontextmanager
async def tls_front(url: str, ca_file: Path) -> AsyncIterator[str]:
    """`host:port` where TLS is taken off and all bytes go on to the origin `url`; who trusts `ca_file` trusts it."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path(str(ca_file))
    authority.issue_cert("127.0.0.1").configure_cert(context)
    behind = urlsplit(url)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(behind.hostname, behind.port)
        await asyncio.gather(_pump(reader, inner_writer, told=True), _pump(inner_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, told: bool = False) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        while piece := await reader.read(PIECE_BYTES):
            writer.write(piece.replace(LINE_END, LINE_END + PROTO, 1) if told else piece)
            await writer.drain()
    writer.close()
