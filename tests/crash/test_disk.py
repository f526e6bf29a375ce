from __future__ import annotations

import random

import pytest

from tests.crash.disk import Disk
from tests.crash.durable import was_made
from tests.crash.strace import Call, escaped, parse

TOP = "/t"


def _line(number: int, text: str) -> Call:
    """A call whose plain strings and paths are escaped as strace does it with -xx."""
    (call,) = parse([b"7 " + _escape(text)])
    call.began = call.ended = number
    return call


def _escape(text: str) -> bytes:
    parts = text.split("|")  # |what is escaped|
    return b"".join(escaped(part) if at % 2 else part.encode() for at, part in enumerate(parts))


def _disk(*lines: str) -> Disk:
    disk = Disk(TOP)
    for number, line in enumerate(lines):
        call = _line(number, line)
        disk.began(call)
        disk.ended(call)
    return disk


CREATED = (
    'openat(AT_FDCWD<|/|>, "|/t/a|", O_CREAT, 0600) = 3<|/t/a|>',
    'pwrite64(3<|/t/a|>, "|hello|", 5, 0) = 5',
    "fsync(3<|/t/a|>) = 0",
)
NAMED = "fsync(4<|/t|>) = 0"


def _all_images(disk: Disk) -> set[frozenset[tuple[str, bytes]]]:
    return {frozenset(disk.after_a_cut(random.Random(seed)).items()) for seed in range(200)}


def test_a_synced_file_whose_directory_was_not_synced_may_be_gone() -> None:
    assert _all_images(_disk(*CREATED)) == {frozenset(), frozenset({("a", b"hello")})}


def test_a_synced_file_in_a_synced_directory_is_there() -> None:
    assert _all_images(_disk(*CREATED, NAMED)) == {frozenset({("a", b"hello")})}


def test_a_write_that_was_not_synced_may_be_there_or_not() -> None:
    images = _all_images(_disk(*CREATED, NAMED, 'pwrite64(3<|/t/a|>, "|J|", 1, 0) = 1'))

    assert images == {frozenset({("a", b"hello")}), frozenset({("a", b"Jello")})}


def test_a_large_write_may_be_torn_between_its_sectors_and_only_there() -> None:
    images = _all_images(_disk(*CREATED, NAMED, f'pwrite64(3<|/t/a|>, "|{"x" * 1024}|", 1024, 0) = 1024'))

    contents = {dict(image)["a"] for image in images}
    assert contents == {
        b"hello",
        b"x" * 1024,
        b"x" * 512,
        b"hello" + bytes(507) + b"x" * 512,
    }


def test_a_deleted_name_may_come_back_until_the_directory_is_synced() -> None:
    deleted = (*CREATED, NAMED, 'unlink("|/t/a|") = 0')

    assert _all_images(_disk(*deleted)) == {frozenset(), frozenset({("a", b"hello")})}
    assert _all_images(_disk(*deleted, NAMED)) == {frozenset()}


def test_a_file_in_a_new_directory_needs_the_directory_above_it_too() -> None:
    inside = (
        'mkdir("|/t/d|", 0700) = 0',
        *(line.replace("/t/a", "/t/d/a") for line in CREATED),
        "fsync(4<|/t/d|>) = 0",
    )

    assert _all_images(_disk(*inside)) == {frozenset(), frozenset({("d/a", b"hello")})}
    assert _all_images(_disk(*inside, NAMED)) == {frozenset({("d/a", b"hello")})}


def test_a_sync_covers_what_was_written_before_it_began_and_holds_only_once_it_has_ended() -> None:
    disk = _disk(*CREATED, NAMED)
    lines = [
        b"7 fdatasync(3<" + escaped("/t/a") + b"> <unfinished ...>",
        b'8 pwrite64(3<%b>, "%b", 1, 0) = 1' % (escaped("/t/a"), escaped("J")),
        b"7 <... fdatasync resumed>) = 0",
    ]
    sync, write = parse(lines)
    disk.began(sync)
    disk.began(write)
    disk.ended(sync)

    assert len(_all_images(disk)) == 2


def test_a_call_that_was_interrupted_by_another_thread_is_put_together_again() -> None:
    first, second = parse(
        [b"7 fdatasync(3</a> <unfinished ...>", b"8 fsync(4</b>) = 0", b"7 <... fdatasync resumed>) = 0"]
    )

    assert (first.name, first.path, first.result, first.began, first.ended) == ("fdatasync", "/a", 0, 0, 2)
    assert (second.name, second.path, second.ended) == ("fsync", "/b", 1)


def test_a_call_in_which_the_process_died_never_ended() -> None:
    (call,) = parse([b"7 fdatasync(3</a> <unfinished ...>", b"7 +++ killed by SIGKILL +++"])

    assert call.ended is None


@pytest.mark.parametrize("mark", ["unfinished", "detached"])
def test_a_call_that_a_kill_came_into_keeps_its_offset_and_has_no_end(mark: str) -> None:
    (call,) = parse([b"7 " + _escape(f'pwrite64(3<|/t/a|>, "|J|", 1, 4096 <{mark} ...>')])
    assert (call.ended, call.path, call.numbers) == (None, "/t/a", [1, 4096])


@pytest.mark.parametrize(
    ("line", "left", "made"),
    [
        ('pwrite64(3<|/t/a|>, "|J|", 1, 1 <detached ...>', b"hJllo", True),
        ('pwrite64(3<|/t/a|>, "|J|", 1, 1 <detached ...>', b"hello", False),
        ('pwrite64(3<|/t/a|>, "|J|", 1, 9 <detached ...>', b"hello", False),
        ("ftruncate(3<|/t/a|>, 2 <unfinished ...>", b"hello", False),
        ("ftruncate(3<|/t/a|>, 2 <unfinished ...>", b"he", True),
        ('pwrite64(3<|/t/a|>, "|J|", 1, 1) = 1', b"hello", True),
        ('pwrite64(3<|/t/b|>, "|J|", 1, 1 <detached ...>', b"hello", True),
    ],
)
def test_whether_a_call_that_a_kill_came_into_was_made_shows_in_what_is_left(
    line: str, left: bytes, made: bool
) -> None:
    (call,) = parse([b"7 " + _escape(line)])
    assert was_made(call, {"/t/a": left}) is made
