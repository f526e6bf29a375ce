"""nginx and Caddy with the files of deploy/ in front of a relay: what they let through, hold back and write down."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import pytest
import trustme

from relay.doctor import outside
from relay.doctor.findings import Level
from tests.deploy.documents import DEPLOY
from tests.support.journey import ADMIN_KEY, Told, running, settings_of
from tests.support.ports import free_port
from tests.support.tools import tool

MIB: Final = 1024 * 1024
KINDS: Final = ("nginx", "caddy")
WEBHOOK: Final = b'{"name": "w", "provider": "netnut", "credentials": {"username": "u", "password": "p"}}'


@dataclass
class Proxy:
    """One that runs."""

    url: str
    log: list[Path]

    def logged(self) -> str:
        """All that it wrote down."""
        return "".join(path.read_text(errors="replace") for path in self.log if path.exists())


@contextmanager
def _process(command: list[str], log: Path, env: dict[str, str]) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={"PATH": "/usr/bin:/bin", **env})
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def nginx(upstream: int, tmp_path: Path) -> Iterator[Proxy]:
    """The file of deploy/ with other ports, names of files and a certificate of the test's own."""
    binary, port = tool("nginx", "nginx-light"), free_port()
    certificate = trustme.CA().issue_cert("relay.example.com", "127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    text = (DEPLOY / "nginx.conf").read_text()
    for word, instead in {
        "127.0.0.1:8000": f"127.0.0.1:{upstream}",
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "listen 80;": f"listen 127.0.0.1:{free_port()};",
        "/etc/letsencrypt/live/relay.example.com/fullchain.pem": str(tmp_path / "cert.pem"),
        "/etc/letsencrypt/live/relay.example.com/privkey.pem": str(tmp_path / "key.pem"),
        "/var/log/nginx": str(tmp_path),
    }.items():
        assert word in text
        text = text.replace(word, instead)
    (tmp_path / "relay.conf").write_text(text)
    temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    kept = "".join(f"{name}_temp_path {tmp_path}/{name};\n" for name in temporary)
    user = "" if os.getuid() else "user root;\n"  # nobody may not come to where the tests are
    (tmp_path / "nginx.conf").write_text(
        f"{user}worker_processes 1;\ndaemon off;\npid {tmp_path}/pid;\nerror_log {tmp_path}/main.log;\n"
        f"events {{}}\nhttp {{\n{kept}access_log off;\ninclude {tmp_path}/relay.conf;\n}}\n"
    )
    command = [binary, "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)]
    checked = subprocess.run([*command, "-t", "-q"], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    with _process(command, tmp_path / "out.log", {}):
        _await(port)
        logs = [tmp_path / name for name in ("relay.log", "relay-error.log", "main.log")]
        yield Proxy(f"https://127.0.0.1:{port}", logs)


@contextmanager
def caddy(upstream: int, tmp_path: Path) -> Iterator[Proxy]:
    """The file of deploy/ as it is, on plain HTTP: certificates are between Caddy and the world."""
    binary, port = tool("caddy", "caddy"), free_port()
    home = {name: str(tmp_path) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    env = {"RELAY_SITE": f"http://127.0.0.1:{port}", "RELAY_UPSTREAM": f"127.0.0.1:{upstream}"}
    text = (DEPLOY / "Caddyfile").read_text()
    assert text.count("{\n\tservers {") == 1
    (tmp_path / "Caddyfile").write_text(text.replace("{\n\tservers {", "{\n\tadmin off\n\tservers {"))
    command = [binary, "run", "--adapter", "caddyfile", "--config", str(tmp_path / "Caddyfile")]
    with _process(command, tmp_path / "caddy.log", home | env):
        _await(port)
        yield Proxy(f"http://127.0.0.1:{port}", [tmp_path / "caddy.log"])


def _await(port: int) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.05)
        else:
            return


@asynccontextmanager
async def in_front(kind: str, upstream: int, tmp_path: Path) -> AsyncIterator[Proxy]:
    """The proxy, in front of whatever is at that port."""
    place = tmp_path / kind
    place.mkdir()
    opened = {"nginx": nginx, "caddy": caddy}[kind](upstream, place)
    proxy = await asyncio.to_thread(opened.__enter__)
    try:
        yield proxy
    finally:
        await asyncio.to_thread(opened.__exit__, None, None, None)


class Client:
    """Somebody who speaks to the proxy with the admin key."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def call(self, method: str, path: str, data: bytes = b"") -> Told:
        """Whatever is answered."""
        headers = {"authorization": f"Bearer {ADMIN_KEY}", "content-type": "application/json"}
        body = io.BytesIO(data) if data else None
        async with self._session.request(
            method, self._url + path, data=body, headers=headers, ssl=_trusting(), allow_redirects=False
        ) as answer:
            try:
                raw = await answer.read()
            except aiohttp.ClientPayloadError:  # the connection of a body that nobody wants is cut
                raw = b""
            return Told(answer.status, {k.lower(): v for k, v in answer.headers.items()}, raw)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_in_front_lets_notifications_through_and_keeps_their_secret(
    kind: str, sqlite_stage_url: str, tmp_path: Path
) -> None:
    settings = settings_of(sqlite_stage_url, tmp_path)
    async with (
        running(settings),
        in_front(kind, settings.port, tmp_path) as proxy,
        aiohttp.ClientSession() as session,
    ):
        client = Client(session, proxy.url)
        made = await client.call("POST", "/v1/webhooks", WEBHOOK)
        path = "/in/" + made.body["callback_url"].partition("/in/")[2]
        large = b'{"traceId": "t", "pad": "' + b"x" * (15 * MIB) + b'"}'
        assert (await client.call("POST", f"{path}/more?job=4", large)).status == 200
        assert (await client.call("POST", path, b"x" * (17 * MIB))).status == 413
        assert (await client.call("GET", "/readyz")).status == 200
        assert (await client.call("POST", "/v1/webhooks", b" " * (3 * MIB))).status == 413
        assert (await client.call("GET", "/v1/results/res_0/payload?token=planted-token")).status in (401, 403, 404)
        public = settings.model_copy(update={"public_url": proxy.url})
        examined = await asyncio.to_thread(lambda: list(outside.proxy(public)))
    if kind == "caddy":  # the doctor does not take the test's certificate, and should not
        assert [finding.level for finding in examined] == [Level.OK], examined
    written = proxy.logged()
    assert "/in/-" in written  # it writes down that there was a call
    token = path.removeprefix("/in/")
    for secret in (token, token[:40], "planted-token", ADMIN_KEY, "job=4"):
        assert secret not in written


@pytest.mark.parametrize("kind", KINDS)
async def test_while_relay_is_away_providers_are_asked_to_come_again(kind: str, tmp_path: Path) -> None:
    async with in_front(kind, free_port(), tmp_path) as proxy, aiohttp.ClientSession() as session:
        told = await Client(session, proxy.url).call("POST", "/in/some-token", b"{}")
    assert (told.status, told.headers["retry-after"]) == (503, "5")
    assert "some-token" not in proxy.logged()


class Plain:
    """A server that keeps what reached it, and streams one line at once and no other until it is released."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.release = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard.append(head := await reader.readuntil(b"\r\n\r\n"))
        if head.startswith(b"GET /v1/stream"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            writer.write(b"9\r\ndata: 1\n\n\r\n")
            await writer.drain()
            await self.release.wait()
        writer.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_is_not_gathered_and_a_caller_that_drips_is_the_proxys(kind: str, tmp_path: Path) -> None:
    plain, port = Plain(), free_port()
    server = await asyncio.start_server(plain.serve, "127.0.0.1", port)
    async with in_front(kind, port, tmp_path) as proxy, aiohttp.ClientSession() as session:
        async with session.get(f"{proxy.url}/v1/stream", ssl=_trusting()) as answer:
            async with asyncio.timeout(10):  # the stream does not end before
                assert await answer.content.readline() == b"data: 1\n"
        if kind == "nginx":  # Caddy passes a body on as it comes: there Relay's own limits hold
            await _drip(proxy.url)
            assert (await Client(session, proxy.url).call("POST", "/in/after-it", b"{}")).status == 503
            assert [head.split()[1] for head in plain.heard] == [b"/v1/stream", b"/in/after-it"]
        plain.release.set()  # a proxy that stops waits for who it serves
    server.close()


async def _drip(url: str) -> None:
    """Announce a body and send one byte of it."""
    host, _, port = url.removeprefix("https://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=_trusting())
    writer.write(b"POST /in/token HTTP/1.1\r\nhost: relay.example.com\r\ncontent-length: 100\r\n\r\nx")
    await writer.drain()
    writer.close()


def _trusting() -> ssl.SSLContext:
    """The certificate is the test's own, and what is tested is not TLS."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
