"""Which addresses may be dialled."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.outbound import AddressPolicy
from tests.outbound.corpus import FORBIDDEN_ADDRESSES, PUBLIC_ADDRESSES


@pytest.mark.parametrize("address", FORBIDDEN_ADDRESSES)
def test_a_special_address_is_forbidden(address: str) -> None:
    assert not AddressPolicy().permits(address, 443)
    assert not AddressPolicy().listed(address, 443)


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_a_public_address_is_permitted_but_not_listed(address: str) -> None:
    assert AddressPolicy().permits(address, 443)
    assert not AddressPolicy().listed(address, 443)


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "0x7f.0.0.1", "1.2.3.4:80", "１.1.1.1"])
def test_what_is_no_address_is_forbidden(text: str) -> None:
    assert not AddressPolicy(["0.0.0.0/0", "::/0"]).permits(text, 443)


@pytest.mark.parametrize(
    "entry, address, port, listed",
    [
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "11.1.2.3", 80, False),
        ("10.0.0.5/32:8080", "10.0.0.5", 8080, True),
        ("10.0.0.5/32:8080", "10.0.0.5", 8081, False),
        ("10.0.0.5:8080", "10.0.0.5", 8080, True),
        ("10.0.0.5", "10.0.0.5", 1, True),
        ("10.0.0.5", "10.0.0.6", 1, False),
        ("[fd00::/8]:443", "fd12::1", 443, True),
        ("[fd00::/8]:443", "fd12::1", 444, False),
        ("fd00::/8", "fd12::1", 444, True),
        ("[::1]:9000", "::1", 9000, True),
        ("::1", "::1", 9000, True),
        ("127.0.0.1", "::ffff:127.0.0.1", 80, True),
        (" 127.0.0.1 ", "127.0.0.1", 80, True),
        ("8.8.8.8/32", "8.8.8.8", 80, True),
        ("10.0.0.5", "fe80::1%eth0", 80, False),
    ],
)
def test_an_entry_lists_its_range_on_its_port(entry: str, address: str, port: int, listed: bool) -> None:
    assert AddressPolicy([entry]).listed(address, port) is listed


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "x",
        "10.0.0.5/8",
        "10.0.0.0/33",
        "10.0.0.5:0",
        "10.0.0.5:65536",
        "10.0.0.5:x",
        "10.0.0.5:",
        "[::1]9",
        "[::1]:",
    ],
)
def test_a_bad_entry_is_named(entry: str) -> None:
    with pytest.raises(ValueError) as caught:
        AddressPolicy(["10.0.0.0/8", entry])
    assert repr(entry) in str(caught.value)


def test_the_suggestion_is_the_narrowest_entry() -> None:
    policy = AddressPolicy()
    assert policy.suggest("127.0.0.1", 9000) == "127.0.0.1/32:9000"
    assert policy.suggest("::1", 9000) == "[::1/128]:9000"
    assert policy.suggest("::ffff:10.0.0.1", 80) == "10.0.0.1/32:80"


@given(st.ip_addresses(), st.integers(1, 65535))
def test_a_suggestion_when_added_permits_that_address_and_port_alone(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    policy = AddressPolicy([AddressPolicy().suggest(str(address), port)])
    assert policy.listed(str(address), port) and policy.permits(str(address), port)
    assert not policy.listed(str(address), port % 65535 + 1)


@given(st.ip_addresses())
def test_nothing_private_or_special_to_python_is_permitted_either(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    inner = getattr(address, "ipv4_mapped", None) or address
    if AddressPolicy().permits(str(address), 443) and address not in ipaddress.ip_network("64:ff9b::/96"):
        assert inner.is_global and not inner.is_multicast
