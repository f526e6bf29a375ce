"""What is kept of requests that nobody could verify: enough to be taken after all, and no more than so much."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from relay.model import Notification, Secret
from relay.pipeline.outcomes import Refused
from relay.pipeline.receive import Answer
from relay.store import rejected, schema
from tests.support.profiles import SIGNED, write_profiles
from tests.support.stage import DEFAULT_PLAN
from tests.support.stage_fixtures import Opening
from tests.support.store import rows_of

KEPT = 3
WRONG = {"secret": Secret("whsec_" + "QUFB" * 8)}


async def test_of_each_webhook_only_the_latest_rejected_requests_are_kept(
    open_stage: Opening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejected, "KEPT_REQUESTS", KEPT)
    stage = await open_stage(replace(DEFAULT_PLAN, providers_dir=write_profiles(tmp_path)))
    webhook = await stage.add_webhook(provider="signing", verification=WRONG)
    other = await stage.add_webhook(provider="signing", verification=WRONG)
    told = []
    for number in range(KEPT + 2):
        body = b'{"id": "j-%d"}' % number if number else b""
        headers = SIGNED.headers(f"msg_{number}", body, stage.clock.now())
        receivers = (webhook, other) if number < 2 else (webhook,)
        told += [await stage.receive(each, body, headers=headers) for each in receivers]
        stage.clock.advance(1)
    assert all(isinstance(answer, Answer) and answer.http_status == 401 for answer in told)
    rows = await rows_of(stage.database, schema.notifications)
    whole = {row["id"] for row in rows if row["headers_sealed"] is not None and row["body"] is not None}
    mine = sorted(row["id"] for row in rows if row["webhook_id"] == webhook.id)
    assert len(mine) == KEPT + 2, "that they came stays known"
    assert whole == {*mine[-KEPT:], *(row["id"] for row in rows if row["webhook_id"] == other.id)}

    await stage.change_webhook(webhook, verification={"secret": Secret(SIGNED.secret)})
    for id in mine[:-KEPT]:  # the one without a body, too: nothing is left that it could be verified by
        refused = await stage.receiver.reprocess(id)
        assert isinstance(refused, Refused) and refused.code == "body_gone"
    taken = await stage.receiver.reprocess(mine[-1])
    assert isinstance(taken, Notification) and taken.status == "accepted"
