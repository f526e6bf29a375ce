"""The benchmark's processes start, are measured and end; a relay under it delivers everything it was sent."""

from array import array

import psutil
import pytest

from tests.bench import polling, rig
from tests.bench.floors import Calls
from tests.bench.results import PATHS, bench
from tests.bench.wire import Plan, notification

pytestmark = pytest.mark.acceptance


def test_the_floor_server_answers_both_routes_and_is_gone_afterwards() -> None:
    with rig.light("server") as server:
        before = server.cpu_seconds()
        for path in ("/empty/token", "/in/token"):
            plan = Plan(port=server.port, template=notification(path, "http://127.0.0.1:9/results"), count=2000)
            assert rig.send(plan).answered == 2000
        assert server.cpu_seconds() > before
        assert server.rss_bytes() > 0
    assert not psutil.pid_exists(server.process.pid)


def test_bare_calls_are_one_get_and_three_posts_per_result() -> None:
    with rig.light("provider") as provider, rig.light("subscriber") as subscriber:
        ports = {"provider_port": provider.port, "subscriber_port": subscriber.port}
        cost = rig.bare_calls(Calls(**ports, count=50, rate=250.0))
        assert cost.count == 50
        assert cost.wall_seconds >= 49 / 250 - 1e-6  # each was begun when it was due; sums of floats are not exact
        assert cost.cpu_seconds > 0
        assert b'"unmarked":150' in subscriber.get("/report")


def test_a_relay_that_does_not_start_is_named_with_what_it_said() -> None:
    with pytest.raises(rig.RigError, match="RELAY_NONSENSE"), rig.relay(RELAY_NONSENSE="1"):
        pytest.fail("it started")


def test_a_round_sees_every_delivery_after_its_notification_was_due() -> None:
    with bench() as rigged:
        first, second = rigged.play(20, 100.0), rigged.play(10, 100.0)
    assert [len(column) for column in first.delivered] == [20] * len(PATHS)
    assert [len(column) for column in second.delivered] == [10] * len(PATHS)
    assert min(first.whole_waits()) > 0
    assert max(map(max, first.delivered)) < min(second.due)
    assert first.cpu_seconds > 0


def test_the_provider_tells_when_it_was_asked_for_a_pending_result() -> None:
    with rig.light("provider") as provider:
        for number in (7, 8, 7):
            assert b"processing" in provider.get(f"/pending/bench-{number:010d}")
        asked = array("d")
        asked.frombytes(provider.get("/asked"))
    assert list(asked[::2]) == [7.0, 8.0, 7.0]
    assert list(asked[1::2]) == sorted(asked[1::2])


def test_gaps_are_those_between_two_questions_about_one_job_and_none_may_be_forgotten() -> None:
    assert polling._gaps([0.0, 10.0, 1.0, 11.0, 0.0, 40.0, 1.0, 43.0], 2) == [30.0, 32.0]
    with pytest.raises(rig.RigError, match="1 of 2 jobs"):
        polling._gaps([0.0, 10.0, 1.0, 11.0, 0.0, 40.0], 2)
