from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import standardwebhooks

from relay.model import DeliveryStatus, JobStatus
from relay.pipeline.pull import Take
from tests.support.clock import FakeClock
from tests.support.management import Management
from tests.support.noun_rows import delivery, job, put_delivery, put_job, put_result, result

TAKE = Take(limit=10, wait_seconds=0, lease_seconds=30)


@dataclass
class Pulling:
    """A pull subscription and what happens to it."""

    management: Management
    clock: FakeClock
    id: str
    secret: str
    webhook_id: str

    @property
    def path(self) -> str:
        return f"/v1/subscriptions/{self.id}"

    async def add(self, payload: bytes = b'{"text": "hello"}', **more: Any) -> str:
        """A result with its delivery; the message's id."""
        now = self.clock.now()
        one = job(self.webhook_id, now, status=JobStatus.COMPLETED, due_at=None)
        stored = result(one.id, self.webhook_id, now, payload)
        made = delivery(stored.id, self.id, now, **{"due_at": None, "pull_at": now, **more})

        def put(conn: Any) -> None:
            put_job(conn, one)
            put_result(conn, stored, payload)
            put_delivery(conn, made)

        await self.management.database.write(put)
        self.clock.advance(0.001)
        return made.message_id

    async def take(self, query: str = "") -> list[dict[str, Any]]:
        answer = await self.management.client.get(f"{self.path}/messages{query}")
        assert answer.status_code == 200, answer.text
        data: list[dict[str, Any]] = answer.json()["data"]
        return data

    async def post(self, verb: str, **body: Any) -> list[dict[str, str]]:
        answer = await self.management.client.post(f"{self.path}/{verb}", json=body)
        assert answer.status_code == 200, answer.text
        data: list[dict[str, str]] = answer.json()["data"]
        return data

    async def ack(self, *ids: str) -> list[str]:
        return [item["status"] for item in await self.post("ack", message_ids=list(ids))]

    async def log(self, delivery_id: str) -> tuple[str, list[tuple[int, str, str | None]]]:
        """The delivery's status and its attempts."""
        found = (await self.management.client.get(f"/v1/deliveries/{delivery_id}")).json()
        return found["status"], [(made["number"], made["trigger"], made["error_code"]) for made in found["attempts"]]


async def _asleep(pull: Pulling) -> None:
    """Until the long poll has found nothing and waits."""
    while not pull.clock.sleepers:
        await pull.management.database.read(lambda _: None)


async def pulling(management: Management, clock: FakeClock, **more: Any) -> Pulling:
    webhook = await management.webhook()
    made = await management.make("/v1/subscriptions", {"name": "laptop", "kind": "pull", **more})
    assert made["url"] is None
    return Pulling(management, clock, made["id"], made["secret"], webhook["id"])


async def test_messages_are_leased_acknowledged_and_come_again_if_not(on_both: Management, clock: FakeClock) -> None:
    pull = await pulling(on_both, clock)
    first, second = await pull.add(), await pull.add()
    taken = await pull.take("?lease_seconds=60")
    assert [(item["message_id"], item["attempt"], item["trigger"]) for item in taken] == [
        (first, 1, "new"),
        (second, 1, "new"),
    ]
    assert await pull.take() == []
    assert await pull.ack(first, "res_" + "0" * 32, first) == ["acknowledged", "unknown"]
    clock.advance(59)
    assert await pull.take() == []
    clock.advance(1)
    [again] = await pull.take()
    assert (again["message_id"], again["attempt"], again["trigger"]) == (second, 2, "retry")
    assert await pull.ack(second) == ["acknowledged"]
    assert await pull.ack(second) == ["already_acknowledged"]
    clock.advance(3600)
    assert await pull.take() == []
    assert await pull.log(taken[0]["delivery_id"]) == ("delivered", [(1, "new", None)])
    status, log = await pull.log(again["delivery_id"])
    assert (status, log) == ("delivered", [(1, "new", "lease_expired"), (2, "retry", None)])


