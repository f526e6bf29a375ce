"""A play in six steps: asked, notified, verified, fetched, stored, delivered. Pure functions of what is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from relay.frozen import frozen
from relay.model import Delivery, DeliveryStatus, JobStatus
from relay.providers.profile import Profile
from relay.web.playground import Received, Scenario, Told
from relay.web.ui.waterfall_page import Life, Sent
from relay.web.ui.words import ago, cut, size, span

SIGNS: Final = {"ok": "●", "busy": "◐", "warn": "✕", "bad": "✕"}
SIGNATURES: Final = {"standard_webhooks": "Standard Webhooks signature", "header_equals": "shared header"}


@frozen(kw_only=True)
class Play:
    """One job of the playground, and what both ends say of it."""

    life: Life
    scenario: Scenario
    profile: Profile
    calls_back: bool
    told: Sequence[Told]
    sent: list[Sent]  # to the playground's subscriber, oldest first
    received: Sequence[Received]

    @property
    def delivery(self) -> Delivery | None:
        """The newest one."""
        return self.sent[-1].delivery if self.sent else None

    @property
    def is_over(self) -> bool:
        """Nothing more will happen by itself; other subscriptions have their own pace."""
        delivery = self.delivery
        is_settled = delivery is None or delivery.status is not DeliveryStatus.PENDING
        return self.life.job.status.is_final and is_settled


@frozen(kw_only=True)
class Step:
    """One of the six."""

    name: str
    tone: str
    word: str
    at: int | None = None
    lines: tuple[str, ...] = ()

    @property
    def sign(self) -> str:
        """The sign beside the word: the colour alone says nothing."""
        return "◐" if self.word == "retrying" else SIGNS.get(self.tone, "○")


def steps(play: Play, now: int) -> list[Step]:
    """All six, in order."""
    return [_asked(play), _notified(play), _verified(play), _fetched(play), _stored(play), _delivered(play, now)]


def summary(play: Play) -> str:
    """Where it stands, in one sentence."""
    life, delivery = play.life, play.delivery
    if not life.ended:
        return (
            "The provider works."
            if life.job.status is JobStatus.WAITING
            else "Done, says the provider: Relay fetches the result."
        )
    if delivery is None:
        return "Stored. No subscription of the playground wanted it."
    if delivery.status is DeliveryStatus.DELIVERED and delivery.settled_at is not None:
        took = span((delivery.settled_at - life.job.created_at) / 1000)
        return f"Delivered {took} after it was asked for; {_verdict(play)}."
    if delivery.status is DeliveryStatus.PENDING:
        return "Stored; on its way to the subscriber."
    return f"Stored; the delivery is {delivery.status} and can be sent again from the job's page."


def _verdict(play: Play) -> str:
    if not play.received:
        return "what came is not known here any more"
    return "the signature verifies" if _is_verified(play) else "a signature does not verify"


def _is_verified(play: Play) -> bool:
    return bool(play.received) and all(message.verified for message in play.received)


def _asked(play: Play) -> Step:
    lines = ("sent through Relay", "stored before it was sent on")
    return Step(name="asked", tone="ok", word="done", at=play.life.job.created_at, lines=lines)


def _notified(play: Play) -> Step:
    make = partial(Step, name="notified")
    if play.told:
        answers = ", ".join(str(one.status) for one in play.told)
        taken = any(200 <= one.status < 300 for one in play.told)
        more = () if len(play.told) == 1 or not taken else ("one job, one result all the same",)
        tone, word = ("ok", "done") if taken else ("warn", "refused")
        return make(tone=tone, word=word, at=play.told[0].at, lines=(f"answered {answers}", *more))
    if play.life.notified:
        first = play.life.notified[-1]
        return make(tone="ok", word="done", at=first.received_at, lines=(str(first.status),))
    if not play.calls_back:
        return make(tone="off", word="never", lines=("this provider calls nobody back", "Relay asks instead"))
    if play.life.ended:
        return make(tone="warn", word="lost", lines=("nobody called", "Relay asked instead"))
    return make(tone="busy", word="waits", lines=("for the provider's call",))


def _verified(play: Play) -> Step:
    callback = play.profile.callback
    kind = "none" if callback is None or callback.verification is None else callback.verification.kind
    what = SIGNATURES.get(kind, kind.replace("_", " "))
    if any(one.status == 401 for one in play.told):
        return Step(
            name="verified", tone="bad", word="refused", lines=(f"wrong {what}", "kept for a look, used for nothing")
        )
    if not play.told and not play.life.notified:
        word = "to come" if play.calls_back and not play.life.ended else "nothing"
        return Step(name="verified", tone="off", word=word)
    if kind == "none":
        lines = ("this provider signs nothing", "a hint only: the fetch tells the truth")
        return Step(name="verified", tone="off", word="unsigned", lines=lines)
    return Step(name="verified", tone="ok", word="done", lines=(what,))


def _fetched(play: Play) -> Step:
    life = play.life
    made = life.fetches
    if not made:
        if life.ended:
            return Step(name="fetched", tone="ok", word="not needed", lines=("the notification brought it along",))
        tone, word = ("busy", "under way") if life.job.status is JobStatus.FETCHING else ("off", "to come")
        return Step(name="fetched", tone=tone, word=word)
    answers = ", then ".join(str(one.http_status or cut(one.error_code, 40)) for one in made[-6:])
    tries = "" if len(made) == 1 else f"{len(made)} attempts"
    last = made[-1]
    took = f"the last took {span(last.duration_ms / 1000)}" if life.ended else "not yet: asked again soon"
    gone = life.job.status is JobStatus.EXPIRED
    tone, word = ("bad", "gone") if gone else ("ok", "done") if life.ended else ("busy", "not yet")
    return Step(
        name="fetched", tone=tone, word=word, at=last.started_at, lines=tuple(filter(None, (answers, tries, took)))
    )


def _stored(play: Play) -> Step:
    if not play.life.ended:
        return Step(name="stored", tone="off", word="to come")
    result = play.life.ended[0]
    fine = result.status is JobStatus.COMPLETED
    digest = f"SHA-256 {result.sha256[:8]}…" if result.sha256 else ""
    kept = size(result.size_bytes) if result.size_bytes is not None else "without a payload"
    lines = tuple(filter(None, (str(result.type), kept, digest)))
    return Step(
        name="stored", tone="ok" if fine else "bad", word="done" if fine else str(result.status),
        at=result.fetched_at, lines=lines,
    )  # fmt: skip


def _delivered(play: Play, now: int) -> Step:
    delivery = play.delivery
    if delivery is None:
        return Step(name="delivered", tone="off", word="to nobody" if play.life.ended else "to come")
    answers = [str(one.http_status or cut(one.error_code, 40)) for one in play.sent[-1].attempts]
    answered = (f"answered {', then '.join(answers)}",) if answers else ()
    if delivery.status is DeliveryStatus.PENDING:
        tone, word = ("warn", "retrying") if answers else ("busy", "under way")
        soon = (f"again {ago(delivery.due_at, now)}",) if answers and delivery.due_at is not None else ()
        return Step(name="delivered", tone=tone, word=word, lines=(*answered, *soon))
    if delivery.status is not DeliveryStatus.DELIVERED:
        return Step(name="delivered", tone="bad", word=str(delivery.status), at=delivery.settled_at, lines=answered)
    verdict = ("signature verified",) if _is_verified(play) else ()
    return Step(name="delivered", tone="ok", word="done", at=delivery.settled_at, lines=(*answered, *verdict))
