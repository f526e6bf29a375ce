"""Which addresses may be dialled: the public internet, and what the operator lists.

The table is ours because `ipaddress.is_global` is wrong in both directions (multicast, 6to4, NAT64 and IPv4-compatible
addresses pass it on Python 3.11, cloud metadata addresses on every version).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

# IANA IPv4 Special-Purpose Address Registry, multicast (RFC 5771), class E, and the platform address of a large cloud.
_CLOSED_V4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# IPv6 is the other way round: only the block that IANA allocates for global unicast, less the special parts of it.
_OPEN_V6: Final = IPv6Network("2000::/3")
_CLOSED_V6: Final = tuple(
    IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are the IPv4 address that is reached

_BRACKETED: Final = re.compile(r"\[(?P<network>[^\[\]]*)\](?::(?P<port>.*))?")


@dataclass(frozen=True, slots=True)
class _Entry:
    network: _Network
    port: int | None

    def matches(self, address: _Address, port: int) -> bool:
        return (self.port is None or self.port == port) and address in self.network


class AddressPolicy:
    """Judges addresses. `allow` holds the operator's entries: `CIDR` or `CIDR:port`, IPv6 with a port in brackets.

    Examples: `10.0.0.0/8`, `10.0.0.5/32:8080`, `[fd00::/8]:443`, `127.0.0.1`. Raises ValueError naming a bad entry.
    """

    __slots__ = ("_entries",)

    def __init__(self, allow: Sequence[str] = ()) -> None:
        self._entries = tuple(_parse_entry(text) for text in allow)

    @property
    def lists_anything(self) -> bool:
        """Whether the operator listed any address: only then can plain http and short names lead anywhere."""
        return bool(self._entries)

    def permits(self, address: str, port: int) -> bool:
        """Whether this address may be dialled: it is public, or it is listed."""
        inner = _unwrapped(address)
        return inner is not None and (self._is_listed(inner, port) or _is_public(inner))

    def listed(self, address: str, port: int) -> bool:
        """Whether the operator listed this address: that also permits plain http and short host names there."""
        inner = _unwrapped(address)
        return inner is not None and self._is_listed(inner, port)

    def suggest(self, address: str, port: int) -> str:
        """The narrowest entry that would permit this address, to be added to the allow list."""
        inner = _unwrapped(address)
        if inner is None:
            raise ValueError(f"{address!r} is not an address")
        network = f"{inner}/{inner.max_prefixlen}"
        return f"[{network}]:{port}" if inner.version == 6 else f"{network}:{port}"

    def _is_listed(self, address: _Address, port: int) -> bool:
        return any(entry.matches(address, port) for entry in self._entries)


def is_address(text: str) -> bool:
    """Whether `text` is an IPv4 or IPv6 address, without a zone."""
    return _unwrapped(text) is not None


def _parse_entry(text: str) -> _Entry:
    network, port = _split_port(text.strip())
    try:
        return _Entry(ip_network(network), None if port is None else _parse_port(port))
    except ValueError as error:
        hint = " (write the network's first address)" if "host bits" in str(error) else ""
        raise ValueError(f"{text!r} is not an address range like 10.0.0.0/8 or 10.0.0.5/32:8080{hint}") from None


def _split_port(text: str) -> tuple[str, str | None]:
    if bracketed := _BRACKETED.fullmatch(text):
        return bracketed["network"], bracketed["port"]
    if text.count(":") == 1:
        network, _, port = text.partition(":")
        return network, port
    return text, None


def _parse_port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise ValueError("not a port")
    return int(text)


def _unwrapped(text: str) -> _Address | None:
    """The address that a packet would end at: IPv4 inside a mapped or NAT64 address. None if `text` is no address."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    if address.scope_id is not None:
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_public(address: _Address) -> bool:
    if isinstance(address, IPv4Address):
        return not _in_any(address, _CLOSED_V4)
    return address in _OPEN_V6 and not _in_any(address, _CLOSED_V6)


def _in_any(address: _Address, networks: Iterable[_Network]) -> bool:
    return any(address in network for network in networks)
