"""Names and types of a message, and what of it can be shown."""

from __future__ import annotations

import base64
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import Secret
from relay.pipeline.shape import EXCERPT_BYTES, LARGEST_BYTES, document_of, excerpt_of, shape_of

SECRET = "s3cret/of+this webhook"
SECRETS = [Secret(SECRET), Secret(f"Basic {base64.b64encode(f'u:{SECRET}'.encode()).decode()}")]


def shape(value: Any, status: int | None = 200, content_type: str | None = "application/json") -> str:
    return shape_of(value, status, content_type)


def test_messages_that_differ_in_values_only_have_one_shape() -> None:
    one = {"id": "a", "n": 1, "items": [{"x": 1.5}, {"x": 2}], "done": True, "none": None}
    other = {"none": None, "done": False, "n": 70, "items": [{"x": 2}, {"x": 1.5}, {"x": 9}], "id": "b"}
    assert shape(one) == shape(other)
    assert shape(one) == shape(one, content_type="Application/JSON; charset=utf-8")
    assert len(shape(one)) == 64


@pytest.mark.parametrize(
    "other",
    [{"id": 1}, {"ID": "a"}, {"id": "a", "x": 1}, {"id": None}, {"id": ["a"]}, {"id": {"a": "a"}}, ["id"], "id", None],
)
def test_another_name_or_type_is_another_shape(other: Any) -> None:
    assert shape({"id": "a"}) != shape(other)


def test_status_and_content_type_are_part_of_it() -> None:
    shapes = {shape({}), shape({}, 202), shape({}, None), shape({}, 200, "text/html"), shape({}, 200, None)}
    assert len(shapes) == 5


def test_a_document_is_json_text_or_a_query() -> None:
    assert document_of(b'{"a": 1}') == {"a": 1}
    assert document_of(b"<html>") == "<html>"
    assert document_of(b"", "id=7&x=") == {"id": "7", "x": ""}
    assert document_of(b'{"a": 1}', "id=7") == {"a": 1}
    assert document_of(b"[" * LARGEST_BYTES + b"[") == f"{LARGEST_BYTES + 1} bytes"
    assert document_of(b"[" * 5000) == "[" * 5000


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), lambda inner: st.lists(inner) |
       st.dictionaries(st.text(), inner)), st.binary())  # fmt: skip
def test_any_message_has_a_shape_and_an_excerpt_that_can_be_stored(value: Any, body: bytes) -> None:
    for document in (
        document_of(json.dumps(value).encode()),
        document_of(body),
        document_of(b"", body.decode("latin-1")),
    ):
        assert len(shape(document)) == 64
        excerpt = excerpt_of(document, SECRETS)
        assert len(excerpt.encode()) <= EXCERPT_BYTES
        assert "\x00" not in excerpt


def test_members_that_look_like_keys_are_taken_out_and_numbers_are_not() -> None:
    message = {
        "access_token": "abc", "apiKey": "abc", "api-key": "abc", "Authorization": "abc", "password": "abc",
        "credentials": {"user": "abc", "deep": ["abc"]}, "webhook_secret": "abc", "x-signature": "abc",
        "set-cookie": "abc", "usage": {"total_tokens": 450}, "secret": None, "token": "", "name": "kept",
    }  # fmt: skip
    excerpt = excerpt_of(message, [])
    assert "abc" not in excerpt
    shown = orjson.loads(excerpt)
    assert list(shown) == list(message)
    assert (shown["usage"], shown["secret"], shown["token"], shown["name"]) == ({"total_tokens": 450}, None, "", "kept")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://s.example/b/k.json?X-Amz-Signature=abc", "https://s.example/b/k.json?[redacted]"),
        ("see https://s.example/x?sig=abc&t=1 there", "see https://s.example/x?[redacted] there"),
        ("https://relay.example/in/" + "T" * 30, "https://relay.example/in/[redacted]"),
        ("https://s.example/" + "k" * 64 + "/x", "https://s.example/[redacted]/x"),
        ("https://user:pass@s.example/x", "https://[redacted]s.example/x"),
        ("sent Bearer abcdefgh12345", "sent [redacted]"),
        ("whsec_abcdefghijkl", "[redacted]"),
        ("rk_abcdefghijkl and sk-proj-abcdefgh", "[redacted] and [redacted]"),
        ("https://llm.example/responses/6f1c0a52-2f5b-4d58-9d6c-0f5b1f3a7c11", None),
        ("In Progress", None),
    ],
)
def test_texts_that_are_keys_are_taken_out_wherever_they_stand(text: str, shown: str | None) -> None:
    assert orjson.loads(excerpt_of({"field": text}, [])) == {"field": shown or text}
    assert excerpt_of(text, []) == (shown or text)


@pytest.mark.parametrize("place", ["{}", "x{}x", "a {} b", "{}" + "y" * 5000])
def test_the_webhooks_own_secrets_are_taken_out_in_every_form(place: str) -> None:
    basic = base64.b64encode(f"u:{SECRET}".encode()).decode()
    for form in (SECRET, basic, SECRET.replace("/", "\\/"), base64.b64encode(SECRET.encode()).decode()):
        text = place.format(form)
        for document in ({"a": text}, {text: 1}, [text], text):
            excerpt = excerpt_of(document, SECRETS)
            assert SECRET not in excerpt and basic not in excerpt and form not in excerpt


def test_long_texts_and_lists_are_cut_so_that_the_shape_is_seen() -> None:
    shown = orjson.loads(excerpt_of({"text": "x" * 9000, "items": list(range(50)), "end": 1}, []))
    assert shown["text"].endswith("… (9000 characters)") and len(shown["text"]) < 200
    assert shown["items"] == [0, 1, 2, "… (50 elements)"]
    assert shown["end"] == 1
