"""Names to addresses, on c-ares, with limits of our own: a name that stalls costs its owner a slot and nobody else.

asyncio's `getaddrinfo` runs on a few threads that six silent names can block for everybody; it also decodes `0x7f.1`
and appends search domains. Here every question is a plain DNS question for the whole name (final dot), A and AAAA.

The hosts file and `localhost` are read too, by us and not by c-ares, because only addresses that the operator's allow
list names are taken from them: in-house names work, and no entry of that file can open anything else.
c-ares keeps answers for as long as their TTL says; ours are kept at most a minute.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

import aiodns
import pycares
from aiohttp.abc import AbstractResolver, ResolveResult

from relay.clock import Clock
from relay.errors import AddressRefused, ResolveFailed
from relay.outbound.addresses import AddressPolicy, is_address

MAX_POSITIVE_SECONDS: Final = 60.0
NEGATIVE_SECONDS: Final = 5.0
OTHER_FAMILY_SECONDS: Final = 0.25
"""How long the slower of A and AAAA is waited for once the other has brought addresses (RFC 8305 section 3)."""
MAX_CACHED: Final = 4096
MAX_DIALLED: Final = 4
"""How many addresses of one name are tried: a zone with 500 of them does not get 500 connections."""
LOOPBACK: Final = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupLimits:
    """Seconds for one try and for the whole look-up, and how many run at once: in all, and for one owner of names."""

    try_seconds: float = 2.0
    total_seconds: float = 4.0
    in_flight: int = 64
    per_owner: int = 8


@dataclass(frozen=True, slots=True)
class _Answer:
    addresses: tuple[str, ...]  # empty = the look-up failed
    reason: str
    until: float  # on the monotonic clock


class NameResolver:
    """Looks names up and remembers them for a short while. Knows nothing of policy."""

    def __init__(
        self,
        clock: Clock,
        *,
        nameservers: Sequence[str] | None = None,
        limits: LookupLimits | None = None,
        hosts_file: Path = Path("/etc/hosts"),
    ) -> None:
        self._clock = clock
        self._nameservers = nameservers  # None = the system's
        self._limits = limits or LookupLimits()
        self._hosts_file = hosts_file
        self._dns: aiodns.DNSResolver | None = None
        self._cache: dict[str, _Answer] = {}
        self._running: dict[str, asyncio.Task[_Answer]] = {}
        self._slots = asyncio.Semaphore(self._limits.in_flight)
        self._owners: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def lookup(self, name: str) -> tuple[str, ...]:
        """The addresses that DNS has for `name` (lower case, no final dot), at least one. Raises ResolveFailed."""
        if self.is_stale(name):
            # Shielded, because others may be waiting for the same answer when this caller is cancelled.
            answer = await asyncio.shield(self._running.get(name) or self._start(name))
        else:
            answer = self._cache[name]
        if not answer.addresses:
            raise ResolveFailed(answer.reason)
        return answer.addresses

    def is_stale(self, name: str) -> bool:
        """Whether the next look-up of `name` asks a nameserver."""
        answer = self._cache.get(name)
        return answer is None or answer.until <= self._clock.monotonic()

    def local_addresses(self, name: str) -> tuple[str, ...]:
        """What the hosts file says for `name`, IPv4 first; for `localhost` also the loopback addresses (RFC 6761)."""
        found = [address for address, names in self._hosts_entries() if name in names and is_address(address)]
        if name == "localhost" or name.endswith(".localhost"):
            found.extend(LOOPBACK)
        return tuple(sorted(dict.fromkeys(found), key=lambda address: ":" in address))

    async def close(self) -> None:
        """Give up every look-up under way and stop c-ares."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._dns is not None:
            await self._dns.close()
            self._dns = None

    def _hosts_entries(self) -> Iterable[tuple[str, list[str]]]:
        try:
            text = self._hosts_file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        for line in text.splitlines():
            address, *names = line.partition("#")[0].lower().split() or [""]
            if names:
                yield address, names

    def _start(self, name: str) -> asyncio.Task[_Answer]:
        task = asyncio.get_running_loop().create_task(self._look_up_and_keep(name))
        self._running[name] = task
        return task

    async def _look_up_and_keep(self, name: str) -> _Answer:
        try:
            answer = await self._look_up_within_limits(name)
        finally:
            del self._running[name]
        self._cache.pop(name, None)
        if len(self._cache) >= MAX_CACHED:
            del self._cache[next(iter(self._cache))]
        self._cache[name] = answer
        return answer

    async def _look_up_within_limits(self, name: str) -> _Answer:
        owner = ".".join(name.split(".")[-2:])
        if (share := self._owners.get(owner)) is None:
            share = self._owners[owner] = asyncio.Semaphore(self._limits.per_owner)
        try:
            async with asyncio.timeout(self._limits.total_seconds), share, self._slots:
                addresses, ttl, reason = await self._ask_both(name)
        except TimeoutError:
            addresses, ttl, reason = (), 0.0, "no nameserver answered in time"
        keep = min(ttl, MAX_POSITIVE_SECONDS) if addresses else NEGATIVE_SECONDS
        return _Answer(addresses, reason, self._clock.monotonic() + keep)

    async def _ask_both(self, name: str) -> tuple[tuple[str, ...], float, str]:
        if self._dns is None:
            limits = self._limits
            self._dns = aiodns.DNSResolver(self._nameservers, timeout=limits.try_seconds, tries=2)
        questions = [self._dns.query_dns(name + ".", kind) for kind in ("A", "AAAA")]
        pending: set[asyncio.Future[pycares.DNSResult]] = set(questions)
        patience: float | None = None
        try:
            while pending:
                done, pending = await asyncio.wait(pending, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    break
                if any(_addresses(question) for question in done):
                    patience = OTHER_FAMILY_SECONDS
        finally:
            for question in pending:
                question.cancel()
        return _merged([question for question in questions if question.done() and not question.cancelled()])


def _merged(questions: list[asyncio.Future[pycares.DNSResult]]) -> tuple[tuple[str, ...], float, str]:
    addresses: list[str] = []
    ttl, reason = MAX_POSITIVE_SECONDS, "the name has no address"
    for question in questions:
        if (error := question.exception()) is not None:
            reason = str(error.args[1]) if len(error.args) > 1 else reason
            continue
        addresses.extend(_addresses(question))
        ttl = min([ttl, *(float(record.ttl) for record in question.result().answer)])
    return tuple(dict.fromkeys(addresses)), ttl, reason


def _addresses(question: asyncio.Future[pycares.DNSResult]) -> list[str]:
    if question.cancelled() or question.exception() is not None:
        return []
    kinds = (pycares.ARecordData, pycares.AAAARecordData)
    return [record.data.addr for record in question.result().answer if isinstance(record.data, kinds)]


class VettedResolver(AbstractResolver):
    """What aiohttp asks: addresses that this class of traffic may dial, or an error.

    One forbidden address among the answers refuses the name. `listed_only` is for plain http.
    """

    def __init__(self, names: NameResolver, policy: AddressPolicy, *, listed_only: bool) -> None:
        self._names = names
        self._policy = policy
        self._judge: Callable[[str, int], bool] = policy.listed if listed_only else policy.permits

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises ResolveFailed or AddressRefused."""
        addresses = await self.vetted(host, port)
        return [_result(host, address, port) for address in _mixed(addresses)[:MAX_DIALLED]]

    async def vetted(self, host: str, port: int) -> tuple[str, ...]:
        """The addresses of `host` that may be dialled. Raises ResolveFailed or AddressRefused."""
        addresses, forbidden = await self.judged(host, port)
        if forbidden:
            raise AddressRefused("the name leads to an address that is not allowed")
        return addresses

    async def judged(self, host: str, port: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """All addresses of `host`, and those among them that would refuse it. Raises ResolveFailed."""
        local = self._names.local_addresses(host)
        # The operator wrote that file: an address in it that is not listed is passed over, not held against the name.
        listed = tuple(address for address in local if self._policy.listed(address, port))
        if listed:
            return listed, ()
        if local and "." not in host or host.endswith(".localhost"):
            return local, local[:1]
        try:
            addresses = await self._names.lookup(host)
        except ResolveFailed:
            if local:
                return local, local[:1]
            raise
        judge = self._judge if "." in host else self._policy.listed
        return addresses, tuple(address for address in addresses if not judge(address, port))

    async def close(self) -> None:
        """Nothing: the look-ups belong to the engine."""


def _mixed(addresses: Sequence[str]) -> list[str]:
    """IPv4 and IPv6 by turns, so that a cut list still holds both."""
    four = [address for address in addresses if ":" not in address]
    six = [address for address in addresses if ":" in address]
    pairs = [pair for turn in zip(four, six, strict=False) for pair in turn]
    shorter = min(len(four), len(six))
    return [*pairs, *four[shorter:], *six[shorter:]]


def _result(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(
        hostname=host, host=address, port=port, family=family, proto=socket.IPPROTO_TCP, flags=socket.AI_NUMERICHOST
    )
