"""The profile language beyond one provider: paths with a choice, steps, calls, and all problems of a file at once."""

from __future__ import annotations

import re
from pathlib import Path as FilePath

import pytest

from relay.errors import ProfileError
from relay.providers.call import Call
from relay.providers.loader import check_file, load_profiles, parse_profile
from relay.providers.path import Path
from relay.providers.reading import read_answer
from relay.providers.starting import template
from tests.providers.wire import PROFILES
from tests.support.messages import FULL, MINIMAL

# --- paths ---


@pytest.mark.parametrize("text", ["a", "a.b[0].c", "_links[rel=results].href", "a.b[0][k=v]", "a[k=v].b[1]", "query:x"])
def test_a_path_is_written_as_it_is_read(text: str) -> None:
    assert str(Path.parse(text)) == text


def test_a_path_has_a_bound() -> None:
    with pytest.raises(ValueError, match="more than 16 steps"):
        Path.parse("a" + ".b" * 16)


@pytest.mark.parametrize("text", ["a[b=c", "[b=c].d", "a[=c]", "a[b=].d", "a[b=c]d", "a[b=c].d[e=f]", "a..b[c=d]"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no path"):
        Path.parse(text)


PICKING = MINIMAL.replace('"result"', '"links[rel=result].at.url", "rows[k=v].cells[1]", "plain"')


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"links":[{"rel":"self"},{"rel":"result","at":{"url":"x"}}]}', "completed"),
        (b'{"links":[7,{"rel":"result","at":{"url":"x"}}], "f": 1.5}', "completed"),
        (b'{"links":[{"rel":"result","at":{}},{"rel":"result","at":{"url":"x"}}]}', "pending"),
        (b'{"links":[{"rel":"self","at":{"url":"x"}}]}', "pending"),
        (b'{"links":{"rel":"result","at":{"url":"x"}}}', "pending"),
        (b'{"links":[{"rel":"result","at":["x"]}]}', "pending"),
        (b'{"links":"result"}', "pending"),
        (b'{"n":NaN,"links":[{"rel":"result","at":{"url":"x"}}]}', "completed"),
        (b'{"n":NaN,"links":' + b"[" * 5000 + b"]" * 5000 + b"}", "pending"),
        (b'{"n":NaN,"links":[{"rel":"result","at":{"url":"' + b"x" * 70_000 + b'"}}]}', "pending"),
        (b'{"plain":"x","links":[]}', "completed"),
        (b'{"rows":[{"k":"v","cells":[0,"x"]}]}', "completed"),
        (b'{"rows":[{"k":"v","cells":["x"]}]}', "pending"),
    ],
)
def test_an_element_is_picked_by_a_member(body: bytes, kind: str) -> None:
    assert read_answer(parse_profile(PICKING, "x"), 200, {}, body).kind == kind


# --- schedules ---


def test_freddys_schedule_follows_the_age_of_the_job() -> None:
    poll = PROFILES["freddy"].poll
    age, asked = 0.0, []
    for wait in (*poll.waits, *poll.waits[-1:] * 3):
        asked.append((age, wait))
        age += wait
    assert all(2 <= wait <= 3 for age, wait in asked if age < 30)
    assert all(5 <= wait <= 10 for age, wait in asked if 30 <= age < 300)
    assert all(30 <= wait <= 60 for age, wait in asked if age >= 300)
    assert poll.steps == ((30, 2.5), (300, 7.5), (float("inf"), 45))


def test_a_schedule_may_have_one_step() -> None:
    assert parse_profile(MINIMAL + "[[poll.steps]]\nevery_seconds = 9", "x").poll.waits == (9.0,)


# --- calls ---


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/v1/jobs", "/v1/jobs", True),
        ("/v1/jobs", "/v1/jobs/1", False),
        ("/v1/jobs/*", "/v1/jobs/1", True),
        ("/v1/jobs/*", "/v1/jobs/1/2", False),
        ("/v1/jobs/*", "/v1/jobs/", False),
        ("/*/**", "/a/b/c/d", True),
        ("/*/**", "/a", False),
        ("/v1/j.bs", "/v1/jobs", False),
        ("/v2/{endpoint}/run", "/v2/e1/run", True),
        ("/v2/{endpoint}/run", "/v2/e2/run", False),
        ("/v1/jobs-*", "/v1/jobs-7", True),
    ],
)
def test_a_call_fits_by_its_segments(pattern: str, path: str, fits: bool) -> None:
    assert Call("POST", pattern).fits("POST", path, {"endpoint": "e1"}) is fits
    assert not Call("POST", pattern).fits("GET", path, {"endpoint": "e1"})


