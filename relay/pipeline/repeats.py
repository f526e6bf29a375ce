"""`Idempotency-Key` of submits: a request that is repeated reaches the provider once, and is answered twice.

The record is begun in the transaction that makes the job, before anything is sent, and the answer is kept in the one
that writes down what it said. What is not kept: a refusal (nothing took effect, the key is free again). A failure that
the provider itself reported may be tried again, for the same job. Where no answer came, or its process died with it,
nobody knows, and that is what a repetition is told. Follows draft-ietf-httpapi-idempotency-key-header-07.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final

import orjson

from relay.clock import Instant, after
from relay.errors import Conflict
from relay.frozen import frozen
from relay.model import Job
from relay.pipeline.calls import ClientCall, Forwarded, Rejected
from relay.pipeline.floor import Floor
from relay.store import idempotency as records
from relay.store import submitting
from relay.store.rows import Connection

KEPT_BYTES: Final = 1024 * 1024  # an answer to a submit is short; a longer one is not kept
MARGIN_SECONDS: Final = 60.0  # beyond the longest call, until a request counts as dead

AGAIN: Final = 0  # statuses that no provider answers with: it may be sent again, for the same job
UNKNOWN: Final = 1  # nobody knows what came of it

_TABLE, _COLUMN = "idempotency_keys", "response_sealed"


@frozen()
class Once:
    """The identity of one request that must take effect once."""

    key: str
    fingerprint: str


def identity(call: ClientCall) -> Once | None:
    """Of a request with an `Idempotency-Key`."""
    if call.idempotency_key is None:
        return None
    named = "\n".join(("submit", call.caller_id, call.webhook_id, call.method, call.path, call.idempotency_key))
    what = call.query.encode("utf-8", "surrogatepass") + b"\n" + call.body
    return Once(hashlib.sha256(named.encode("utf-8", "surrogatepass")).hexdigest(), hashlib.sha256(what).hexdigest())


class Repeats:
    """Begins requests once, and says what is known of those that were begun before."""

    def __init__(self, floor: Floor, longest_seconds: float) -> None:
        self._floor = floor
        self._dead_after = longest_seconds + MARGIN_SECONDS

    async def begin(self, once: Once | None, job: Job) -> Job | Forwarded | Rejected:
        """Store `job`, whose request is sent next; or the job of an earlier try; or what a repetition is answered."""
        now = self._floor.clock.now()

        def write(connection: Connection) -> object:
            if once is not None:
                note, day = self._seal(once, {"job": job.id}), records.KEPT_SECONDS
                known = records.begin(connection, once.key, once.fingerprint, now, note=note, abandoned_seconds=day)
                if not isinstance(known, records.Begun):
                    return known
            submitting.insert(connection, job)
            return None

        try:
            known = await self._floor.database.write(write)
        except Conflict:  # another process has just begun it
            known = records.Running(now)
        if known is None or once is None:
            return job
        if isinstance(known, records.Finished) and known.status == AGAIN:
            return await self._send_again(once, self._open(once, known.response_sealed)["job"], job)
        return self._known(once, known, now)

    async def _send_again(self, once: Once, job_id: str, job: Job) -> Job | Rejected:
        def write(connection: Connection) -> Job | None:
            if not records.begin_again(connection, once.key, AGAIN, job.created_at):
                return None
            found = submitting.send_again(connection, job_id, job.due_at or job.created_at)
            if found is None:  # a notification has come: the first try did start a job
                self.mark(connection, once, job_id, UNKNOWN)
            return found

        return await self._floor.database.write(write) or _unknown(job_id)

    def _known(self, once: Once, known: object, now: Instant) -> Forwarded | Rejected:
        if isinstance(known, records.Running):
            job_id = None if known.note is None else self._open(once, known.note)["job"]
            if after(known.begun_at, self._dead_after) > now:
                detail = "The first request with this Idempotency-Key is still under way."
                return Rejected(409, "idempotency_key_running", detail, job_id=job_id, retry_after=1)
            return _unknown(job_id)
        if isinstance(known, records.Finished):
            kept = self._open(once, known.response_sealed)
            if known.status == UNKNOWN:
                return _unknown(kept["job"])
            headers = tuple((name, value) for name, value in kept["headers"])
            return Forwarded(known.status, headers, base64.b64decode(kept["body"]), kept["job"], replayed=True)
        detail = "This Idempotency-Key was used for a request with another body."
        return Rejected(422, "idempotency_key_reused", detail, parameter="Idempotency-Key")

    def keep(self, connection: Connection, once: Once | None, answer: Forwarded) -> None:
        """Keep the answer, in the transaction that writes down what it said."""
        if once is None:
            return
        if len(answer.body) > KEPT_BYTES:
            self.mark(connection, once, answer.job_id or "", UNKNOWN)
            return
        record = {"job": answer.job_id, "headers": answer.headers, "body": base64.b64encode(answer.body).decode()}
        records.finish(connection, once.key, answer.http_status, self._seal(once, record), answer.job_id)

    def mark(self, connection: Connection, once: Once | None, job_id: str, status: int) -> None:
        """Note that there is no answer to give again: `AGAIN` or `UNKNOWN`."""
        if once is not None:
            records.finish(connection, once.key, status, self._seal(once, {"job": job_id}))

    def forget(self, connection: Connection, once: Once | None) -> None:
        """Nothing took effect: the key is free again."""
        if once is not None:
            records.forget(connection, once.key)

    def _seal(self, once: Once, record: dict[str, Any]) -> bytes:
        return self._floor.seal(_TABLE, _COLUMN, once.key, orjson.dumps(record))

    def _open(self, once: Once, sealed: bytes) -> dict[str, Any]:
        opened: dict[str, Any] = orjson.loads(self._floor.unseal(_TABLE, _COLUMN, once.key, sealed))
        return opened


def _unknown(job_id: str | None) -> Rejected:
    detail = (
        "What became of the first request with this Idempotency-Key is not known: the provider may have taken it. "
        "Its job waits for a notification; to submit anew whatever came of it, use another key."
    )
    return Rejected(409, "submit_outcome_unknown", detail, job_id=job_id)
