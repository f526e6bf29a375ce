"""`relay.jobs`: asynchronous requests at a provider, followed until they are over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from relay.client.answers import may_pass, pause_before
from relay.client.blocking.api import Api
from relay.client.blocking.results import Result, Results
from relay.client.errors import ApiError, Unexpected, Unreachable, WaitTimeout, ended
from relay.client.paths import one
from relay.client.things import Attempt, JobFields, Webhook, given, id_of, read
from relay.ids import is_id
from relay.model import JOB

PATH = "/v1/jobs"
WAIT_SECONDS = 7200.0
ONE_WAIT_SECONDS = 30.0  # of one request; the relay answers as soon as the job is final
UNKNOWN_SECONDS = 2.0  # between looks for a job that the relay has not heard of yet


@dataclass(frozen=True, kw_only=True)
class Job(JobFields):
    """One asynchronous request at a provider, as it stood when it was asked for."""

    jobs: Jobs = field(repr=False, compare=False)

    def wait(self, timeout: float = WAIT_SECONDS, on_update: Callable[[Job], None] | None = None) -> Job:
        """As `relay.jobs.wait` of its id."""
        return self.jobs.wait(self.id, timeout, on_update)

    def result(self) -> Result:
        """Its result. Raises ValueError while there is none."""
        if self.result_id is None:
            raise ValueError(f"job {self.id} is {self.status} and has no result: wait() for it")
        return self.jobs.results.get(self.result_id)


@dataclass(frozen=True)
class Submission:
    """What came of a submitted request: the provider's answer unchanged, and the job that it began."""

    jobs: Jobs = field(repr=False, compare=False)
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    job_id: str | None  # None: this call of the provider's starts none

    def json(self) -> Any:
        """The provider's answer. Raises ValueError."""
        return json.loads(self.body)

    def job(self) -> Job:
        """The job as it stands now."""
        return self.jobs.get(self._id())

    def wait(self, timeout: float = WAIT_SECONDS, on_update: Callable[[Job], None] | None = None) -> Job:
        """As `relay.jobs.wait` of its job."""
        return self.jobs.wait(self._id(), timeout, on_update)

    def _id(self) -> str:
        if self.job_id is None:
            raise ValueError("this call of the provider's started no job")
        return self.job_id


class Jobs:
    """Asynchronous requests at a provider."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.results = Results(api)

    def track(
        self,
        webhook: Webhook | str,
        *,
        provider_job_id: str | None = None,
        response_url: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        submitted_at: datetime | None = None,
    ) -> Job:
        """Have the result of a job fetched that was submitted elsewhere, even if no notification ever comes."""
        body = given(
            webhook_id=id_of(webhook),
            provider_job_id=provider_job_id,
            response_url=response_url,
            metadata=metadata,
            submitted_at=submitted_at,
        )
        return self._read(self._api.call("POST", PATH, body=body))

    def get(self, job: JobFields | str) -> Job:
        """One, by its id."""
        return self._read(self._api.call("GET", one(PATH, job)))

    def list(
        self,
        *,
        status: Sequence[str] | None = None,
        webhook: Webhook | str | None = None,
        provider_job_id: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> Iterator[Job]:
        """Those that match, newest first, page by page as they are consumed."""
        params = given(
            status=status,
            webhook_id=webhook,
            provider_job_id=provider_job_id,
            created_after=created_after,
            created_before=created_before,
        )
        for item in self._api.pages(PATH, params):
            yield self._read(item)

    def attempts(self, job: JobFields | str) -> tuple[Attempt, ...]:
        """The attempts to fetch its result, oldest first."""
        page = self._api.page(one(PATH, job, "attempts"), {})
        return tuple(read(Attempt, item) for item in page["data"])

    def fetch(self, job: JobFields | str) -> Job:
        """Ask the provider for the result now."""
        return self._read(self._api.call("POST", one(PATH, job, "fetch")))

    def cancel(self, job: JobFields | str) -> Job:
        """Cancel it at its provider. It is `cancelled` once the provider says so."""
        return self._read(self._api.call("DELETE", one(PATH, job)))

    def wait(
        self,
        job: JobFields | str,
        timeout: float = WAIT_SECONDS,
        on_update: Callable[[Job], None] | None = None,
    ) -> Job:
        """The job once it is completed, through restarts of the relay and whatever else may pass.

        `job`: its id, or the provider's id of it; of a provider's id the relay need not have heard yet. `timeout` in
        seconds. `on_update` is called with the job whenever something about it has changed. Raises JobFailed,
        JobCancelled or JobExpired, which carry the job, WaitTimeout (a TimeoutError) when it is not over in time, and
        ApiError when the relay refuses for good.
        """
        wanted, clock = id_of(job), self._api.clock
        end = clock.monotonic() + timeout
        last: Job | None = None
        failures = 0
        while True:
            began = clock.monotonic()
            patience = max(0.0, min(ONE_WAIT_SECONDS, end - began))
            try:
                found = self._look(wanted, last, patience)
                failures, pause = 0, 0.0 if found else UNKNOWN_SECONDS
            except (ApiError, Unreachable, Unexpected) as error:
                if not may_pass(error):
                    raise
                found, pause = None, pause_before(failures, error, clock.random())
                failures += 1
            if found is not None:
                if on_update is not None and (last is None or found.raw != last.raw):
                    on_update(found)
                last = found
                if found.status == "completed":
                    return found
                if found.is_final:
                    raise ended(found)
                if clock.monotonic() - began < min(1.0, patience):
                    pause = 1.0  # a relay that does not wait: it is stopping
            left = end - clock.monotonic()
            if left <= 0:
                stands = f"still {last.status}" if last else "not known to the relay"
                raise WaitTimeout(f"job {wanted} is {stands} after {timeout:g} s", job=last)
            self._api.pause(min(pause, left))

    def _look(self, wanted: str, last: Job | None, patience: float) -> Job | None:
        """The job, after at most `patience` seconds; None where the relay has not heard of it."""
        if last is None and not is_id(wanted, JOB):
            page = self._api.page(PATH, {"provider_job_id": wanted, "limit": 1}, once=True)
            return self._read(page["data"][0]) if page["data"] else None
        path = one(PATH, wanted if last is None else last.id)
        params = {"wait": round(patience)}
        return self._read(self._api.call("GET", path, params=params, wait_seconds=patience, once=True))

    def _read(self, item: Any) -> Job:
        return read(Job, item, jobs=self)
