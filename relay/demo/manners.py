"""What one provider says of itself: its doors, its words, its errors, and its notification with the proof.

Everything here is what a stand-in overrides; the rest it has from `StandIn`.
"""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.clock import Instant
from relay.demo.doors import Doors
from relay.demo.jobs import Job, State
from relay.model import Secret

KEPT: Final = 10 * 365 * 86_400.0  # where no end of the retention is known
ENDED: Final = frozenset({State.COMPLETED, State.PARTIAL, State.FAILED, State.CANCELLED})


class Manners(ABC):
    """How one provider looks from outside."""

    NAME: ClassVar[str]  # as Relay's profile is called
    WORDS: ClassVar[Mapping[State, str]]
    RETENTION_SECONDS: ClassVar[float] = KEPT  # after the end of a job
    NOTIFIES: ClassVar[frozenset[State]] = ENDED  # the ends that are called back

    api_key: Secret
    signing_secret: Secret

    @abstractmethod
    def routes(self, doors: Doors) -> list[Route]:
        """Its doors."""

    def credentials(self) -> tuple[str, tuple[str, ...]]:
        """The header that carries them, and the values that are right."""
        return "authorization", (f"Bearer {self.api_key.reveal()}",)

    def accepts(self, request: Request) -> bool:
        """Whether a request brings the right credentials."""
        header, right = self.credentials()
        given = request.headers.get(header, "").encode()
        return any(hmac.compare_digest(given, value.encode()) for value in right)

    def refused(self) -> Response:
        """The answer to wrong credentials."""
        return self.error(401, "Unauthorized")

    def refuses(self, request: Request) -> Response | None:
        """Another reason to refuse a request that brings the right credentials."""
        return None

    def problem(self, status: int, text: str) -> Any:
        """The body of an error."""
        return {"error": text}

    def gone(self, job: Job) -> Response:
        """The answer after the retention."""
        return self.error(404, "Not found")

    def notification(self, job: Job) -> Any:
        """The notification of its end: what becomes JSON."""
        raise NotImplementedError(f"{self.NAME} calls nobody back")

    def chatter(self, job: Job) -> Iterable[Any]:
        """Notifications that come before it and mean nothing."""
        return ()

    def proof(self, job: Job, body: bytes, now: Instant, secret: Secret) -> dict[str, str]:
        """The headers by which the receiver knows the sender."""
        return {}

    def secret_of(self, job: Job) -> Secret:
        """What the proof is made with."""
        return Secret(job.extra["secret"]) if "secret" in job.extra else self.signing_secret

    def headers(self, job: Job, body: bytes) -> dict[str, str]:
        """What else stands in the head of a notification."""
        return {}

    # What answers are made of.

    def word(self, job: Job, state: State) -> str:
        """The provider's word for it, unless the knobs say another."""
        return job.knobs.status_word or self.WORDS.get(state, self.WORDS[State.COMPLETED])

    def text(self, job: Job) -> str:
        """What a model might have said."""
        return f"A result for {job.id}: earlier, smaller, colder." + "x" * job.knobs.padding

    def json(self, body: Any, status: int = 200, **headers: str) -> Response:
        """An answer; header names are written with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Response(orjson.dumps(body), status, named, media_type="application/json")

    def error(self, status: int, text: str, **headers: str) -> Response:
        """An error in the provider's own shape."""
        return self.json(self.problem(status, text), status, **headers)
