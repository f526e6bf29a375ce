from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace as Row

import pytest

from tests.crash.audit import Contents, audit
from tests.crash.load import Ack
from tests.crash.stage import Received, name_of, payload_of

NAME = name_of(1)
DIGEST = hashlib.sha256(payload_of(NAME)).hexdigest()
ACK = Ack(NAME, 0.0, "ntf_1", "job_1", "accepted")
RECEIVED = [Received(NAME, path, "res_1", f"dlv{path}", True) for path in ("/one", "/two")]


def _contents() -> Contents:
    return Contents(
        notifications=[Row(id="ntf_1", body=NAME.encode(), status="accepted", job_id="job_1")],
        jobs={"job_1": Row(id="job_1", provider_job_id=NAME, status="completed", result_id="res_1")},
        results={"res_1": Row(id="res_1", job_id="job_1", payload_id="res_1", sha256=DIGEST)},
        digests={"res_1": DIGEST},
        deliveries=[
            Row(id=f"dlv_{each}", result_id="res_1", subscription_id=each, status="delivered", message_id="res_1")
            for each in ("sub_1", "sub_2")
        ],
    )


def _lose_notification(contents: Contents) -> None:
    contents.notifications.clear()


def _lose_result(contents: Contents) -> None:
    contents.jobs["job_1"].result_id = None


def _change_payload(contents: Contents) -> None:
    contents.digests["res_1"] = hashlib.sha256(b"other").hexdigest()


def _store_twice(contents: Contents) -> None:
    contents.notifications.append(Row(id="ntf_2", body=NAME.encode(), status="accepted", job_id="job_1"))


def _forget_delivery(contents: Contents) -> None:
    contents.deliveries.pop()


def _leave_pending(contents: Contents) -> None:
    contents.deliveries[0].status = "pending"


def test_a_whole_round_trip_has_nothing_wrong() -> None:
    assert audit([ACK], _contents(), RECEIVED).lines() == []


def test_an_unacknowledged_notification_owes_nothing() -> None:
    assert audit([], Contents(), []).lines() == []


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (_lose_notification, "acknowledged and lost"),
        (_lose_result, "job without its result"),
        (_change_payload, "result with another payload"),
        (_store_twice, "notification stored twice"),
        (_forget_delivery, "result without its deliveries"),
        (_leave_pending, "delivery that is not delivered"),
    ],
)
def test_every_kind_of_damage_is_found(damage: Callable[[Contents], None], kind: str) -> None:
    contents = _contents()
    damage(contents)

    assert kind in audit([ACK], contents, RECEIVED).problems


@pytest.mark.parametrize(
    "received",
    [
        pytest.param(RECEIVED[:1], id="never sent to one"),
        pytest.param([*RECEIVED, replace(RECEIVED[0], message_id="res_2")], id="sent again under another id"),
    ],
)
def test_a_delivery_that_was_not_made_or_changed_its_id_is_found(received: list[Received]) -> None:
    assert len(audit([ACK], _contents(), received).lines()) == 1


def test_a_delivery_with_other_bytes_is_found() -> None:
    received = [replace(RECEIVED[0], intact=False), RECEIVED[1]]

    assert "delivery with another payload" in audit([ACK], _contents(), received).problems
