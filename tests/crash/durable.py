"""A 2xx is never seen before its fsync: read from what strace saw of a run on SQLite."""

from __future__ import annotations

import argparse
import itertools
import re
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.crash import strace
from tests.crash.audit import drain
from tests.crash.rig import run_main
from tests.crash.strace import Call
from tests.crash.world import World

SENDS: Final = frozenset({"write", "writev", "sendto", "sendmsg"})
NOTIFICATION: Final = re.compile(rb"ntf_[0-9a-f]{32}")
GOOD: Final = b"HTTP/1.1 2"
STORED: Final = re.compile(rb'"notification_id":"(ntf_[0-9a-f]{32})"')


@dataclass(frozen=True)
class Answer:
    """One 2xx of a callback URL."""

    notification_id: str
    sent: int  # the line of the trace in which its first byte began to be written


def trace(world: World, *, seconds: float, rate: float, without: Sequence[str] = ()) -> list[Call]:
    """Two lives of a relay under load: the first, from nothing, is killed, the second is stopped. What they called."""
    files = [world.home / f"trace{life}" for life in range(2)]
    left: dict[str, bytes] = {}  # by the kill
    for life, file in enumerate(files):
        relay = world.relay(without=without, tracer=strace.command(file))
        relay.await_ready()
        if life == 0:
            world.register()
        load = world.load(rate=rate, first=life * 1_000_000)
        time.sleep(seconds)
        if life == 0:
            relay.kill()
            left = {str(file): file.read_bytes() for file in world.data.iterdir() if file.is_file()}
            load.stop()
        else:
            load.stop()
            drain(world)
            relay.stop()
    first, second = (_lines(file) for file in files)
    calls = strace.parse(itertools.chain(first, second))
    return [call for call in list(calls) if call.began >= len(first) or was_made(call, left)]


def was_made(call: Call, left: Mapping[str, bytes]) -> bool:
    """Whether a call, if the kill came in the midst of it, changed the files that are left: it may have come before the
    kernel did anything, and then the second life has never seen it."""
    content = left.get(call.path)
    if call.ended is not None or content is None:
        return True
    if call.name == "ftruncate":
        return len(content) <= call.numbers[0]
    if call.name != "pwrite64":
        return True
    data, offset = b"".join(call.strings), call.numbers[-1]
    return content[offset : offset + len(data)] == data


def _lines(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines(keepends=True)


def answers(calls: Sequence[Call]) -> list[Answer]:
    """Every 2xx of a callback URL, in the order in which they were sent."""
    heads: dict[int, int] = {}  # by socket: where the 2xx began whose body is still to come
    found: list[Answer] = []
    for call in calls:
        if call.name not in SENDS or "socket:" not in call.path:
            continue
        data = b"".join(call.strings)
        if data.startswith(b"HTTP/1.1 "):
            heads.pop(call.descriptor, None)
            if data.startswith(GOOD):
                heads[call.descriptor] = call.began
        said = STORED.search(data)
        if said is not None and call.descriptor in heads:
            found.append(Answer(said[1].decode(), heads.pop(call.descriptor)))
    return found


def premature(calls: Sequence[Call], wal: str) -> list[Answer]:
    """Answers that were sent although nothing had made sure that the notification is on the disk.

    Sure is: the id, which is made after the request was read, was written to the WAL, and an fsync of the WAL that
    began after that write had ended well when the answer began.
    """
    written: dict[str, int] = {}
    began: list[int] = []
    ended: list[int] = []
    for call in calls:
        if call.path != wal:
            continue
        if call.name == "pwrite64":
            for row_id in NOTIFICATION.findall(b"".join(call.strings)):
                written.setdefault(row_id.decode(), call.began)
        elif call.name in ("fdatasync", "fsync") and call.result == 0 and call.ended is not None:
            began.append(call.began)
            ended.append(call.ended)
    return [answer for answer in answers(calls) if not _is_sure(answer, written, began, ended)]


def _is_sure(answer: Answer, written: dict[str, int], began: list[int], ended: list[int]) -> bool:
    at = written.get(answer.notification_id)
    if at is None:
        return False
    sync = bisect_right(began, at)
    return sync < len(began) and ended[sync] < answer.sent


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.durable", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rate", type=float, default=100.0)
    options = parser.parse_args()
    failed = False
    for without in ((), ("fsync",)):
        with World("sqlite") as world:
            calls = trace(world, seconds=options.seconds, rate=options.rate, without=without)
            early = premature(calls, f"{world.data}/relay.db-wal")
            total = len(answers(calls))
        mode = "synchronous=NORMAL" if without else "as shipped"
        print(f"{mode}: {total} answers, {len(early)} of them sent before an fsync had covered the notification")
        failed |= total == 0 or bool(early) != bool(without)
    return int(failed)


if __name__ == "__main__":
    run_main(main)
