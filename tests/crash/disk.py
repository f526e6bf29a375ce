"""A disk that forgets what was not synced: fed with system calls, it shows what a power cut may leave behind.

What a completed fsync covered is there. Of the rest, any part may be: whole writes, some of their 512-byte sectors,
or nothing; and a file that was made, renamed or deleted has its new name only after its directory was synced too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from tests.crash.strace import Call

SECTOR: Final = 512
WRITES: Final = frozenset({"pwrite64", "write", "pwritev", "writev"})
SYNCS: Final = frozenset({"fsync", "fdatasync"})
IN_MEMORY: Final = "-shm"  # SQLite's index of the WAL is mapped memory: it is made anew from the WAL


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes at an offset, or (without bytes) a new length."""

    offset: int
    data: bytes | None


@dataclass(slots=True, eq=False)
class File:
    """What is surely on the disk, what may be, and where the next plain write goes."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Write] = field(default_factory=list)
    synced: int = 0  # how many writes are in `durable`
    position: int = 0
    is_directory: bool = False

    @property
    def written(self) -> int:
        """How many writes there were."""
        return self.synced + len(self.pending)

    def sync(self, until: int) -> None:
        """The first `until` writes are on the disk now."""
        count = max(0, until - self.synced)
        for write in self.pending[:count]:
            _apply(self.durable, write)
        del self.pending[:count]
        self.synced += count

    def after_a_cut(self, chance: random.Random) -> bytes:
        """The content that one power cut leaves."""
        content = bytearray(self.durable)
        mode = chance.randrange(4)
        for write in self.pending:
            if mode == 1 or (mode > 1 and chance.random() < 0.5):
                _apply(content, write)
            elif mode == 3 and write.data is not None:
                for part in _sectors(write, chance):
                    _apply(content, part)
        return bytes(content)


def _sectors(write: Write, chance: random.Random) -> Iterator[Write]:
    """Some of the sectors of a torn write."""
    assert write.data is not None
    end = write.offset + len(write.data)
    start = write.offset
    while start < end:
        stop = min(end, start - start % SECTOR + SECTOR)
        if chance.random() < 0.5:
            yield Write(start, write.data[start - write.offset : stop - write.offset])
        start = stop


def _apply(content: bytearray, write: Write) -> None:
    if write.data is None:
        if write.offset < len(content):
            del content[write.offset :]
        else:
            content.extend(bytes(write.offset - len(content)))
        return
    if write.offset > len(content):
        content.extend(bytes(write.offset - len(content)))
    content[write.offset : write.offset + len(write.data)] = write.data


@dataclass(slots=True)
class Disk:
    """Every file under `top`, whose own existence is given."""

    top: str
    names: dict[str, File] = field(default_factory=dict)  # as the running system sees them
    durable: dict[str, File] = field(default_factory=dict)
    renamed: dict[str, list[File | None]] = field(default_factory=dict)  # by path: what the name was to mean next
    _syncing: dict[Call, tuple[int, dict[str, int]]] = field(default_factory=dict)

    def began(self, call: Call) -> None:
        """A call starts: what it writes may be on the disk from now on."""
        if call.name in WRITES:
            self._write(call)
        elif call.name == "ftruncate":
            found = self.names.get(call.path)
            if found is not None:
                found.pending.append(Write(call.numbers[0], None))
        elif call.name in SYNCS and self._is_ours(call.path):
            file = self.names.get(call.path)
            written = 0 if file is None else file.written
            self._syncing[call] = (written, {path: len(steps) for path, steps in self.renamed.items()})

    def ended(self, call: Call) -> None:
        """A call is over: what it promised holds from now on."""
        if call.name in SYNCS:
            self._synced(call)
        elif (call.result or 0) < 0:
            return
        elif call.name == "openat":
            self._opened(call)
        elif call.name in ("unlink", "unlinkat"):
            self._name(call.strings[0].decode(), None)
        elif call.name in ("link", "linkat", "rename", "renameat", "renameat2"):
            old, new = (each.decode() for each in call.strings[:2])
            self._name(new, self.names.get(old))
            if call.name.startswith("rename"):
                self._name(old, None)
        elif call.name in ("mkdir", "mkdirat"):
            self._name(call.strings[0].decode(), File(is_directory=True))

    def after_a_cut(self, chance: random.Random) -> dict[str, bytes]:
        """The files that one power cut leaves, by their path under `top`."""
        entries = dict(self.durable)
        for path, steps in self.renamed.items():
            taken = chance.randrange(len(steps) + 1)
            if taken:
                _set(entries, path, steps[taken - 1])
        contents: dict[File, bytes] = {}
        for path, file in entries.items():
            if not file.is_directory and self._has_parents(path, entries):
                contents.setdefault(file, file.after_a_cut(chance))
        return {
            str(PurePosixPath(path).relative_to(self.top)): contents[file]
            for path, file in entries.items()
            if file in contents and self._has_parents(path, entries)
        }

    def _has_parents(self, path: str, entries: dict[str, File]) -> bool:
        parent = str(PurePosixPath(path).parent)
        return parent == self.top or (parent in entries and self._has_parents(parent, entries))

    def _is_ours(self, path: str) -> bool:
        return path == self.top or (path.startswith(f"{self.top}/") and not path.endswith(IN_MEMORY))

    def _write(self, call: Call) -> None:
        file = self.names.get(call.path)
        if file is None:
            return
        data = b"".join(call.strings)
        if call.name.startswith("p"):
            offset = call.numbers[-1]
        else:
            offset = file.position
            file.position += len(data)
        file.pending.append(Write(offset, data))

    def _opened(self, call: Call) -> None:
        path = call.strings[0].decode() if call.strings else ""
        if not self._is_ours(path):
            return
        if path not in self.names and b"O_CREAT" in call.text:
            self._name(path, File())
        file = self.names.get(path)
        if file is not None and not file.is_directory:
            file.position = 0
            if b"O_TRUNC" in call.text:
                file.pending.append(Write(0, None))

    def _name(self, path: str, file: File | None) -> None:
        """From now on the name means this file (None: nothing), for the running system."""
        if not self._is_ours(path) or path == self.top:
            return
        _set(self.names, path, file)
        self.renamed.setdefault(path, []).append(file)

    def _synced(self, call: Call) -> None:
        written, steps = self._syncing.pop(call, (0, {}))
        if call.result != 0:
            return
        file = self.names.get(call.path)
        if file is not None:
            file.sync(written)
        for path, done in steps.items():
            if str(PurePosixPath(path).parent) == call.path:
                self._entries_synced(path, done)

    def _entries_synced(self, path: str, done: int) -> None:
        taken, rest = self.renamed[path][:done], self.renamed[path][done:]
        if taken:
            _set(self.durable, path, taken[-1])
        if rest:
            self.renamed[path] = rest
        else:
            del self.renamed[path]


def _set(entries: dict[str, File], path: str, file: File | None) -> None:
    if file is None:
        entries.pop(path, None)
    else:
        entries[path] = file
