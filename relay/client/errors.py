"""What goes wrong between a program and its relay.

RelayError
├── ApiError                the relay answered that it would not; `code`, `status`, `fields`, `request_id`
│   ├── Invalid             400, 413, 422: the request is wrong; `fields` says where
│   ├── NotAllowed          401, 403
│   ├── NotFound            404, 410
│   ├── Conflict            409
│   └── Unavailable         429 and 5xx: later perhaps; `retry_after` in seconds, if it said so
├── Unreachable             nobody answered at the relay's address
├── Unexpected              something answered that does not speak as a relay does
├── ProviderRefused         the provider answered a submitted request with an error; `status`, `headers`, `body`
├── JobEnded                a job that was waited for has no result to use; `job`
│   ├── JobFailed, JobCancelled, JobExpired
└── WaitTimeout             it is not over in time (also a TimeoutError); `job` or `replay` as last seen
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relay.errors import RelayError


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field or parameter of a request."""

    place: str
    detail: str


class ApiError(RelayError):
    """The relay answered that it would not. `str()` is one readable line; `fields` says what was wrong where."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        fields: tuple[FieldError, ...],
        request_id: str | None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.fields = fields
        self.request_id = request_id
        self.retry_after = retry_after


class Invalid(ApiError):
    """The request is wrong: `fields` says where."""


class NotAllowed(ApiError):
    """The key is missing, unknown, or not enough for this."""


class NotFound(ApiError):
    """There is no such thing, or no longer."""


class Conflict(ApiError):
    """It does not go together with what is there."""


class Unavailable(ApiError):
    """Not now: later perhaps. `retry_after`: in how many seconds, if the relay said so."""


class Unreachable(RelayError):
    """Nobody answered at the relay's address."""


class Unexpected(RelayError):
    """Something answered that does not speak as a relay does. `status` is HTTP's, where there was one."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ProviderRefused(RelayError):
    """The provider did not take what was submitted; what it answered comes unchanged."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes, job_id: str | None) -> None:
        super().__init__(f"the provider answered HTTP {status}")
        self.status = status
        self.headers = headers
        self.body = body
        self.job_id = job_id


class JobEnded(RelayError):
    """The job that was waited for ended without a completed result. `job` is the job as the relay knows it."""

    def __init__(self, job: Any) -> None:
        reason = f": {job.last_error}" if job.last_error else ""
        super().__init__(f"job {job.id} is {job.status}{reason}")
        self.job = job


class JobFailed(JobEnded):
    """The provider says that it failed."""


class JobCancelled(JobEnded):
    """It was cancelled."""


class JobExpired(JobEnded):
    """The provider dropped the result before it could be fetched."""


class WaitTimeout(RelayError, TimeoutError):
    """It is not over in time. `job` or `replay`: as it was last seen; None where nothing was."""

    def __init__(self, message: str, *, job: Any = None, replay: Any = None) -> None:
        super().__init__(message)
        self.job = job
        self.replay = replay


_ENDED = {"failed": JobFailed, "cancelled": JobCancelled, "expired": JobExpired}
_OF_STATUS: dict[int, type[ApiError]] = {
    **dict.fromkeys((400, 413, 422), Invalid),
    **dict.fromkeys((401, 403), NotAllowed),
    **dict.fromkeys((404, 410), NotFound),
    409: Conflict,
    429: Unavailable,
}


def ended(job: Any) -> JobEnded:
    """The exception for a job that is final and not completed."""
    return _ENDED.get(job.status, JobEnded)(job)


def kind_of(status: int) -> type[ApiError]:
    """The class of a refusal with this HTTP status."""
    return Unavailable if status >= 500 else _OF_STATUS.get(status, ApiError)
