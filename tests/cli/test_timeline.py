from __future__ import annotations

from typing import Any

from relay.cli.timeline import Story, lines
from relay.clock import SystemClock, after, parse_rfc3339
from tests.cli.conftest import Run
from tests.support.fake_api import Answer, FakeApi, Request, page

NOW = parse_rfc3339("2026-11-21T19:10:00.000Z")


def at(clock: str) -> str:
    return f"2026-11-21T{clock}Z"


def attempt(number: int, clock: str, status: int | None, error: str | None = None) -> dict[str, Any]:
    return {"number": number, "started_at": at(clock), "http_status": status, "duration_ms": 28, "error_code": error}


def delivery(id: str, subscription: str, status: str, *attempts: dict[str, Any], **more: Any) -> dict[str, Any]:
    given = {"id": id, "subscription_id": subscription, "status": status, "attempts": attempts}
    return {**given, "created_at": at("19:00:12.470"), "next_attempt_at": None, "settled_at": None, **more}


JOB: dict[str, Any] = {
    "id": "job_1", "provider": "fal", "provider_job_id": "req_8812", "status": "completed",
    "created_at": at("19:00:00.000"), "deadline": at("21:00:05.000"), "next_attempt_at": None, "last_error": None,
}  # fmt: skip
NOTIFICATION = {"id": "ntf_1", "status": "accepted", "received_at": at("19:00:07.102"), "reason": None}
RESULT = {"id": "res_1", "type": "result.completed", "fetched_at": at("19:00:12.458"), "size_bytes": 41_234}
DELIVERIES = [
    delivery("dlv_1", "sub_1", "pending", attempt(1, "19:00:12.473", 503), next_attempt_at=at("19:10:17.480"),
             last_error="http_503"),
    delivery("dlv_2", "sub_2", "delivered", attempt(1, "19:00:12.471", 200), settled_at=at("19:00:12.500")),
    delivery("dlv_3", "sub_3", "exhausted", settled_at=at("19:05:00.000")),
    delivery("dlv_4", "sub_2", "delivered", settled_at=at("19:06:00.000"), replay_id="rpl_1"),
]  # fmt: skip
FETCHES = [attempt(2, "19:00:12.140", 200), attempt(1, "19:00:07.131", 401, "credentials_rejected")]
NAMES = {"sub_1": "billing", "sub_2": "search"}


def test_a_job_is_told_from_its_beginning_to_what_comes_next() -> None:
    told = lines(Story(JOB, [NOTIFICATION], FETCHES, [RESULT], DELIVERIES, NAMES), NOW)
    assert told == [
        "job_1  fal  req_8812  completed",
        "  19:00:00.000  known           job_1",
        "  19:00:07.102  notified        accepted  ntf_1",
        "  19:00:07.131  fetch #1        401  28 ms  credentials_rejected",
        "  19:00:12.140  fetch #2        200  28 ms",
        "  19:00:12.458  stored          result.completed  res_1  41.2 kB",
        "  19:00:12.471  → search #1     200  28 ms",
        "  19:00:12.473  → billing #1    503  28 ms",
        "  19:05:00.000  → sub_3         exhausted  relay delivery retry dlv_3",
        "  19:06:00.000  → search        taken  replay",
        "  19:10:17.480  → billing       next try  http_503",
    ]


def test_a_job_that_is_not_over_says_until_when_and_what_is_next() -> None:
    job = JOB | {"status": "fetching", "next_attempt_at": at("19:10:05.000"), "last_error": "timed\nout"}
    told = lines(Story(job, [], [], [], [], {}), NOW)
    assert told[0] == "job_1  fal  req_8812  fetching  expires in 01:50:05"
    assert told[-1] == "  19:10:05.000  next fetch      timed out"
    late = lines(Story(job | {"deadline": at("19:08:59.000")}, [], [], [], [], {}), NOW)
    assert late[0].endswith("may have expired 00:01:01 ago")


def test_what_should_have_happened_by_now_is_due_and_not_next() -> None:
    job = JOB | {"status": "fetching", "next_attempt_at": at("19:10:05.000")}
    told = lines(Story(job, [], [], [], DELIVERIES, NAMES), after(NOW, 60))
    assert "  19:10:05.000  fetch due" in told
    assert "  19:10:17.480  → billing       due, waits  http_503" in told
    assert "next" not in " ".join(told)


def test_the_command_asks_for_all_of_it(api: FakeApi, run: Run) -> None:
    def serve(request: Request) -> Answer:
        lists = {
            "/v1/notifications": [NOTIFICATION],
            "/v1/jobs/job_1/attempts": FETCHES,
            "/v1/results": [RESULT],
            "/v1/deliveries": DELIVERIES,
            "/v1/subscriptions": [{"id": id, "name": name} for id, name in NAMES.items()],
        }
        single = {f"/v1/deliveries/{each['id']}": each for each in DELIVERIES} | {"/v1/jobs/job_1": JOB}
        return page(*lists[request.path]) if request.path in lists else Answer(single[request.path])

    api.answers = serve
    told = run("job", "show", "job_1", "--timeline").stdout.splitlines()
    assert told == lines(Story(JOB, [NOTIFICATION], FETCHES, [RESULT], DELIVERIES, NAMES), SystemClock().now())
    assert run("job", "show", "job_1").stdout.splitlines()[0] == "id\tjob_1"
    assert run("job", "show", "job_1", "--timeline", "--json").exit_code == 2
