"""Due work in memory, and whose turn it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.store.queue import Due
from relay.workers.lanes import Lanes, earliest_first, pick, round_robin


def lanes_of(*items: tuple[str, str, int], per_lane: int = 256) -> Lanes:
    lanes = Lanes(per_lane)
    for row_id, lane, order in items:
        lanes.offer(Due(row_id, lane, order))
    return lanes


def everything(lanes: Lanes, policy: object = earliest_first, limit: int = 1000) -> list[str]:
    return [row_id for _, row_id in pick(lanes, policy, lambda lane, late=False: True, limit)]  # type: ignore[arg-type] # a policy


def test_the_earliest_goes_first_across_all_lanes() -> None:
    lanes = lanes_of(("a3", "a", 3), ("b2", "b", 2), ("a1", "a", 1), ("b4", "b", 4))
    assert everything(lanes) == ["a1", "b2", "a3", "b4"]
    assert len(lanes) == 0 and list(lanes) == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 10**6)), max_size=200))
def test_in_whatever_order_they_come(items: list[tuple[str, int]]) -> None:
    lanes = lanes_of(*((f"{place}", lane, order) for place, (lane, order) in enumerate(items)))
    orders = [items[int(row_id)][1] for row_id in everything(lanes)]
    assert orders == sorted(order for _, order in items)


def test_every_lane_has_its_turn_whatever_its_backlog() -> None:
    many = [(f"a{number}", "a", number) for number in range(100)]
    lanes = lanes_of(*many, ("b0", "b", 10**6), ("c0", "c", 10**6))
    assert set(everything(lanes, round_robin, limit=3)) == {"a0", "b0", "c0"}


def test_turns_are_remembered_from_one_round_to_the_next() -> None:
    lanes = lanes_of(("a0", "a", 0), ("a1", "a", 1), ("b0", "b", 0), ("b1", "b", 1))
    served = [everything(lanes, round_robin, limit=1)[0][0] for _ in range(4)]
    assert served in (["a", "b", "a", "b"], ["b", "a", "b", "a"])


def test_one_that_waits_already_is_not_added_again() -> None:
    assert everything(lanes_of(("x", "a", 1), ("x", "a", 1))) == ["x"]


def test_a_full_lane_keeps_its_first_ones() -> None:
    lanes = lanes_of(*((f"{order}", "a", order) for order in (5, 9, 1, 7, 3, 8)), per_lane=3)
    assert everything(lanes) == ["1", "3", "5"]
    assert "9" not in lanes


def test_a_lane_that_is_full_for_now_is_asked_once_and_keeps_its_work() -> None:
    lanes = lanes_of(("a1", "a", 1), ("a2", "a", 2), ("b3", "b", 3))
    asked = []

    def reserve(lane: str, *, late: bool = False) -> bool:
        asked.append(lane)
        return lane == "b"

    assert pick(lanes, earliest_first, reserve, 10) == [("b", "b3")]
    assert asked == ["a", "b"] and lanes.depth("a") == 2


def test_a_deadline_that_has_passed_goes_behind_those_that_can_be_met() -> None:
    lanes = lanes_of(("missed", "a", 5), ("soon", "a", 20), ("later", "b", 30), ("gone", "b", 1))
    lanes.put_off(10)
    assert everything(lanes) == ["soon", "later", "gone", "missed"]


def test_memory_of_lanes_that_are_gone_can_be_dropped() -> None:
    lanes = lanes_of(("a", "a", 1), ("b", "b", 1))
    everything(lanes)
    lanes.forget_served(lambda lane: lane == "b")
    assert lanes.served("a") == 0 and lanes.served("b") > 0
    lanes.offer(Due("c", "c", 1))
    lanes.clear()
    assert len(lanes) == 0 and "c" not in lanes
