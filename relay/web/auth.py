"""Who calls: `Authorization: Bearer rk_…`, looked up by its SHA-256 among the cached keys (RFC 6750)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from relay.clock import Instant
from relay.model import ApiKey, Scope
from relay.signing import api_keys
from relay.web.problems import Problem
from relay.web.services import Services

ADMIN_KEY_ID: Final = "admin"
NOBODY_ID: Final = ""
LONGEST_KEY: Final = 512

_RANK: Final = {Scope.READ: 0, Scope.WRITE: 1, Scope.ADMIN: 2}


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key was shown."""

    key_id: str  # `admin` for the key of the settings, empty where no key is needed
    scope: Scope

    def may(self, scope: Scope) -> bool:
        """Whether this scope is included: read < write < admin."""
        return _RANK[self.scope] >= _RANK[scope]


NOBODY: Final = Caller(NOBODY_ID, Scope.READ)


async def authenticate(services: Services, request: Request, scope: Scope | None) -> Caller:
    """The caller, who may do what `scope` names. Raises Problem 401 and 403."""
    if scope is None:
        return NOBODY
    caller = await identify(services, request)
    demand(caller, scope)
    return caller


def demand(caller: Caller, scope: Scope) -> None:
    """Raises Problem 403 unless the caller may do what `scope` names."""
    if not caller.may(scope):
        raise Problem(
            403,
            "insufficient_scope",
            f"This needs a key with the scope {scope}; the key shown has {caller.scope}.",
            headers={"www-authenticate": f'Bearer realm="relay", error="insufficient_scope", scope="{scope}"'},
        )


async def identify(services: Services, request: Request) -> Caller:
    """The caller. Raises Problem 401."""
    shown = request.headers.getlist("authorization")
    if not shown:
        raise missing()
    kind, _, text = shown[0].partition(" ")
    text = text.strip()
    if len(shown) > 1 or kind.lower() != "bearer" or not 0 < len(text) <= LONGEST_KEY:
        raise _invalid("The Authorization header is not of the form: Bearer rk_…")
    return await caller_of(services, text)


def missing() -> Problem:
    """No key was shown."""
    detail = "Show an API key: Authorization: Bearer rk_…"
    return Problem(401, "key_missing", detail, headers={"www-authenticate": 'Bearer realm="relay"'})


async def caller_of(services: Services, text: str) -> Caller:
    """Whose key `text` is. Raises Problem 401."""
    if len(text) > LONGEST_KEY:
        raise _invalid("This API key is unknown, expired or revoked.")
    digest = api_keys.digest(text)
    if services.admin_key is not None and hmac.compare_digest(digest, api_keys.digest(services.admin_key.reveal())):
        return Caller(ADMIN_KEY_ID, Scope.ADMIN)
    # A key made or revoked through another process counts from now on, not from when this one happens to hear of it.
    known = (await services.configuration.refresh()).keys_by_hash.get(digest)
    if known is None or not is_live(known, services.clock.now()):
        raise _invalid("This API key is unknown, expired or revoked.")
    return Caller(known.id, known.scope)


def is_live(key: ApiKey, now: Instant) -> bool:
    """Whether the key opens anything at `now`."""
    return key.revoked_at is None and (key.expires_at is None or now < key.expires_at)


def _invalid(detail: str) -> Problem:
    return Problem(
        401, "key_invalid", detail, headers={"www-authenticate": 'Bearer realm="relay", error="invalid_token"'}
    )
