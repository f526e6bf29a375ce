"""What happens is counted where it happens, and is a number on the dashboard some seconds later."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.journey import ADMIN_KEY, World, eventually, travelling

FORM = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
NUMBER = re.compile(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>")


async def _numbers(world: World, cookie: str) -> dict[str, str]:
    async with world.session.get(f"{world.url}/ui/", headers={"cookie": cookie}) as answer:
        assert answer.status == 200
        page = await answer.text()
    return dict(NUMBER.findall(page)) | {"flow": " ".join(re.findall(r"<li>([^<]+)</li>", page))}


async def test_notifications_fetches_results_deliveries_and_acknowledgements_are_counted(tmp_path: Path) -> None:
    async with travelling(f"sqlite:///{tmp_path / 'relay.db'}", tmp_path, hurry=10.0) as world:
        webhook = await world.webhook()
        await world.subscribe("billing")
        pull = await world.post("/v1/subscriptions", {"name": "laptop", "kind": "pull"})
        for prompt in ("tea", "coffee"):
            await world.ask(webhook, prompt)
        await world.sink.wait_for(2)
        taken = await world.until(f"/v1/subscriptions/{pull['id']}/messages?limit=10", lambda page: page["data"])
        await world.post(
            f"/v1/subscriptions/{pull['id']}/ack", {"message_ids": [item["message_id"] for item in taken["data"]]}
        )
        async with world.session.post(
            f"{world.url}/ui/sign-in", data=f"key={ADMIN_KEY}", headers=FORM, allow_redirects=False
        ) as answer:
            cookie = answer.headers["set-cookie"].partition(";")[0]
        delivered = str(2 + len(taken["data"]))
        shown = await eventually(lambda: _numbers(world, cookie), lambda found: found["delivered"] == delivered)
        assert (shown["notified, 24 h"], shown["stored"], shown["exhausted"]) == ("2", "2", "0")
        assert shown["fetch errors"] == "0 %"
        assert "netnut-prod to billing: 2 deliveries" in shown["flow"]
        assert "netnut-prod to laptop: 2 deliveries" in shown["flow"]