async def test_a_message_is_what_a_push_would_have_sent(on_both: Management, clock: FakeClock) -> None:
    pull = await pulling(on_both, clock, headers={"x-team": "a"})
    await pull.add('{"n": 1.0000, "ü": "\u2028"}'.encode())
    await pull.add(b"\xff\x00 not JSON")
    spliced, other = await pull.take()
    for item in (spliced, other):
        assert item["headers"]["webhook-id"] == item["message_id"]
        assert item["headers"]["relay-delivery-id"] == item["delivery_id"]
        assert item["headers"]["x-team"] == "a"
        assert item["headers"]["relay-attempt"] == "1"
        _verify(pull.secret, item)
    assert '"payload":{"n": 1.0000, "ü": "\u2028"}' in spliced["body"]
    assert base64.b64encode(b"\xff\x00 not JSON").decode() in other["body"]


def _verify(secret: str, item: dict[str, Any]) -> None:
    """The signature by the official library: made anew, since its clock is not the test's."""
    headers = item["headers"]
    moment = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    assert (
        standardwebhooks.Webhook(secret).sign(headers["webhook-id"], moment, item["body"])
        == (headers["webhook-signature"])
    )


async def test_an_acknowledgement_after_the_lease_was_lost_is_taken(on_both: Management, clock: FakeClock) -> None:
    pull = await pulling(on_both, clock)
    message = await pull.add()
    await pull.take("?lease_seconds=1")
    clock.advance(2)
    [second] = await pull.take()
    assert await pull.ack(message) == ["acknowledged"]  # of the first holder, while the second has it
    assert await pull.ack(message) == ["already_acknowledged"]
    assert await pull.post("release", leases=[second["lease"]]) == [{"lease": second["lease"], "status": "lost"}]


async def test_a_lease_that_was_lost_is_called_lost_beside_the_one_that_stands(
    on_both: Management, clock: FakeClock
) -> None:
    pull = await pulling(on_both, clock)
    await pull.add()
    [first] = await pull.take("?lease_seconds=1")
    clock.advance(1)
    [second] = await pull.take()
    assert await pull.post("release", leases=[first["lease"], second["lease"]]) == [
        {"lease": first["lease"], "status": "lost"},
        {"lease": second["lease"], "status": "released"},
    ]


async def test_only_who_holds_a_lease_gives_it_back(on_both: Management, clock: FakeClock) -> None:
    pull = await pulling(on_both, clock)
    message = await pull.add()
    [first] = await pull.take("?lease_seconds=1")
    clock.advance(1)
    [second] = await pull.take("?lease_seconds=100")
    assert await pull.post("release", leases=[first["lease"]]) == [{"lease": first["lease"], "status": "lost"}]
    assert await pull.take() == []
    released = await pull.post("release", leases=[second["lease"]], delay_seconds=5)
    assert released == [{"lease": second["lease"], "status": "released"}]
    assert await pull.take() == []
    clock.advance(5)
    [third] = await pull.take()
    assert await pull.log(third["delivery_id"]) == (
        "pending",
        [(1, "new", "lease_expired"), (2, "retry", "released"), (3, "retry", "leased")],
    )
    clock.advance(60)
    other = await pulling_other(on_both, pull)
    assert await other.post("release", leases=[third["lease"]]) == [{"lease": third["lease"], "status": "lost"}]
    assert await other.ack(message) == ["unknown"]


async def pulling_other(management: Management, pull: Pulling) -> Pulling:
    made = await management.make("/v1/subscriptions", {"name": "other", "kind": "pull"})
    return Pulling(management, pull.clock, made["id"], made["secret"], pull.webhook_id)


async def test_what_nobody_has_taken_is_not_settled_by_a_late_acknowledgement(
    on_both: Management, clock: FakeClock
) -> None:
    pull = await pulling(on_both, clock)
    message = await pull.add()
    assert await pull.ack(message) == ["not_leased"]
    assert len(await pull.take()) == 1


async def test_a_long_poll_is_woken_by_a_message_and_by_time(on_both: Management, clock: FakeClock) -> None:
    pull = await pulling(on_both, clock)
    waiting = asyncio.ensure_future(pull.take("?wait=30"))
    await _asleep(pull)
    await pull.add()
    on_both.bell.ring([pull.id])
    [message] = await waiting
    assert await pull.ack(message["message_id"]) == ["acknowledged"]
    waiting = asyncio.ensure_future(pull.take("?wait=3"))
    while not waiting.done():
        await asyncio.sleep(0.001)
        clock.advance(0.5)
    assert await waiting == []


