"""Filters at work: in the fan-out, on payloads of strangers, in replays, and where somebody asks why not."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import Any

import pytest

from relay.jsontext import read_strict
from relay.pipeline import routing
from relay.pipeline.filter_language import compile_filter
from relay.pipeline.filters import MISSING
from relay.pipeline.replay import ReplayRequest
from relay.pipeline.routing import NO_PAYLOAD, Content, Router, explain
from relay.store import results
from relay.store.configuration import Configuration
from tests.support.doors import Page, answer_with
from tests.support.stage import URL, Stage
from tests.support.store import WEBHOOK_ID, a_job, a_result, a_subscription, a_webhook

MIB = 1024 * 1024
RESULT = a_result(a_job(metadata={"tenant": "acme"}), metadata={"tenant": "acme"})
SCORE: dict[str, Any] = {"data.payload.score": {"$gte": 5}}


def configured(*filters: Any) -> Configuration:
    items = [a_subscription(name=str(number), filter=filter) for number, filter in enumerate(filters)]
    return Configuration(1, {WEBHOOK_ID: a_webhook()}, {item.id: item for item in items}, {})


def names(router: Router, configuration: Configuration, payload: bytes | None = None) -> list[str]:
    return [item.name for item in router.wanted(RESULT, configuration, Content(payload))]


def test_everybody_gets_what_their_filter_lets_through() -> None:
    filters: tuple[Any, ...] = (
        None,
        {},
        {"data.metadata.tenant": "acme"},
        {"data.metadata.tenant": "x"},
        {"data.provider": "netnut"},
        SCORE,
    )
    assert names(Router(), configured(*filters), b'{"score": 5}') == ["0", "1", "2", "4", "5"]
    assert names(Router(), configured(*filters), b'{"score": 4}') == ["0", "1", "2", "4"]


def test_a_configuration_is_compiled_once_and_anew_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []

    def noted(given: Any) -> Any:
        compiled.append(given)
        return compile_filter(given)

    monkeypatch.setattr(routing, "compile_filter", noted)
    router, first, second = Router(), configured(SCORE, None), configured({"type": "x"})
    for _ in range(3):
        names(router, first, b"{}")
    assert compiled == [SCORE]
    assert names(router, second) == []
    assert compiled == [SCORE, {"type": "x"}]


def test_without_a_filter_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("nobody asked")

    monkeypatch.setattr(routing, "envelope_head", never)
    monkeypatch.setattr(routing, "read_strict", never)
    assert names(Router(), configured(None, None), b"{}") == ["0", "1"]
    other = a_subscription(webhook_ids=("wh_other",), filter=SCORE)  # not of this webhook: its filter is not asked
    configuration = configured(None)
    assert names(Router(), Configuration(1, {}, {**configuration.subscriptions, other.id: other}, {}), b"{}") == ["0"]


def test_a_payload_is_parsed_at_most_once_and_only_for_a_filter_that_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []

    def noted(data: bytes) -> Any:
        parsed.append(data)
        return read_strict(data)

    monkeypatch.setattr(routing, "read_strict", noted)
    assert names(Router(), configured({"type": "result.completed"}), b"{}") == ["0"]
    assert parsed == []
    assert names(Router(), configured(SCORE, {"data.payload.x": 1}, SCORE), b'{"score": 7}') == ["0", "2"]
    assert len(parsed) == 1


def test_a_stored_filter_that_cannot_be_read_lets_nothing_through() -> None:
    assert names(Router(), configured({"type": {"$soundsLike": "x"}}, None)) == ["1"]


HOSTILE = [
    b"", b"not json", b"\xef\xbb\xbf{}", b"\xff\xfe", b'{"score": NaN}', b'{"score": 1e400}', b'{"score": "\\ud800"}',
    b'{"score": ' + b"9" * 5000 + b"}", b"[" * 100_000 + b"]" * 100_000, b'{"score":' * 100_000, b'{"score": 5',
    b'{"a":' * 200 + b"5" + b"}" * 200, b"\x00", b'{"score": 5}' * 2, b'"' + b"x" * (2 * MIB) + b'"',
    b'{"score": 5, "x": "' + b"y" * 32 * MIB + b'"}',
]  # fmt: skip


@pytest.mark.parametrize("payload", HOSTILE, ids=[repr(payload[:20]) for payload in HOSTILE])
def test_what_a_strict_parser_refuses_or_no_envelope_holds_has_no_payload(payload: bytes) -> None:
    began = time.perf_counter()
    content = Content(payload)
    assert content.value is MISSING
    assert names(Router(), configured(SCORE, {"data.payload": {"$exist": False}}), payload) == ["1"]
    assert time.perf_counter() - began < 0.1


def test_of_a_name_that_is_given_twice_the_last_one_counts() -> None:
    assert names(Router(), configured(SCORE), b'{"score": 9, "score": 1}') == []
    assert names(Router(), configured(SCORE), b'{"score": 1, "score": 9}') == ["0"]


def test_null_is_a_payload_and_no_payload_is_none() -> None:
    null = {"data.payload": None}
    assert names(Router(), configured(null), b"null") == ["0"]
    assert names(Router(), configured(null), None) == []
    assert (NO_PAYLOAD.value, NO_PAYLOAD.is_json, Content(b"{}").is_json) == (MISSING, None, None)


def test_why_not_is_told_in_the_order_of_the_questions() -> None:
    configuration, score = configured(SCORE), compile_filter(SCORE)
    [subscription] = configuration.subscriptions.values()
    with_payload = a_result(a_job(), payload_id="pay", size_bytes=3)

    def asked(result: Any, payload: bytes | None, **changes: Any) -> Any:
        return explain(a_subscription(**changes), score, result, payload, configuration)

    assert asked(RESULT, None, webhook_ids=("x",)).reason == "webhook_ids"
    assert asked(RESULT, None, event_types=("result.failed",)).reason == "event_types"
    assert (asked(RESULT, None).reason, asked(RESULT, None).payload) == ("filter", "absent")
    assert asked(with_payload, b"[1]").payload is None
    assert asked(with_payload, b"[1,").payload == "not_json"
    large = a_result(a_job(), payload_id="pay", size_bytes=MIB + 1)
    assert asked(large, None).payload == "too_large"
    good = explain(subscription, score, with_payload, b'{"score": 5}', configuration)
    assert (good.matches, good.reason, list(good.misses)) == (True, None, [])


# --- on a real store ---


async def stored(stage: Stage, *bodies: bytes, **webhook: Any) -> None:
    """Results with these payloads, stored and fanned out."""
    made = await stage.add_webhook(**webhook)
    for number, body in enumerate(bodies):
        stage.provider.answering = answer_with(Page(body=body))
        await stage.accept(made, {"response_url": f"{URL}/{made.id}/{number}"})
        await stage.work_until_idle()


def body(score: Any) -> bytes:
    return json.dumps({"response": {"text": "x"}, "score": score}).encode()


async def test_only_what_matches_is_delivered_and_what_nobody_wants_is_stored_and_counted(stage: Stage) -> None:
    high = await stage.add_subscription(filter=SCORE)
    await stage.add_subscription(filter={"data.payload.score": 9, "data.provider": "netnut"})
    await stage.add_subscription(filter={"data.provider": "fal"})
    await stored(stage, body(1), body(6), body(9))
    assert [json.loads(sent.body)["data"]["payload"]["score"] for sent in stage.subscribers.sent] == [6, 9, 9]
    found = {delivery.result_id: delivery for delivery in await stage.deliveries()}
    assert len(found) == 2
    page = await stage.database.read(results.page)
    assert sorted(result.matched or 0 for result in page.items) == [0, 1, 2]
    [unrouted] = (await stage.database.read(partial(results.page, unrouted=True))).items
    assert (unrouted.matched, json.loads(await stage.payload(unrouted))["score"]) == (0, 1)
    assert high.id in {delivery.subscription_id for delivery in found.values()}


async def test_another_nodes_change_of_a_filter_counts_at_once(stage: Stage) -> None:
    subscription = await stage.add_subscription(filter={"data.provider": "fal"})
    other = await stage.another()
    await stage.change_subscription(subscription, filter={"data.provider": "netnut"})
    await stored(other, body(1))
    assert len(other.subscribers.sent) == 1, "it was planned by the old filter, refused as stale, and planned anew"


async def test_a_replay_sends_what_the_filter_lets_through(stage: Stage) -> None:
    large = b'{"score": 9, "response": {"text": "' + b"x" * (2 * MIB) + b'"}}'
    await stored(stage, body(1), body(6), body(9), large)
    assert stage.subscribers.sent == []
    await stage.add_subscription(name="high", url="https://a.example/high", filter=SCORE)
    await stage.add_subscription(name="fal", url="https://a.example/fal", filter={"data.provider": "fal"})
    await stage.add_subscription(name="all", url="https://a.example/all", filter={"data.provider": {"$exist": True}})
    request = ReplayRequest(
        filter={"types": ["result.completed"]}, subscription_ids=None, mode="undelivered", new_message_id=False,
        rate_per_second=None,
    )  # fmt: skip
    assert (await stage.replayer.dry_run(request)).count == 4
    replay = await stage.replayer.start(request)
    assert await stage.replayer.run_once() == 1
    await stage.work_until_idle()
    by_place = [sent.url.rpartition("/")[2] for sent in stage.subscribers.sent]
    assert sorted(by_place) == ["all"] * 4 + ["high"] * 2
    assert {delivery.replay_id for delivery in await stage.deliveries()} == {replay.id}
