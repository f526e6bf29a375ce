from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import KEY, Run
from tests.support.fake_api import Answer, FakeApi, Request, page, problem

WEBHOOK = {"id": "wh_1", "name": "netnut-prod", "provider": "netnut", "status": "active", "created_at": "T"}
JOB = {"id": "job_1", "status": "completed", "provider_job_id": "p1", "result_id": "res_1"}


def test_every_request_shows_the_key_and_says_who_asks(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: page()
    assert run("webhook", "list").exit_code == 0
    assert api.last.headers["authorization"] == f"Bearer {KEY}"
    assert api.last.headers["user-agent"].startswith("relay/")


def test_a_list_in_a_pipe_is_one_tab_separated_line_for_each(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: page(WEBHOOK, {**WEBHOOK, "id": "wh_2", "name": "two\tparts\nof a name", "status": None})
    result = run("webhook", "list")
    assert result.stdout.splitlines() == [
        "wh_1\tnetnut-prod\tnetnut\tactive\tT",
        "wh_2\ttwo parts of a name\tnetnut\t\tT",
    ]
    assert (api.last.method, api.last.path, api.last.query) == ("GET", "/v1/webhooks", {"limit": "50"})


def test_a_list_as_json_is_the_page_of_the_api(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: page(WEBHOOK, cursor="more")
    result = run("webhook", "list", "--json")
    assert json.loads(result.stdout) == {"data": [WEBHOOK], "next_cursor": "more"}
    assert result.stderr == ""


def test_a_list_says_on_stderr_how_to_get_the_next_page(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: page(WEBHOOK, cursor="more")
    assert "--cursor more" in run("webhook", "list", "--limit", "1").stderr
    run("webhook", "list", "--cursor", "more")
    assert api.last.query == {"limit": "50", "cursor": "more"}


def test_an_empty_list_is_empty_and_says_so_on_stderr(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: page()
    result = run("job", "list")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "none\n")


def test_all_pages_are_fetched_when_asked_for(api: FakeApi, run: Run) -> None:
    api.answers = lambda request: page(JOB) if request.query.get("cursor") else page(JOB, cursor="second")
    assert len(run("job", "list", "--all").stdout.splitlines()) == 2


def _webhook_by_name(request: Request) -> Answer:
    return page(WEBHOOK) if request.path == "/v1/webhooks" else page(JOB)


@pytest.mark.parametrize(
    ("args", "path", "query"),
    [
        ("job list --status failed --webhook netnut-prod", "/v1/jobs", {"status": "failed", "webhook_id": "wh_1"}),
        ("job list --webhook wh_9 --provider-job-id 7", "/v1/jobs", {"webhook_id": "wh_9", "provider_job_id": "7"}),
        ("result list --type result.failed", "/v1/results", {"type": "result.failed"}),
        ("delivery list --replay rpl_1", "/v1/deliveries", {"replay_id": "rpl_1"}),
        (
            "notification list --created-after 2026-01-01T00:00:00Z",
            "/v1/notifications",
            {"created_after": "2026-01-01T00:00:00Z"},
        ),
        ("replay list", "/v1/replays", {}),
        ("key list", "/v1/keys", {}),
        ("sub list", "/v1/subscriptions", {}),
    ],
)
def test_list_filters_are_those_of_the_api(api: FakeApi, run: Run, args: str, path: str, query: dict[str, str]) -> None:
    api.answers = _webhook_by_name
    assert run(*args.split()).exit_code == 0
    assert (api.last.path, api.last.query) == (path, {**query, "limit": "50"})


def test_a_name_may_begin_like_an_id(api: FakeApi, run: Run) -> None:
    named = {**WEBHOOK, "name": "wh_prod"}
    api.answers = lambda request: page(named) if request.path == "/v1/webhooks" else Answer(named)
    assert run("webhook", "show", "wh_prod").exit_code == 0
    assert api.last.path == "/v1/webhooks/wh_1"


def test_show_prints_each_field_on_its_line(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: Answer(
        {"id": "job_1", "partial": False, "error": None, "metadata": {"a": 1}, "attempts": [{"n": 1}]}
    )
    assert run("job", "show", "job_1").stdout.splitlines() == [
        "id\tjob_1",
        "partial\tfalse",
        "error\t",
        'metadata\t{"a":1}',
        "attempts 1\tn=1",
    ]
    assert api.last.path == "/v1/jobs/job_1"


def test_a_webhook_can_be_named_instead_of_its_id(api: FakeApi, run: Run) -> None:
    api.answers = lambda request: page(WEBHOOK) if request.path == "/v1/webhooks" else Answer(WEBHOOK)
    assert run("webhook", "show", "netnut-prod").exit_code == 0
    assert api.last.path == "/v1/webhooks/wh_1"


def test_a_name_that_nothing_has_is_not_found(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: page()
    result = run("webhook", "show", "nobody")
    assert result.exit_code == 3
    assert "'nobody'" in result.stderr


def test_what_a_person_typed_stays_one_segment_of_the_path(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: Answer({})
    run("job", "show", "../keys?x=1")
    assert (api.last.path, api.last.query) == ("/v1/jobs/..%2Fkeys%3Fx%3D1", {})


def test_creating_a_webhook_sends_what_was_given_and_nothing_else(api: FakeApi, run: Run, tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("from-file\n")
    api.answers = lambda _: Answer({"id": "wh_1", "callback_url": "https://relay/in/tok"}, 201)
    result = run(
        "webhook", "create", "netnut-prod", "--provider", "netnut", "--credential", "username=u", "--credential",
        f"password=@{tmp_path}/pw", "--verification", "secret", "--origin", "https://a.example", "--retention", "2h",
        "--poll", "5,10s", "--metadata", '{"team": "a"}',
        stdin="whsec_typed\n",
    )  # fmt: skip
    assert result.exit_code == 0
    assert (api.last.method, api.last.path) == ("POST", "/v1/webhooks")
    assert api.last.json == {
        "name": "netnut-prod",
        "provider": "netnut",
        "credentials": {"username": "u", "password": "from-file"},
        "verification": {"secret": "whsec_typed"},
        "origins": ["https://a.example"],
        "retention_seconds": 7200.0,
        "poll_seconds": [5.0, 10.0],
        "metadata": {"team": "a"},
    }
    assert "callback_url\thttps://relay/in/tok" in result.stdout
    assert "from-file" not in result.output


def test_creating_a_subscription_prints_the_secret_once(api: FakeApi, run: Run) -> None:
    api.answers = lambda request: (
        page(WEBHOOK) if request.method == "GET" else Answer({"id": "sub_1", "secret": "whsec_x"})
    )
    result = run(
        "sub", "create", "billing", "--to", "https://billing/hooks", "--webhook", "netnut-prod", "--filter", '{"a": 1}',
        "--header", "x-team=a", "--format", "thin", "--secret", "-", stdin="whsec_mine\n",
    )  # fmt: skip
    assert result.exit_code == 0
    assert api.last.json == {
        "name": "billing",
        "url": "https://billing/hooks",
        "webhook_ids": ["wh_1"],
        "filter": {"a": 1},
        "format": "thin",
        "headers": {"x-team": "a"},
        "secret": "whsec_mine",
    }
    assert "secret\twhsec_x" in result.stdout


@pytest.mark.parametrize(
    ("args", "method", "path", "body"),
    [
        ("webhook disable wh_1", "POST", "/v1/webhooks/wh_1/disable", b""),
        ("webhook enable wh_1", "POST", "/v1/webhooks/wh_1/enable", b""),
        ("result delete res_1 --yes", "DELETE", "/v1/results/res_1", b""),
        ("webhook rotate wh_1 --overlap-seconds 60", "POST", "/v1/webhooks/wh_1/rotate", b'{"overlap_seconds":60}'),
        ("webhook delete wh_1 --yes", "DELETE", "/v1/webhooks/wh_1", b""),
        ("sub pause sub_1", "POST", "/v1/subscriptions/sub_1/pause", b""),
        ("sub resume sub_1", "POST", "/v1/subscriptions/sub_1/resume", b""),
        ("sub delete sub_1 -y", "DELETE", "/v1/subscriptions/sub_1", b""),
        ("job fetch job_1", "POST", "/v1/jobs/job_1/fetch", b""),
        ("job cancel job_1", "DELETE", "/v1/jobs/job_1", b""),
        ("delivery retry dlv_1", "POST", "/v1/deliveries/dlv_1/retry", b""),
        ("replay cancel rpl_1", "DELETE", "/v1/replays/rpl_1", b""),
        ("notification reprocess ntf_1", "POST", "/v1/notifications/ntf_1/reprocess", b""),
        ("key revoke key_1 --yes", "DELETE", "/v1/keys/key_1", b""),
    ],
)
def test_actions_are_those_of_the_api(api: FakeApi, run: Run, args: str, method: str, path: str, body: bytes) -> None:
    api.answers = lambda request: Answer(b"" if request.method == "DELETE" else {"id": "x", "callback_url": "y"})
    result = run(*args.split())
    assert result.exit_code == 0, result.output
    assert (api.last.method, api.last.path, api.last.body) == (method, path, body)


def test_providers_come_all_at_once(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: page({"name": "netnut", "title": "NetNut", "credentials": ["username", "password"]})
    assert run("provider", "list").stdout == 'netnut\tNetNut\t\t["username","password"]\t\n'
    assert api.last.query == {}


@pytest.mark.parametrize(("delivered", "code"), [(True, 0), (False, 1)])
def test_a_test_message_that_is_not_taken_is_a_failure(api: FakeApi, run: Run, delivered: bool, code: int) -> None:
    api.answers = lambda _: Answer({"message_id": "evt_1", "delivered": delivered})
    assert run("sub", "test", "sub_1").exit_code == code
    assert api.last.path == "/v1/subscriptions/sub_1/test"


def test_the_attempts_of_a_job_are_listed(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: Answer({"data": [{"number": 1, "trigger": "new", "http_status": 404}]})
    assert run("job", "attempts", "job_1").stdout == "1\tnew\t\t\t404\t\n"


def test_rotating_prints_the_new_callback_url(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: Answer({"id": "wh_1", "callback_url": "https://relay/in/new"})
    assert run("webhook", "rotate", "wh_1").stdout == "wh_1\thttps://relay/in/new\n"


@pytest.mark.parametrize("args", ["webhook delete wh_1", "sub delete sub_1", "key revoke key_1"])
def test_nothing_is_deleted_from_a_script_that_did_not_say_yes(api: FakeApi, run: Run, args: str) -> None:
    result = run(*args.split())
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert api.requests == []


def test_several_are_all_tried_and_some_failures_are_a_partial_failure(api: FakeApi, run: Run) -> None:
    def answers(request: Request) -> Answer:
        return problem(404, "not_found", "no such delivery") if "dlv_2" in request.path else Answer({"id": "x"})

    api.answers = answers
    result = run("delivery", "retry", "dlv_1", "dlv_2", "dlv_3")
    assert result.exit_code == 6
    assert result.stdout.split() == ["dlv_1", "dlv_3"]
    assert "no such delivery" in result.stderr
    assert run("delivery", "retry", "dlv_2", "dlv_22").exit_code == 3


def test_tracking_a_job_needs_an_id_or_a_url(api: FakeApi, run: Run) -> None:
    assert run("job", "track", "--webhook", "wh_1").exit_code == 2
    api.answers = lambda _: Answer(JOB, 201)
    assert run("job", "track", "--webhook", "wh_1", "--id", "p1", "--metadata", '{"a": 1}').exit_code == 0
    assert api.last.json == {"webhook_id": "wh_1", "provider_job_id": "p1", "metadata": {"a": 1}}


@pytest.mark.parametrize(("final", "code"), [("completed", 0), ("failed", 1), ("expired", 1), ("cancelled", 1)])
def test_how_a_job_ended_is_the_exit_code_of_waiting_for_it(api: FakeApi, run: Run, final: str, code: int) -> None:
    api.answers = lambda _: Answer({**JOB, "status": final})
    result = run("job", "wait", "job_1")
    assert result.exit_code == code
    assert f"status\t{final}" in result.stdout


def test_waiting_for_a_job_asks_again_until_it_is_final(api: FakeApi, run: Run) -> None:
    states = iter(["waiting", "completed"])
    api.answers = lambda _: Answer({**JOB, "status": next(states)})
    assert run("job", "wait", "job_1").exit_code == 0
    assert [request.query for request in api.requests] == [{"wait": "30"}] * 2


def test_waiting_for_a_job_ends_with_the_time_it_was_given(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: Answer({**JOB, "status": "fetching"})
    result = run("job", "wait", "job_1", "--timeout", "0.1s")
    assert result.exit_code == 7
    assert "still fetching" in result.stderr


def test_a_payload_comes_out_byte_for_byte(api: FakeApi, run: Run, tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    api.answers = lambda _: Answer(data, headers={"content-type": "application/octet-stream"})
    assert run("result", "payload", "res_1").stdout_bytes == data
    assert run("result", "payload", "res_1", "-o", str(tmp_path / "out")).stdout == ""
    assert (tmp_path / "out").read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_payload_that_is_not_there_leaves_no_file(api: FakeApi, run: Run, tmp_path: Path) -> None:
    api.answers = lambda _: problem(404, "not_found", "the payload was erased")
    result = run("result", "payload", "res_1", "-o", str(tmp_path / "out"))
    assert result.exit_code == 3
    assert "the payload was erased" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_replay_is_what_the_options_choose(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: Answer({"id": "rpl_1", "status": "running"}, 202)
    args = "replay create res_1 res_2 --webhook wh_1 --status exhausted --sub sub_1 --mode all --rate-per-second 5"
    assert run(*args.split(), "--new-message-id").exit_code == 0
    assert api.last.json == {
        "filter": {"result_ids": ["res_1", "res_2"], "webhook_id": "wh_1", "delivery_status": ["exhausted"]},
        "subscription_ids": ["sub_1"],
        "mode": "all",
        "rate_per_second": 5.0,
        "new_message_id": True,
    }


@pytest.mark.parametrize(
    ("status", "failed", "code"), [("done", 0, 0), ("done", 2, 6), ("cancelled", 0, 1), ("paused", 0, 7)]
)
def test_a_replay_that_is_waited_for_says_how_far_it_is(
    api: FakeApi, run: Run, status: str, failed: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.cli.progress.POLL_SECONDS", 0.0)
    steps = [(1, 0, "running"), (55, 0, "running"), (100 - failed, failed, status)]
    shown = ({"id": "rpl_1", "total": 100, "delivered": d, "failed": f, "status": s} for d, f, s in steps)
    api.answers = lambda request: Answer({"id": "rpl_1"}, 202) if request.method == "POST" else Answer(next(shown))
    result = run("replay", "create", "res_1", "--wait")
    assert result.exit_code == code, result.stderr
    assert f"status\t{status}" in result.stdout
    tenths = [line for line in result.stderr.splitlines() if "%" in line]
    assert [line.split()[0] for line in tenths] == ["0", "50", "100"]


def test_a_dry_run_says_that_nothing_was_sent(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: Answer({"count": 3, "oldest": "T", "newest": "T", "samples": []})
    result = run("replay", "create", "--since", "6h", "--dry-run")
    assert api.last.json["dry_run"] is True
    assert api.last.json["filter"]["created_after"].endswith("Z")
    assert "count\t3" in result.stdout
    assert "nothing was sent" in result.stderr


def test_a_replay_of_everything_by_accident_is_refused(api: FakeApi, run: Run) -> None:
    assert run("replay", "create").exit_code == 2
    assert run("replay", "create", "--since", "6h", "--created-after", "2026-01-01T00:00:00Z").exit_code == 2
    assert api.requests == []


def test_a_key_is_printed_when_it_is_made(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: Answer({"id": "key_1", "key": "rk_new"}, 201)
    assert "key\trk_new" in run("key", "create", "ci", "--scope", "write").stdout
    assert api.last.json == {"name": "ci", "scope": "write"}


def test_captures_are_shown_whole_and_cannot_move_the_cursor(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = {"kind": "pending", "shape": "s", "http_status": 202, "content_type": "application/json", "job_id": None}
    capture = {**shown, "excerpt": '{"status":\t"\x1b[2Jqueued"}', "captured_at": "2026-11-21T19:00:00.000Z"}
    api.answers = lambda _: Answer({"data": [capture], "next_cursor": None})
    piped = run("webhook", "captures", f"wh_{'0' * 32}")
    assert piped.stdout.split("\t")[:2] == ["pending", "202"]
    assert piped.stdout.rstrip("\n").endswith('{"status": "\x1b[2Jqueued"}'), "a pipe gets what there is, on one line"
    assert json.loads(run("webhook", "captures", f"wh_{'0' * 32}", "--json").stdout)["data"] == [capture]
    monkeypatch.setattr("relay.cli.webhook.on_terminal", lambda: True)
    monkeypatch.setattr("relay.cli.output.on_terminal", lambda: True)
    seen = run("webhook", "captures", f"wh_{'0' * 32}")
    assert "[2Jqueued" in seen.stdout and "\x1b" not in seen.stdout
    assert api.requests[-1].path == f"/v1/webhooks/wh_{'0' * 32}/captures"


def test_what_was_deleted_is_said_in_json_where_json_is_asked_for(api: FakeApi, run: Run) -> None:
    api.answers = lambda request: page({"id": "wh_1", "name": "prod"}) if request.method == "GET" else Answer(b"", 204)
    deleted = run("webhook", "delete", "prod", "--yes", "--json")
    assert (deleted.exit_code, json.loads(deleted.stdout)) == (0, {"id": "wh_1", "status": "deleted"})
    assert run("webhook", "delete", "prod", "--yes").stdout == "prod\n"
