"""What can happen to a job, the same for every provider: each situation plays its jobs and says how they must end."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from relay.clock import Instant, after, parse_rfc3339, rfc3339
from relay.demo.jobs import Job
from relay.demo.knobs import Outcome, Pending, Proof
from relay.providers.loader import load_profiles
from tests.support.journey import PATIENCE_SECONDS
from tests.support.matrix import Cell, End, Play, same
from tests.support.providers.ways import SHARED
from tests.support.through import Through
from tests.support.trip import BY_URL

AT_A_STORAGE: Final = ("pulse", "reducto")  # large results lie at a presigned address
BEHIND: Final = ("brightdata", "oxylabs", "firecrawl")  # the result may still be missing when the status says done
FAILED_INLINE: Final = ("inference-net", "fal")  # also a failure is told in full by its notification
WORDLESS: Final = ("apify", "oxylabs")  # do not say why a job failed
ENDS_AS_FAILED: Final = ("fal",)  # a cancelled request of fal's is an error
CERTAIN: Final = ("pulse", "replicate", "assemblyai")  # say in so many words that a result was dropped
LISTENS_FOR_PLACES: Final = ("netnut",)  # what its notification names is fetched, if it may be
TIMED: Final = ("pulse", "openai", "replicate", "reducto", "fal")  # signatures grow old
DEADLINE_SECONDS: Final = (1.5, 6.0, 20.0)  # of the machine's own time


async def happy(play: Play) -> list[End]:
    """Submitted, notified where the provider notifies, fetched, stored, delivered."""
    job = await play.begin(play.main, large=play.name in AT_A_STORAGE, pages=2)
    if not play.notifies:
        job_id = await play.track(job)
        play.stand_in.complete(job.id)
    else:
        same("answer to the notification", await play.stand_in.finish(job.id), [200])
        job_id = await play.known(job)
    await play.ended(job_id)
    same("requests that brought wrong credentials", play.stand_in.counts["unauthorized"], 0)
    presigned = [asked.credentials for asked in play.stand_in.storage.requests]
    same("credentials at presigned addresses", presigned, [()] * len(presigned))
    assert presigned or play.name not in AT_A_STORAGE, "nothing was asked for at the storage"
    return [await _good(play, job, job_id, accepted=int(play.notifies))]


async def pending_first(play: Play) -> list[End]:
    """Asked while the work goes on, and once more too early after its end."""
    job = await play.begin(pending_answers=1)
    job_id = await play.track(job)
    await play.looked(job, 2)
    await play.still_open(job_id)
    play.stand_in.complete(job.id)
    await play.ended(job_id)
    assert job.pending_answers == 1, "it was not asked too early"
    return [End(job_id=job_id, payload=await play.truth(job), accepted=0)]


async def duplicate(play: Play) -> list[End]:
    """The notification comes twice in a row, and twice again when all is done."""
    job = await play.begin(play.main, notifications=2)
    same("answers", await play.stand_in.finish(job.id), [200, 200])
    job_id = await play.known(job)
    await play.ended(job_id)
    (note,) = await play.caller.page(f"/v1/notifications?job_id={job_id}")
    (called, _) = [one for one in play.stand_in.callbacks if one.job_id == job.id]
    for _ in range(2):
        told = await play.caller.notify(play.main["callback_url"], called.body, **_underscored(called.headers))
        expected = {"notification_id": note["id"], "job_id": job_id, "status": "duplicate"}
        same("answer to a repeat", {name: told.body.get(name) for name in expected}, expected)
    return [await _good(play, job, job_id, accepted=1)]


async def suppressed(play: Play) -> list[End]:
    """Submitted through Relay, which expects a notification; none ever comes."""
    through = Through(play.caller, play.stand_in, play.sink, play.main)
    told = await through.submit()
    same("answer to the submit", told.status, play.way.taken)
    job_id = told.headers["relay-job-id"]
    provider_job_id = (await play.caller.get(f"/v1/jobs/{job_id}"))["provider_job_id"]
    play.stand_in.complete(provider_job_id)
    same("time of a notification", (await play.ended(job_id))["notified_at"], None)
    return [End(job_id=job_id, payload=await play.truth(play.stand_in.jobs[provider_job_id]), accepted=0)]


async def too_early(play: Play) -> list[End]:
    """The notification says done, and the result is not readable yet."""
    thin = {"second_dialect": True} if play.name == "fal" else {}
    job = await play.begin(play.quiet, unready_answers=int(play.name in BEHIND), **thin)
    if play.name in BY_URL:  # where its result is, fal says only to whoever submitted it
        await play.track(job, play.quiet)
    same("answer", await play.stand_in.tell(job), [200])
    job_id = await play.known(job)
    await play.looked(job, 1)
    await play.still_open(job_id)
    play.stand_in.complete(job.id)
    await play.ended(job_id)
    same("results that were not there yet", job.unready_answers, int(play.name in BEHIND))
    return [End(job_id=job_id, payload=await play.truth(job), accepted=1)]


async def failed(play: Play) -> list[End]:
    """The provider could not do the work."""
    job = await play.begin(play.main, outcome=Outcome.FAILED)
    if play.notifies:
        same("answer", await play.stand_in.finish(job.id), [200])
        job_id = await play.known(job)
    else:
        job_id = await play.track(job)
        play.stand_in.complete(job.id)
    result = await play.caller.get(f"/v1/results/{(await play.ended(job_id, 'failed'))['result_id']}")
    same("whether it is said why", bool(result["error"]), play.name not in WORDLESS)
    in_full = play.name in FAILED_INLINE
    payload = play.told(job) if in_full else (await play.customer.status(job.id)).body
    return [End(job_id=job_id, status="failed", payload=payload, accepted=int(play.notifies))]


async def cancelled(play: Play) -> list[End]:
    """Cancelled through Relay while the work goes on."""
    job, expected = await play.begin(), "failed" if play.name in ENDS_AS_FAILED else "cancelled"
    job_id = await play.track(job)
    told = await play.caller.call("DELETE", f"/v1/jobs/{job_id}")
    assert told.status in (200, 202), f"DELETE answered {told.status}: {told.raw!r:.300}"
    assert job.cancelled, "the provider was not asked to cancel"
    ended = await play.ended(job_id, expected)
    if told.status == 200:
        same("the answer to DELETE", told.body["result_id"], ended["result_id"])
    return [End(job_id=job_id, status=expected, accepted=0)]


async def expired(play: Play) -> list[End]:
    """The result is gone from the first: believed once the deadline has passed, or said in so many words."""
    ends = []
    for seconds in DEADLINE_SECONDS:
        job_id, deadline, attempts = await _expired_after(play, seconds)
        ends.append(End(job_id=job_id, status="expired", payload=None, accepted=0))
        if (_over(attempts[-1]) < deadline) if play.name in CERTAIN else len(attempts) > 1:
            break  # else the machine is so busy that it was not asked in time: once more, with more of it
    else:
        raise AssertionError("it was not believed before the deadline, or never asked before it")
    late = [parse_rfc3339(attempt["started_at"]) >= deadline for attempt in attempts[:-1]]
    same("attempts after the deadline before the last", late, [False] * len(late))
    same("the last attempt is after the deadline", _over(attempts[-1]) >= deadline, play.name not in CERTAIN)
    return ends


async def _expired_after(play: Play, seconds: float) -> tuple[str, Instant, list[dict[str, Any]]]:
    """A job whose result is gone and whose deadline is then; the attempts, oldest first."""
    profile = load_profiles(None)[play.name]
    job = await play.begin(outcome=Outcome.EXPIRED)
    deadline = after(play.stand_in.clock.now(), seconds * play.times)
    job.completed_at = after(deadline, -profile.retention.effective_seconds)  # some say so even now
    job_id = await play.track(job, submitted_at=rfc3339(after(deadline, -profile.poll.max_wait_seconds)))
    await play.ended(job_id, "expired", seconds=seconds + PATIENCE_SECONDS)
    return job_id, deadline, await play.caller.attempts(job_id)


async def forged(play: Play) -> list[End]:
    """Notifications that prove nothing change nothing, and do not stand in the way of the right one."""
    job = await play.begin(play.quiet)
    job_id = await play.track(job, play.quiet)
    before = await play.caller.get(f"/v1/jobs/{job_id}")
    proofs = [Proof.WRONG, Proof.MISSING, *([Proof.STALE] if play.name in TIMED else [])]
    for proof in proofs:
        job.knobs.proof = proof
        play.show(job, "somebody else's" if proof is Proof.WRONG else None)
        same(f"answer to proof {proof}", await play.stand_in.tell(job), [401])
    same("the job after them", await play.caller.get(f"/v1/jobs/{job_id}"), before)
    rejected = f"/v1/notifications?webhook_id={play.quiet['id']}&status=rejected"
    notes = await play.caller.page(rejected)
    same("rejected notifications", [note["job_id"] for note in notes], [None] * len(proofs))
    same("requests for the job", job.looks, 0)
    job.knobs.proof = Proof.GOOD
    play.show(job, SHARED)
    same("answer to the right one", await play.stand_in.finish(job.id), [200])
    await play.ended(job_id)
    return [await _good(play, job, job_id, accepted=1)]


async def foreign(play: Play) -> list[End]:
    """The notification names a place elsewhere, which nobody goes to."""
    job = await play.begin(play.main, response_url=f"{play.foreign.url}/results/1?token=1")
    same("answer", await play.stand_in.finish(job.id), [200])
    if play.name in LISTENS_FOR_PLACES:
        refused = f"/v1/notifications?webhook_id={play.main['id']}&status=unprocessable"
        (note,) = await play.caller.page(refused)
        same("notification", (note["reason"], note["job_id"]), ("foreign_response_url", None))
        same("jobs", await play.caller.page(f"/v1/jobs?provider_job_id={job.id}"), [])
        same("requests for the job", job.looks, 0)
        job.knobs.response_url = None
        same("answer to the right one", await play.stand_in.tell(job), [200])
    job_id = await play.known(job)
    await play.ended(job_id)
    same("requests elsewhere", play.foreign.heard, [])
    return [await _good(play, job, job_id, accepted=1)]


async def unknown(play: Play) -> list[End]:
    """A status that no document has: asked on, told as it is, never taken for the end."""
    job = await play.begin(
        play.main, status_word="sideways", pending_shape=Pending.OK if play.name == "netnut" else None
    )
    job_id = await play.track(job)
    await play.looked(job, 3)
    if play.notifies:
        same("answer", await play.stand_in.tell(job), [200])
        await play.looked(job, job.looks + 1)
    same("status as it is told", (await play.still_open(job_id))["provider_status"], "sideways")
    job.knobs.status_word, job.knobs.pending_shape = None, None
    play.stand_in.complete(job.id)
    await play.ended(job_id)
    return [End(job_id=job_id, payload=await play.truth(job), accepted=int(play.notifies))]


class Restart:
    """A relay that only takes notifications and jobs to follow is stopped; the next one has all the work."""

    def __init__(self) -> None:
        self._jobs: list[tuple[Job, str]] = []

    async def before(self, play: Play) -> None:
        """In the first relay."""
        tracked = await play.begin()
        play.stand_in.complete(tracked.id)
        self._jobs.append((tracked, await play.track(tracked)))
        if play.notifies:
            notified = await play.begin(play.main)
            same("answer", await play.stand_in.finish(notified.id), [200])
            self._jobs.append((notified, await play.known(notified)))
        for job, job_id in self._jobs:
            await play.still_open(job_id)
            same("requests before the restart", job.looks, 0)

    async def after(self, play: Play) -> list[End]:
        """In the next one."""
        ends = []
        for job, job_id in self._jobs:
            await play.ended(job_id)
            notified = job.callback_url is not None
            same("requests for the job", play.asked(job), 0 if notified and play.inline else 1)
            ends.append(await _good(play, job, job_id, accepted=int(notified), notified=notified))
        return ends


async def _good(play: Play, job: Job, job_id: str, *, accepted: int, notified: bool = True) -> End:
    """A notification that is the result is taken, unless it is known where the result lies."""
    known = bool((await play.caller.get(f"/v1/jobs/{job_id}"))["response_url"])
    payload = play.told(job) if play.inline and notified and not known else await play.truth(job)
    return End(job_id=job_id, payload=payload, accepted=accepted)


def _over(attempt: Mapping[str, Any]) -> Instant:
    return Instant(parse_rfc3339(attempt["started_at"]) + int(attempt["duration_ms"]) + 5)


def _underscored(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("-", "_"): value for name, value in headers.items()}


SITUATIONS: Final[Mapping[str, Cell]] = MappingProxyType(
    {
        "happy": happy,
        "pending first": pending_first,
        "duplicate": duplicate,
        "callback suppressed": suppressed,
        "callback before readable": too_early,
        "provider failed": failed,
        "cancelled": cancelled,
        "expired": expired,
        "forged or unsigned": forged,
        "foreign response_url": foreign,
        "unknown status": unknown,
    }
)
