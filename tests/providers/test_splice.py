"""Putting members into JSON objects and fields into forms, with every other byte as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.providers.multipart import boundary_of, put_field
from relay.providers.splice import Unfit, UnfitError, holds_text, put_member, same_json

NAMES = st.sampled_from(["a", "b", "webhook", "url", "é", "\\", '"', "a.b", ""])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=5)
PLACES = st.lists(st.sampled_from(["a", "b", "webhook", "url"]), min_size=1, max_size=3)


@pytest.mark.parametrize(
    ("before", "at", "after"),
    [
        (b"{}", ["async"], b'{"async":true}'),
        (b" \r\n{ \t}\n", ["async"], b' \r\n{"async":true \t}\n'),
        (b'{"n": 1e400 , "big":1234567890123456789.0}', ["a"], b'{"a":true,"n": 1e400 , "big":1234567890123456789.0}'),
        (b'{"async":1}', ["async"], b'{"async":true}'),
        (b'{"\\u0061\xff":1}', ["async"], b'{"async":true,"\\u0061\xff":1}'),
        (b'{"async" :  false ,"x":"\\u00e9\xc3\xa9"}', ["async"], b'{"async" :  true ,"x":"\\u00e9\xc3\xa9"}'),
        (b'{"async":null}', ["async"], b'{"async":true}'),
        (b'{"async":0,"b":[{"async":1}],"async":{"c":"}"}}', ["async"],
         b'{"async":true,"b":[{"async":1}],"async":true}'),
        (b'{"\\u0061sync":false}', ["async"], b'{"\\u0061sync":true}'),
        (b'{"a":{"x":1}}', ["a", "b"], b'{"a":{"b":true,"x":1}}'),
        (b'{"a":{}}', ["a", "b", "c"], b'{"a":{"b":{"c":true}}}'),
        (b'{"a":null}', ["a", "b"], b'{"a":{"b":true}}'),
        (b'{"a":{"b":"]\\"}"},"a":{ }}', ["a", "b"], b'{"a":{"b":true},"a":{"b":true }}'),
        (b'{"s":"{\\"async\\":1}","t":"\\\\"}', ["async"], b'{"async":true,"s":"{\\"async\\":1}","t":"\\\\"}'),
        (b'{"async":true}', ["async"], b'{"async":true}'),
    ],
)  # fmt: skip
def test_a_member_is_put_in_and_nothing_else_changes(before: bytes, at: list[str], after: bytes) -> None:
    assert put_member(before, at, True, "replace") == after


@pytest.mark.parametrize(
    ("body", "at", "existing", "unfit"),
    [
        (b"[]", ["a"], "replace", Unfit("not_a_json_object", "a")),
        (b'"{}"', ["a"], "replace", Unfit("not_a_json_object", "a")),
        (b"", ["a"], "replace", Unfit("not_a_json_object", "a")),
        (b"{", ["a"], "replace", Unfit("not_a_json_object", "a")),
        (b"{}x", ["a"], "replace", Unfit("not_a_json_object", "a")),
        (b'{"n":NaN}', ["a"], "replace", Unfit("not_a_json_object", "a")),
        (b"\xef\xbb\xbf{}", ["a"], "replace", Unfit("not_a_json_object", "a")),
        (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", ["b"], "replace", Unfit("not_a_json_object", "b")),
        (b'{"a":"x"}', ["a", "b"], "replace", Unfit("in_the_way", "a")),
        (b'{"a":{},"a":[]}', ["a", "b"], "replace", Unfit("in_the_way", "a")),
        (b'{"a":{"b":1}}', ["a", "b"], "refuse", Unfit("taken", "a.b")),
    ],
)  # fmt: skip
def test_where_nothing_can_be_put_in_it_says_why(body: bytes, at: list[str], existing: Any, unfit: Unfit) -> None:
    with pytest.raises(UnfitError) as caught:
        put_member(body, at, True, existing)
    assert caught.value.unfit == unfit


def test_a_value_that_is_there_is_kept_or_counts_as_the_same() -> None:
    assert put_member(b'{"a": 1}', ["a"], 2, "keep") == b'{"a": 1}'
    assert put_member(b'{"a": [2, "\\u0078"]}', ["a"], [2, "x"], "refuse") == b'{"a": [2, "\\u0078"]}'
    assert put_member(b'{"a":"https:\\/\\/r\\/in\\/x"}', ["a"], "https://r/in/y", "keep", "https://r/in/") == (
        b'{"a":"https://r/in/y"}'
    )


@settings(deadline=None)
@given(OBJECTS, PLACES, st.sampled_from([True, "x", {"mode": "direct"}, ["completed"]]), st.booleans())
def test_parsers_see_the_member_and_all_that_was_there(
    document: dict[str, Any], at: list[str], value: Any, pretty: bool
) -> None:
    body = json.dumps(document, indent=3 if pretty else None).encode()
    try:
        result = put_member(body, at, value, "replace")
    except UnfitError:
        return
    expected = json.loads(body)
    inner = expected
    for step in at[:-1]:
        inner[step] = inner.get(step) if isinstance(inner.get(step), dict) else {}
        inner = inner[step]
    inner[at[-1]] = value
    assert json.loads(result) == expected


@settings(deadline=None)
@given(st.binary(max_size=40), PLACES)
def test_bytes_that_are_no_object_are_refused_and_never_raise(body: bytes, at: list[str]) -> None:
    try:
        assert len(put_member(body, at, True, "keep")) >= len(body)
    except UnfitError:
        pass


@settings(deadline=None)
@given(st.text(alphabet='{}[]",:\\ \n0eE.+-tfnu', max_size=30))
def test_what_looks_like_an_object_is_one(text: str) -> None:
    body = b'{"a":' + text.encode() + b"}"
    try:
        result = put_member(body, ["b"], True, "replace")
    except UnfitError:
        return
    assert json.loads(result)["b"] is True
    assert body[1:] in result


def test_a_large_body_is_spliced_as_a_small_one() -> None:
    pad = b'"pad":"%b"' % (b"{x\\u0061" * 20_000)
    assert put_member(b"{%b}" % pad, ["a", "b"], 1, "replace") == b'{"a":{"b":1},%b}' % pad
    assert put_member(b'{%b,"a":{}}' % pad, ["a", "b"], 1, "replace") == b'{%b,"a":{"b":1}}' % pad
    assert put_member(b'{%b,"\\u0061":2}' % pad, ["a"], 1, "replace") == b'{%b,"\\u0061":1}' % pad
    assert put_member(b'{%b,"a":null}' % pad, ["a"], 1, "keep") == b'{%b,"a":1}' % pad


def test_texts_that_are_no_json_are_neither_the_same_nor_hold_anything() -> None:
    deep = b"[" * 90_000 + b"]" * 90_000
    assert not same_json(b"{", b"{}") and not same_json(deep, b"[]")
    assert not holds_text(b"{", "x") and not holds_text(deep, "x")
    assert holds_text(b'[1,{"a":["xy"]}]', "x") and not holds_text(b'[1,{"x":["a"]}]', "x")


# --- forms ---

FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="async.pdf"\r\n'
    b"Content-Type: application/pdf\r\n\r\n%PDF --b\r\n\x00\r\n--b--\r\n"
)
ASYNC = b'--b\r\nContent-Disposition: form-data; name="async"\r\n\r\nfalse\r\n'


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=b1", b"b1"),
        ('Multipart/Form-Data;charset=utf-8; boundary="b 1"', b"b 1"),
        ("multipart/form-data", None),
        ("multipart/mixed; boundary=b", None),
        ("multipart/form-data; boundary=é", None),
        ("application/json", None),
        ("", None),
    ],
)
def test_a_form_names_its_boundary(content_type: str, boundary: bytes | None) -> None:
    assert boundary_of(content_type) == boundary


def test_a_field_is_put_first() -> None:
    field = b'--b\r\nContent-Disposition: form-data; name="async"\r\n\r\ntrue\r\n'
    assert put_field(FORM, b"b", "async", "true", "replace") == field + FORM
    assert put_field(b"preamble\r\n" + FORM, b"b", "async", "true", "replace") == b"preamble\r\n" + field + FORM


@pytest.mark.parametrize("name", [b'name="async"', b"name=async", b'NAME="async"'])
def test_a_field_that_is_there_is_replaced_kept_or_refused(name: bytes) -> None:
    body = ASYNC.replace(b'name="async"', name) + FORM
    assert put_field(body, b"b", "async", "true", "replace") == body.replace(b"false", b"true")
    assert put_field(body, b"b", "async", "true", "keep") == body
    assert put_field(body, b"b", "async", "false", "refuse") == body
    with pytest.raises(UnfitError) as caught:
        put_field(body, b"b", "async", "true", "refuse")
    assert caught.value.unfit == Unfit("taken", "async")


def test_each_of_several_fields_of_the_name_is_replaced() -> None:
    assert put_field(ASYNC + ASYNC + FORM, b"b", "async", "true", "replace").count(b"false") == 0


def test_an_empty_field_is_filled() -> None:
    body = ASYNC.replace(b"false", b"") + FORM
    assert b'name="async"\r\n\r\ntrue\r\n--b' in put_field(body, b"b", "async", "true", "replace")


@pytest.mark.parametrize("body", [b"", b"{}", b"--c\r\n\r\nx", b"x--b\r\n"])
def test_what_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(UnfitError) as caught:
        put_field(body, b"b", "async", "true", "replace")
    assert caught.value.unfit == Unfit("not_form_data", "async")


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_any_form_is_left_as_it_is_but_for_the_field(rest: bytes) -> None:
    result = put_field(b"--b" + rest, b"b", "async", "true", "keep")
    assert result.endswith(b"--b" + rest)
