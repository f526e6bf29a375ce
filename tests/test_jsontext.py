"""Reading JSON as text: what counts as strict, and finding values in anything a provider may send."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.jsontext import MAX_DEEP_BYTES, MAX_NESTING, Selector, find, is_empty, is_strict_json, text_of

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=25,
)


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b" [1, 2.50, -0, 1.0] \r\n",
        b'{"a":1,"a":2}',
        b'"text"',
        b"null",
        b"9223372036854775808",
        b"18446744073709551616",
        b"1" * 300,
        b'"\\ud83d\\ude00"',
        '{"é":"😀"}'.encode(),
        b"[" * MAX_NESTING + b"]" * MAX_NESTING,
        b"[" + b'{"a":"[[[["},' * 200 + b"{}]",
        rb'{"a":"\\\"[[[[","b":[{"c":"]}"}]}',
    ],
)
def test_what_every_parser_takes_is_strict(data: bytes) -> None:
    assert is_strict_json(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"{} {}",
        b"<html></html>",
        b"1e400",
        b'{"a":[-1e400]}',
        b"9" * 5000,
        b"NaN",
        b'{"a":Infinity}',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        b"[" * (MAX_NESTING + 1) + b"]" * (MAX_NESTING + 1),
        b'{"a":' * (MAX_NESTING + 1) + b'"]]"' + b"}" * (MAX_NESTING + 1),
        b"[" * 50_000 + b"]" * 50_000,
        b'{"a":01}',
        b"{'a':1}",
        b"[1,]",
        b'"\n"',
    ],
)
def test_what_some_parser_refuses_is_not_strict(data: bytes) -> None:
    assert not is_strict_json(data)


@given(JSON_VALUES)
def test_what_is_strict_the_standard_library_takes_too(value: Any) -> None:
    data = json.dumps(value).encode()
    if is_strict_json(data):
        json.loads(data)


@given(st.integers(0, 2 * MAX_NESTING), st.text())
def test_nesting_is_counted_exactly(depth: int, noise: str) -> None:
    data = b"[" * depth + json.dumps([noise, {noise: "[{" + noise}]).encode() + b"]" * depth
    padded = b"[" + b"{}," * MAX_NESTING + data + b"]"
    if not any(0xD800 <= ord(character) <= 0xDFFF for character in noise):
        assert is_strict_json(padded) == (depth + 3 <= MAX_NESTING)


@pytest.mark.parametrize(
    ("data", "steps", "expected"),
    [
        (b'{"a":{"b":[1,{"c":"x"}]}}', ("a", "b", 1, "c"), b'"x"'),
        (b'{"a":[[1,2],[3]]}', ("a", 1, 0), b"3"),
        (b'{"a" : 1 , "a" :  2 }', ("a",), b"2"),
        (b'{"a":{"b":1},"a":{"c":2}}', ("a", "b"), None),
        (b'\xef\xbb\xbf {"a":1}', ("a",), b"1"),
        (b'{"x":1e400,"a":1e400}', ("a",), b"1e400"),
        (b'{"x":NaN,"y":-Infinity,"z":[Infinity],"a":7}', ("a",), b"7"),
        (b'{"x":"\\ud800","a":7}', ("a",), b"7"),
        (b'{"x":"\\udc00 \\ud83d\\ude00","a":7}', ("a",), b"7"),
        (b'{"\\ud800":1,"a":7}', ("a",), b"7"),
        (b'{"\xff":"\xfe","a":7}', ("a",), b"7"),
        (b'{"x":' + b"9" * 5000 + b',"a":7}', ("a",), b"7"),
        (b'{"\\u0061":7}', ("a",), b"7"),
        (b'{"a":{}}', ("a", "b"), None),
        (b'{"a":"text"}', ("a", "b"), None),
        (b'{"a":[]}', ("a", 0), None),
        (b'{"a":{"0":1}}', ("a", 0), None),
        (b"[1]", ("a",), None),
        (b'"a"', ("a",), None),
        (b'{"x":' + b"[" * 50_000 + b"]" * 50_000 + b',"a":[1,{"b":"deep"}]}', ("a", 1, "b"), b'"deep"'),
        (b'{"x":' + b'{"a":' * 2000 + b"NaN" + b"}" * 2000 + b',"a":"\\ud800"}', ("a",), b'"\\ud800"'),
    ],
)
def test_a_value_is_found_by_its_path(data: bytes, steps: tuple[str | int, ...], expected: bytes | None) -> None:
    assert find(data, steps) == expected


NOT_JSON = [b"", b" ", b"{", b"]", b"[1,]", b'{"a":1,}', b'{"a"}', b'{"a":1}}', b"[1 2]", b"{a:1}", b"{,}", b"<html>"]


@pytest.mark.parametrize("data", [*NOT_JSON, b'{"a":1 "b":2}', b'{"a":1}x', b'{"a":01}', b"{1:2}", b'{"a":NaN', b":"])
@pytest.mark.parametrize("deep", [b"", b"[" * 2000 + b"]" * 2000])
def test_what_breaks_the_grammar_is_not_json(data: bytes, deep: bytes) -> None:
    body = b"[" + deep + b"," + data + b"]" if deep and data.strip() else data
    assert Selector([("a",)]).select(body) is None


def test_the_way_through_python_reads_as_the_way_through_c_does() -> None:
    deep = b"[" * 1500 + b"]" * 1500
    template = b'{"id":"x1","n":[1,{"k":null}],"o":{"p":{"q":-1.5e3}},"t":true,"d":%s,"e":"\\u00e9\\"}","z":{}}'
    paths: list[tuple[str | int, ...]] = [
        ("id",), ("n",), ("n", 1, "k"), ("o", "p", "q"), ("t",), ("e",), ("z",), ("n", 5), ("none",)
    ]  # fmt: skip
    shallow = Selector(paths).select(template % b"[]")
    walked = Selector(paths).select(template % deep)
    assert shallow is not None and walked is not None
    assert {steps: bytes(value) for steps, value in shallow.items()} == {
        steps: bytes(value) for steps, value in walked.items()
    }
    assert len(shallow) == 7


def test_a_large_body_nested_beyond_every_parser_is_given_up() -> None:
    data = b"[" * MAX_DEEP_BYTES + b"]" * MAX_DEEP_BYTES
    assert Selector([("a",)]).select(data) is None


@given(st.binary())
def test_any_bytes_can_be_read(data: bytes) -> None:
    Selector([("a",), ("a", "b"), ("c", 0)]).select(data)


@given(JSON_VALUES, st.data())
def test_values_are_found_as_the_standard_library_finds_them(value: Any, data: st.DataObject) -> None:
    keys = [key for key in value if key.isascii() and key.isalnum()] if isinstance(value, dict) else []
    if keys:
        key = data.draw(st.sampled_from(keys))
        found = find(json.dumps(value).encode(), (key,))
        assert found is not None and json.loads(found) == value[key]


@pytest.mark.parametrize(
    ("value", "limit", "expected"),
    [
        (b'"plain"', 10, "plain"),
        (b'"\\u00e9\\n\\"\\\\\\/"', 10, 'é\n"\\/'),
        (b'"\\ud83d\\ude00"', 10, "😀"),
        (b'"a\\ud800b"', 10, "a\ufffdb"),
        (b'"a\xffb"', 10, "a\ufffdb"),
        (b'"\\u00e9\\u00e9\\u00e9"', 2, "éé"),
        (b'"' + b"x" * 1_000_000 + b'"', 3, "xxx"),
        (b'""', 3, ""),
        (b"-12.50", 10, "-12.50"),
        (b"9" * 5000, 257, "9" * 257),
        (b"true", 10, None),
        (b"null", 10, None),
        (b"{}", 10, None),
        (b"[1]", 10, None),
    ],
)
def test_strings_and_numbers_are_read_as_text(value: bytes, limit: int, expected: str | None) -> None:
    assert text_of(memoryview(value), limit) == expected


@pytest.mark.parametrize(
    "value", [b"null", b"false", b"0", b"-0.0", b'""', b"[]", b"{}", b"{ \n }", b"[" + b" " * 99 + b"]"]
)
def test_values_that_say_nothing_are_empty(value: bytes) -> None:
    assert is_empty(memoryview(value))


@pytest.mark.parametrize(
    "value", [b"true", b"1", b"0.5", b'" "', b'"0"', b"[0]", b'{"a":null}', b'"' + b"x" * 99 + b'"']
)
def test_other_values_are_not_empty(value: bytes) -> None:
    assert not is_empty(memoryview(value))


def sixteen_mebibytes() -> bytes:
    items = b",".join(b'{"id":%d,"text":"item %d","x":[1.5,true,null]}' % (n, n) for n in range(330_000))
    body = b'{"traceID":"t1","response":{"items":[' + items + b']},"status":"done"}'
    return body + b" " * (16 * 2**20 - len(body))


def test_sixteen_mebibytes_are_read_quickly_and_without_a_tree() -> None:
    body = sixteen_mebibytes()
    selector = Selector([("traceID",), ("status",), ("response",), ("response", "error")])
    selector.select(b"{}")
    started = time.process_time()
    found = selector.select(body)
    taken = time.process_time() - started
    tracemalloc.start()
    selector.select(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found is not None and len(found) == 3
    assert peak < 100_000
    assert taken < 0.15


def test_a_large_body_with_a_bare_nan_is_mended_not_walked() -> None:
    body = sixteen_mebibytes().rstrip()[:-1] + b',"score":NaN}'
    found = Selector([("status",)]).select(body)
    assert found is not None and bytes(found["status",]) == b'"done"'
