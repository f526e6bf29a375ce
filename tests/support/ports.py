"""Port numbers for whoever has to be told one before it listens: other processes, and relays whose public URL names it.

A port that the system chose and that was closed again is anybody's: the next client connection on this machine may be
given it before its server binds. These come from outside the range that the system chooses from, and a counter that all
test processes share hands out each of them once, until it has been through all.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

SYSTEM_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
USUAL_SYSTEM_RANGE: Final = (32768, 60999)  # of Linux, where it cannot be read
OURS: Final = (10_000, 65_535)  # below are services that people run
ENOUGH: Final = 1000


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens, and that nobody else is given meanwhile."""
    candidates = _range()
    for _ in candidates:
        port = candidates[_turn() % len(candidates)]
        if _is_free(port):
            return port
    raise OSError(f"none of the ports {candidates[0]} to {candidates[-1]} is free")


@cache
def _range() -> range:
    return outside(*_system_range())


def outside(first: int, last: int) -> range:
    """Ports that are never chosen from `first` to `last`: those on the longer side of it, or all if neither is long."""
    below, above = range(OURS[0], min(first, OURS[1] + 1)), range(max(last + 1, OURS[0]), OURS[1] + 1)
    longer = max(below, above, key=len)
    return longer if len(longer) >= ENOUGH else range(OURS[0], OURS[1] + 1)


def _system_range() -> tuple[int, int]:
    try:
        first, last = SYSTEM_RANGE.read_text().split()
    except (OSError, ValueError):
        return USUAL_SYSTEM_RANGE
    return int(first), int(last)


def _turn() -> int:
    """The next number of this user's counter on this machine."""
    path = Path(tempfile.gettempdir()) / f"relay-test-ports-{os.getuid()}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        turn = int(os.pread(descriptor, 20, 0) or b"0")
        os.pwrite(descriptor, b"%020d" % (turn + 1), 0)
    finally:
        os.close(descriptor)
    return turn


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: dead connections are no obstacle
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
