"""One job from its beginning to its last delivery, a line for each thing that happened, in the order of time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from relay.clock import Instant, parse_rfc3339

Item = Mapping[str, Any]
FINAL: Final = frozenset(("completed", "failed", "cancelled", "expired"))


@dataclass(frozen=True)
class Story:
    """All that is known of one job: as the API tells it, lists in any order."""

    job: Item
    notifications: Sequence[Item]
    attempts: Sequence[Item]
    results: Sequence[Item]
    deliveries: Sequence[Item]  # with their attempts
    names: Mapping[str, str]  # of subscriptions, by id


def lines(story: Story, now: Instant) -> list[str]:
    """The timeline, with a heading. Text of strangers is in it: print it safely."""
    job = story.job
    heading = [job["id"], job.get("provider"), job.get("provider_job_id"), job["status"], _until_it_expires(job, now)]
    found = sorted(_moments(story, now), key=lambda moment: moment[0])
    told = [f"  {at[11:23]}  {what:<14}  {'  '.join(part for part in parts if part)}" for at, what, *parts in found]
    return ["  ".join(str(part) for part in heading if part), *(line.rstrip() for line in told)]


def _moments(story: Story, now: Instant) -> Iterator[tuple[str, ...]]:
    job = story.job
    yield job["created_at"], "known", job["id"]
    for each in story.notifications:
        yield each["received_at"], "notified", str(each["status"]), each["id"], _text(each.get("reason"))
    for each in story.attempts:
        yield each["started_at"], f"fetch #{each['number']}", *_attempt(each)
    if job["status"] not in FINAL and job.get("next_attempt_at"):
        at = job["next_attempt_at"]
        yield at, "next fetch" if parse_rfc3339(at) > now else "fetch due", _text(job.get("last_error"))
    for each in story.results:
        yield each["fetched_at"], "stored", each["type"], each["id"], _size(each.get("size_bytes"))
    for delivery in story.deliveries:
        name = story.names.get(delivery["subscription_id"], delivery["subscription_id"])
        yield from _delivery(delivery, name, now)


def _delivery(delivery: Item, name: str, now: Instant) -> Iterator[tuple[str, ...]]:
    replayed = "replay" if delivery.get("replay_id") else ""
    for each in delivery.get("attempts", ()):
        yield each["started_at"], f"→ {name} #{each['number']}", *_attempt(each), replayed
    match delivery["status"], delivery.get("next_attempt_at"), delivery.get("settled_at"):
        case "pending", str() as at, _:
            word = "next try" if parse_rfc3339(at) > now else "due, waits"
            yield at, f"→ {name}", word, _text(delivery.get("last_error")), replayed
        case "pending", _, _:
            yield delivery["created_at"], f"→ {name}", "waits", replayed
        case ("exhausted" | "cancelled") as status, _, str() as at:
            yield at, f"→ {name}", status, f"relay delivery retry {delivery['id']}"
        case "delivered", _, str() as at if not delivery.get("attempts"):
            yield at, f"→ {name}", "taken", replayed


def _attempt(item: Item) -> tuple[str, str, str]:
    return str(item.get("http_status") or "-"), f"{item['duration_ms']} ms", _text(item.get("error_code"))


def _until_it_expires(job: Item, now: Instant) -> str:
    if job["status"] in FINAL or not job.get("deadline"):
        return ""
    seconds = (parse_rfc3339(job["deadline"]) - now) // 1000
    clock = f"{abs(seconds) // 3600:02}:{abs(seconds) // 60 % 60:02}:{abs(seconds) % 60:02}"
    return f"expires in {clock}" if seconds >= 0 else f"may have expired {clock} ago"


def _size(size: int | None) -> str:
    if size is None:
        return "no payload"
    return f"{size} B" if size < 10_000 else f"{size / 1000:.1f} kB" if size < 10_000_000 else f"{size / 1e6:.1f} MB"


def _text(value: object) -> str:
    return "" if value is None else " ".join(str(value).split())
