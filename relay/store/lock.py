"""The lock that keeps a SQLite file to one process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from relay.errors import AlreadyRunning


class FileLock:
    """An exclusive `flock`; the kernel lets go of it when the process dies, however it dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, path: str) -> FileLock:
        """Take the lock. Raises AlreadyRunning when another process has it."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise AlreadyRunning(
                f"another Relay uses this database ({path}), and SQLite serves one process: stop that one first,"
                " or use PostgreSQL for more"
            ) from None
        return cls(descriptor)

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
