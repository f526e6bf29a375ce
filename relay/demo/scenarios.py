"""What the playground can play: how a provider or the subscriber may behave, and which stand-ins can do it.

Not every provider has a word for every end, and one that calls nobody back cannot call twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from relay.demo.freddy import Freddy
from relay.demo.inference_net import InferenceNet
from relay.demo.netnut import NetNut
from relay.demo.pulse import Pulse

WORK_SECONDS: Final = 1.0  # long enough to be watched

NETNUT, PULSE, INFERENCE_NET, FREDDY = NetNut.NAME, Pulse.NAME, InferenceNet.NAME, Freddy.NAME
ALL: Final = (NETNUT, PULSE, INFERENCE_NET, FREDDY)
CALLING: Final = (NETNUT, PULSE, INFERENCE_NET)
FETCHED: Final = (NETNUT, PULSE, FREDDY)  # Inference.net's notification brings the result along


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One way in which a job may go."""

    name: str
    title: str
    about: str
    providers: tuple[str, ...]
    knobs: Mapping[str, Any] = field(default_factory=dict)  # of the job at the stand-in
    answers: tuple[int, ...] = (200,)  # of the subscriber, to one message after the other; the last one for good
    is_brief: bool = False  # the provider keeps results for a second only


SCENARIOS: Final = (
    Scenario(
        name="straight",
        title="All goes well",
        about="The provider works for a second, then the result is fetched, stored and delivered.",
        providers=ALL,
    ),
    Scenario(
        name="not-ready",
        title="Not ready yet",
        about="At first the result cannot be read: Relay asks again until it can.",
        providers=FETCHED,
        knobs={"pending_answers": 2},
    ),
    Scenario(
        name="stumbles",
        title="Provider stumbles",
        about="The result is answered with 503, then with 429 and Retry-After, then it comes.",
        providers=FETCHED,
        knobs={"statuses": [503, 429]},
    ),
    Scenario(
        name="presigned",
        title="Presigned address",
        about="The result lies in object storage: the second request goes there, without credentials.",
        providers=(PULSE,),
        knobs={"large": True},
    ),
    Scenario(
        name="silent",
        title="Notification lost",
        about="Nobody calls. The job was sent through Relay, so it is asked for all the same.",
        providers=CALLING,
        knobs={"calls_back": False},
    ),
    Scenario(
        name="twice",
        title="Notified twice",
        about="The same notification comes twice: the second one is known and makes nothing new.",
        providers=CALLING,
        knobs={"notifications": 2},
    ),
    Scenario(
        name="forged",
        title="Wrong signature",
        about="The notification proves nothing and is refused with 401. The result is asked for later.",
        providers=(PULSE, INFERENCE_NET),
        knobs={"proof": "wrong"},
    ),
    Scenario(
        name="failed",
        title="Job fails",
        about="The provider could not do it. That is a result too, and the subscriber learns of it.",
        providers=ALL,
        knobs={"outcome": "failed"},
    ),
    Scenario(
        name="cancelled",
        title="Job cancelled",
        about="Somebody cancelled it at the provider; the subscriber learns of it.",
        providers=(PULSE, FREDDY),
        knobs={"outcome": "cancelled"},
    ),
    Scenario(
        name="gone",
        title="Result is gone",
        about="It was dropped before anybody could fetch it. Relay says so loudly: result.expired.",
        providers=(PULSE,),
        knobs={"outcome": "expired"},
    ),
    Scenario(
        name="gone-quietly",
        title="Result is gone",
        about="A bare 410. So soon after a notification it may mean “not yet”: Relay is sure after two minutes.",
        providers=(NETNUT,),
        knobs={"outcome": "expired"},
        is_brief=True,
    ),
    Scenario(
        name="subscriber-down",
        title="Subscriber is down",
        about="It answers 503 at first. The same message comes again, signed anew, and is taken.",
        providers=ALL,
        answers=(503, 200),
    ),
    Scenario(
        name="subscriber-refuses",
        title="Subscriber refuses",
        about="It answers 422 every time: the delivery ends as exhausted until it is sent again.",
        providers=ALL,
        answers=(422,),
    ),
)
