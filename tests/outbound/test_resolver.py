"""Names to addresses, against a nameserver that says what a test wants."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from relay.clock import SystemClock
from relay.errors import AddressRefused, ResolveFailed
from relay.outbound import AddressPolicy, LookupLimits, NameResolver
from relay.outbound.resolver import MAX_DIALLED, VettedResolver
from tests.outbound.conftest import Watch
from tests.outbound.corpus import FORBIDDEN_ADDRESSES
from tests.support.clock import FakeClock
from tests.support.outbound import FakeNameserver, Records, Zone, names_of, nameserver
from tests.support.stopwatch import Stopwatch

QUICK = LookupLimits(try_seconds=0.2, total_seconds=0.4)


async def vetted(
    fake: FakeNameserver,
    host: str = "a.test",
    *,
    allow: tuple[str, ...] = (),
    port: int = 443,
    listed_only: bool = False,
) -> list[str]:
    """Resolve once, as the connector would."""
    names = names_of(SystemClock(), fake, limits=QUICK)
    try:
        results = await VettedResolver(names, AddressPolicy(allow), listed_only=listed_only).resolve(host, port)
    finally:
        await names.close()
    return [result["host"] for result in results]


def kind_of(address: str) -> str:
    return "AAAA" if ":" in address else "A"


def saying(*records: tuple[str, str | bytes]) -> Zone:
    return lambda name, kind, before: [
        record for record in records if record[0].removeprefix("RAW ") in (kind, "CNAME")
    ]


async def test_public_addresses_of_both_families_come_back_by_turns() -> None:
    zone = saying(("A", "1.1.1.1"), ("A", "8.8.8.8"), ("AAAA", "2606:4700:4700::1111"))
    async with nameserver(zone) as fake:
        assert await vetted(fake) == ["1.1.1.1", "2606:4700:4700::1111", "8.8.8.8"]
        assert fake.asked == [("a.test", "A"), ("a.test", "AAAA")]


@pytest.mark.parametrize("address", [address for address in FORBIDDEN_ADDRESSES if "%" not in address])
async def test_a_forbidden_answer_refuses_the_name_alone_and_after_a_public_one(address: str) -> None:
    kind = kind_of(address)
    public = {"A": "1.1.1.1", "AAAA": "2606:4700:4700::1111"}[kind]
    for zone in (saying((kind, address)), saying((kind, public), (kind, address))):
        async with nameserver(zone) as fake:
            with pytest.raises(AddressRefused):
                await vetted(fake)


async def test_a_public_a_record_beside_a_private_aaaa_record_is_refused() -> None:
    async with nameserver(saying(("A", "1.1.1.1"), ("AAAA", "fd00::1"))) as fake:
        with pytest.raises(AddressRefused):
            await vetted(fake)


async def test_a_name_that_flips_to_loopback_is_refused_at_the_second_look() -> None:
    def zone(name: str, kind: str, before: int) -> Records:
        return [("A", "127.0.0.1" if before else "1.1.1.1")]

    async with nameserver(zone, ttl=0) as fake:
        names = names_of(SystemClock(), fake)
        resolver = VettedResolver(names, AddressPolicy(), listed_only=False)
        assert (await resolver.resolve("a.test", 443))[0]["host"] == "1.1.1.1"
        with pytest.raises(AddressRefused):
            await resolver.resolve("a.test", 443)
        await names.close()


async def test_a_cname_to_localhost_leads_nowhere() -> None:
    async with nameserver(saying(("CNAME", "localhost"))) as fake:
        with pytest.raises(ResolveFailed):
            await vetted(fake)
    async with nameserver(saying(("CNAME", "localhost"), ("A", "127.0.0.1"))) as fake:
        with pytest.raises(AddressRefused):
            await vetted(fake)


async def test_five_hundred_answers_are_all_judged_and_few_are_dialled() -> None:
    many = [("A", f"1.1.{at // 250}.{at % 250 + 1}") for at in range(500)]
    async with nameserver(saying(*many)) as fake:
        assert len(await vetted(fake)) == MAX_DIALLED
    async with nameserver(saying(*many, ("A", "10.0.0.1"))) as fake:
        with pytest.raises(AddressRefused):
            await vetted(fake)


@pytest.mark.parametrize("said", ["NXDOMAIN", "SERVFAIL", "REFUSED", "SILENCE", "WRONG ID", "TRUNCATED", "NOTHING"])
async def test_a_nameserver_without_an_answer_is_a_failure_within_the_limit(said: str) -> None:
    async with nameserver(lambda name, kind, before: [] if said == "NOTHING" else said) as fake:
        watch = Stopwatch()
        with pytest.raises(ResolveFailed):
            await vetted(fake)
        assert watch.own_seconds < 2


@pytest.mark.parametrize(
    "records",
    [
        [("CNAME", "b.test"), ("CNAME", "a.test")],
        [("RAW CNAME", b"\x05\xff\xfe\x00\x80\x01\x04test\x00")],
        [("RAW CNAME", b"\xc0\x0c")],
        [("RAW A", b"\x01\x01")],
    ],
)
async def test_nonsense_from_a_nameserver_is_a_failure(records: Records) -> None:
    async with nameserver(lambda name, kind, before: records) as fake:
        with pytest.raises(ResolveFailed):
            await vetted(fake)


async def test_one_family_is_enough_when_the_other_stays_silent() -> None:
    async with nameserver(lambda name, kind, before: [("A", "1.1.1.1")] if kind == "A" else "SILENCE") as fake:
        watch = Stopwatch()
        assert await vetted(fake) == ["1.1.1.1"]
        assert watch.own_seconds < 0.39


async def test_an_answer_is_kept_for_its_ttl_and_a_failure_for_five_seconds() -> None:
    clock = FakeClock()

    def zone(name: str, kind: str, before: int) -> Records | str:
        if name == "bad.test":
            return "SERVFAIL"
        return [("A", "1.1.1.1")] if kind == "A" else []

    async with nameserver(zone, ttl=0) as fake:
        names = names_of(clock, fake, limits=QUICK)
        for _ in range(3):
            with pytest.raises(ResolveFailed):
                await names.lookup("bad.test")
        asked = len(fake.asked)
        clock.advance(4.9)
        with pytest.raises(ResolveFailed):
            await names.lookup("bad.test")
        assert len(fake.asked) == asked
        clock.advance(0.2)
        with pytest.raises(ResolveFailed):
            await names.lookup("bad.test")
        assert len(fake.asked) > asked
        await names.close()


async def test_a_long_ttl_is_cut_to_a_minute_and_a_short_one_is_kept() -> None:
    clock = FakeClock()
    for ttl, kept, gone in ((30, 29.0, 30.0), (3600, 59.0, 60.0)):
        async with nameserver(saying(("A", "1.1.1.1")), ttl=ttl) as fake:
            names = names_of(clock, fake)
            await names.lookup("a.test")
            clock.advance(kept)
            assert not names.is_stale("a.test")
            clock.advance(gone - kept)
            assert names.is_stale("a.test")
            await names.close()


async def test_many_callers_share_one_lookup_and_one_leaving_does_not_spoil_it() -> None:
    async with nameserver(saying(("A", "1.1.1.1"))) as fake:
        names = names_of(SystemClock(), fake)
        callers = [asyncio.ensure_future(names.lookup("a.test")) for _ in range(50)]
        await asyncio.sleep(0)
        callers[0].cancel()
        assert await asyncio.gather(*callers[1:]) == [("1.1.1.1",)] * 49
        assert fake.asked == [("a.test", "A"), ("a.test", "AAAA")]
        await names.close()


def test_a_look_up_and_all_of_them_together_have_their_bounds() -> None:
    assert LookupLimits() == LookupLimits(try_seconds=2, total_seconds=4, in_flight=64, per_owner=8)


async def test_names_that_stall_do_not_delay_a_healthy_one() -> None:
    def zone(name: str, kind: str, before: int) -> Records | str:
        return [("A", "1.1.1.1")] if name == "healthy.test" else "SILENCE"

    async with nameserver(zone) as fake:
        names = names_of(SystemClock(), fake)
        stalled = [asyncio.ensure_future(names.lookup(f"{at}.stalled{at // 2}.test")) for at in range(60)]
        await asyncio.sleep(0.05)
        watch = Stopwatch()
        assert await names.lookup("healthy.test") == ("1.1.1.1",)
        assert watch.own_seconds < 0.5
        await names.close()
        await asyncio.gather(*stalled, return_exceptions=True)


async def test_one_owner_of_names_cannot_take_every_slot() -> None:
    def zone(name: str, kind: str, before: int) -> Records | str:
        return [("A", "1.1.1.1")] if name == "healthy.test" else "SILENCE"

    async with nameserver(zone) as fake:
        names = names_of(SystemClock(), fake, limits=LookupLimits(in_flight=4, per_owner=2))
        stalled = [asyncio.ensure_future(names.lookup(f"{at}.greedy.test")) for at in range(20)]
        await asyncio.sleep(0.05)
        assert len({name for name, _ in fake.asked}) == 2
        assert await asyncio.wait_for(names.lookup("healthy.test"), 1) == ("1.1.1.1",)
        await names.close()
        await asyncio.gather(*stalled, return_exceptions=True)


async def test_waiting_for_a_slot_counts_towards_the_limit() -> None:
    async with nameserver(lambda name, kind, before: "SILENCE") as fake:
        names = names_of(SystemClock(), fake, limits=LookupLimits(try_seconds=0.2, total_seconds=0.3, per_owner=1))
        watch = Stopwatch()
        both = await asyncio.gather(names.lookup("a.x.test"), names.lookup("b.x.test"), return_exceptions=True)
        assert all(isinstance(one, ResolveFailed) for one in both)
        assert watch.own_seconds < 0.55
        await names.close()


async def test_no_search_domain_is_appended_and_the_system_resolver_is_not_asked(watch: Watch) -> None:
    async with nameserver(lambda name, kind, before: "NXDOMAIN") as fake:
        with pytest.raises(ResolveFailed):
            await vetted(fake, "billing", allow=("10.0.0.0/8",))
        assert {name for name, _ in fake.asked} == {"billing"}
    assert watch.resolved == []


def local_resolver(
    hosts: Path, allow: tuple[str, ...], *, listed_only: bool = True
) -> tuple[NameResolver, VettedResolver]:
    names = names_of(SystemClock(), hosts=hosts, limits=QUICK)
    return names, VettedResolver(names, AddressPolicy(allow), listed_only=listed_only)


async def test_the_hosts_file_gives_listed_addresses_only(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(
        "# comment\n127.0.0.1 localhost\n::1 localhost\n10.0.0.5 Billing billing.corp # x\n\n10.0.0.6 other\n"
    )
    names, resolver = local_resolver(hosts, ("10.0.0.5/32:8080", "127.0.0.1/32:9000"))
    assert await resolver.vetted("billing", 8080) == ("10.0.0.5",)
    assert await resolver.vetted("billing.corp", 8080) == ("10.0.0.5",)
    assert await resolver.vetted("localhost", 9000) == ("127.0.0.1",)
    for host, port in (
        ("billing", 8081),
        ("billing.corp", 8081),
        ("other", 8080),
        ("localhost", 80),
        ("x.localhost", 80),
    ):
        with pytest.raises(AddressRefused):
            await resolver.vetted(host, port)
    await names.close()


async def test_localhost_needs_no_hosts_file(tmp_path: Path) -> None:
    names, resolver = local_resolver(tmp_path / "none", ("::1",))
    assert await resolver.vetted("localhost", 9000) == ("::1",)
    await names.close()


async def test_nonsense_in_the_hosts_file_is_passed_over(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_bytes(b"\xff\xfe\nnot-an-address localhost\nfe80::1%lo0 localhost\n127.1 localhost\n::1\n\n#\n")
    names = names_of(SystemClock(), hosts=hosts)
    assert names.local_addresses("localhost") == ("127.0.0.1", "::1")
    await names.close()


async def test_the_hosts_file_cannot_move_a_public_name(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("9.9.9.9 a.test\n")
    async with nameserver(saying(("A", "1.1.1.1"))) as fake:
        names = names_of(SystemClock(), fake, hosts=hosts)
        resolver = VettedResolver(names, AddressPolicy(["10.0.0.0/8"]), listed_only=False)
        assert await resolver.vetted("a.test", 443) == ("1.1.1.1",)
        await names.close()


async def test_a_short_name_in_dns_must_lead_to_listed_addresses_even_with_tls() -> None:
    async with nameserver(saying(("A", "10.0.0.5"))) as fake:
        assert await vetted(fake, "billing", allow=("10.0.0.0/8",)) == ["10.0.0.5"]
    async with nameserver(saying(("A", "1.1.1.1"))) as fake:
        with pytest.raises(AddressRefused):
            await vetted(fake, "billing", allow=("10.0.0.0/8",))


async def test_plain_http_to_a_public_address_is_refused_unless_it_is_listed() -> None:
    async with nameserver(saying(("A", "1.1.1.1"))) as fake:
        with pytest.raises(AddressRefused):
            await vetted(fake, port=80, listed_only=True)
        assert await vetted(fake, port=80, listed_only=True, allow=("1.1.1.1/32:80",)) == ["1.1.1.1"]
