"""Fourteen providers, twelve situations, two databases: the whole table.

A cell says "yes", and is played, or why there is no such thing at this provider, and that is held against its profile
and its stand-in. All cells of a provider are played in one relay at the same time; what failed is told cell by cell.
A provider is the same to both databases, so on PostgreSQL `make test` plays four of them, and `make proofs` the others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import orjson
import pytest

from relay.demo.knobs import Outcome, Proof
from relay.demo.stand_in import StandIn
from relay.providers.loader import load_profiles
from relay.providers.profile import Callback, Profile
from relay.providers.reading import read_answer, read_notification
from tests.support.journey import Caller, running, settings_of
from tests.support.matrix import Play, played, playing
from tests.support.providers import PROVIDERS, Fal
from tests.support.providers.customer import Customer, customer_of
from tests.support.providers.ways import WAYS, start
from tests.support.situations import SITUATIONS, Restart
from tests.support.trip import profiles_with_keys_of

YES: Final = "yes"
SILENT: Final = "the provider never calls back"
UNSIGNED: Final = "notifications are not signed"
PLACELESS: Final = "a notification names no place"
UNSTOPPABLE: Final = "a job cannot be cancelled"
ALL_IN_IT: Final = "the notification is the result, so there is nothing to be read"
ALIKE: Final = "an expired result answers as one that is not there yet"
REASONS: Final = (SILENT, UNSIGNED, PLACELESS, UNSTOPPABLE, ALL_IN_IT, ALIKE)

COLUMNS: Final = (*SITUATIONS, "restart in between")
# In the order of COLUMNS: happy, pending first, duplicate, callback suppressed, callback before readable, provider
# failed | cancelled, expired, forged or unsigned, foreign response_url, unknown status, restart in between.
TABLE: Final = {
    "netnut": (YES, YES, YES, YES, YES, YES, UNSTOPPABLE, YES, UNSIGNED, YES, YES, YES),
    "pulse": (YES, YES, YES, YES, YES, YES, YES, YES, YES, PLACELESS, YES, YES),
    "inference-net": (YES, YES, YES, YES, ALL_IN_IT, YES, UNSTOPPABLE, ALIKE, YES, PLACELESS, YES, YES),
    "freddy": (YES, YES, SILENT, SILENT, SILENT, YES, YES, YES, SILENT, SILENT, YES, YES),
    "openai": (YES, YES, YES, YES, YES, YES, YES, YES, YES, PLACELESS, YES, YES),
    "fal": (YES, YES, YES, YES, YES, YES, YES, YES, YES, PLACELESS, YES, YES),
    "replicate": (YES, YES, YES, YES, ALL_IN_IT, YES, YES, YES, YES, YES, YES, YES),
    "runpod": (YES, YES, YES, YES, YES, YES, YES, YES, UNSIGNED, PLACELESS, YES, YES),
    "assemblyai": (YES, YES, YES, YES, YES, YES, UNSTOPPABLE, YES, YES, PLACELESS, YES, YES),
    "oxylabs": (YES, YES, YES, YES, YES, YES, UNSTOPPABLE, YES, UNSIGNED, YES, YES, YES),
    "firecrawl": (YES, YES, YES, YES, YES, YES, YES, YES, YES, PLACELESS, YES, YES),
    "apify": (YES, YES, YES, YES, YES, YES, YES, YES, YES, PLACELESS, YES, YES),
    "reducto": (YES, YES, YES, YES, YES, YES, YES, YES, YES, PLACELESS, YES, YES),
    "brightdata": (YES, YES, YES, YES, YES, YES, YES, YES, YES, PLACELESS, YES, YES),
}  # fmt: skip
ABSENT: Final = [
    (provider, situation, reason)
    for provider, row in TABLE.items()
    for situation, reason in zip(COLUMNS, row, strict=True)
    if reason != YES
]
TIMES_FASTER: Final = 10  # on SQLite; PostgreSQL has a clock of its own
FOREIGN: Final = "https://elsewhere.example/results/1"


ALWAYS: Final = ("netnut", "pulse", "inference-net", "freddy")  # on PostgreSQL: each way in which a result can come
PLAYED: Final = [
    *(pytest.param("sqlite", provider) for provider in TABLE),
    *(pytest.param("postgres", provider, marks=() if provider in ALWAYS else pytest.mark.slow) for provider in TABLE),
]


@pytest.fixture
def url(request: pytest.FixtureRequest, database: str) -> str:
    """A migrated, empty database."""
    name = "sqlite_stage_url" if database == "sqlite" else "stage_postgres_url"
    return str(request.getfixturevalue(name))


@pytest.mark.usefixtures("silence")
@pytest.mark.parametrize(("database", "provider"), PLAYED)
async def test_every_situation_of_a_provider_ends_as_it_should(
    database: str, provider: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = dict(zip(COLUMNS, TABLE[provider], strict=True))
    times = TIMES_FASTER if database == "sqlite" else 1

    def arrange(customer: Customer) -> None:
        stand_in = customer.stand_in
        monkeypatch.setattr("relay.app.relay.load_profiles", lambda _: profiles_with_keys_of(stand_in))
        if isinstance(
            stand_in, Fal
        ):  # a picture's address is new in every answer: here it stays, so that two are equal
            monkeypatch.setattr(stand_in.storage, "put", lambda *_, **__: "https://storage.example/a-picture")

    settings, restart = settings_of(url, tmp_path), Restart()
    async with playing(provider, times, arrange) as (customer, sink, session, foreign, clock):
        play = Play(Caller(session, settings.public_url), customer, sink, foreign, times)
        async with running(settings, clock, works=False):
            await play.register()
            await restart.before(play)
        async with running(settings, clock):
            cells = {name: cell for name, cell in SITUATIONS.items() if row[name] == YES}
            wrong = await played(play, cells | {"restart in between": restart.after})
    assert not wrong, "\n".join(f"{provider} x {situation}: {what}" for situation, what in wrong.items())


def test_the_table_has_every_cell() -> None:
    assert set(TABLE) == set(PROVIDERS) == set(WAYS) and len(TABLE) == 14
    assert len(COLUMNS) == len(set(COLUMNS)) == 12
    assert {len(row) for row in TABLE.values()} == {12}
    assert {cell for row in TABLE.values() for cell in row} == {YES, *REASONS}


@pytest.mark.parametrize(("provider", "situation", "reason"), ABSENT)
async def test_what_is_said_to_be_absent_is_absent(provider: str, situation: str, reason: str) -> None:
    profile, stand_in = load_profiles(None)[provider], start(provider)
    if reason == SILENT:
        assert profile.callback is None and not stand_in.NOTIFIES
    elif reason == UNSTOPPABLE:
        assert situation == "cancelled" and profile.cancel is None and WAYS[provider].cancel is None
    elif reason == ALIKE:
        assert situation == "expired"
        await _answers_alike(profile, stand_in)
    else:
        assert profile.callback is not None
        async with stand_in:
            _is_not_in_the_notification(profile, profile.callback, stand_in, situation, reason)


def _is_not_in_the_notification(
    profile: Profile, callback: Callback, stand_in: StandIn, situation: str, reason: str
) -> None:
    job = stand_in.open()
    body = orjson.dumps(stand_in.notification(job))
    if reason == UNSIGNED:
        assert situation == "forged or unsigned" and callback.verification.kind == "none"
        assert stand_in.proof(job, body, job.ended_at, stand_in.signing_secret) == {}
    elif reason == ALL_IN_IT:
        assert situation == "callback before readable" and callback.verification.authenticates
        notice = read_notification(profile, "POST", "", stand_in.headers(job, body), body)
        assert notice.inline and notice.problem is None
    else:
        assert (situation, reason) == ("foreign response_url", PLACELESS)
        job.knobs.response_url = FOREIGN
        named = orjson.dumps(stand_in.notification(job)).decode()
        assert callback.response_url == () and FOREIGN not in named and stand_in.url not in named


async def _answers_alike(profile: Profile, stand_in: StandIn) -> None:
    async with customer_of(stand_in) as customer:
        pending, gone = stand_in.open(completed=False), stand_in.open()
        said = [await customer.result(pending.id)]
        gone.knobs = gone.knobs.changed({"outcome": Outcome.EXPIRED})
        said.append(await customer.result(gone.id))
    kinds = {(one.status, read_answer(profile, one.status, one.headers, one.body).kind) for one in said}
    assert kinds == {(404, "pending")}


def test_every_proof_that_a_stand_in_can_spoil_is_a_forgery() -> None:
    assert set(Proof) == {Proof.GOOD, Proof.WRONG, Proof.MISSING, Proof.STALE}
