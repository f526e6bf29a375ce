"""Signing in and out, with a key or with a link that works once; and the files that need nobody to be signed in."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from relay.signing import api_keys
from relay.web import auth
from relay.web.problems import Problem
from relay.web.ui import guard, render
from relay.web.ui.visit import SEE_OTHER, Desk

HOME: Final = "/ui/"
SIGN_IN: Final = "/ui/sign-in"
FOREVER: Final = "public, max-age=31536000, immutable"
LINK_OVER: Final = "This link was used before, or its ten minutes are over. `relay ui` prints a new one."


async def show_sign_in(desk: Desk, request: Request) -> Response:
    """The form for a key; with `link`, the button that uses it. A mere look at the address uses nothing up."""
    return _form(desk, request.query_params.get("link", ""), request.query_params.get("next", ""))


async def sign_in(desk: Desk, request: Request) -> Response:
    """Take a key, or a link, and begin a session. Raises Problem 403, 413, 415."""
    guard.demand_same_origin(desk.services, request)
    form = await guard.read_form(request)
    link, key, target = ("".join(form.get(name, ())[:1]) for name in ("link", "key", "next"))
    try:
        text = await (_by_link(desk, link) if link else _by_key(desk, key.strip()))
    except Problem as problem:
        return _form(desk, "", target, problem)
    return guard.guarded(guard.sign_in(RedirectResponse(_safe(target), SEE_OTHER), desk.services, request, text))


async def _by_key(desk: Desk, key: str) -> str:
    caller = await auth.caller_of(desk.services, key)
    return desk.sessions.mint(caller.key_id, api_keys.digest(key), desk.services.clock.now())


async def _by_link(desk: Desk, link: str) -> str:
    now, admin_key = desk.services.clock.now(), desk.services.admin_key
    nonce = desk.links.read(link, now)
    if nonce is None or admin_key is None or not await guard.use_link(desk.services, nonce, now):
        raise Problem(401, "link_invalid", LINK_OVER)
    return desk.sessions.mint(auth.ADMIN_KEY_ID, api_keys.digest(admin_key.reveal()), now)


async def sign_out(desk: Desk, request: Request) -> Response:
    """End the session in this browser. Raises Problem 403."""
    guard.demand_same_origin(desk.services, request)
    return guard.guarded(guard.sign_out(RedirectResponse(SIGN_IN, SEE_OTHER), desk.services, request))


async def static(desk: Desk, request: Request) -> Response:
    """Style, script, icon."""
    name = request.path_params["name"]
    if name not in render.STATIC_TYPES:
        raise Problem(404, "not_found", "There is nothing at this address.")
    headers = {"cache-control": FOREVER}
    return guard.guarded(Response(render.static(name), headers=headers, media_type=render.STATIC_TYPES[name]))


def _form(desk: Desk, link: str, target: str, problem: Problem | None = None) -> Response:
    values = {"link": link, "next": target, "problem": problem, "title": "Sign in"}
    content = render.page("sign_in.html", values)
    return guard.guarded(Response(content, 200 if problem is None else problem.status, media_type="text/html"))


def _safe(target: str) -> str:
    """A page of the dashboard, whatever the address wanted."""
    ours = target.startswith(HOME) and "\\" not in target and "//" not in target
    return target if ours and target.isascii() and target.isprintable() else HOME
