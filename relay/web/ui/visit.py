"""One request by somebody who is signed in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from relay.clock import Instant
from relay.model import Scope, Subscription, Webhook
from relay.settings import Settings
from relay.signing.browser import Session, Sessions, SignInLinks
from relay.web.auth import Caller
from relay.web.endpoint import Endpoint
from relay.web.problems import Problem
from relay.web.services import Services
from relay.web.ui import render
from relay.web.ui.forms import number
from relay.web.ui.guard import guarded

V = TypeVar("V", bound=BaseModel)

SEE_OTHER: Final = 303

# What was done, by the word in `?done=`; nothing of a URL is ever repeated on a page as a message.
DONE: Final[Mapping[str, str]] = {
    "paused": "Paused: deliveries wait until it is resumed.",
    "resumed": "Resumed: what waited is due now.",
    "enabled": "Enabled.",
    "disabled": "Disabled: callbacks get 410 until it is enabled.",
    "rotated": "There is a new callback URL. Hand it to the provider.",
    "queued": "Queued: it is due now. What comes of it shows up below.",
    "fetch": "Queued: the provider is asked now. What comes of it shows up below.",
    "cancelled": "Cancelled.",
    "asked": "The provider was asked to cancel.",
    "replay_paused": "Paused: nothing of it is sent until it is resumed.",
    "replay_resumed": "Resumed.",
    "tested": "A test notification went through the intake and was stored as ignored.",
    "webhook_made": "The webhook is made. Hand its callback URL to the provider.",
    "webhook_deleted": "The webhook is deleted: its callback URL gets 410.",
    "subscription_deleted": "The subscription is deleted: what waited for it is cancelled.",
    "retried": "Queued: they are due now. What comes of it shows up below.",
    "replays_started": "Started: how far they are shows below.",
    "changed": "Saved.",
    "playground_removed": "Removed: the playground's webhooks and its subscription. What they brought is still stored.",
    "revoked": "The key is revoked; sessions that were signed in with it are over.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What every page is made with."""

    services: Services
    settings: Settings
    sessions: Sessions
    links: SignInLinks


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """Who asks for what."""

    desk: Desk
    request: Request
    session: Session
    caller: Caller
    form: Mapping[str, Sequence[str]]  # empty on GET
    now: Instant

    @property
    def services(self) -> Services:
        return self.desk.services

    @property
    def id(self) -> str:
        """The id in the path."""
        return str(self.request.path_params.get("id", ""))

    @property
    def may_write(self) -> bool:
        return self.caller.may(Scope.WRITE)

    def field(self, name: str) -> str:
        """A field of the form, stripped; empty where there is none."""
        return "".join(self.form.get(name, ())[:1]).strip()

    def number(self, name: str) -> float | int | str:
        """A field of the form as the API takes numbers; what is none stays text, and the API says so."""
        return number(self.field(name))

    def webhooks(self) -> list[Webhook]:
        """Those that are not deleted, by name."""
        known = self.services.configuration.current.webhooks.values()
        return sorted((item for item in known if item.deleted_at is None), key=lambda item: item.name)

    def subscriptions(self) -> list[Subscription]:
        """Those that are not deleted, by name."""
        known = self.services.configuration.current.subscriptions.values()
        return sorted((item for item in known if item.deleted_at is None), key=lambda item: item.name)

    def names(self) -> dict[str, str]:
        """Names of webhooks and subscriptions by id, deleted ones too."""
        current = self.services.configuration.current
        webhooks = {item.id: item.name for item in current.webhooks.values()}
        return webhooks | {item.id: item.name for item in current.subscriptions.values()}

    def given_query(self, *names: str) -> list[tuple[str, str]]:
        """What the address gives for these names; an empty field of a form counts as not given."""
        return [(name, value) for name, value in self.request.query_params.multi_items() if name in names and value]

    async def ask(
        self,
        endpoint: Endpoint,
        kind: type[V],
        *,
        id: str = "",
        query: Sequence[tuple[str, str]] = (),
        body: Mapping[str, Any] | None = None,
    ) -> V:
        """What the API's endpoint answers to this caller. Raises Problem."""
        answer = await endpoint.ask(self.services, self.request, self.caller, id=id, query=query, body=body)
        if not isinstance(answer.view, kind):
            raise TypeError(f"{endpoint.path} does not answer with {kind.__name__}")
        return answer.view

    async def do(self, endpoint: Endpoint, *, id: str = "", body: Mapping[str, Any] | None = None) -> None:
        """Have the API's endpoint act for this caller. Raises Problem."""
        await endpoint.ask(self.services, self.request, self.caller, id=id, body=body)

    def page(self, template: str, title: str, *, status: int = 200, **values: Any) -> Response:
        """A page."""
        common = {
            "title": title,
            "path": self.request.scope["path"],
            "query": self.request.query_params,
            "now": self.now,
            "may_write": self.may_write,
            "is_admin": self.caller.may(Scope.ADMIN),
            "scope": str(self.caller.scope),
            "token": self.desk.sessions.form_token(self.session),
            "done": DONE.get(self.request.query_params.get("done", "")),
            "names": self.names(),
        }
        content = render.page(template, {**common, **values})
        return guarded(Response(content, status, media_type="text/html"))

    def go(self, path: str, done: str = "", **query: str) -> Response:
        """See another page, after something was done."""
        given = query | ({"done": done} if done else {})
        target = f"{path}?{urlencode(given)}" if given else path
        return guarded(RedirectResponse(target, SEE_OTHER))

    def problem(self, problem: Problem) -> Response:
        """What went wrong, as a page."""
        return self.page("problem.html", "That did not work", status=problem.status, problem=problem)


Handler = Callable[[Visit], Awaitable[Response]]