# --- errors ---

SUBMIT = MINIMAL + '[submit]\njob_id = "id"\n[[submit.jobs]]\ncalls = ["POST /jobs"]\n'
INSERT = SUBMIT + "[[submit.jobs.inserts]]\n"
TEMPLATE = MINIMAL.replace('kind = "url"', 'kind = "template"\ntemplate = "/jobs/{job_id}"')
HOP = TEMPLATE + "[[fetch.hops]]\n"
JWKS = '[callback]\njob_id = "id"\n[callback.verification]\nkind = "ed25519_jwks"\nheader = "X"\n'

WRONG = [
    (MINIMAL.replace('"acme"', '""'), "name: expected text that is not empty"),
    (MINIMAL + "next_page = 7", "fetch.next_page: expected a list of texts"),
    (MINIMAL + 'suffix = "status"', "fetch.suffix: expected a path such as /status"),
    (MINIMAL + 'prefers_url = true', "fetch.prefers_url: unknown key"),
    (MINIMAL + 'partial_present = ["header:x"]', "fetch.partial_present: expected paths in the JSON body"),
    (MINIMAL + 'failed_present = ["header:x"]', "fetch.failed_present: expected paths in the JSON body"),
    (TEMPLATE + '[[fetch.others]]\ntemplate = "/x/{job_id}"', "fetch.others[0].ids: is missing; expected ids,"),
    (TEMPLATE + '[[fetch.others]]\nids = ["a*"]', "fetch.others[0].template: is missing"),
    (TEMPLATE + '[[fetch.others]]\nids = ["a b"]\ntemplate = "/x/{job_id}"', "fetch.others[0].ids: 'a b': expected"),
    (TEMPLATE + '[[fetch.others]]\nids = ["a"]\ntemplate = "/{p}/{job_id}"', "{p} is neither job_id nor one of"),
    (HOP, "fetch.hops[0].url: is missing; expected the path of a URL, or a template, or job_url"),
    (HOP + 'template = "/f/{id}"', "fetch.hops[0].template: {id} is neither job_id nor"),
    (HOP + 'template = "/f"\ncredentials = false', "fetch.hops[0].credentials: expected true"),
    (HOP + 'url = "u"\npending_http = [200]', "fetch.hops[0].pending_http: expected no 200"),
    (HOP + 'url = "u"\nfailed_http = [404]', "fetch.hops[0].pending_http: expected every code in one of"),
    (HOP + 'url = "u"\nwhen = "a b"', "fetch.hops[0].when: 'a b' is no path"),
    (HOP + 'url = "u"\nwhen = "header:x = y"', "fetch.hops[0].when: expected a path in the JSON body"),
    (HOP + 'url = "u"\nif = "x"', "fetch.hops[0].if: unknown key"),
    (MINIMAL + "[[poll.steps]]\nuntil_seconds = 5\nevery_seconds = 1", "poll.steps[0].until_seconds: expected the age"),
    (SUBMIT.replace('"id"\n', '"id"\nthrough_relay = ["urls[0]"]\n'), "submit.through_relay: expected places of"),
    (SUBMIT.replace('"id"\n[', '"id"\nthrough_relay = ["url"]\n['), "submit.passes: is missing; the URLs of"),
    (SUBMIT.replace('"id"\n[', '"id"\nidempotent = "yes"\n['), "submit.idempotent: expected true or false"),
    (MINIMAL + "[[poll.steps]]\nevery_seconds = 1\n[[poll.steps]]\nevery_seconds = 2", "poll.steps[0].until_seconds"),
    (MINIMAL + "[[poll.steps]]\nuntil_seconds = 5", "poll.steps[0].every_seconds: is missing"),
    (MINIMAL + "[[poll.steps]]\nuntil_seconds=9\nevery_seconds=1\n[[poll.steps]]\nuntil_seconds=8\nevery_seconds=1\n"
     "[[poll.steps]]\nevery_seconds=1", "poll.steps[1].until_seconds: expected more than the 9"),
    (MINIMAL + "[[poll.steps]]\nuntil_seconds=9000\nevery_seconds=1\n[[poll.steps]]\nevery_seconds=1", "at most 500"),
    (MINIMAL + "[poll]\nwaits = [1]\n[[poll.steps]]\nevery_seconds = 1", "poll.waits: expected either waits or steps"),
    (MINIMAL + "[retention]\nsingle_use = 1", "retention.single_use: expected true or false"),
    (MINIMAL + JWKS, "callback.verification.jwks_url: is missing"),
    (MINIMAL + JWKS + 'jwks_url = "http://x/k"', "callback.verification.jwks_url: expected https://host/path"),
    (MINIMAL + JWKS + 'jwks_url = "https://x/k?a"', "callback.verification.jwks_url: expected https://host/path"),
    (MINIMAL + JWKS + 'jwks_url = "https://x/k"\njwks_seconds = 90000', "jwks_seconds: expected at most 86400"),
    (MINIMAL + JWKS + 'jwks_url = "https://x/k"\nheader_parameter = "p"', "header_parameter: 'p' is not one of"),
    (MINIMAL + "[submit]\njob_id = 'id'", "submit.jobs: is missing; expected at least one table"),
    (SUBMIT.replace('job_id = "id"', ""), "submit.job_id: is missing; expected the path of a job id"),
    (SUBMIT.replace('calls = ["POST /jobs"]', ""), "submit.jobs[0].calls: is missing"),
    (SUBMIT.replace("POST /jobs", "POST jobs"), "submit.jobs[0].calls: 'POST jobs': expected a method and a path"),
    (SUBMIT.replace("POST /jobs", "HEAD /jobs"), "submit.jobs[0].calls: 'HEAD /jobs': expected a method and a path"),
    (SUBMIT.replace("POST /jobs", "POST /{p}/jobs"), "expected in braces required parameters only"),
    (SUBMIT.replace("[[submit", 'accepted = [404]\n[[submit'), "submit.accepted: expected HTTP status codes from 200"),
    (SUBMIT.replace("[[submit", 'keys = ["cookie x"]\n[[submit'), "submit.keys: 'cookie x': expected bearer, basic"),
    (SUBMIT.replace("[[submit", 'keys = ["query a b"]\n[[submit'), "submit.keys: 'query a b': expected bearer, basic"),
    (SUBMIT + 'refuse = ["a b"]', "submit.jobs[0].refuse: 'a b' is no path"),
    (INSERT + "value = 1", "submit.jobs[0].inserts[0].body: expected either body, with the place"),
    (INSERT + 'body = "a"\nquery = "b"\nvalue = 1', "inserts[0].body: expected either body"),
    (INSERT + 'body = "a"', "submit.jobs[0].inserts[0].value: is missing; expected a value of any kind"),
    (INSERT + 'body = "a..b"\nvalue = 1', "inserts[0].body: expected the place of a member such as webhook.url"),
    (INSERT + 'query = "a b"\nvalue = 1', "inserts[0].query: expected the name of a query parameter"),
    (INSERT + 'query = "a"\nvalue = [1]', "inserts[0].value: expected text, a number, true or false, unless base64"),
    (INSERT + 'body = "a"\nvalue = "{p}"', "inserts[0].value: {p} is none of callback_url, verification_header"),
    (INSERT + 'body = "a"\nvalue = { "{p}" = [{ b = "{q}" }] }', "inserts[0].value: {q} is none of"),
    (INSERT + 'body = "a"\nvalue = 2026-11-22', "inserts[0].value: expected what JSON can say"),
    (INSERT + 'body = "a"\nvalue = [nan]', "inserts[0].value: expected what JSON can say"),
    (INSERT + 'body = "a"\nvalue = 1\nexisting = "drop"', 'inserts[0].existing: expected one of "replace", "keep"'),
    (INSERT + 'body = "a"\nvalue = 1\nonly = "never"', 'inserts[0].only: expected one of "always"'),
    (INSERT + 'body = "a"\nvalue = 1\nbase64 = true', "submit.jobs[0].inserts[0].base64: unknown key"),
    (MINIMAL + "[cancel]", "cancel.method: is missing"),
    (MINIMAL + '[cancel]\nmethod = "GET"', 'cancel.method: expected one of "DELETE"'),
    (MINIMAL + '[cancel]\nmethod = "PUT"\ntemplate = "/x"', "cancel.template: expected {job_id} in it"),
    (MINIMAL + '[cancel]\nmethod = "PUT"\ntemplate = "/{job_id}"\nsuffix = "/c"', "cancel.suffix: expected either"),
    (MINIMAL + '[cancel]\nmethod = "PUT"\naccepted = [302]', "cancel.accepted: expected HTTP status codes"),
    (MINIMAL + '[cancel]\nmethod = "PUT"\ntoo_late = [200]', "cancel.too_late: expected other codes"),
    (MINIMAL + '[cancel]\nmethod = "PUT"\n[cancel.words]\nmaybe = ["x"]', "cancel.words.maybe: unknown key"),
    (MINIMAL + '[[parameters]]\nname = "callback_url"', "parameters[0].name: expected lower-case letters"),
    (MINIMAL.replace("[fetch]", "submit = 3\n[fetch]"), "submit: expected a table [submit], got a number"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[str(number) for number in range(len(WRONG))])
def test_an_error_names_the_file_the_key_and_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, "mine/acme.toml")
    lines = str(caught.value).splitlines()
    assert all(line.startswith("mine/acme.toml: ") for line in lines)
    assert any(message in line for line in lines), lines


