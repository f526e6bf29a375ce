"""The client against answers that a test chooses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import BaseModel

import relay.client
from relay.client import (
    Conflict,
    Invalid,
    JobExpired,
    JobFailed,
    NotAllowed,
    NotFound,
    ProviderRefused,
    Relay,
    Unavailable,
    Unexpected,
    Unreachable,
    WaitTimeout,
    things,
)
from relay.errors import SettingError
from relay.settings import Settings
from relay.web.api import deliveries, jobs, replays, results, subscription_views, webhook_views
from tests.support.clock import FakeClock
from tests.support.fake_api import Answer, FakeApi, Request, fake_api, page, problem

JOB_ID, RESULT_ID = "job_" + "1" * 32, "res_" + "2" * 32
JOB: dict[str, Any] = {
    "id": JOB_ID, "webhook_id": "wh_1", "provider": "netnut", "provider_job_id": "p", "response_url": None,
    "status": "waiting", "provider_status": None, "deadline": "2026-11-21T21:00:00.000Z",
    "created_at": "2026-11-21T19:00:00.000Z", "notified_at": None, "completed_at": None, "result_id": None,
    "attempts": 0, "next_attempt_at": None, "last_error": None, "metadata": {},
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[FakeApi]:
    with fake_api() as fake:
        yield fake


@pytest.fixture
def client(server: FakeApi, clock: FakeClock) -> Iterator[Relay]:
    with Relay(server.url, "rk_secret", pause=clock.advance, clock=clock) as opened:
        yield opened


def answers(server: FakeApi, *given: Answer) -> None:
    """One after the other; the last one again and again."""
    left = list(given)
    server.answers = lambda _: left.pop(0) if len(left) > 1 else left[0]


def test_what_passes_is_waited_for_and_takes_effect_once(server: FakeApi, client: Relay, clock: FakeClock) -> None:
    busy = problem(503, "unavailable", "Not now.")
    asked = Answer(busy.body, 503, {**busy.headers, "retry-after": "7"})
    answers(server, asked, Answer(b"<html>", 502, {"content-type": "text/html"}), Answer(JOB, 201))
    job = client.jobs.track("wh_1", provider_job_id="p", submitted_at=datetime(2026, 11, 21, 20, tzinfo=UTC))
    assert job.id == JOB_ID
    assert clock.monotonic() > 7
    keys = {request.headers["idempotency-key"] for request in server.requests}
    assert (len(server.requests), len(keys)) == (3, 1)
    assert server.last.json == {
        "webhook_id": "wh_1", "provider_job_id": "p", "submitted_at": "2026-11-21T20:00:00+00:00"
    }  # fmt: skip
    client.jobs.track("wh_1", provider_job_id="p")
    assert server.last.headers["idempotency-key"] not in keys


def test_what_does_not_pass_is_said_after_a_while(server: FakeApi, client: Relay) -> None:
    answers(server, problem(503, "unavailable", "Not now."))
    with pytest.raises(Unavailable):
        client.webhooks.get("wh_1")
    assert len(server.requests) == 6
    with Relay("http://127.0.0.1:9", "rk_secret", retries=0) as nobody, pytest.raises(Unreachable):
        nobody.webhooks.get("wh_1")


@pytest.mark.parametrize(
    ("status", "kind"), [(401, NotAllowed), (403, NotAllowed), (404, NotFound), (409, Conflict), (422, Invalid)]
)
def test_a_refusal_is_typed_and_carries_where_it_is_wrong(
    server: FakeApi, client: Relay, status: int, kind: type[relay.client.ApiError]
) -> None:
    wrong = [{"pointer": "#/url", "detail": "is private", "code": "address_refused"}]
    answers(server, problem(status, "validation_error", "1 field is wrong.", errors=wrong))
    with pytest.raises(kind) as caught:
        client.subscriptions.create("billing", "http://10.0.0.1")
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (status, "validation_error", "req_1")
    assert [(each.place, each.detail) for each in caught.value.fields] == [("url", "is private")]
    assert len(server.requests) == 1


def test_an_id_cannot_become_another_path(server: FakeApi, client: Relay) -> None:
    answers(server, problem(404, "not_found", "no"))
    for given in ("../keys", "wh_1/rotate", "..", "wh_1?x=1"):
        with pytest.raises(NotFound):
            client.webhooks.get(given)
        assert server.last.path.count("/") == 3
        assert server.last.path.startswith("/v1/webhooks/")
    with pytest.raises(ValueError, match="an id is needed"):
        client.webhooks.delete("")


def test_nothing_secret_is_in_a_repr(server: FakeApi, client: Relay) -> None:
    shown = {"id": "x_1", "callback_url": "SECRET", "secret": "SECRET"}
    webhook = things.read(things.Webhook, dict.fromkeys(webhook_views.WebhookView.model_fields) | shown)
    fields = subscription_views.NewSubscriptionView.model_fields
    subscription = things.read(things.Subscription, dict.fromkeys(fields) | shown)
    assert webhook.callback_url == subscription.secret == "SECRET"
    assert "SECRET" not in repr(webhook) + repr(subscription)
    assert "rk_secret" not in repr(client) + repr(vars(client)) + repr(vars(client.webhooks))
    answers(server, Answer(JOB))
    assert "rk_secret" not in repr(client.jobs.get(JOB_ID))


def test_it_finds_its_relay_by_the_environment(monkeypatch: pytest.MonkeyPatch, server: FakeApi) -> None:
    monkeypatch.delenv("RELAY_URL", raising=False)
    monkeypatch.delenv("RELAY_API_KEY", raising=False)
    with pytest.raises(SettingError, match="RELAY_URL"):
        Relay.from_env()
    monkeypatch.setenv("RELAY_URL", server.url + "/")
    with pytest.raises(SettingError, match="RELAY_API_KEY"):
        Relay.from_env()
    monkeypatch.setenv("RELAY_API_KEY", "rk_env")
    answers(server, Answer(JOB))
    with Relay.from_env() as found:
        found.jobs.get(JOB_ID)
    assert (server.last.path, server.last.headers["authorization"]) == (f"/v1/jobs/{JOB_ID}", "Bearer rk_env")


def test_waiting_survives_what_passes_and_tells_every_change(server: FakeApi, client: Relay, clock: FakeClock) -> None:
    fetching = JOB | {"status": "fetching"}
    done = JOB | {"status": "completed", "result_id": RESULT_ID}
    away = [problem(503, "unavailable", "Not now.")] * 20  # more than one request's retries
    answers(server, Answer(JOB), Answer(JOB), *away, Answer(fetching), Answer(done))
    seen: list[str] = []
    job = client.jobs.wait(JOB_ID, on_update=lambda each: seen.append(each.status))
    assert (job.status, job.result_id) == ("completed", RESULT_ID)
    assert seen == ["waiting", "fetching", "completed"]
    assert server.requests[0].query == {"wait": "30"}
    assert job.deadline == datetime(2026, 11, 21, 21, tzinfo=UTC)


@pytest.mark.parametrize(("status", "kind"), [("failed", JobFailed), ("expired", JobExpired)])
def test_a_job_that_ends_otherwise_is_raised_with_the_job(
    server: FakeApi, client: Relay, status: str, kind: type[relay.client.JobEnded]
) -> None:
    answers(server, Answer(JOB | {"status": status, "last_error": "quota"}))
    with pytest.raises(kind, match="quota") as caught:
        client.jobs.wait(JOB_ID)
    assert caught.value.job.id == JOB_ID


def test_waiting_ends_in_time_with_what_was_seen_last(server: FakeApi, client: Relay, clock: FakeClock) -> None:
    answers(server, Answer(JOB))
    with pytest.raises(TimeoutError) as caught:
        client.jobs.wait(JOB_ID, timeout=90)
    assert isinstance(caught.value, WaitTimeout)
    assert caught.value.job.status == "waiting"
    assert 90 <= clock.monotonic() < 91
    answers(server, problem(503, "unavailable", "Not now."))
    with pytest.raises(WaitTimeout):
        client.jobs.wait(JOB_ID, timeout=90)


@pytest.mark.parametrize("wanted", [JOB_ID, "resp_1"])
def test_a_short_waiting_is_not_outlasted_by_the_tries_of_one_request(
    server: FakeApi, client: Relay, clock: FakeClock, wanted: str
) -> None:
    answers(server, problem(503, "unavailable", "Not now."))
    with pytest.raises(WaitTimeout):
        client.jobs.wait(wanted, timeout=2)
    assert 2 <= clock.monotonic() < 2.1
    with pytest.raises(WaitTimeout):
        client.replays.wait("rpl_1", timeout=2)
    assert 4 <= clock.monotonic() < 4.1


def test_a_job_may_be_named_as_its_provider_does_and_be_heard_of_later(server: FakeApi, client: Relay) -> None:
    done = JOB | {"status": "completed"}
    answers(server, page(), page(), page(JOB), Answer(done))
    assert client.jobs.wait("resp_1").id == JOB_ID
    assert [request.query.get("provider_job_id") for request in server.requests[:3]] == ["resp_1"] * 3
    assert server.last.path == f"/v1/jobs/{JOB_ID}"


def test_a_refusal_for_good_ends_the_waiting(server: FakeApi, client: Relay) -> None:
    answers(server, problem(401, "unauthorized", "no"))
    for wait in (lambda: client.jobs.wait(JOB_ID), lambda: next(iter(client.pull("sub_1"))),
                 lambda: next(iter(client.stream()))):  # fmt: skip
        with pytest.raises(NotAllowed):
            wait()
    assert len(server.requests) == 3


def test_a_providers_refusal_is_not_the_relays(server: FakeApi, client: Relay) -> None:
    headers = {"content-type": "application/json", "relay-job-id": JOB_ID}
    overloaded = {"error": "model overloaded", "code": "busy", "request_id": "theirs"}  # looks like one of Relay's
    answers(server, Answer(overloaded, 503, headers))
    with pytest.raises(ProviderRefused) as caught:
        client.submit("wh_1", "POST", "/v1/slow", json={}, metadata={"tenant": "acme"}, idempotency_key="mine")
    assert (caught.value.status, json.loads(caught.value.body)) == (503, overloaded)
    assert caught.value.job_id == JOB_ID
    assert len(server.requests) == 1
    assert (server.last.path, server.last.headers["idempotency-key"]) == ("/submit/wh_1/v1/slow", "mine")
    assert server.last.headers["relay-metadata"] == '{"tenant":"acme"}'
    answers(server, problem(503, "unavailable", "Not now."), Answer({"id": "p"}, 202, headers))
    submitted = client.submit("wh_1", "POST", "v1/slow", json={})
    assert (submitted.job_id, submitted.status, submitted.json()) == (JOB_ID, 202, {"id": "p"})
    assert server.requests[-1].headers["idempotency-key"] == server.requests[-2].headers["idempotency-key"]


def test_what_the_provider_may_have_done_is_not_asked_for_again(server: FakeApi, client: Relay) -> None:
    answers(server, problem(504, "call_outcome_unknown", "The provider gave no answer."))
    with pytest.raises(Unavailable):
        client.submit("wh_1", "POST", "/v1/files", content=b"document")
    assert len(server.requests) == 1


def test_a_submit_is_waited_for_longer_than_the_relay_waits_for_the_provider(
    server: FakeApi, client: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience: list[float] = []
    request = httpx2.Client.request

    def noted(self: httpx2.Client, *given: Any, **more: Any) -> httpx2.Response:
        patience.append(more["timeout"].read)
        return request(self, *given, **more)

    monkeypatch.setattr(httpx2.Client, "request", noted)
    answers(server, Answer({"id": "p"}, 202, {"content-type": "application/json"}))
    client.submit("wh_1", "POST", "/v1/slow", json={})
    assert patience[0] > Settings.model_fields["fetch_timeout_seconds"].default


def test_lists_are_asked_for_in_the_apis_words(server: FakeApi, client: Relay) -> None:
    answers(server, page(JOB, cursor="2"), page(JOB))
    zone = timezone(timedelta(hours=2))
    since = datetime(2026, 11, 21, 21, tzinfo=zone)
    assert len(list(client.jobs.list(status=["failed", "expired"], webhook="wh_1", created_after=since))) == 2
    assert server.requests[0].query == {
        "status": "failed,expired", "webhook_id": "wh_1", "created_after": "2026-11-21T21:00:00+02:00", "limit": "200"
    }  # fmt: skip
    with pytest.raises(ValueError, match="needs a zone"):
        list(client.jobs.list(created_after=datetime(2026, 11, 21)))


def test_a_download_that_breaks_leaves_the_file_as_it_was(server: FakeApi, client: Relay, tmp_path: Path) -> None:
    item = dict.fromkeys(results.ResultView.model_fields) | {"id": RESULT_ID}
    target = tmp_path / "result.json"
    target.write_bytes(b"old")

    def serve(request: Request) -> Answer:
        return problem(410, "erased", "It was erased.") if request.path.endswith("/payload") else Answer(item)

    server.answers = serve
    with pytest.raises(NotFound):
        client.results.get(RESULT_ID).save(target)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("result.json", b"old")]


def test_something_else_at_the_address_is_said_to_be_so(server: FakeApi, client: Relay) -> None:
    answers(server, Answer({"hello": "world"}))
    with pytest.raises(Unexpected, match="without"):
        client.jobs.get(JOB_ID)


def test_the_stream_goes_on_where_it_is_told(server: FakeApi, client: Relay) -> None:
    event = {
        "id": "res_9",
        "type": "result.completed",
        "timestamp": "2026-11-21T19:00:00.000Z",
        "data": {"id": "res_9"},
    }
    text = f"id: 12-res_9\nevent: result.completed\ndata: {json.dumps(event)}\n\n"
    answers(server, Answer(text.encode(), 200, {"content-type": "text/event-stream"}))
    found = next(iter(client.stream(types=["result"], after="10-res_8")))
    assert (found.type, found.cursor, found.data) == ("result.completed", "12-res_9", {"id": "res_9"})
    assert (server.last.headers["last-event-id"], server.last.query) == ("10-res_8", {"types": "result"})


def test_its_values_have_the_fields_of_the_api() -> None:
    views: dict[type[Any], type[BaseModel]] = {
        things.Webhook: webhook_views.WebhookView,
        things.JobFields: jobs.JobView,
        things.Attempt: jobs.AttemptView,
        things.ResultFields: results.ResultView,
        things.Subscription: subscription_views.NewSubscriptionView,
        things.Delivery: deliveries.DeliveryDetail,
        things.ReplayFields: replays.ReplayView,
        things.DryRun: replays.DryRunView,
    }
    for kind, view in views.items():
        assert {field.name for field in dataclasses.fields(kind)} - {"raw"} == set(view.model_fields), view