async def test_a_long_poll_ends_when_the_relay_stops_and_what_it_took_is_given_back(
    management: Management, clock: FakeClock
) -> None:
    pull = await pulling(management, clock)
    waiting = asyncio.ensure_future(pull.take("?wait=30"))
    await _asleep(pull)
    management.services.stopping.set()
    assert await waiting == []
    await pull.add()
    assert await management.services.puller.take(pull.id, TAKE, management.services.stopping) == []
    management.services.stopping.clear()
    assert [item["attempt"] for item in await pull.take()] == [2]


async def test_a_paused_subscription_gives_nothing_and_keeps_everything(
    management: Management, clock: FakeClock
) -> None:
    pull = await pulling(management, clock)
    await pull.add()
    await management.make(f"{pull.path}/pause", {})
    answer = await management.client.get(f"{pull.path}/messages")
    assert answer.json() == {"data": [], "subscription_status": "paused"}
    await management.make(f"{pull.path}/resume", {})
    assert len(await pull.take()) == 1


async def test_deleting_retrying_and_cancelling_are_as_for_push(on_both: Management, clock: FakeClock) -> None:
    pull = await pulling(on_both, clock)
    one, two = await pull.add(), await pull.add()
    first, second = await pull.take()
    await pull.ack(one)
    await on_both.make(f"/v1/deliveries/{first['delivery_id']}/retry", {})
    assert [item["message_id"] for item in await pull.take()] == [one]
    await on_both.make(f"/v1/deliveries/{second['delivery_id']}/cancel", {})
    assert await pull.ack(two) == ["settled"]
    await pull.add()
    assert (await on_both.client.delete(pull.path)).status_code == 204
    page = (await on_both.client.get("/v1/deliveries?status=pending")).json()
    assert page["data"] == []
    assert (await on_both.client.get(f"{pull.path}/messages")).status_code == 404


async def test_an_answer_holds_only_so_many_bytes(management: Management, clock: FakeClock) -> None:
    pull = await pulling(management, clock)
    for _ in range(10):
        await pull.add(b'"' + b"x" * 1_000_000 + b'"')
    assert [len(await pull.take("?limit=100")) for _ in range(3)] == [8, 2, 0]


async def test_what_does_not_fit_is_refused(management: Management, clock: FakeClock) -> None:
    pull = await pulling(management, clock)
    push = await management.subscription()
    client = management.client

    async def refused(method: str, path: str, body: Any = None) -> tuple[int, str]:
        answer = await client.request(method, path, json=body)
        return answer.status_code, answer.json()["code"] if method != "HEAD" else ""

    assert await refused("GET", f"/v1/subscriptions/{push['id']}/messages") == (409, "not_a_pull_subscription")
    assert await refused("POST", f"{pull.path}/test") == (409, "not_a_push_subscription")
    assert await refused("HEAD", f"{pull.path}/messages") == (405, "")
    assert await refused("GET", f"{pull.path}/messages?limit=101") == (400, "invalid_parameter")
    assert await refused("POST", f"{pull.path}/ack", {"message_ids": []}) == (422, "validation_error")
    assert await refused("POST", f"{pull.path}/release", {"leases": ["x"]}) == (422, "validation_error")
    url = "https://billing.example/hooks"
    for body in ({"name": "a"}, {"name": "a", "kind": "pull", "url": url}):
        answer = await client.post("/v1/subscriptions", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/url")
    assert (await client.patch(pull.path, json={"url": url})).status_code == 422


async def test_a_replay_of_a_message_with_an_id_of_its_own_is_acknowledged_by_it(
    on_both: Management, clock: FakeClock
) -> None:
    pull = await pulling(on_both, clock)
    message = await pull.add(status=DeliveryStatus.DELIVERED, pull_at=None, settled_at=clock.now())
    replay = {"filter": {"result_ids": [message]}, "mode": "all", "new_message_id": True}
    await on_both.make("/v1/replays", replay)
    assert await on_both.services.replayer.run_once() == 1  # type: ignore[attr-defined]
    [taken] = await pull.take()
    assert (taken["trigger"], taken["message_id"]) == ("replay", taken["delivery_id"])
    assert await pull.ack(message) == ["already_acknowledged"]
    assert await pull.ack(taken["message_id"]) == ["acknowledged"]
