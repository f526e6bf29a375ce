"""Profiles from TOML: what comes with Relay, users' own files, and errors that name file, key and what was expected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from relay.errors import ProfileError
from relay.model import JobStatus
from relay.providers.loader import load_profiles, parse_profile
from tests.support.messages import FULL, MINIMAL


def test_a_profile_says_everything_the_language_knows() -> None:
    profile = parse_profile(FULL, "acme.toml")
    assert profile.auth.credential_fields == ("api_key",)
    assert [(one.name, one.required) for one in profile.parameters] == [("project", True), ("organization_id", False)]
    callback = profile.callback
    assert callback is not None and callback.inline is not None
    assert [str(path) for path in callback.job_id] == ["data.id", "items[0].id", "query:job"]
    assert str(callback.event[1]) == "header:x-acme-event"
    assert callback.verification.template == "{header:X-Time}.{body}"
    assert (callback.verification.tolerance_seconds, callback.verification.key_encoding) == (60.0, "base64")
    assert callback.may_take_inline(authenticated=True) and not callback.may_take_inline(authenticated=False)
    assert profile.fetch.gone_http == {410}  # the default without what was declared to be pending
    assert profile.retention.effective_seconds == 3600
    assert profile.poll.waits == (2.0, 5.5) and profile.poll.hints == ("acme-poll-after-ms",)


def test_statuses_are_compared_without_regard_to_case_spaces_and_hyphens() -> None:
    fetch = parse_profile(FULL, "acme.toml").fetch
    assert fetch.job_status("in_progress") is JobStatus.WAITING
    assert fetch.job_status("TIMED_OUT") is JobStatus.FAILED
    assert fetch.job_status("Incomplete") is JobStatus.COMPLETED
    assert fetch.job_status("done") is None
    assert fetch.is_partial("INCOMPLETE") and not fetch.is_partial("succeeded")


def test_a_minimal_profile_has_careful_defaults() -> None:
    profile = parse_profile(MINIMAL, "acme.toml")
    assert profile.callback is None
    assert profile.auth.credential_fields == ()
    assert profile.retention.effective_seconds == 600
    assert profile.fetch.pending_http == {202, 425} and profile.fetch.gone_http == {404, 410}


def test_without_a_notification_three_polls_come_in_the_first_minute_and_two_where_one_is_expected() -> None:
    for profile in (parse_profile(MINIMAL, "acme.toml"), *load_profiles(None).values()):
        assert profile.poll.waits[0] <= 5 and sum(profile.poll.waits[:3]) <= 60
        assert profile.poll.backstop[0] <= 5 and sum(profile.poll.backstop[:2]) <= 60
        assert profile.poll.ready[:4] == (0, 1, 2, 5)


def swapped(old: str, new: str) -> str:
    assert FULL.count(old) == 1, old
    return FULL.replace(old, new)


WRONG = [
    ("name = ", "is not TOML"),
    ("", "name: is missing; expected text in quotes"),
    (MINIMAL.replace('"acme"', '"Acme!"'), "name: expected lower-case letters, digits and hyphens, got 'Acme!'"),
    (MINIMAL.replace('"acme"', "7"), "name: expected text in quotes, got a number"),
    (MINIMAL.replace('title = "Acme"', 'titel = "Acme"'), "title: is missing"),
    (MINIMAL.replace("[fetch]", 'colour = "red"\n[fetch]'), "colour: unknown key; expected one of auth, base_url"),
    (MINIMAL.replace('kind = "url"', 'kind = "file"'), "fetch.kind: expected one of \"url\", \"template\", got 'file'"),
    (MINIMAL.replace('done_present = ["result"]', ""), "fetch.done_present: is missing"),
    (MINIMAL.replace('done_present = ["result"]', "marker_first = true"), "fetch.done_present: is missing; marker"),
    (MINIMAL.replace("done_present", "done_if"), "fetch.done_present: is missing"),
    (MINIMAL + 'template = "/x"\n', "fetch.template: unknown key"),
    (MINIMAL.split("[fetch]")[0] + "fetch = 3", "fetch: expected a table [fetch], got a number"),
    (MINIMAL + 'status = "state"', "fetch.status: expected both the path of the status and a table [fetch.statuses]"),
    (MINIMAL + "gone_http = [200]", "fetch.gone_http: expected no code from 200 to 299"),
    (MINIMAL + "pending_http = [404]\ngone_http = [404]", "fetch.gone_http: expected other codes than in pending_http"),
    (MINIMAL + '[callback]\nevent = "type"', "callback.job_id: is missing"),
    (MINIMAL + '[callback]\njob_id = "id"\nignore_events = ["x"]', "callback.event: is missing"),
    (MINIMAL + '[callback]\njob_id = "id"\n[callback.inline]\ntype = "any"', "callback.inline.present: is missing"),
    (MINIMAL + '[callback]\njob_id = "id"\nverification = 3', "callback.verification: expected a table"),
    (MINIMAL + '[auth]\nkind = "header"', "auth.header: is missing"),
    (swapped('"https://api.acme.example",', '"http://api.acme.example",'), "origins: 'http://api.acme.example'"),
    (swapped('"https://api.acme.example",', '"https://api.acme.example/",'), "origins: 'https://api.acme.example/'"),
    (swapped('"https://api.acme.example",', '"https://Api.acme.example",'), "origins: 'https://Api.acme.example'"),
    (swapped('"https://api.acme.example",', '"https://u@api.acme.example",'), "origins: 'https://u@api.acme.example'"),
    (swapped('"https://api.acme.example",', '"https://api.acme.example:443",'), "origins: 'https://api.acme.example:443'"),
    (swapped('"https://api.acme.example",', "7,"), "origins: expected a list of texts"),
    (swapped('example/v2"', 'example/v2?x=1"'), "base_url: expected https://host/path"),
    (swapped('base_url = "https:', 'base_url = "http:'), "base_url: expected https://host/path"),
    (swapped('"X-Api-Key"', '"X Api Key"'), "auth.header: expected a header name, got 'X Api Key'"),
    (swapped('"Key "', r'"Key\n"'), "auth.value_prefix: expected visible ASCII"),
    (swapped('kind = "header"', 'kind = "oauth"'), "auth.kind: expected one of \"none\", \"basic\""),
    (swapped('name = "project"', 'name = "Project"'), "parameters[0].name: expected lower-case letters"),
    (swapped('name = "project"', 'name = "job_id"'), "parameters[0].name: expected"),
    (swapped('name = "organization_id"', 'name = "project"'), "parameters: expected every name once"),
    (swapped('[callback]', '[callback]\nsecret = "x"'), "callback.secret: unknown key"),
    (swapped('"POST", "GET"', '"POST", "HEAD"'), "callback.methods: 'HEAD': expected POST, PUT or GET"),
    (swapped('"*.started"', '"[a"'), "callback.ignore_events: '[a': expected an event name"),
    (swapped('"items[0].id"', '"items[x].id"'), "callback.job_id: 'items[x].id' is no path"),
    (swapped('"items[0].id"', '"header:"'), "callback.job_id: 'header:' needs a header name"),
    (swapped('"urls.get"', '"urls..get"'), "callback.response_url: 'urls..get' is no path"),
    (swapped('["data.output"]', '["header:x"]'), "callback.inline.present: expected paths in the JSON body"),
    (swapped('"v1="', "1"), "callback.verification.prefix: expected text in quotes, got a number"),
    (swapped('"sha512"', '"md5"'), "callback.verification.algorithm: expected one of"),
    (swapped('kind = "hmac"', 'kind = "hmacs"'), "callback.verification.kind: expected one of"),
    (swapped('kind = "hmac"', 'kind = "none"'), "callback.verification.kind: expected a kind of verification"),
    (swapped('header = "X-Acme-Signature"', ""), "callback.verification.header: is missing"),
    (swapped('"{header:X-Time}.{body}"', '"{time}.{body}"'), "callback.verification.template: expected {body}"),
    (swapped("tolerance_seconds = 60", "tolerance_seconds = 0"), "callback.verification.tolerance_seconds: expected"),
    (swapped('required = true\nauth', 'required = "yes"\nauth'), "callback.verification.required: expected true"),
    (swapped("jobs/{job_id}?", "jobs?"), "fetch.template: expected {job_id} in it"),
    (swapped("jobs/{job_id}?", "jobs/{job_id}/{user}?"), "fetch.template: {user} is neither job_id nor one of"),
    (swapped("jobs/{job_id}?", "{organization_id}/{job_id}?"), "fetch.template: {organization_id} stands in the path"),
    (swapped('"/projects/', '"https://x/'), "fetch.template: expected a path such as /job/{job_id}"),
    (swapped("[202, 404]", "[202, 99]"), "fetch.pending_http: expected HTTP status codes from 100 to 599, got 99"),
    (swapped("[202, 404]", "[202, true]"), "fetch.pending_http: expected a list of HTTP status codes"),
    (swapped("[202, 404]", "[200]"), "no 200 in pending_http"),
    (swapped('"failed", ', '"failed", "succeeded", '), "fetch.statuses.failed: 'succeeded' also stands under"),
    (swapped('"failed", ', '"failed", "-", '), "fetch.statuses.failed: '-': expected a status"),
    (swapped('expired = ["expired"]', 'gone = ["expired"]'), "fetch.statuses.gone: unknown key"),
    (swapped("seconds = 3600", "seconds = -1"), "retention.seconds: expected seconds above 0, got -1"),
    (swapped("seconds = 3600", "seconds = nan"), "retention.seconds: expected seconds above 0, got nan"),
    (swapped('anchor = "submitted"', 'anchor = "now"'), "retention.anchor: expected one of"),
    (swapped("[2, 5.5]", "[]"), "poll.waits: expected at least one wait"),
    (swapped("[2, 5.5]", '["2"]'), "poll.waits: expected a list of seconds such as [2, 5, 10], got text in it"),
    (swapped("[2, 5.5]", "[-2]"), "poll.waits: expected seconds from 0, got -2"),
    (swapped('"Acme-Poll-After-Ms"', '"Acme Poll"'), "poll.hints: 'Acme Poll': expected a header name"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[str(number) for number in range(len(WRONG))])
def test_an_error_names_the_file_the_key_and_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(ProfileError, match="^mine/acme.toml: .*" + re.escape(message)):
        parse_profile(text, "mine/acme.toml")


def test_users_add_a_provider_by_adding_a_file(tmp_path: Path) -> None:
    (tmp_path / "acme.toml").write_text(FULL)
    (tmp_path / "README").write_text("not a profile")
    assert set(load_profiles(tmp_path)) == set(load_profiles(None)) | {"acme"}


def test_a_users_file_does_not_shadow_another_profile(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(MINIMAL.replace("acme", "netnut"))
    with pytest.raises(ProfileError, match=r"mine\.toml: name: 'netnut' is already the name of .*netnut\.toml"):
        load_profiles(tmp_path)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ProfileError, match=r"mine\.toml: cannot be read as UTF-8 text"):
        load_profiles(tmp_path)


def test_what_is_no_directory_of_profiles_is_named(tmp_path: Path) -> None:
    (tmp_path / "acme.toml").write_text(FULL)
    for wrong in ("none", "acme.toml"):
        with pytest.raises(ProfileError, match=rf"{wrong}: cannot be read as a directory of profiles"):
            load_profiles(tmp_path / wrong)


def test_the_loaded_profiles_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        load_profiles(None)["x"] = parse_profile(MINIMAL, "x")  # type: ignore[index]  # that is the point
