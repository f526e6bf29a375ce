"""The dashboard: every address in one list."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import quote

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from relay.settings import Settings
from relay.signing.browser import Sessions, SignInLinks
from relay.web.problems import Problem, from_exception
from relay.web.services import Services
from relay.web.ui import (
    bulk,
    deliveries,
    doors,
    export,
    filter_page,
    guard,
    jobs,
    metrics,
    overview,
    playground,
    problems,
    replays,
    settings_page,
    subscription_form,
    subscriptions,
    waterfall_page,
    webhook_form,
    webhooks,
)
from relay.web.ui.render import page
from relay.web.ui.visit import SEE_OTHER, Desk, Handler, Visit

OPEN: Final[Mapping[tuple[str, str], Callable[[Desk, Request], Awaitable[Response]]]] = {
    ("GET", "/ui/sign-in"): doors.show_sign_in,
    ("POST", "/ui/sign-in"): doors.sign_in,
    ("POST", "/ui/sign-out"): doors.sign_out,
    ("GET", "/ui/static/{name}"): doors.static,
}
PAGES: Final[Mapping[tuple[str, str], Handler]] = {
    ("GET", "/ui/"): overview.show,
    ("GET", "/ui/find"): jobs.find,
    ("GET", "/ui/jobs"): jobs.page,
    ("POST", "/ui/jobs/selected"): bulk.selected_jobs,
    ("GET", "/ui/jobs/{id}"): waterfall_page.show,
    ("POST", "/ui/jobs/{id}/fetch"): jobs.fetch,
    ("POST", "/ui/jobs/{id}/cancel"): jobs.cancel,
    ("GET", "/ui/results/{id}/payload"): jobs.payload,
    ("GET", "/ui/deliveries"): deliveries.page,
    ("POST", "/ui/deliveries/selected"): bulk.selected_deliveries,
    ("POST", "/ui/deliveries/retry"): bulk.retry,
    ("GET", "/ui/export/{name}"): export.send,
    ("POST", "/ui/deliveries/{id}/retry"): jobs.retry,
    ("POST", "/ui/deliveries/{id}/cancel"): jobs.cancel_delivery,
    ("GET", "/ui/webhooks"): webhooks.page,
    ("POST", "/ui/webhooks"): webhook_form.create,
    ("GET", "/ui/webhooks/new"): webhook_form.new,
    ("GET", "/ui/webhooks/{id}"): webhooks.show,
    ("GET", "/ui/webhooks/{id}/edit"): webhook_form.edit,
    ("POST", "/ui/webhooks/{id}/edit"): webhook_form.change,
    ("GET", "/ui/webhooks/{id}/delete"): webhook_form.confirm_deletion,
    ("POST", "/ui/webhooks/{id}/delete"): webhook_form.delete,
    ("GET", "/ui/webhooks/{id}/rotate"): webhooks.confirm_rotation,
    ("POST", "/ui/webhooks/{id}/rotate"): webhooks.rotate,
    ("POST", "/ui/webhooks/{id}/disable"): webhooks.disable,
    ("POST", "/ui/webhooks/{id}/enable"): webhooks.enable,
    ("POST", "/ui/webhooks/{id}/test"): webhooks.test,
    ("GET", "/ui/subscriptions"): subscriptions.page,
    ("POST", "/ui/subscriptions"): subscription_form.create,
    ("GET", "/ui/subscriptions/new"): subscription_form.new,
    ("GET", "/ui/subscriptions/{id}"): subscriptions.show,
    ("GET", "/ui/subscriptions/{id}/edit"): subscription_form.edit,
    ("POST", "/ui/subscriptions/{id}/edit"): subscription_form.change,
    ("GET", "/ui/subscriptions/{id}/delete"): subscription_form.confirm_deletion,
    ("POST", "/ui/subscriptions/{id}/delete"): subscription_form.delete,
    ("GET", "/ui/subscriptions/{id}/filter"): filter_page.show,
    ("POST", "/ui/subscriptions/{id}/pause"): subscriptions.pause,
    ("POST", "/ui/subscriptions/{id}/resume"): subscriptions.resume,
    ("POST", "/ui/subscriptions/{id}/enable"): subscriptions.enable,
    ("POST", "/ui/subscriptions/{id}/test"): subscriptions.test,
    ("GET", "/ui/subscriptions/{id}/rotate-secret"): subscriptions.confirm_rotation,
    ("POST", "/ui/subscriptions/{id}/rotate-secret"): subscriptions.rotate_secret,
    ("GET", "/ui/problems"): problems.page,
    ("POST", "/ui/problems/selected"): problems.selected,
    ("POST", "/ui/problems/replay"): problems.replay,
    ("GET", "/ui/replays"): replays.page,
    ("GET", "/ui/replays/new"): replays.confirm,
    ("POST", "/ui/replays/new"): replays.confirm,
    ("POST", "/ui/replays"): replays.start,
    ("GET", "/ui/replays/{id}"): replays.show,
    ("POST", "/ui/replays/{id}/pause"): replays.pause,
    ("POST", "/ui/replays/{id}/resume"): replays.resume,
    ("POST", "/ui/replays/{id}/cancel"): replays.cancel,
    ("GET", "/ui/metrics"): metrics.page,
    ("GET", "/ui/playground"): playground.show,
    ("GET", "/ui/settings"): settings_page.page,
    ("POST", "/ui/keys"): settings_page.create_key,
    ("POST", "/ui/keys/{id}/revoke"): settings_page.revoke_key,
}
# Only where the operator has asked for it.
PLAYED: Final[Mapping[tuple[str, str], Handler]] = {
    ("POST", "/ui/playground"): playground.play,
    ("POST", "/ui/playground/remove"): playground.remove,
}


def ui_routes(services: Services, settings: Settings) -> list[BaseRoute]:
    """All of them, and the way there for who opens the address that `relay serve` prints, or leaves the slash away."""
    pages = PAGES if services.playground is None else {**PAGES, **PLAYED}
    keys = settings.secret_keys
    desk = Desk(services=services, settings=settings, sessions=Sessions(keys), links=SignInLinks(keys))
    by_path: dict[str, dict[str, Callable[[Request], Awaitable[Response]]]] = {}
    for (method, path), handler in pages.items():
        by_path.setdefault(path, {})[method] = _signed_in(desk, handler)
    for (method, path), opened in OPEN.items():
        by_path.setdefault(path, {})[method] = _for_anybody(desk, opened)

    async def home(request: Request) -> Response:
        return guard.guarded(RedirectResponse(doors.HOME, SEE_OTHER))

    routes: list[BaseRoute] = [Route("/", home), Route("/ui", home)]
    routes += [Route(path, _dispatch(methods), methods=list(methods)) for path, methods in by_path.items()]
    return [*routes, Route("/ui/{rest:path}", _for_anybody(desk, _nothing))]


def _dispatch(methods: Mapping[str, Callable[[Request], Awaitable[Response]]]) -> Callable[[Request], object]:
    async def run(request: Request) -> Response:
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return run


def _for_anybody(
    desk: Desk, handler: Callable[[Desk, Request], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    async def run(request: Request) -> Response:
        try:
            return await handler(desk, request)
        except Exception as error:
            problem = _problem(error, request)
            content = page("problem_outside.html", {"problem": problem, "title": "That did not work"})
            return guard.guarded(Response(content, problem.status, media_type="text/html"))

    return run


def _signed_in(desk: Desk, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Whoever is not signed in is shown the door; what fails is told on a page."""

    async def enter(desk: Desk, request: Request) -> Response:
        now = desk.services.clock.now()
        session = guard.session_of(desk.sessions, request, now)
        caller = None if session is None else await guard.caller_of(desk.services, session, now)
        if session is None or caller is None:
            return _to_the_door(request)
        form: dict[str, list[str]] = {}
        if request.method == "POST":
            guard.demand_same_origin(desk.services, request)
            form = await guard.read_form(request)
            guard.demand_token(desk.sessions, session, form)
        visit = Visit(desk=desk, request=request, session=session, caller=caller, form=form, now=now)
        try:
            return await handler(visit)
        except Exception as error:
            return visit.problem(_problem(error, request))

    return _for_anybody(desk, enter)


def _to_the_door(request: Request) -> Response:
    target = request.scope["path"]
    if request.method == "GET" and request.scope["query_string"]:
        target += "?" + request.scope["query_string"].decode("latin-1")
    wanted = f"?next={quote(target, safe='/')}" if request.method == "GET" and target != doors.HOME else ""
    return guard.guarded(RedirectResponse(doors.SIGN_IN + wanted, SEE_OTHER))


def _problem(error: Exception, request: Request) -> Problem:
    problem = from_exception(error)
    if problem is None:
        structlog.get_logger("relay.web").error(
            "request.crashed", path=request.scope["path"], request_id=request.state.request_id, exc_info=error
        )
        return Problem(500, "internal_error", "Something went wrong inside Relay. Its log says what.")
    return problem


async def _nothing(desk: Desk, request: Request) -> Response:
    raise Problem(404, "not_found", "There is no such page.")
