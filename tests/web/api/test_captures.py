from __future__ import annotations

from functools import partial

from relay.clock import Instant, rfc3339
from relay.store import captures
from relay.store.captures import Capture
from tests.support.clock import FakeClock
from tests.support.management import Management, client_of


def a_capture(webhook_id: str, now: Instant) -> Capture:
    return Capture(
        webhook_id=webhook_id,
        kind="pending",
        shape="0" * 64,
        http_status=202,
        content_type="application/json",
        excerpt='{"status":"processing"}',
        job_id=None,
        captured_at=now,
    )


async def test_what_was_captured_is_shown(on_both: Management, clock: FakeClock) -> None:
    webhook = await on_both.webhook()
    path = f"/v1/webhooks/{webhook['id']}/captures"
    assert (await on_both.client.get(path)).json() == {"data": [], "next_cursor": None}
    await on_both.database.write(partial(captures.keep, items=[a_capture(webhook["id"], clock.now())]))
    [found] = (await on_both.client.get(path)).json()["data"]
    assert found == {
        "kind": "pending",
        "shape": "0" * 64,
        "http_status": 202,
        "content_type": "application/json",
        "excerpt": '{"status":"processing"}',
        "job_id": None,
        "captured_at": rfc3339(clock.now()),
    }


async def test_a_reader_does_not_see_them_and_nobody_those_of_a_webhook_that_is_gone(management: Management) -> None:
    webhook = await management.webhook()
    path = f"/v1/webhooks/{webhook['id']}/captures"
    key = (await management.make("/v1/keys", {"name": "reader", "scope": "read"}))["key"]
    async with client_of(management.app, key) as reader:
        assert (await reader.get(path)).status_code == 403
    await management.client.delete(f"/v1/webhooks/{webhook['id']}")
    assert (await management.client.get(path)).status_code == 404
    assert (await management.client.get(path.replace(webhook["id"], "wh_x"))).status_code == 404
