"""`relay trigger`: rehearse with a stand-in for a provider, on a relay that runs already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from relay.cli import values
from relay.cli.exits import Exit, Failure
from relay.cli.noun import as_json
from relay.cli.output import note, put_list
from relay.cli.session import open_api
from relay.cli.state import ended_by_signals

if TYPE_CHECKING:
    from relay.demo.rehearsal import Came, Piece

COLUMNS: Final = ("job_id", "provider_job_id", "status", "attempts", "notified", "error")
TIMEOUT_SECONDS: Final = 60.0
GONE_TIMEOUT_SECONDS: Final = 240.0  # two minutes after a notification "not there" still means "not there yet"
DEFAULT_PORT: Final = 7431


@click.command()
@click.argument("event", required=False)
@click.option("--list", "listing", is_flag=True, help="Say which events there are.")
@click.option("--count", type=click.IntRange(1, 1000), default=1, show_default=True, help="So many jobs.")
@click.option("--pending", type=click.IntRange(min=0), default=0, help="Answer so often that the result is not ready.")
@click.option("--duplicate", is_flag=True, help="Send every notification twice.")
@click.option("--never-call-back", is_flag=True, help="Send no notification: Relay has to ask.")
@click.option("--sign", type=click.Choice(["good", "wrong", "missing", "stale"]), default="good", help="The signature.")
@click.option("--work", default="200ms", show_default=True, help="How long a job takes, for example 5s.")
@click.option("--late", default="0", help="From the end of a job to its notification, for example 3s.")
@click.option("--answer-late", default="0", help="How long the provider takes to answer a question, for example 2s.")
@click.option("--timeout", help="How long to wait for all jobs; 60s, or 4m for an event that ends in expired.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True, help="Where the stand-in listens."
)
@click.option("--keep", is_flag=True, help="Keep the webhook that is made for this.")
@as_json
def trigger(event: str | None, listing: bool, timeout: str | None, as_json: bool, **given: Any) -> None:
    """Have a stand-in for a provider take jobs through the relay at RELAY_URL and call it back.

    EVENT is for example netnut.completed. The relay must be on this machine and may call the stand-in:
    RELAY_PROVIDER_EGRESS_ALLOW=127.0.0.1/32:7431. Exit 0 if all jobs ended as the event says, 6 if only some did,
    1 if none did, 7 if some are not final in time.
    """
    if listing:
        put_list([{"event": name} for name in _events()], ("event",), as_json=as_json)
        return
    piece = _piece(event, given)
    seconds = _patience(piece, timeout)
    came = _played(piece, seconds)
    put_list([one.as_json() for one in came], COLUMNS, as_json=as_json)
    _judge(piece, came)


def _events() -> list[str]:
    from relay.demo.rehearsal import EVENTS

    return [f"{provider}.{outcome}" for provider, outcomes in EVENTS.items() for outcome in outcomes]


def _piece(event: str | None, given: dict[str, Any]) -> Piece:
    """What is to be played. Raises click.UsageError."""
    from relay.demo.knobs import Knobs, Outcome, Proof
    from relay.demo.rehearsal import CALLS_BACK, SIGNED, Piece

    if event not in _events():
        raise click.UsageError(f"EVENT is one of: {', '.join(_events())}")
    provider, _, outcome = str(event).partition(".")
    if given["sign"] != "good" and provider not in SIGNED:
        raise click.UsageError(f"--sign: {provider} does not sign its notifications")
    silent = [name for name in ("duplicate", "never_call_back") if given[name]]
    if silent and provider not in CALLS_BACK:
        raise click.UsageError(f"--{silent[0].replace('_', '-')}: {provider} never calls back")
    knobs = Knobs(
        outcome=Outcome(outcome),
        work_seconds=_seconds("--work", given["work"]),
        pending_answers=given["pending"],
        notifications=2 if given["duplicate"] else 1,
        calls_back=not given["never_call_back"],
        callback_seconds=_seconds("--late", given["late"]),
        answer_seconds=_seconds("--answer-late", given["answer_late"]),
        proof=Proof(given["sign"]),
    )
    wanted = {name: given[name] for name in ("count", "port", "keep")}
    return Piece(provider=provider, outcome=Outcome(outcome), knobs=knobs, **wanted)


def _seconds(option: str, text: str) -> float:
    milliseconds = text.removesuffix("ms")
    return values.seconds(option, milliseconds) / 1000 if text.endswith("ms") else values.seconds(option, text)


def _patience(piece: Piece, timeout: str | None) -> float:
    if timeout is not None:
        return values.seconds("--timeout", timeout)
    return GONE_TIMEOUT_SECONDS if piece.outcome == "expired" else TIMEOUT_SECONDS


def _played(piece: Piece, seconds: float) -> Sequence[Came]:
    import asyncio

    from relay.clock import SystemClock
    from relay.demo.rehearsal import Rehearsal

    with ended_by_signals(), open_api() as api, _progress(piece.count) as tell:
        return asyncio.run(Rehearsal(piece, api, SystemClock()).play(seconds, tell))


@contextmanager
def _progress(count: int) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, a line for each change elsewhere; both on stderr."""
    import sys

    if not sys.stderr.isatty():
        last = -1

        def say(ended: int, of: int) -> None:
            nonlocal last
            if ended != last:
                last = ended
                note(f"{ended} of {of} jobs ended")

        yield say
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("jobs", total=count)
        yield lambda ended, _: bar.update(task, completed=ended)


def _judge(piece: Piece, came: Sequence[Came]) -> None:
    """Raise Failure unless all jobs ended as they should."""
    expected = {"partial": "completed"}.get(piece.outcome, str(piece.outcome))
    good = sum(one.status == expected for one in came)
    if good == len(came):
        note(f"{good} of {len(came)} jobs {expected}")
        return
    waiting = sum(one.status in ("waiting", "fetching") for one in came)
    told = f"{good} of {len(came)} jobs {expected}"
    if waiting:
        raise Failure(f"{told}, {waiting} not final in time", Exit.TIMED_OUT)
    raise Failure(told, Exit.PARTLY if good else Exit.FAILED)
