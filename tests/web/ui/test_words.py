"""How values look, and how a job's life is drawn."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import DeliveryStatus, JobStatus, NotificationStatus, ReplayStatus, SubscriptionStatus, WebhookStatus
from relay.pipeline import counters
from relay.store.rollups import Sum
from relay.web.ui import numbers, words
from relay.web.ui.flow import flow
from relay.web.ui.pretty import indented
from relay.web.ui.waterfall import LEFT, RIGHT, Lane, Mark, picture

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0 ms"), (0, "0 ms"), (0.0312, "31 ms"), (0.9999, "1.0 s"), (9.96, "10.0 s"), (59.6, "1 min"),
     (90, "1 min 30 s"), (3600, "1 h"), (6900, "1 h 55 min"), (86400 * 2 + 3600, "2 d 1 h")],
)  # fmt: skip
def test_spans(seconds: float, shown: str) -> None:
    assert words.span(seconds) == shown


def test_times_are_relative_and_never_negative() -> None:
    assert words.ago(1000, 1000) == "now"
    assert words.ago(0, 90_000) == "1 min 30 s ago"
    assert words.ago(90_000, 0) == "in 1 min 30 s"
    assert words.stamp(0) == "1970-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("count", "shown"),
    [(None, "–"), (999, "999 B"), (1000, "1.0 kB"), (41_200, "41 kB"), (999_999, "1.0 MB"), (5e15, "5000 TB")],
)
def test_sizes(count: int | None, shown: str) -> None:
    assert words.size(count) == shown


def test_every_state_has_a_sign_of_its_own_beside_its_colour() -> None:
    states = [*JobStatus, *DeliveryStatus, *NotificationStatus, *ReplayStatus, *SubscriptionStatus, *WebhookStatus]
    assert {str(state) for state in states} <= set(words.LOOKS)
    for mine in ({*JobStatus}, {*DeliveryStatus}, {*SubscriptionStatus}):
        looks = {words.look(str(state)) for state in mine}
        assert all(one.sign for one in looks) and len({one.tone for one in looks}) >= 3


@given(st.text(alphabet=st.characters(codec=None)))
def test_a_strangers_text_can_be_sent_and_moves_nothing(text: str) -> None:
    shown = words.plain(text)
    shown.encode()
    assert not any(ord(c) < 32 and c not in "\t\n" for c in shown)
    assert not any(c in shown for c in "\u202e\u2066\u2028\x7f")


@given(JSON)
def test_line_breaks_change_no_value_and_no_digit(value: object) -> None:
    text = json.dumps(value)
    broken = indented(text)
    assert json.loads(broken) == value
    assert "".join(broken.split()) == "".join(text.split())


def test_numbers_and_names_stay_as_they_are() -> None:
    assert indented('{"b":12345678901234567890,"a":[1.10,-0,1e400,{}],"c":""}') == (
        '{\n  "b": 12345678901234567890,\n  "a": [\n    1.10,\n    -0,\n    1e400,\n    {}\n  ],\n  "c": ""\n}'
    )


# --- pictures ---


def _mark(start: int, end: int, **more: object) -> Mark:
    return Mark(start=start, end=end, tone="ok", label="200", title="", **more)  # type: ignore[arg-type]


def test_what_is_milliseconds_and_what_is_hours_apart_is_both_to_be_seen() -> None:
    lanes = [
        Lane(name="fetch", marks=[_mark(0, 12), _mark(40, 52)]),
        Lane(name="out", marks=[_mark(7_200_000, 7_200_000)]),
    ]
    drawn = picture(lanes, now=3_600_000, expiry=7_200_500)
    first, second = drawn.rows[0].marks
    third = drawn.rows[1].marks[0]
    assert first.x == LEFT and second.x - first.x >= 15 and third.x - second.x >= 200
    assert (
        drawn.now is not None and drawn.expiry is not None and second.x < drawn.now < third.x <= drawn.expiry <= RIGHT
    )
    assert [tick.label for tick in drawn.ticks][0] == "0"
    assert all(b.x - a.x >= 70 for a, b in zip(drawn.ticks, drawn.ticks[1:], strict=False))


def test_one_instant_alone_is_a_picture_too_and_labels_do_not_cover_marks() -> None:
    assert picture([Lane(name="began", marks=[_mark(5, 5)])], now=None, expiry=None).rows[0].marks[0].x == LEFT
    crowded = picture([Lane(name="fetch", marks=[_mark(n * 10, n * 10) for n in range(60)])], now=None, expiry=None)
    labels = [placed.mark.label for placed in crowded.rows[0].marks]
    assert labels[:-1] == [""] * 59 and labels[-1] == "200"


def test_the_flow_is_as_wide_as_it_is_much_and_red_where_it_fails() -> None:
    names = {"wh_a": "fal", "sub_a": "billing", "sub_b": "search", "sub_c": "idle"}
    sums = [
        Sum(0, "wh_a", "", "notification.accepted", 100),
        Sum(0, "wh_a", "sub_a", counters.FANNED_OUT, 100),
        Sum(0, "wh_a", "sub_b", counters.FANNED_OUT, 1),
        Sum(0, "", "sub_a", counters.DELIVERED, 60),
        Sum(0, "", "sub_a", counters.FAILED, 40),
        Sum(0, "", "sub_b", counters.DELIVERED, 1),
        Sum(0, "wh_gone", "", "notification.accepted", 3),
    ]
    drawn = flow(sums, names, ["wh_a", "sub_c"])
    assert [(knot.name, knot.tone) for knot in drawn.subscriptions] == [
        ("billing", "bad"),
        ("search", "ok"),
        ("idle", "off"),
    ]
    wide, narrow = drawn.bands
    assert (wide.label, wide.tone) == ("fal to billing: 100 deliveries", "bad") and wide.width > 3 * narrow.width
    assert len(drawn.webhooks) == 1 and drawn.left_out == 0


def test_quantiles_are_bounds() -> None:
    sums = [
        Sum(0, "wh", "", "stored.within.0.1", 90),
        Sum(1, "wh", "", "stored.within.5", 9),
        Sum(1, "", "", "stored.within.later", 1),
    ]
    assert [numbers.quantile(sums, share) for share in (0.5, 0.95, 0.999)] == [0.1, 5.0, float("inf")]
    assert numbers.quantile([], 0.5) is None
