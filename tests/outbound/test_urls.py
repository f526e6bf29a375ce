"""URLs by refusal."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

import httpx2
import pytest
import yarl
from hypothesis import example, given
from hypothesis import strategies as st

from relay.errors import UrlRefused
from relay.outbound import Target, canonical_origin, parse_url
from relay.outbound import urls as module
from relay.outbound.engine import wire_url

REFUSED = [
    "https://api.good.test@evil.test/",
    "https://api.good.test\\@evil.test/",
    "https://evil.test\\.api.good.test/",
    "https://api.good.test#@evil.test/",
    "https://evil.test#api.good.test",
    "https://api.good.test:443@evil.test/",
    "https://api.good.test%2eevil.test/",
    "https://api.good.test%00.evil.test/",
    "https://api.good.test\t.evil.test/",
    "https:///evil.test/",
    "https:/evil.test/",
    "https:evil.test",
    "//evil.test/x",
    "/x",
    "",
    "https://",
    "https://api.good.test./",
    "https://api..good.test/",
    "https://.api.good.test/",
    "https://api。good。test/",
    "https://\uff45vil.test/",
    "https://[::1%25eth0]/",
    "https://[::1%eth0]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::0001]/",
    "https://[api.good.test]/",
    "https://[::1/",
    "https://::1/",
    "https://[::1]x/",
    "https://x[::1]/",
    "https://0x7f.1/",
    "https://0177.0.0.1/",
    "https://2130706433/",
    "https://127.1/",
    "https://0/",
    "https://0x7f000001/",
    "https://1.2.3.4.5/",
    "https://127.0.0.01/",
    "https://a.0x10/",
    "https://①②⑦.⓪.⓪.①/",
    "https://localhost/",
    "https://LOCALHOST./",
    "https://api.good.test:0443/",
    "https://api.good.test:99999/",
    "https://api.good.test:65536/",
    "https://api.good.test:0/",
    "https://api.good.test:-1/",
    "https://api.good.test:+443/",
    "https://api.good.test:443:80/",
    "https://api.good.test:/",
    "https://api.good.test:４４３/",
    " https://api.good.test/",
    "https://api.good.test/ ",
    "https://api.good.test/a b",
    "https://api.good.test/\n",
    "https://api.good.test/\r\nX: y",
    "https://api.good.test/\0",
    "https://api.good.test/\x7f",
    "https://api.good.test/é",
    "https://api.good.test/" + "a" * 70_000,
    "file:///etc/passwd",
    "gopher://api.good.test/",
    "http+unix://%2ftmp%2fsock/",
    "ftp://api.good.test/",
    "ws://api.good.test/",
    "data:text/html,x",
    "javascript:alert(1)",
    "http://api.good.test/",
    "https://user:p%40ss@api.good.test/",
    "https://api.good.test/?@evil.test",
    "https://api.good.test;@evil.test/",
    "https://api.good.test?@evil.test/",
    "https://api.good.test?x=@evil.test/",
    "https://api.good.test/@evil.test/",
    "https://api.good.test/a@evil.test/?x=1",
    "https://api.good.test/x?y=1&@evil.test/",
    "https://user:pass@api.good.test/x?y=a@b",
    "https://api.good.test;evil.test/",
    "https://" + "a" * 64 + ".test/",
    "https://" + "a" * 255 + ".test/",
    "https://" + "a.b" * 127 + ".test/",
    "https://-a.test/",
    "https://a-.test/",
    "https://a_b.test/",
    "https://api.good.test/../admin",
    "https://api.good.test/a/./b",
    "https://api.good.test/%2e%2e/admin",
    "https://api.good.test/.%2E/admin",
    "https://api.good.test/..%2f..%2fadmin",
    "https://api.good.test/..%5cadmin",
    "https://api.good.test/?",
    "https://api.good.test/x#y",
    "https://api.good.test/x?y#z",
    "https://api.good.test/x\\y",
    "https://api.good.test/x?y\\z",
]

ACCEPTED = [
    ("https://api.good.test", "https://api.good.test", "/"),
    ("https://api.good.test?x=1", "https://api.good.test", "/?x=1"),
    ("HTTPS://API.GOOD.TEST/A?B=C", "https://api.good.test", "/A?B=C"),
    ("https://api.good.test:443/x", "https://api.good.test", "/x"),
    ("https://api.good.test:8443/x", "https://api.good.test:8443", "/x"),
    ("https://api.good.test.evil.test/", "https://api.good.test.evil.test", "/"),
    ("https://127.0.0.1.nip.io/", "https://127.0.0.1.nip.io", "/"),
    ("https://127.0.0.1/", "https://127.0.0.1", "/"),
    ("https://[2606:4700:4700::1111]:8443/", "https://[2606:4700:4700::1111]:8443", "/"),
    ("https://xn--bcher-kva.test/", "https://xn--bcher-kva.test", "/"),
    ("https://a.test//admin", "https://a.test", "//admin"),
    ("https://a.test/%zz/{x}|y;z?a=%2F&b=c+d&e=f?g", "https://a.test", "/%zz/{x}|y;z?a=%2F&b=c+d&e=f?g"),
    (
        "https://storage.test/bucket/o.json?GoogleAccessId=relay@project.test&Expires=1&Signature=a%2Bb",
        "https://storage.test",
        "/bucket/o.json?GoogleAccessId=relay@project.test&Expires=1&Signature=a%2Bb",
    ),
    ("https://a.test/?x=@evil.test/", "https://a.test", "/?x=@evil.test/"),
    ("https://a.test/a..b/...?x=../y", "https://a.test", "/a..b/...?x=../y"),
]


@pytest.mark.parametrize("raw", REFUSED)
def test_an_odd_url_is_refused_and_not_repeated_in_the_message(raw: str) -> None:
    with pytest.raises(UrlRefused) as caught:
        parse_url(raw)
    assert "evil" not in str(caught.value) and "good" not in str(caught.value)


@pytest.mark.parametrize("raw, origin, path", ACCEPTED)
def test_a_plain_url_keeps_its_path_and_query_as_they_are(raw: str, origin: str, path: str) -> None:
    target = parse_url(raw)
    assert (target.origin, target.path, target.text) == (origin, path, origin + path)


def test_http_and_short_names_pass_only_where_they_are_allowed() -> None:
    with pytest.raises(UrlRefused, match="without a dot"):
        parse_url("http://billing:8080/hook", allow_http=True)
    with pytest.raises(UrlRefused, match="plain http"):
        parse_url("http://billing:8080/hook", allow_short=True)
    target = parse_url("http://billing:8080/hook", allow_http=True, allow_short=True)
    assert (target.scheme, target.host, target.port, target.is_short) == ("http", "billing", 8080, True)
    assert not parse_url("http://10.0.0.1/", allow_http=True).is_short


@pytest.mark.parametrize(
    "raw, origin",
    [
        ("https://API.example.com", "https://api.example.com"),
        ("https://api.example.com:443/", "https://api.example.com"),
        ("http://localhost:80", "http://localhost"),
        ("https://api.example.com:80", "https://api.example.com:80"),
        ("http://api.example.com:443", "http://api.example.com:443"),
        ("http://[::1]:9000/", "http://[::1]:9000"),
    ],
)
def test_a_configured_origin_becomes_canonical(raw: str, origin: str) -> None:
    assert canonical_origin(raw) == origin


@pytest.mark.parametrize("raw", ["https://api.example.com/v1", "https://api.example.com/?x=1", "api.example.com"])
def test_an_origin_with_a_path_or_without_a_scheme_is_refused(raw: str) -> None:
    with pytest.raises(UrlRefused):
        canonical_origin(raw)


PIECES = st.sampled_from(
    [*"/:@#?%\\.[]0x-~=&", "https://", "http://", "good.test", "evil.test", "127.1", "xn--bcher-kva", "[::1]", ":443"]
    + ["?x="]
)


@given(
    st.one_of(st.text(), st.lists(PIECES).map("".join), st.lists(PIECES).map(lambda parts: "https://" + "".join(parts)))
)
@example("https://[::]:1/")
def test_whatever_passes_is_read_the_same_by_other_parsers_and_again_by_ours(raw: str) -> None:
    try:
        target = parse_url(raw, allow_http=True, allow_short=True)
    except UrlRefused:
        return
    assert parse_url(target.text, allow_http=True, allow_short=True) == target
    standard = urlsplit(target.text)
    assert (standard.scheme, standard.hostname, standard.username) == (target.scheme, target.host, None)
    other = httpx2.URL(target.text)
    assert (other.scheme, other.raw_host) == (target.scheme, target.host.encode())
    wire = yarl.URL(target.text, encoded=True)
    assert (wire.raw_host, wire.port, wire.raw_path_qs) == (target.host, target.port, target.path)


def outcome(raw: str, *, http: bool, short: bool) -> Target | str:
    """What a URL is read as, or the rule that it breaks."""
    try:
        return parse_url(raw, allow_http=http, allow_short=short)
    except UrlRefused as error:
        return str(error)


LEAVES = [(http, short) for http in (False, True) for short in (False, True)]
SITES = st.lists(PIECES, max_size=4).map("".join)
TAILS = st.lists(
    st.sampled_from(["/", "?", ".", "..", "a", "%2e", "%2f", "x=1", "x=", "@", "#", "\\", " ", ":"]), max_size=5
)


@given(
    scheme=st.sampled_from(["https://", "http://", "HTTPS://", "ftp://", ""]),
    site=st.sampled_from(["good.test", "Good.test:443", "localhost", "127.0.0.1:80", "[::1]", "127.1"]) | SITES,
    tails=st.lists(TAILS.map("".join), min_size=2, max_size=2),
)
def test_a_site_that_was_read_before_is_read_the_same_again(scheme: str, site: str, tails: list[str]) -> None:
    raw, earlier = (scheme + site + tail for tail in tails)
    fresh = {}
    for http, short in LEAVES:
        module._site.cache_clear()
        fresh[http, short] = outcome(raw, http=http, short=short)
    for http, short in LEAVES:
        outcome(earlier, http=http, short=short)
    for http, short in LEAVES:
        assert outcome(raw, http=http, short=short) == fresh[http, short]


def test_what_one_door_may_call_is_not_remembered_for_the_other() -> None:
    for raw in ("http://remembered.test/", "https://remembered/"):
        assert isinstance(outcome(raw, http=True, short=True), Target)
        assert isinstance(outcome(raw, http=False, short=False), str)


@given(
    st.lists(st.sampled_from(["/", "%2f", "%2F", "%5c", ".", "%2e", "%2E", "a", "%", "2e", "25", "?", "&"]), max_size=9)
)
def test_a_path_is_refused_exactly_when_a_segment_would_climb(parts: list[str]) -> None:
    tail = "/" + "".join(parts)
    plain, mark, query = tail.partition("?")
    segments = [unquote(segment) for segment in re.split("/|%2f|%5c", plain, flags=re.IGNORECASE)]
    climbs = "." in segments or ".." in segments
    read = outcome(f"https://good.test{tail}", http=False, short=False)
    assert isinstance(read, str) == (climbs or bool(mark and not query))
    assert isinstance(read, str) or read.path == tail


@pytest.mark.parametrize(
    "text",
    [
        "https://evil.test/x",
        "http://good.test/x",
        "https://good.test:8443/x",
        "https://good.test/y",
        "https://good.test/x?y=1",
        "https://user@evil.test/x",
        "https://good.test:99999/x",
        "https://[good.test/x",
    ],
)
def test_a_url_that_the_http_library_reads_differently_is_refused(text: str) -> None:
    with pytest.raises(UrlRefused):
        wire_url(Target("https", "good.test", 443, "/x", text))


def test_a_url_that_is_read_alike_is_sent_as_it_is() -> None:
    url = "https://good.test/x//%2f?a={b}"
    assert str(wire_url(parse_url(url))) == url
