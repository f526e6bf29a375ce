"""Content filters: what their words mean, held against a naive reading of the same words, and what they may not say."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.pipeline import filter_language as language
from relay.pipeline.filter_language import FilterError, compile_filter
from relay.pipeline.filters import MAX_ELEMENTS, MISSING

M = "data.metadata"


@dataclass
class Given:
    """An envelope for filters."""

    metadata: Any = None
    payload: Any = MISSING

    @property
    def head(self) -> dict[str, Any]:
        data = {"provider": "netnut", "status": "completed", "error": None, "partial": False, "metadata": self.metadata}
        return {"type": "result.completed", "timestamp": "2026-11-21T19:00:00.000Z", "data": data}


METADATA = {
    "tenant": "acme", "n": 5, "f": 5.0, "t": True, "none": None, "tags": ["a", "b", 7], "empty": [], "o": {"x": 1},
    "a.b": "dotted", "back\\slash": 1, "list": [{"id": 1}, {"id": 2}], "0": "zero", "big": 2**70, "lists": [["a"]],
    "ü": "é",
}  # fmt: skip

HOLDS: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({f"{M}.tenant": {"$eq": "acme"}}, True),
    ({f"{M}.tenant": "acme"}, True),
    ({f"{M}.tenant": "ACME"}, False),
    ({f"{M}.tenant": {"$neq": "acme"}}, False),
    ({f"{M}.absent": {"$neq": "acme"}}, True),
    ({f"{M}.absent": {"$eq": None}}, False),
    ({f"{M}.none": None}, True),
    ({f"{M}.none": {"$exist": True}}, True),
    ({f"{M}.absent": {"$exist": False}}, True),
    ({f"{M}.absent": {"$exist": True}}, False),
    ({f"{M}.none.deeper": {"$exist": True}}, False),
    ({f"{M}.n": {"$eq": 5.0}}, True),
    ({f"{M}.f": {"$eq": 5}}, True),
    ({f"{M}.n": {"$eq": "5"}}, False),
    ({f"{M}.n": {"$gt": "4"}}, False),
    ({f"{M}.t": {"$eq": 1}}, False),
    ({f"{M}.t": {"$gt": 0}}, False),
    ({f"{M}.t": True}, True),
    ({f"{M}.n": {"$eq": True}}, False),
    ({f"{M}.n": {"$gt": 4, "$lt": 6}}, True),
    ({f"{M}.n": {"$gte": 5, "$lte": 5}}, True),
    ({f"{M}.n": {"$gt": 5}}, False),
    ({f"{M}.big": {"$gt": 1e20}}, True),
    ({f"{M}.absent": {"$lt": 5}}, False),
    ({f"{M}.none": {"$lt": 5}}, False),
    ({f"{M}.tenant": {"$gte": "acm"}}, True),
    ({"timestamp": {"$lt": "2026-11-22"}}, True),
    ({f"{M}.tenant": {"$in": ["x", "acme"]}}, True),
    ({f"{M}.n": {"$in": [True, "5", None]}}, False),
    ({f"{M}.absent": {"$in": [None]}}, False),
    ({f"{M}.absent": {"$nin": ["x"]}}, True),
    ({f"{M}.tenant": {"$startsWith": "ac", "$endsWith": "me"}}, True),
    ({f"{M}.n": {"$startsWith": "5"}}, False),
    ({f"{M}.tags": "b"}, True),
    ({f"{M}.tags": {"$neq": "b"}}, False),
    ({f"{M}.tags": {"$gt": 6}}, True),
    ({f"{M}.tags": {"$in": ["c", "b"]}}, True),
    ({f"{M}.tags": {"$nin": ["c", "d"]}}, True),
    ({f"{M}.tags": {"$startsWith": "a"}}, True),
    ({f"{M}.tags.0": "a"}, True),
    ({f"{M}.tags.3": {"$exist": False}}, True),
    ({f"{M}.tags.00": {"$exist": False}}, True),
    ({f"{M}.empty": {"$neq": "x"}}, True),
    ({f"{M}.empty": {"$exist": True}}, True),
    ({f"{M}.lists": "a"}, False),
    ({f"{M}.list.1.id": 2}, True),
    ({f"{M}.list.id": {"$exist": True}}, False),
    ({f"{M}.0": "zero"}, True),
    ({f"{M}.o": {"$neq": 1}}, True),
    ({M + r".a\.b": "dotted"}, True),
    ({M + r".back\\slash": 1}, True),
    ({f"{M}.ü": "é"}, True),
    ({"data.provider": "netnut", f"{M}.n": 6}, False),
    ({"$or": [{"data.provider": "fal"}, {f"{M}.n": 5}]}, True),
    ({"$and": [{"data.provider": "netnut"}, {f"{M}.n": 6}]}, False),
    ({"$not": {f"{M}.n": 6}}, True),
    ({"$not": {}}, False),
    ({f"{M}.n": {"$or": [{"$lt": 2}, {"$gt": 4}]}}, True),
    ({f"{M}.n": {"$not": {"$gt": 4}}}, False),
    ({f"{M}.absent": {"$not": {"$gt": 4}}}, True),
    ({f"{M}.n": {"$or": [5, 6]}}, True),
    ({"data.payload": {"$exist": False}}, True),
]


@pytest.mark.parametrize(("filter", "holds"), HOLDS, ids=[json.dumps(filter) for filter, _ in HOLDS])
def test_what_the_words_mean(filter: dict[str, Any], holds: bool) -> None:
    compiled, subject = compile_filter(filter), Given(METADATA)
    assert compiled.matches(subject) is holds
    assert bool(list(compiled.misses(subject))) is not holds


def test_a_payload_is_asked_for_only_where_a_path_leads_into_it() -> None:
    assert not compile_filter({"data.content_type": "a", "$not": {"type": "b"}}).reads_payload
    assert compile_filter({"$or": [{"type": "b"}, {"$not": {"data.payload.a.0": 1}}]}).reads_payload
    assert compile_filter({"data.payload.0.a": 1}).matches(Given(payload=[{"a": 1}]))
    assert compile_filter({"data.payload": None}).matches(Given(payload=None))


# --- held against a naive reading ---

names = st.sampled_from(["a", "b", "0", "1"])
scalars = st.sampled_from([None, True, False, 0, 1, 2, 1.0, 1.5, -1, 2**63, "", "a", "ab", "b", "1"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)
paths = st.tuples(st.sampled_from([M, "data.payload"]), st.lists(names, max_size=2)).map(
    lambda found: ".".join([found[0], *found[1]])
)
ordered = st.sampled_from([0, 1, 1.5, -1, "", "a", "b"])
operators = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$neq"]), scalars),
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), ordered),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(scalars, min_size=1, max_size=3)),
    st.tuples(st.sampled_from(["$startsWith", "$endsWith"]), st.sampled_from(["", "a", "b"])),
    st.tuples(st.just("$exist"), st.booleans()),
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.tuples(st.sampled_from(["$and", "$or"]), several).map(lambda pair: {pair[0]: pair[1]}),
        inner.map(lambda one: {"$not": one}),
    )


conditions = st.recursive(scalars | st.lists(operators, min_size=1, max_size=2).map(dict), nested, max_leaves=3)
filters = st.recursive(st.dictionaries(paths, conditions, max_size=2), nested, max_leaves=4)


def kind(value: Any) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__


def reads(filter: Any, document: dict[str, Any]) -> bool:
    """A filter read naively, straight from its words."""
    for key, value in filter.items():
        if key == "$and":
            if not all(reads(one, document) for one in value):
                return False
        elif key == "$or":
            if not any(reads(one, document) for one in value):
                return False
        elif key == "$not":
            if reads(value, document):
                return False
        elif not condition(value, looked_up(key, document)):
            return False
    return True


def looked_up(path: str, value: Any) -> list[Any]:
    """What is at the path, in a list; an empty one when nothing is."""
    for name in path.split("."):
        if type(value) is dict and name in value:
            value = value[name]
        elif type(value) is list and re.fullmatch("0|[1-9][0-9]*", name) and int(name) < len(value):
            value = value[int(name)]
        else:
            return []
    return [value]


def condition(wanted: Any, found: list[Any]) -> bool:
    if type(wanted) is not dict:
        wanted = {"$eq": wanted}
    candidates = found[0] if found and type(found[0]) is list else found
    for name, operand in wanted.items():
        if name == "$and":
            good = all(condition(one, found) for one in operand)
        elif name == "$or":
            good = any(condition(one, found) for one in operand)
        elif name == "$not":
            good = not condition(operand, found)
        elif name == "$exist":
            good = bool(found) == operand
        elif name in ("$neq", "$nin"):
            good = not condition({"$eq" if name == "$neq" else "$in": operand}, found)
        elif name == "$in":
            good = any(condition({"$eq": one}, found) for one in operand)
        else:
            good = any(single(name, operand, one) for one in candidates)
        if not good:
            return False
    return True


def single(name: str, operand: Any, value: Any) -> bool:
    if kind(operand) != kind(value):
        return False
    if name == "$eq":
        return bool(operand == value)
    if kind(value) == "str" and name in ("$startsWith", "$endsWith"):
        return bool(
            value[: len(operand)] == operand if name == "$startsWith" else value[len(value) - len(operand) :] == operand
        )
    if kind(value) not in ("number", "str"):
        return False
    return bool(
        {"$gt": value > operand, "$gte": value >= operand, "$lt": value < operand, "$lte": value <= operand}[name]
    )


@given(filters, values, values)
def test_a_filter_says_what_a_naive_reading_of_it_says(filter: dict[str, Any], metadata: Any, payload: Any) -> None:
    compiled, subject = compile_filter(filter), Given(metadata, payload)
    document = subject.head
    document["data"]["payload"] = payload
    expected = reads(filter, document)
    assert compiled.matches(subject) is expected
    assert bool(list(compiled.misses(subject))) is not expected


# --- why not ---


def test_what_failed_is_told_with_what_was_found() -> None:
    filter = {f"{M}.tenant": {"$eq": "umbrella"}, "data.provider": "netnut", f"{M}.absent": {"$gt": 5}}
    found = list(compile_filter(filter).misses(Given(METADATA)))
    told = [(miss.place, miss.path, miss.operator, miss.found) for miss in found]
    assert told == [
        ("filter.data.metadata.tenant.$eq", "data.metadata.tenant", "$eq", '"acme"'),
        ("filter.data.metadata.absent.$gt", "data.metadata.absent", "$gt", None),
    ]


def test_of_alternatives_all_are_told_and_of_a_negation_itself() -> None:
    filter = {"$or": [{f"{M}.n": 1}, {f"{M}.tenant": {"$not": {"$in": ["acme"]}}}]}
    places = [(miss.place, miss.found) for miss in compile_filter(filter).misses(Given(METADATA))]
    assert places == [("filter.$or.0.data.metadata.n", "5"), ("filter.$or.1.data.metadata.tenant.$not", '"acme"')]


def test_what_was_found_is_cut() -> None:
    [miss] = compile_filter({f"{M}.x": 1}).misses(Given({"x": "y" * 10_000}))
    assert miss.found == '"' + "y" * 199 + "…"
    [miss] = compile_filter({f"{M}.big": 1}).misses(Given(METADATA))
    assert miss.found == str(2**70)


# --- what may not be said ---

DEEP: dict[str, Any] = {"type": "x"}
for _ in range(language.MAX_DEPTH + 1):
    DEEP = {"$not": DEEP}

WRONG: list[tuple[Any, str]] = [
    ({"data.metadata.tenant": {"$regex": "(a+)+$"}}, "filter.data.metadata.tenant.$regex"),
    ({"data.metadata.tenant": {"$gt": None}}, "filter.data.metadata.tenant.$gt"),
    ({"data.metadata.tenant": {"$gt": True}}, "filter.data.metadata.tenant.$gt"),
    ({"data.metadata.tenant": {"$in": "acme"}}, "filter.data.metadata.tenant.$in"),
    ({"data.metadata.tenant": {"$in": []}}, "filter.data.metadata.tenant.$in"),
    ({"data.metadata.tenant": {"$in": ["a", {}]}}, "filter.data.metadata.tenant.$in.1"),
    ({"data.metadata.tenant": {"$eq": []}}, "filter.data.metadata.tenant.$eq"),
    ({"data.metadata.tenant": {"$exist": 1}}, "filter.data.metadata.tenant.$exist"),
    ({"data.metadata.tenant": {"$startsWith": 1}}, "filter.data.metadata.tenant.$startsWith"),
    ({"data.metadata.tenant": {}}, "filter.data.metadata.tenant"),
    ({"data.metadata.tenant": ["acme"]}, "filter.data.metadata.tenant"),
    ({"data.metadata": {"tenant": "acme"}}, "filter.data.metadata.tenant"),
    ({"data": {"$exist": True}}, "filter.data"),
    ({"data.metdata.tenant": "acme"}, "filter.data.metdata.tenant"),
    ({"data.payload_base64": "x"}, "filter.data.payload_base64"),
    ({"payload.x": 1}, "filter.payload.x"),
    ({"": 1}, "filter."),
    ({"data..x": 1}, "filter.data..x"),
    ({"data.metadata.": 1}, "filter.data.metadata."),
    ({r"data.metadata.a\x": 1}, r"filter.data.metadata.a\x"),
    ({"$or": []}, "filter.$or"),
    ({"$or": {"type": "a"}}, "filter.$or"),
    ({"$and": [{"type": "a"}, "b"]}, "filter.$and.1"),
    ({"$not": []}, "filter.$not"),
    ({"$eq": 1}, "filter.$eq"),
    ({"$or": [{"type": {"$and": [{"$eq": "x"}, {"$lk": 1}]}}]}, "filter.$or.0.type.$and.1.$lk"),
    (DEEP, "filter" + ".$not" * (language.MAX_DEPTH + 1)),
    ({"data.metadata." + "x" * 500: 1}, "filter.data.metadata." + "x" * 500),
    ({"data.payload" + ".x" * 20: 1}, "filter.data.payload" + ".x" * 20),
    ({"type": {"$in": list(range(501))}}, "filter.type.$in"),
    ({"type": "x" * 17_000}, "filter"),
]


@pytest.mark.parametrize(("filter", "place"), WRONG, ids=[place[:60] for _, place in WRONG])
def test_a_wrong_filter_is_refused_by_the_place(filter: Any, place: str) -> None:
    with pytest.raises(FilterError) as caught:
        compile_filter(filter)
    assert caught.value.place == place
    assert caught.value.detail


def test_conditions_are_counted_wherever_they_stand() -> None:
    most = language.MAX_CONDITIONS
    compile_filter({"$or": [{"type": {"$eq": str(number)}} for number in range(most)]})
    with pytest.raises(FilterError) as caught:
        compile_filter({"$or": [{"type": {"$eq": str(number)}} for number in range(most + 1)]})
    assert caught.value.place == f"filter.$or.{most}.type.$eq"


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*language.OPERATORS, *language.LOGICAL, "type", M, "data.payload"]), inner)
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(
    st.dictionaries(st.sampled_from([*language.LOGICAL, "type", M, "data.payload.a"]) | st.text(), anything), anything
)
def test_whatever_is_given_is_compiled_or_refused(filter: dict[str, Any], payload: Any) -> None:
    try:
        compiled = compile_filter(filter)
    except FilterError:
        return
    assert compiled.matches(Given(METADATA, payload)) is not bool(list(compiled.misses(Given(METADATA, payload))))


def test_the_largest_filter_on_the_longest_list_takes_no_time() -> None:
    wanted = [str(number) for number in range(20)]
    filter = {"$and": [{"data.payload": {"$nin": wanted}} for _ in range(99)]}
    compiled, subject = compile_filter(filter), Given(payload=[0] * 500_000)
    began = time.perf_counter()
    assert compiled.matches(subject)
    assert time.perf_counter() - began < 0.5
    assert not compile_filter({"data.payload": 1}).matches(Given(payload=[0] * MAX_ELEMENTS + [1]))
