"""A place that is no disk: for databases of tests that prove nothing about what outlives a power cut."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")
ROOM_BYTES: Final = 1 << 30  # containers often have 64 MiB there, which a few databases fill


def memory_directory() -> Path | None:
    """Where files are kept in memory, if there is such a place with enough room."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM_BYTES:
        return MEMORY
    return None


@contextmanager
def directory_in_memory() -> Iterator[Path]:
    """An empty directory, gone afterwards; on the disk where there is no other place."""
    with tempfile.TemporaryDirectory(prefix="relay-test-", dir=memory_directory()) as directory:
        yield Path(directory)
