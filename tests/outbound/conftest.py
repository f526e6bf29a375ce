"""A real clock, TLS of our own, and a watch over every connection that Python opens."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from relay.clock import SystemClock


@pytest.fixture
def clock() -> SystemClock:
    """These tests talk to real sockets, so time is real; limits are short."""
    return SystemClock()


@dataclass(frozen=True)
class Tls:
    """A certificate authority of the test's own."""

    authority: trustme.CA
    ca_file: str

    def server(self, *names: str) -> ssl.SSLContext:
        """A server context with a certificate for `names`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names).configure_cert(context)
        return context


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    authority = trustme.CA()
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return Tls(authority, str(path))


@pytest.fixture(scope="session", autouse=True)
def small_system_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The machine's own list takes 30 ms to load, in every test that opens a TLS pool; one stranger will do."""
    path: Path = tmp_path_factory.mktemp("system") / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(path))
        yield


@dataclass
class Watch:
    """What Python asked the operating system to connect to or to resolve, while it is watching."""

    watching: bool = False
    connected: list[tuple[Any, ...]] = field(default_factory=list)
    resolved: list[Any] = field(default_factory=list)

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.watching:
            return
        if event == "socket.connect":
            self.connected.append(arguments[1])
        elif event == "socket.getaddrinfo":
            self.resolved.append(arguments[0])


@pytest.fixture(scope="session")
def audit() -> Watch:
    watch = Watch()
    sys.addaudithook(watch.see)  # cannot be removed, so there is one for the whole run
    return watch


@pytest.fixture
def watch(audit: Watch) -> Iterator[Watch]:
    audit.connected.clear()
    audit.resolved.clear()
    audit.watching = True
    yield audit
    audit.watching = False
