"""`python -m tests.crash.powercut [--images N]`: what a power cut may leave on the disk opens clean and has everything.

The relay runs on SQLite under strace: a first start from nothing, load, SIGKILL, a second start, load, an orderly stop.
From what it wrote and synced, disk images are made for moments all over that time. RELAY_CRASH=long makes 10,000.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from relay.store import migrate
from tests.crash import strace
from tests.crash.disk import Disk
from tests.crash.durable import Answer, answers, trace
from tests.crash.rig import run_main
from tests.crash.strace import Call
from tests.crash.world import World

IMAGES: Final = {"long": 10_000}
DEFAULT_IMAGES: Final = 1_000
WEAK_IMAGES: Final = 100  # enough to find losses where nothing is synced
UPGRADE_EVERY: Final = 20  # so many images are also brought to the present schema, as the next start would
DATABASE: Final = "data/relay.db"
KEY_FILE: Final = "data/secret-keys"
MEMORY: Final = "/dev/shm"


@dataclass
class Outcome:
    """What a run showed."""

    calls: int = 0
    answers: int = 0
    images: int = 0
    before_any: int = 0  # images from before the first acknowledgement: the making of the database
    upgraded: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Traced:
    """What a relay called, and the directory that all of it happened in."""

    calls: list[Call]
    home: str
    wal: str


def run_relay(*, seconds: float, rate: float, without: Sequence[str] = ()) -> Traced:
    """Trace a relay that checkpoints often, so that a short run has checkpoints at all."""
    with World("sqlite") as world:
        calls = trace(world, seconds=seconds, rate=rate, without=("rare-checkpoints", *without))
        return Traced(calls, str(world.home), f"{world.data}/relay.db-wal")


def cut_power(traced: Traced, *, images: int, seed: int) -> Outcome:
    """Cut the power `images` times, and look at what is left each time."""
    began = time.monotonic()
    outcome = Outcome(calls=len(traced.calls), answers=len(answers(traced.calls)))
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(
        prefix="relay-powercut-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None
    ) as directory:
        for number, image in enumerate(cuts(traced.calls, traced.home, images, chance)):
            _judge(image, Path(directory), outcome, upgrade=number % UPGRADE_EVERY == 0)
    outcome.seconds = time.monotonic() - began
    return outcome


@dataclass(frozen=True)
class Image:
    """What is on the disk after one cut, and what had been acknowledged before it."""

    at: int  # line of the trace
    files: dict[str, bytes]
    acknowledged: Sequence[str]


def cuts(calls: Sequence[Call], top: str, images: int, chance: random.Random) -> Iterator[Image]:
    """Images from moments all over the trace: after something was written, synced, named or answered."""
    steps = _steps(calls, top)
    wanted = sorted(chance.choices(range(len(steps)), k=images))
    sent: list[Answer] = sorted(answers(calls), key=lambda answer: answer.sent)
    disk = Disk(top)
    acknowledged: list[str] = []
    for number, (line, is_end, call) in enumerate(steps):
        (disk.ended if is_end else disk.began)(call)
        while sent and sent[0].sent <= line:
            acknowledged.append(sent.pop(0).notification_id)
        while wanted and wanted[0] == number:
            wanted.pop(0)
            yield Image(line, disk.after_a_cut(chance), tuple(acknowledged))


def _steps(calls: Sequence[Call], top: str) -> list[tuple[int, bool, Call]]:
    """The beginnings and ends of all calls that concern the files under `top` or answer somebody."""
    sending = {answer.sent for answer in answers(calls)}
    ours = strace.escaped(top)
    steps: list[tuple[int, bool, Call]] = []
    for call in calls:
        if not (call.began in sending or ours in call.text):
            continue
        steps.append((call.began, False, call))
        if call.ended is not None:
            steps.append((call.ended, True, call))
    return sorted(steps, key=lambda step: step[:2])


def _judge(image: Image, directory: Path, outcome: Outcome, *, upgrade: bool) -> None:
    outcome.images += 1
    outcome.before_any += not image.acknowledged
    for name, content in image.files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    try:
        problem = check(directory, image.acknowledged)
        if problem is None and upgrade:
            asyncio.run(migrate.upgrade(f"sqlite:///{directory}/{DATABASE}"))
            outcome.upgraded += 1
            problem = check(directory, image.acknowledged)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    if problem is not None:
        outcome.problems.append(f"cut at line {image.at}: {problem}")
    for path in directory.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def check(directory: Path, acknowledged: Sequence[str]) -> str | None:
    """What is wrong with an image; None if it opens clean and has everything."""
    path = directory / DATABASE
    if not path.exists():
        return "the database is gone" if acknowledged else None
    if acknowledged and len((directory / KEY_FILE).read_bytes() if (directory / KEY_FILE).exists() else b"") < 32:
        return "the key file is gone, so what is sealed cannot be opened"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        said = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        if said != ["ok"]:
            return f"integrity_check says {said[:3]}"
        if not acknowledged:
            return None
        rows = dict(connection.execute("SELECT id, job_id FROM notifications"))
        jobs = {row[0] for row in connection.execute("SELECT id FROM jobs")}
    lost = [row_id for row_id in acknowledged if row_id not in rows or rows[row_id] not in jobs]
    return f"{len(lost)} of {len(acknowledged)} acknowledged are lost, such as {lost[0]}" if lost else None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.powercut")
    parser.add_argument("--images", type=int, default=IMAGES.get(os.environ.get("RELAY_CRASH", ""), DEFAULT_IMAGES))
    parser.add_argument("--seconds", type=float, default=3.0, help="of load, twice")
    parser.add_argument("--rate", type=float, default=60.0, help="notifications a second")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    if not strace.is_there():
        print("this needs strace", file=sys.stderr)
        return 1
    load = {"seconds": options.seconds, "rate": options.rate}
    whole = cut_power(run_relay(**load), images=options.images, seed=options.seed)
    weak = cut_power(run_relay(**load, without=("fsync",)), images=WEAK_IMAGES, seed=options.seed)
    _tell("as shipped", whole)
    _tell("with synchronous=NORMAL, which must lose some", weak)
    proved = whole.answers > 0 and not whole.problems and bool(weak.problems)
    print(f"power cut: {'holds' if proved else 'FAILED'} (seed {options.seed})")
    return 0 if proved else 1


def _tell(mode: str, outcome: Outcome) -> None:
    print(
        f"{mode}: {outcome.images} images of {outcome.calls} calls with {outcome.answers} acknowledgements "
        f"({outcome.before_any} before the first one, {outcome.upgraded} brought up again), "
        f"{len(outcome.problems)} with a loss, {outcome.seconds:.0f} s"
    )
    for problem in outcome.problems[:5]:
        print(f"  {problem}")


if __name__ == "__main__":
    run_main(main)