def test_a_key_may_be_shown_in_several_forms() -> None:
    text = SUBMIT.replace(
        "[[submit", 'keys = ["basic", "header X-Key", "header authorization Token", "query t"]\n[[submit'
    )
    submit = parse_profile(text, "x").submit
    assert submit is not None
    forms = [(form.kind, form.name, form.scheme) for form in submit.keys]
    assert forms == [
        ("bearer", "authorization", ""),
        ("basic", "authorization", ""),
        ("header", "x-key", ""),
        ("header", "authorization", "Token"),
        ("query", "t", ""),
    ]


def test_what_the_errors_start_from_is_right() -> None:
    for text in (SUBMIT, INSERT + 'body = "a"\nvalue = 1', TEMPLATE, HOP + 'url = "u"', PICKING):
        assert parse_profile(text, "x").name == "acme"


def test_all_problems_of_a_file_are_told_at_once() -> None:
    text = FULL.replace('"sha512"', '"md5"').replace("[202, 404]", "[99]").replace('anchor = "submitted"', "ancor = 1")
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, "a.toml")
    assert [re.split(": ", line)[1] for line in str(caught.value).splitlines()] == [
        "callback.verification.algorithm",
        "fetch.pending_http",
        "retention.ancor",
    ]


def test_a_wrong_kind_does_not_make_its_own_keys_look_unknown() -> None:
    with pytest.raises(ProfileError) as caught:
        parse_profile(TEMPLATE.replace('"template"', '"tmplate"'), "a.toml")
    assert len(str(caught.value).splitlines()) == 1


