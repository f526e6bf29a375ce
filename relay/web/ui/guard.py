"""Closed by default: sessions, the origin of forms, and the headers that hold for every page.

A form counts as ours if the browser says that it comes from this very origin (Sec-Fetch-Site, else Origin) and if it
carries the token of the session. Cookies alone prove nothing about who made a request.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from functools import partial
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from relay.clock import Instant
from relay.errors import Conflict
from relay.model import Scope
from relay.signing import api_keys
from relay.signing.browser import FINGERPRINT_LENGTH, SESSION_SECONDS, Session, Sessions
from relay.store import idempotency
from relay.web import body as bodies
from relay.web.auth import ADMIN_KEY_ID, Caller, is_live
from relay.web.problems import Problem
from relay.web.services import Services

COOKIE: Final = "relay_session"
PATH: Final = "/ui"
FORM: Final = "application/x-www-form-urlencoded"
MOST_FIELDS: Final = 1100  # a replay names a thousand results at most

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": POLICY,
    # Not `no-referrer`: with it browsers send `Origin: null` for our own forms. Nothing leaves this origin either way.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-robots-tag": "noindex",
    "cache-control": "no-store",
}


def guarded(response: Response) -> Response:
    """The response with the headers of every page, where it has none of its own."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


# --- sessions ---


def session_of(sessions: Sessions, request: Request, now: Instant) -> Session | None:
    """The session that the request's cookie holds; None without one, or when its time is over."""
    text = request.cookies.get(COOKIE)
    return None if text is None else sessions.read(text, now)


async def caller_of(services: Services, session: Session, now: Instant) -> Caller | None:
    """Whose session it is; None when the key was revoked, has expired or is another one by now."""
    if session.key_id == ADMIN_KEY_ID:
        if services.admin_key is None:
            return None
        digest = api_keys.digest(services.admin_key.reveal())
        return Caller(ADMIN_KEY_ID, Scope.ADMIN) if _same(session, digest) else None
    for key in (await services.configuration.refresh()).keys_by_hash.values():
        if key.id == session.key_id:
            return Caller(key.id, key.scope) if is_live(key, now) and _same(session, key.sha256) else None
    return None


def _same(session: Session, digest: str) -> bool:
    return hmac.compare_digest(session.fingerprint, digest[:FINGERPRINT_LENGTH])


def sign_in(response: Response, services: Services, request: Request, text: str) -> Response:
    """Put a session's cookie on the response. `text` is what `Sessions.mint` made."""
    secure, age = _is_https(services, request), int(SESSION_SECONDS)
    response.set_cookie(COOKIE, text, max_age=age, path=PATH, secure=secure, httponly=True, samesite="lax")
    return response


def sign_out(response: Response, services: Services, request: Request) -> Response:
    """Take the cookie away."""
    secure = _is_https(services, request)
    response.delete_cookie(COOKIE, path=PATH, secure=secure, httponly=True, samesite="lax")
    return response


def _is_https(services: Services, request: Request) -> bool:
    """Whether the browser came by https: by what it says of the form, or as all do. A management port is often plain
    http on a network of its own, and a browser drops a Secure cookie there: nobody could ever sign in."""
    return request.headers.get("origin", services.public_url).startswith("https://")


async def use_link(services: Services, nonce: str, now: Instant) -> bool:
    """Whether a sign-in link is used for the first time, on any process. From now on it is not."""
    key = f"sign-in-link {nonce}"
    keep = partial(idempotency.begin, key=key, fingerprint=nonce, now=now, abandoned_seconds=idempotency.KEPT_SECONDS)
    try:
        return isinstance(await services.database.write(keep), idempotency.Begun)
    except Conflict:
        return False


# --- forms ---


def demand_same_origin(services: Services, request: Request) -> None:
    """Raises Problem 403 unless the browser says that the request was made by a page of this origin."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is None and origin is None:
        raise _foreign("The browser did not say which page sent it.")
    if site is not None and site != "same-origin":
        raise _foreign("Another site sent it.")
    if origin is not None and origin not in _own_origins(services, request):
        raise _foreign("It comes from another origin. A proxy in front of Relay has to pass on the Host header.")


def _own_origins(services: Services, request: Request) -> set[str]:
    hosts = request.headers.getlist("host")
    public = urlsplit(services.public_url)
    own = {f"{public.scheme}://{public.netloc}"}
    if len(hosts) == 1:
        own |= {f"http://{hosts[0]}", f"https://{hosts[0]}"}
    return own


def _foreign(detail: str) -> Problem:
    return Problem(403, "cross_origin", f"This form was refused. {detail}")


async def read_form(request: Request) -> dict[str, list[str]]:
    """The fields of a form. Raises Problem 413 and 415."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Problem(415, "unsupported_media_type", f"Send the form as {FORM}.")
    raw = await bodies.read(request)
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError:
        raise Problem(400, "malformed_form", "The form cannot be read.") from None
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return fields


def demand_token(sessions: Sessions, session: Session, form: Mapping[str, list[str]]) -> None:
    """Raises Problem 403 unless the form is one of this session's pages."""
    if not sessions.is_form_token(session, "".join(form.get("token", ()))):
        raise Problem(403, "form_expired", "This form is from another session. Go back, reload the page, try again.")
