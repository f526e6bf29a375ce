"""`relay sub`: filters from the command line or a file, by provider, and tried on a stored result."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Run
from tests.support.fake_api import Answer, FakeApi, page

SUB, RESULT = f"sub_{'0' * 32}", f"res_{'0' * 32}"
LOADED = page({"name": "netnut"}, {"name": "fal"})
FILTER = '{"data.metadata.tenant": "acme"}'
MISS = {"place": "filter.data.metadata.tenant", "path": "data.metadata.tenant", "operator": "$eq", "found": '"x"'}


def test_a_stored_result_is_judged_by_the_filter_that_is_given(api: FakeApi, run: Run, tmp_path: Path) -> None:
    (tmp_path / "filter.json").write_text(FILTER)
    for given in (FILTER, str(tmp_path / "filter.json"), f"@{tmp_path / 'filter.json'}"):
        api.answers = lambda _: Answer({"result_id": RESULT, "matches": True, "reason": None, "failed": []})
        done = run("sub", "test", SUB, "--result", RESULT, "--filter", given)
        assert (done.exit_code, api.last.path) == (0, f"/v1/subscriptions/{SUB}/test")
        assert api.last.json == {"result_id": RESULT, "filter": {"data.metadata.tenant": "acme"}}


def test_what_does_not_match_says_why_and_exits_with_one(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: Answer({"result_id": RESULT, "matches": False, "reason": "filter", "failed": [MISS]})
    done = run("sub", "test", SUB, "--result", RESULT)
    assert (done.exit_code, api.last.json) == (1, {"result_id": RESULT})
    assert "place=filter.data.metadata.tenant" in done.stdout and 'found="x"' in done.stdout
    assert "does not get this result" in done.stderr


def test_a_filter_without_a_result_or_that_is_no_json_is_a_usage_error(api: FakeApi, run: Run, tmp_path: Path) -> None:
    assert run("sub", "test", SUB, "--filter", FILTER).exit_code == 2
    assert run("sub", "test", SUB, "--result", RESULT, "--filter", "{oops").exit_code == 2
    missing = run("sub", "test", SUB, "--result", RESULT, "--filter", str(tmp_path / "missing.json"))
    assert missing.exit_code == 2 and "missing.json" in missing.stderr
    assert api.requests == []


def test_a_provider_becomes_part_of_the_filter(api: FakeApi, run: Run) -> None:
    api.answers = lambda asked: LOADED if asked.method == "GET" else Answer({"id": SUB, "secret": "s"})
    create = ("sub", "create", "n", "--to", "https://a.example", "--provider", "netnut", "--provider", "fal")
    assert run(*create, "--filter", FILTER).exit_code == 0
    assert api.last.json["filter"] == {"data.provider": {"$in": ["netnut", "fal"]}, "data.metadata.tenant": "acme"}
    assert run(*create, "--filter", '{"data.provider": "x"}').exit_code == 2


def test_a_misspelt_provider_makes_no_subscription_that_nothing_ever_reaches(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: LOADED
    done = run("sub", "create", "n", "--to", "https://a.example", "--provider", "netnutt")
    assert (done.exit_code, [asked.method for asked in api.requests]) == (3, ["GET"])
    assert done.stderr == "Error: there is no provider of the name 'netnutt'; the nearest is 'netnut'\n"


def test_an_update_changes_what_is_named_and_can_clear_it(api: FakeApi, run: Run) -> None:
    assert run("sub", "update", SUB, "--schedule", "0,5s", "--clear", "filter").exit_code == 0
    assert (api.last.method, api.last.json) == ("PATCH", {"schedule_seconds": [0, 5], "filter": None})
    assert "give one of them" in run("sub", "update", SUB, "--type", "result.failed", "--clear", "type").stderr
    assert "say what to change" in run("sub", "update", SUB).stderr
    assert "say what to change" in run("webhook", "update", "wh_1").stderr
    assert len(api.requests) == 1
