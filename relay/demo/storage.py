"""Object storage at an origin of its own, as presigned addresses lead to: it refuses whoever brings credentials."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.clock import Clock, Instant, after
from relay.demo.local import LocalServer
from relay.demo.recorder import Asked, Recorder

TWO_WAYS: Final = "Only one auth mechanism allowed; only the query or the Authorization header may be used"


@dataclass(frozen=True, slots=True)
class _Thing:
    body: bytes = field(repr=False)
    expires_at: Instant
    content_type: str


class Storage:
    """Serves what was put there to whoever has the address, until the address expires."""

    def __init__(self, clock: Clock) -> None:
        self.recorder = Recorder(clock)
        self._clock = clock
        self._things: dict[str, _Thing] = {}
        self._server = LocalServer(Starlette(routes=[Route("/bucket/{key}", self._get, methods=["GET"])]))

    @property
    def url(self) -> str:
        """Its origin."""
        return self._server.url

    @property
    def requests(self) -> list[Asked]:
        """What was asked here."""
        return list(self.recorder.requests)

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop()

    def put(self, body: bytes, *, seconds: float, content_type: str = "application/json") -> str:
        """A presigned address for it, good for so long; every call makes a new one."""
        key = hashlib.sha256(b"%d/%b" % (len(self._things), body)).hexdigest()
        self._things[key] = _Thing(body, after(self._clock.now(), seconds), content_type)
        return f"{self.url}/bucket/{key}?X-Amz-Expires={seconds:.0f}&X-Amz-Signature={key[::-1]}"

    async def _get(self, request: Request) -> Response:
        key = request.path_params["key"]
        thing = self._things.get(key)
        carries = "authorization" in request.headers or "x-api-key" in request.headers
        if carries:
            response = _xml(400, "InvalidArgument", TWO_WAYS)
        elif thing is None:
            response = _xml(404, "NoSuchKey", "The specified key does not exist.")
        elif request.query_params.get("X-Amz-Signature") != key[::-1]:
            response = _xml(403, "SignatureDoesNotMatch", "The signature does not match.")
        elif self._clock.now() >= thing.expires_at:
            response = _xml(403, "AccessDenied", "Request has expired")
        else:
            response = Response(thing.body, media_type=thing.content_type)
        self.recorder.asked(request, authorized=not carries, status=response.status_code)
        return response


def _xml(status: int, code: str, text: str) -> Response:
    body = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{text}</Message></Error>"
    return Response(body, status, media_type="application/xml")
