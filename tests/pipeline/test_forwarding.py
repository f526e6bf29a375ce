"""What of a client's request goes on, and what of the answer goes back."""

from __future__ import annotations

import json

import pytest

from relay.model import Secret
from relay.pipeline.bindings import bind
from relay.pipeline.forwarding import body_to_return, headers_to_return, headers_to_send, query_to_send
from relay.providers.loader import load_profiles
from tests.support.store import a_webhook

KEY = Secret("rk_the-clients-own-key")


def sent(*headers: tuple[str, str], taken: frozenset[str] = frozenset()) -> dict[str, str]:
    return headers_to_send(headers, taken, KEY)


def test_ordinary_headers_go_on_and_repeated_ones_become_a_list() -> None:
    assert sent(("accept", "a/b"), ("x-tag", "1"), ("x-tag", "2"), ("idempotency-key", "k")) == {
        "accept": "a/b",
        "x-tag": "1, 2",
        "idempotency-key": "k",
    }


@pytest.mark.parametrize(
    "name",
    ["authorization", "cookie", "x-api-key", "proxy-authorization", "host", "content-length", "transfer-encoding",
     "te", "upgrade", "x-forwarded-host", "relay-metadata", "forwarded", "expect", "x-http-method-override",
     "sec-fetch-site", "accept-encoding"],
)  # fmt: skip
def test_what_must_stay_here_stays_here(name: str) -> None:
    assert sent((name, "x")) == {}


def test_headers_of_one_connection_stay_here_whatever_they_are_called() -> None:
    assert sent(("connection", "close, X-Hop"), ("x-hop", "1"), ("x-more", "2")) == {"x-more": "2"}


def test_what_holds_the_clients_key_stays_here() -> None:
    assert sent(("x-copy", f"Token {KEY.reveal()}"), ("x-other", "fine")) == {"x-other": "fine"}
    assert sent(("x-own", "anything"), taken=frozenset({"x-own"})) == {}


@pytest.mark.parametrize(("name", "value"), [("x-a", "b\r\nx-c: d"), ("x-a", "b\x00"), ("x a", "b"), ("x-a", "\xe4")])
def test_what_is_not_plainly_a_header_is_left_out(name: str, value: str) -> None:
    assert sent((name, value)) == {}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ""),
        ("a=1&b=2", "a=1&b=2"),
        ("a=1&token=rk_the-clients-own-key&b=2", "a=1&b=2"),
        ("a=1&x=rk%5Fthe-clients-own-key", "a=1"),
        ("rk_the-clients-own-key=1&b", "b"),
    ],
)
def test_a_query_goes_on_without_the_clients_key(query: str, expected: str) -> None:
    assert query_to_send(query, KEY) == expected


def test_a_place_goes_back_for_what_was_made_and_not_for_a_redirect() -> None:
    answered = {"location": "/v1/things/1", "x-limit": "5"}
    assert dict(headers_to_return(201, answered)) == answered
    assert dict(headers_to_return(307, answered)) == {"x-limit": "5"}


# --- URLs of an answer that lead through Relay ---

FAL = bind(a_webhook(provider="fal", credentials={"api_key": Secret("k")}, origins=()), load_profiles(None)["fal"])
HERE = "https://relay.example/submit/wh_1"


def test_urls_that_a_client_follows_with_its_key_lead_through_relay_and_nothing_else_changes() -> None:
    base = "https://queue.fal.run/fal-ai/x/requests/7"
    body = b'{"request_id":  "7", "status_url": "%b/status?logs=1",\n "response_url":"%b", "n": 1e400}'
    told = body_to_return(FAL, HERE, body % (base.encode(), base.encode()))
    here = f"{HERE}/fal-ai/x/requests/7".encode()
    assert told == body % (here, here)


@pytest.mark.parametrize(
    "url",
    [
        "https://queue.fal.run.evil.example/fal-ai/x/requests/7",
        "https://elsewhere.example/fal-ai/x/requests/7",
        "https://queue.fal.run/fal-ai/x/secrets",
        "https://queue.fal.run/fal-ai/../x/requests/7",
        "not a url",
        7,
        None,
    ],
)
def test_a_url_that_would_not_go_through_stays(url: object) -> None:
    body = json.dumps({"request_id": "7", "response_url": url}).encode()
    assert body_to_return(FAL, HERE, body) == body
    good = json.dumps({"response_url": "https://queue.fal.run/fal-ai/x/requests/7"}).encode()
    assert body_to_return(FAL, "", good) == good, "where the client found us is not known"
    other = bind(a_webhook(), load_profiles(None)["netnut"])
    assert body_to_return(other, HERE, good) == good
    assert body_to_return(FAL, HERE, b"<html>") == b"<html>"
