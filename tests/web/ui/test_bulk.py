"""Many at once: selected or all that match, counted before anything is done."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest

from relay.clock import Instant, after
from relay.model import DeliveryStatus, Job, JobStatus, Result
from tests.support.clock import FakeClock
from tests.support.dashboard import SAME_ORIGIN, Dashboard
from tests.support.html_forms import Form, form_to, forms_of
from tests.support.noun_rows import delivery, job, put_delivery, put_job, put_result, result

TIME = "2026-11-21T19:00:{:02}.000Z"


class Many:
    """Jobs a second apart: completed, failed, completed, waiting; each result was sent to billing and to audit."""

    def __init__(self, dashboard: Dashboard, clock: FakeClock) -> None:
        self.dashboard, self.began = dashboard, clock.now()
        self.jobs: list[Job] = []
        self.results: list[Result] = []
        self.sent: dict[str, list[str]] = {}

    async def store(self) -> None:
        management = self.dashboard.management
        self.webhook = (await management.webhook())["id"]
        self.billing = (await management.subscription("billing"))["id"]
        self.audit = (await management.subscription("audit"))["id"]
        await management.database.write(self._store)

    def _store(self, conn: Any) -> None:
        ends = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.COMPLETED, JobStatus.WAITING)
        for number, status in enumerate(ends):
            at = after(self.began, number)
            made = job(self.webhook, at, status=status, due_at=None, provider_job_id=f"p{number}")
            if status is not JobStatus.WAITING:
                ended = result(made.id, self.webhook, Instant(at + 30_000), b"{}", status=status)
                made = job(self.webhook, at, id=made.id, status=status, due_at=None, provider_job_id=f"p{number}",
                           result_id=ended.id)  # fmt: skip
                put_result(conn, ended, b"{}")
                self.results.append(ended)
                for name, state in (("billing", DeliveryStatus.EXHAUSTED), ("audit", DeliveryStatus.DELIVERED)):
                    to = getattr(self, name)
                    one = delivery(ended.id, to, Instant(at + 40_000), status=state, attempts=10, due_at=None,
                                   last_error="http_503" if name == "billing" else None)  # fmt: skip
                    put_delivery(conn, one)
                    self.sent.setdefault(name, []).append(one.id)
            put_job(conn, made, {"id": f"p{number}"})
            self.jobs.append(made)

    async def send(self, form: Form, **fields: Any) -> httpx2.Response:
        return await self.dashboard.client.post(form.action, data=form.fields | fields, headers=SAME_ORIGIN)

    async def replayed(self, answer: httpx2.Response) -> dict[str, Any]:
        """The replay that the button of a confirming page starts, once all of it is planned."""
        started = await self.send(form_to(answer.text, "/ui/replays"))
        assert started.status_code == 303, started.text
        management = self.dashboard.management
        while await management.replayer.run_once():
            pass
        told = await management.client.get(started.headers["location"].replace("/ui/", "/v1/"))
        found: dict[str, Any] = told.json()
        return found

    async def result_ids(self, replay_id: str) -> list[str]:
        told = await self.dashboard.management.client.get(f"/v1/deliveries?replay_id={replay_id}")
        return sorted({one["result_id"] for one in told.json()["data"]})


@pytest.fixture
async def many(on_both_databases: Dashboard, clock: FakeClock) -> Many:
    made = Many(on_both_databases, clock)
    await made.store()
    return made


async def test_selected_jobs_are_replayed_after_the_count(many: Many) -> None:
    page = await many.dashboard.get("/ui/jobs")
    form = form_to(page, "/ui/jobs/selected")
    assert page.count('name="job_ids"') == 4
    answer = await many.send(form, do="replay", job_ids=[many.jobs[0].id, many.jobs[2].id, many.jobs[3].id])
    assert "Replay 2 results?" in answer.text and "whether it has them already or not" in answer.text
    refine = [one for one in forms_of(answer.text) if one.action == "/ui/replays/new"][0]
    assert refine.method == "post"  # a thousand ids are too long for an address
    again = await many.send(refine, mode="undelivered")
    assert "Replay 2 results?" in again.text and "whether it has them" not in again.text
    replay = await many.replayed(answer)
    assert await many.result_ids(replay["id"]) == sorted([many.results[0].id, many.results[2].id])
    for wanted, words in (
        ([], "Nothing is selected"),
        ([many.jobs[3].id], "has a result yet"),
        (["x"], "has a result yet"),
    ):
        refused = await many.send(form, do="replay", job_ids=wanted)
        assert refused.status_code == 422 and words in refused.text


async def test_failed_deliveries_of_selected_jobs_are_retried_after_the_count(many: Many) -> None:
    form = form_to(await many.dashboard.get("/ui/jobs"), "/ui/jobs/selected")
    answer = await many.send(form, do="retry", job_ids=[many.jobs[0].id, many.jobs[1].id])
    assert "Retry 2 deliveries?" in answer.text and "2 exhausted" in answer.text and "billing (2)" in answer.text
    client = many.dashboard.management.client
    assert {
        one["status"] for one in (await client.get(f"/v1/deliveries?subscription_id={many.billing}")).json()["data"]
    } == {"exhausted"}
    done = await many.send(form_to(answer.text, "/ui/deliveries/retry"))
    assert done.headers["location"] == "/ui/deliveries?status=pending&done=retried"
    pending = (await client.get("/v1/deliveries?status=pending")).json()["data"]
    assert {one["id"] for one in pending} == set(many.sent["billing"][:2])
    assert "Queued: they are due now" in await many.dashboard.get(done.headers["location"])
    answer = await many.send(form, do="retry", job_ids=[many.jobs[3].id])
    assert answer.status_code == 422 and "that failed" in answer.text


async def test_selected_deliveries_are_retried_and_refusals_are_counted(many: Many) -> None:
    page = await many.dashboard.get(f"/ui/deliveries?status=exhausted&subscription_id={many.billing}")
    assert page.count('name="delivery_ids"') == 3 and many.sent["audit"][0] not in page
    form = form_to(page, "/ui/deliveries/selected")
    answer = await many.send(form, do="retry", delivery_ids=many.sent["billing"])
    assert "Retry 3 deliveries?" in answer.text
    sure = form_to(answer.text, "/ui/deliveries/retry")
    await many.dashboard.management.client.delete(f"/v1/subscriptions/{many.audit}")
    sure.fields["delivery_ids"] += [many.sent["audit"][0], "dlv_" + "0" * 32, "x"]
    done = await many.send(sure)
    assert done.status_code == 409 and "3 queued, 3 not" in done.text
    assert "1: The subscription of this delivery was deleted." in done.text
    assert (await many.send(form, delivery_ids=[])).status_code == 422


LINKS = [
    ("/ui/jobs", [0, 1, 2]),
    ("/ui/jobs?status=failed", [1]),
    ("/ui/jobs?status=failed,waiting&webhook_id=", [1]),
    ("/ui/jobs?status=completed&created_after=" + TIME.format(1), [2]),  # its result came half a minute later
    ("/ui/jobs?created_before=" + TIME.format(2), [0, 1]),
    ("/ui/jobs?provider_job_id=p1", [1]),
    ("/ui/deliveries?status=exhausted", [0, 1, 2]),
    ("/ui/deliveries?status=exhausted&created_after=" + TIME.format(42), [2]),
    ("/ui/deliveries?created_before=" + TIME.format(41), [0]),
]


async def test_all_that_match_the_filter_are_meant_and_nothing_else(many: Many) -> None:
    for list, expected in LINKS:
        page = await many.dashboard.get(list)
        link = re.search(r'href="(/ui/replays/new\?[^"]+)">replay all that match…', page)
        assert link, list
        answer = await many.dashboard.client.get(link[1].replace("&amp;", "&"))
        assert f"Replay {len(expected)} result" in answer.text, list
        named = re.findall(r'href="/ui/find\?q=(res_[0-9a-f]+)"', answer.text)
        assert named == [many.results[place].id for place in expected], list
    replay = await many.replayed(answer)
    assert await many.result_ids(replay["id"]) == [many.results[0].id]  # the last one's


async def test_all_is_not_offered_where_no_replay_means_just_that(many: Many) -> None:
    for list in ("/ui/deliveries?job_id=" + many.jobs[0].id, "/ui/jobs?provider_job_id=p1&status=waiting"):
        assert "replay all that match" not in await many.dashboard.get(list), list
    page = await many.dashboard.get(f"/ui/subscriptions/{many.billing}?status=exhausted")
    assert f"subscription_ids={many.billing}&amp;delivery_status=exhausted&amp;mode=undelivered" in page


async def test_a_superseded_result_is_not_what_its_job_ended_with(many: Many, clock: FakeClock) -> None:
    old = result(many.jobs[2].id, many.webhook, clock.now(), b"{}", status=JobStatus.FAILED)
    await many.dashboard.management.database.write(lambda conn: put_result(conn, old, b"{}"))
    for status, count in (("failed", 1), ("completed", 2)):
        body = {"filter": {"job_status": [status]}, "mode": "all", "dry_run": True}
        assert (await many.dashboard.management.make("/v1/replays", body))["count"] == count


async def test_groups_of_failures_are_replayed_each_to_its_own_subscription(many: Many) -> None:
    """What failed at one is not sent to the other, though both want everything."""
    management = many.dashboard.management
    late = (await management.subscription("late"))["id"]
    spoilt = delivery(
        many.results[0].id, late, many.began, status=DeliveryStatus.EXHAUSTED, attempts=3, due_at=None,
        last_error="timeout <b>",
    )  # fmt: skip
    await management.database.write(lambda conn: put_delivery(conn, spoilt))
    page = await many.dashboard.get("/ui/problems")
    keys = re.findall(r'name="groups" value="([^"]+)"', page)
    form = form_to(page, "/ui/problems/selected")
    answer = await many.send(form, do="replay", groups=keys)
    assert len(keys) == 2 and "Replay 4 results of 2 groups?" in answer.text
    assert (await management.client.get("/v1/replays")).json()["data"] == []
    done = await many.send(form_to(answer.text, "/ui/problems/replay"))
    assert done.headers["location"] == "/ui/replays?done=replays_started"
    made = (await management.client.get("/v1/replays")).json()["data"]
    meant = {one["subscription_ids"][0]: sorted(one["filter"]["result_ids"]) for one in made}
    assert meant == {many.billing: sorted(one.id for one in many.results), late: [many.results[0].id]}
    for action, fields in (("selected", {"groups": ["x"]}), ("replay", {"group": []}), ("replay", {"group": ["x,y"]})):
        refused = await many.send(Form(f"/ui/problems/{action}", "post", form.fields), **fields)
        assert refused.status_code == 422, action


async def test_a_reader_selects_nothing(outside: Dashboard, clock: FakeClock) -> None:
    key = await outside.management.make("/v1/keys", {"name": "someone", "scope": "read"})
    await outside.sign_in()
    await Many(outside, clock).store()
    await outside.sign_in(key["key"])
    for path in ("/ui/jobs", "/ui/deliveries", "/ui/problems"):
        page = await outside.get(path)
        assert 'type="checkbox" form="bulk"' not in page and 'id="bulk"' not in page, path
