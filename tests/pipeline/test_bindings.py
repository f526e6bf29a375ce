"""A webhook and its profile together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from relay.clock import after
from relay.errors import UrlRefused
from relay.model import Secret
from relay.pipeline.admission import TurnedAway
from relay.pipeline.bindings import Bindings, bind
from relay.pipeline.waiting import FIRST_POLL_WITHIN_SECONDS, first_poll
from relay.providers.loader import load_profiles
from relay.providers.profile import Retention
from relay.workers.scheduler import IDLE_SECONDS
from tests.support.stage import Stage
from tests.support.store import NOW, a_job, a_webhook

PROFILES = load_profiles(None)
NETNUT = PROFILES["netnut"]


def test_the_webhooks_own_origins_replace_the_profiles() -> None:
    assert bind(a_webhook(), NETNUT).origins == {"https://provider.example"}
    assert bind(a_webhook(origins=()), NETNUT).origins == set(NETNUT.origins)


def test_the_base_urls_origin_is_always_allowed() -> None:
    binding = bind(a_webhook(base_url="https://eu.provider.example:8443/v2"), NETNUT)
    assert binding.origins == {"https://provider.example", "https://eu.provider.example:8443"}
    assert binding.base_url == "https://eu.provider.example:8443/v2"


def test_credentials_belong_to_the_origins_and_show_nowhere() -> None:
    binding = bind(a_webhook(), NETNUT)
    assert binding.authorization is not None and binding.authorization.origins == binding.origins
    assert binding.authorization.headers["Authorization"].reveal() == "Basic dTpw"
    assert "dTpw" not in repr(binding)


def test_without_credentials_there_is_no_authorization() -> None:
    assert bind(a_webhook(credentials={}), NETNUT).authorization is None


def test_an_origin_that_is_none_is_refused() -> None:
    with pytest.raises(UrlRefused):
        bind(a_webhook(origins=("https://provider.example/path",)), NETNUT)


def test_the_retention_is_the_webhooks_or_the_profiles() -> None:
    assert bind(a_webhook(retention_seconds=60.0), NETNUT).retention_seconds == 60
    assert bind(a_webhook(retention_seconds=None), NETNUT).retention_seconds == 7200


def test_which_waits_apply() -> None:
    binding = bind(a_webhook(), NETNUT)
    own = bind(a_webhook(poll_seconds=(7.0, 9.0)), NETNUT)
    assert binding.waits(notified=True, expects_notification=True)[:4] == (0, 1, 2, 5)
    assert own.waits(notified=True, expects_notification=True) == binding.waits(
        notified=True, expects_notification=True
    )
    assert binding.waits(notified=False, expects_notification=False) == (2, 5, 10, 15, 20, 30, 60)
    assert sum(binding.waits(notified=False, expects_notification=True)[:2]) <= 60, "two in the first minute"
    assert own.waits(notified=False, expects_notification=False) == (7, 9)


def test_the_first_poll_without_a_notification_comes_within_five_seconds_unless_the_webhook_says_otherwise() -> None:
    patient = replace(NETNUT, poll=replace(NETNUT.poll, waits=(30, 60)))
    for webhook, seconds in ((a_webhook(), FIRST_POLL_WITHIN_SECONDS), (a_webhook(poll_seconds=(7.0, 9.0)), 7)):
        assert first_poll(bind(webhook, patient), NOW, expects_notification=False) == after(NOW, seconds)
    assert FIRST_POLL_WITHIN_SECONDS + IDLE_SECONDS <= 5, "and whoever looks for what is due finds it in time"


def test_waits_by_steps_go_by_the_age_of_the_job() -> None:
    freddy = bind(a_webhook(credentials={"api_key": Secret("k" * 8)}), PROFILES["freddy"])

    def every(age: float) -> tuple[float, ...]:
        return freddy.waits(notified=False, expects_notification=False, age_seconds=age)

    assert [every(age) for age in (0, 29.9, 30, 299, 300, 1e9)] == [(2.5,), (2.5,), (7.5,), (7.5,), (45,), (45,)]


def test_a_job_expects_a_notification_where_its_provider_was_told_whom_to_call() -> None:
    netnut, freddy = bind(a_webhook(), NETNUT), bind(a_webhook(credentials={}), PROFILES["freddy"])
    waiting: dict[str, Any] = {"notified_at": None, "tracked": True}
    assert netnut.waits_of(a_job(**waiting), NOW) == NETNUT.poll.waits
    assert netnut.waits_of(a_job(**waiting, submitted=True), NOW) == NETNUT.poll.backstop
    assert freddy.waits_of(a_job(**waiting, submitted=True), NOW) == (2.5,), "it calls nobody"
    assert freddy.waits_of(a_job(**waiting), after(NOW, 60)) == (7.5,)
    assert netnut.waits_of(a_job(), NOW) == NETNUT.poll.ready


def test_the_first_deadline_is_the_longest_wait_or_the_retention_from_the_submit() -> None:
    assert bind(a_webhook(), NETNUT).first_deadline(NOW) == after(NOW, NETNUT.poll.max_wait_seconds)
    from_submit = replace(NETNUT, retention=Retention(seconds=60, anchor="submitted"))
    assert bind(a_webhook(retention_seconds=None), from_submit).first_deadline(NOW) == after(NOW, 60)


def test_a_webhooks_parameters_may_name_the_header_or_be_the_secret() -> None:
    inference = bind(a_webhook(credentials={}, parameters={"webhook_id": "AhALzdz8S"}), PROFILES["inference-net"])
    assert inference.secrets["secret"].reveal() == "AhALzdz8S" and inference.takes_inline
    named = {"webhook_auth_header_name": "x-team"}
    assert bind(a_webhook(credentials={}, parameters=named), PROFILES["assemblyai"]).scheme.header == "x-team"
    assert bind(a_webhook(credentials={}), PROFILES["fal"]).takes_inline, "its keys are published"
    assert not bind(a_webhook(credentials={}), PROFILES["replicate"]).takes_inline, "without a secret nothing is proven"
    assert bind(a_webhook(), NETNUT).takes_inline, "nothing else can be had of such a message"


def test_what_is_confidential_shows_nowhere() -> None:
    binding = bind(a_webhook(verification={"secret": Secret("shared-secret")}), NETNUT)
    revealed = {secret.reveal() for secret in binding.confidential()}
    assert revealed == {"u", "p", "Basic dTpw", "shared-secret"}
    assert "shared-secret" not in repr(binding)


def test_a_binding_is_made_once_until_the_webhook_changes() -> None:
    bindings, webhook = Bindings(PROFILES), a_webhook()
    first = bindings.of(webhook)
    assert bindings.of(webhook) is first
    changed = bindings.of(replace(webhook, retention_seconds=5.0))
    assert changed is not None and changed.retention_seconds == 5


def test_a_provider_that_is_not_loaded_has_no_binding() -> None:
    assert Bindings(PROFILES).of(a_webhook(provider="gone")) is None
    assert Bindings(PROFILES).siblings(a_webhook(provider="gone"), {}) == ()


def test_a_webhook_that_a_changed_profile_no_longer_fits_has_no_binding_and_is_in_nobodys_way() -> None:
    mine, unfit = a_webhook(), a_webhook(id="wh_" + "3" * 32, credentials={"api_key": Secret("k" * 8)})
    bindings = Bindings(PROFILES)
    assert bindings.of(unfit) is None
    assert bindings.siblings(mine, {item.id: item for item in (mine, unfit)}) == ()
    assert bindings.of(replace(unfit, credentials=mine.credentials)) is not None, "it is mended"


async def test_a_webhook_that_a_changed_profile_no_longer_fits_gets_503_and_the_others_go_on(
    sqlite_stage: Stage,
) -> None:
    unfit = await sqlite_stage.add_webhook(name="unfit", credentials={"api_key": Secret("k" * 8)})
    webhook = await sqlite_stage.add_webhook(name="fit")
    assert await sqlite_stage.receive(unfit, {"traceID": "t-1"}) == TurnedAway(503, retry_after=5)
    assert (await sqlite_stage.accept(webhook, {"traceID": "t-1"})).status == "accepted"


def test_siblings_share_provider_and_credentials() -> None:
    mine = a_webhook()
    same = a_webhook(id="wh_" + "1" * 32)
    other = a_webhook(id="wh_" + "2" * 32, credentials={"username": Secret("u"), "password": Secret("other")})
    known = {item.id: item for item in (mine, same, other)}
    assert Bindings(PROFILES).siblings(mine, known) == (same.id,)
    assert Bindings(PROFILES).siblings(a_webhook(credentials={}), known) == ()
