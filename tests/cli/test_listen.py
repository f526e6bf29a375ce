"""`relay listen` and `relay tail` as commands; that nothing is lost is tested in tests/journeys/test_listen.py."""

from __future__ import annotations

import json
from typing import Any

from relay.client.listen import local_secret
from relay.model import Secret
from tests.cli.conftest import KEY, Run
from tests.support.fake_api import Answer, FakeApi, Request, page, problem

SUB = "sub_" + "1" * 32
MESSAGE: dict[str, Any] = {
    "message_id": "res_" + "2" * 32, "lease": "dlv_x.1", "attempt": 1, "created_at": "2026-11-21T19:00:00.000Z",
    "headers": {"webhook-id": "res_2"}, "body": '{"type":"result.completed"}',
}  # fmt: skip


def _serving(api: FakeApi, hook_status: int = 200, listed: tuple[dict[str, Any], ...] = ()) -> None:
    """A relay with one message, which is then gone; the server that listens is at /hook."""
    messages = [Answer({"data": [MESSAGE]}), problem(404, "not_found", "There is no such subscription.")]

    def answers(request: Request) -> Answer:
        if request.path == "/hook":
            return Answer({}, hook_status)
        if request.path.endswith("/messages"):
            return messages.pop(0)
        if request.method == "POST" and request.path == "/v1/subscriptions":
            return Answer({"id": SUB, **request.json}, 201)
        if request.method == "GET" and request.path == "/v1/subscriptions":
            return page(*listed)
        return Answer({"data": []}) if request.method == "POST" else Answer(b"", 204)

    api.answers = answers


def _asked(api: FakeApi) -> list[tuple[str, str]]:
    return [(request.method, request.path.removeprefix("/v1/subscriptions")) for request in api.requests]


def test_a_temporary_subscription_is_made_used_and_removed(api: FakeApi, run: Run) -> None:
    _serving(api)
    ended = run("listen", f"{api.url}/hook", "--type", "result.completed", "--webhook", "wh_1")
    assert ended.exit_code == 3
    assert _asked(api) == [
        ("POST", ""), ("GET", f"/{SUB}/messages"), ("POST", "/hook"), ("POST", f"/{SUB}/ack"),
        ("GET", f"/{SUB}/messages"), ("DELETE", f"/{SUB}"),
    ]  # fmt: skip
    made = api.requests[0].json
    assert made["kind"] == "pull" and made["event_types"] == ["result.completed"] and made["webhook_ids"] == ["wh_1"]
    assert made["secret"] == local_secret(Secret(KEY)) == run("listen", "--print-secret").stdout.strip()
    assert api.requests[2].body == MESSAGE["body"].encode()
    assert "200  POST /hook" in ended.stdout and "result.completed" in ended.stdout
    assert ended.stderr.startswith(f"ready  {made['name']} at {api.url}")


def test_a_kept_subscription_is_found_and_left(api: FakeApi, run: Run) -> None:
    _serving(api, 500, ({"id": SUB, "name": "laptop", "kind": "pull"},))
    ended = run("listen", f"{api.url}/hook", "--keep", "laptop")
    assert _asked(api)[0] == ("GET", "")
    assert ("POST", f"/{SUB}/release") in _asked(api) and "comes again in 1 s" in ended.stdout
    assert not {"DELETE"} & {method for method, _ in _asked(api)}
    _serving(api, 500, ({"id": SUB, "name": "laptop", "kind": "push"},))
    assert run("listen", f"{api.url}/hook", "--keep", "laptop").exit_code == 5
    assert run("listen").exit_code == run("listen", "3000").exit_code == 2


def test_tail_prints_a_line_for_each_event(api: FakeApi, run: Run) -> None:
    events = [
        {"id": "res_1.completed", "type": "result.completed", "timestamp": "t", "data": {"id": "res_1", "job_id": "j"}},
        {"id": "ntf_1.rejected", "type": "notification.rejected", "timestamp": "t",
         "data": {"id": "ntf_1", "reason": "no\x1b[31m\nsignature"}},
    ]  # fmt: skip
    text = "".join(f"id: 1-{event['id']}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)

    def answering(*_: object) -> None:
        answers = [
            Answer(text.encode(), 200, {"content-type": "text/event-stream"}),
            problem(401, "unauthorized", "no"),
        ]
        api.answers = lambda _: answers.pop(0)

    answering()
    ended = run("tail", "--type", "result", "--type", "notification", "--webhook", "wh_1")
    assert ended.exit_code == 4
    assert ended.stdout.splitlines() == [
        "t  result.completed          res_1  job_id=j",
        "t  notification.rejected     ntf_1  reason=no\x1b[31m signature",
    ]
    assert api.requests[0].query == {"types": "result,notification", "webhook_id": "wh_1"}
    assert "ready  watching" in ended.stderr and "connection lost" in ended.stderr
    answering()
    lines = run("tail", "--json").stdout.splitlines()
    assert [json.loads(line) for line in lines] == events
    assert "\x1b" not in "".join(lines)


def test_what_a_subscription_misses_is_listed(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: page({"result_id": "res_1", "type": "result.failed", "delivery_status": "none"})
    listed = run("sub", "missing", SUB, "--since", "6h")
    assert listed.stdout == "res_1\tresult.failed\tnone\t\t\n"
    assert api.last.path == f"/v1/subscriptions/{SUB}/missing"
    assert set(api.last.query) == {"since", "limit"}
