"""`Idempotency-Key`: a POST takes effect once, however often it is sent.

The same key with the same request brings the stored answer, with another one 422, and while the first is under way 409.
The answer is sealed (it may hold a secret) and written in the transaction of its effect. Errors are not kept: nothing
took effect, so the key is free again. Follows draft-ietf-httpapi-idempotency-key-header-07.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from relay.errors import Conflict, StoreError
from relay.store import idempotency as records
from relay.store.rows import Connection
from relay.web.auth import Caller
from relay.web.problems import Problem, Wrong
from relay.web.services import Services

HEADER: Final = "idempotency-key"
REPLAYED: Final = "idempotent-replayed"
LONGEST_KEY: Final = 255
_KEY: Final = re.compile(rf"[!-~]{{1,{LONGEST_KEY}}}", re.ASCII)
_KEPT_HEADERS: Final = ("cache-control", "location")
_TABLE, _COLUMN = "idempotency_keys", "response_sealed"


def given_key(request: Request) -> str | None:
    """What the client calls this request. Raises Problem 400."""
    values = request.headers.getlist(HEADER)
    if not values:
        return None
    if len(values) > 1 or not _KEY.fullmatch(values[0]):
        detail = f"Idempotency-Key is one value of 1 to {LONGEST_KEY} visible ASCII characters."
        raise Problem(400, "idempotency_key_invalid", detail)
    return values[0]


class Once:
    """The idempotency of one request; does nothing for a request without the header."""

    def __init__(self, services: Services, caller: Caller, request: Request, body: bytes) -> None:
        self._services = services
        self._caller = caller
        self._request = request
        self._body = body
        self._key: str | None = None
        self._kept = False

    def keep(self, conn: Connection, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        """Keep the answer, in the transaction of the effect."""
        if self._key is not None:
            record = {"content": base64.b64encode(content).decode(), "headers": dict(headers)}
            sealed = self._services.vault.seal(_TABLE, _COLUMN, self._key, json.dumps(record).encode())
            records.finish(conn, self._key, status, sealed)
            self._kept = True

    async def run(self, carry_out: Callable[[], Awaitable[Response]]) -> Response:
        """Carry the request out unless it has been. Raises Problem 400, 409, 422."""
        given = given_key(self._request)
        if given is None:
            return await carry_out()
        key, fingerprint = self._identity(given)
        stored = await self._begin(key, fingerprint)
        if stored is not None:
            return stored
        self._key = key
        try:
            response = await carry_out()
        except Exception:
            # A cancelled request keeps the key: its effect may still be on its way to the disk.
            with suppress(StoreError):
                await self._services.database.write(partial(records.forget, key=key))
            raise
        await self._finish(response)
        return response

    def _identity(self, given: str) -> tuple[str, str]:
        route = f"{self._request.method} {self._request.url.path}"
        named = "\n".join((self._caller.key_id, route, given)).encode("utf-8", "surrogatepass")
        what = self._request.url.query.encode() + b"\n" + self._body
        return hashlib.sha256(named).hexdigest(), hashlib.sha256(what).hexdigest()

    async def _begin(self, key: str, fingerprint: str) -> Response | None:
        begin = partial(records.begin, key=key, fingerprint=fingerprint, now=self._services.clock.now())
        try:
            known = await self._services.database.write(begin)
        except Conflict:
            known = records.Running()
        if isinstance(known, records.Finished):
            return self._stored(key, known)
        if isinstance(known, records.Differs):
            wrong = Wrong("was used for another request", "idempotency_key_reused", parameter="Idempotency-Key")
            detail = "This Idempotency-Key was used for a request with another body."
            raise Problem(422, "idempotency_key_reused", detail, [wrong])
        if isinstance(known, records.Running):
            detail = "The first request with this Idempotency-Key is still under way."
            raise Problem(409, "idempotency_key_running", detail, headers={"retry-after": "1"})
        return None

    def _stored(self, key: str, known: records.Finished) -> Response:
        record = json.loads(self._services.vault.unseal(_TABLE, _COLUMN, key, known.response_sealed))
        content = base64.b64decode(record["content"])
        headers = {**record["headers"], REPLAYED: "true"}
        return Response(content, known.status, headers, "application/json" if content else None)

    async def _finish(self, response: Response) -> None:
        """Keep the answer of an effect that needed no transaction of ours."""
        if not self._kept:
            headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
            keep = partial(self.keep, status=response.status_code, content=bytes(response.body), headers=headers)
            await self._services.database.write(keep)