# --- users' own files ---


def test_a_file_is_checked(tmp_path: FilePath) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(MINIMAL)
    assert check_file(mine) == []
    mine.write_text(MINIMAL.replace('"acme"', '"openai"'))
    assert check_file(mine) == [f"{mine}: name: 'openai' comes with Relay; choose another"]
    mine.write_text(MINIMAL.replace('"url"', '"x"') + "colour = 1")
    assert len(check_file(mine)) == 1
    mine.write_text(MINIMAL + "colour = 1\nsize = 2")
    assert len(check_file(mine)) == 2
    assert check_file(tmp_path / "none.toml") == [
        f"{tmp_path}/none.toml: cannot be read as UTF-8 text: FileNotFoundError"
    ]


def test_a_new_file_is_right_as_it_is_and_with_every_setting_uncommented(tmp_path: FilePath) -> None:
    text = template("my-provider")
    (tmp_path / "my-provider.toml").write_text(text)
    assert load_profiles(tmp_path)["my-provider"].title == "My Provider"
    settings = [re.sub(r"^# (?=\[|[a-z_]+ = )", "", line) for line in text.splitlines()]
    everything = "\n".join(settings).replace('suffix = ""', 'suffix = "/cancel"')
    everything = everything.replace('kind = "standard_webhooks"', 'kind = "hmac"')
    profile = parse_profile(everything, "x")
    assert profile.submit is not None and profile.cancel is not None and profile.fetch.hops
    assert profile.parameters and profile.callback is not None and profile.callback.inline is not None
    assert not [line for line in settings if re.match(r"# [a-z_]+ =", line)]
