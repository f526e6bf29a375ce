"""How a provider's notifications arrive, prove themselves, and where things stand in them. Frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from relay.jsontext import Selector, Steps
from relay.model import Secret
from relay.providers.path import Paths

VerificationKind = Literal["none", "header_equals", "basic", "hmac", "standard_webhooks", "ed25519_jwks"]
KeyEncoding = Literal["utf8", "base64", "whsec"]
MarkerType = Literal["any", "object", "array", "string"]

LONGEST_JWKS_SECONDS: Final = 86_400.0


def selector_of(*groups: Paths) -> Selector:
    """One selector for all the paths that lead into a body."""
    steps: set[Steps] = {path.steps for group in groups for path in group if path.source == "body"}
    return Selector(sorted(steps, key=repr))


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationScheme:
    """How a notification shows that the provider sent it. The secret itself belongs to the webhook."""

    kind: VerificationKind = "none"
    header: str = ""
    header_parameter: str = ""  # the webhook parameter that names another header, where callers choose it
    secret_parameter: str = ""  # the webhook parameter that is the secret where none is given
    algorithm: str = "sha256"
    encoding: str = "hex"  # of the digest or signature: hex | base64
    prefix: str = ""  # what stands before the digest: `sha256=`
    template: str = "{body}"  # what is signed: `{body}`, `{sha256_hex:body}`, `{header:X}`, `{json:path}` and literals
    timestamp_header: str = ""
    tolerance_seconds: float = 300.0
    key_encoding: KeyEncoding = "utf8"
    jwks_url: str = ""  # kind "ed25519_jwks": where the provider's public keys are
    jwks_seconds: float = LONGEST_JWKS_SECONDS  # how long a fetched key set may be used
    required: bool = False  # a webhook cannot be made without the secret
    authenticates: bool = False  # a verified notification's own payload may be taken as the truth

    def bound(
        self, parameters: Mapping[str, str], secrets: Mapping[str, Secret]
    ) -> tuple[VerificationScheme, Mapping[str, Secret]]:
        """Scheme and secrets as they hold for one webhook, whose parameters may name the header or be the secret."""
        header = parameters.get(self.header_parameter) or self.header
        given = parameters.get(self.secret_parameter, "")
        scheme = self if header == self.header else replace(self, header=header)
        return scheme, {"secret": Secret(given)} if given and not secrets else secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class Inline:
    """When a notification is itself the final payload."""

    present: Paths
    failed: Paths = ()  # the same of a notification whose status says failed or cancelled
    type: MarkerType = "any"
    unfetchable: bool = False  # nothing can be fetched for such a message, so its payload may be taken unverified


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """How notifications arrive and where things stand in them. The first path that leads to a value wins."""

    methods: tuple[str, ...] = ("POST",)
    verification: VerificationScheme = VerificationScheme()
    event: Paths = ()
    ignore_events: tuple[str, ...] = ()  # names, `*` stands for anything
    job_id: Paths = ()
    response_url: Paths = ()
    status: Paths = ()
    delivery_id: Paths = ()
    completed_at: Paths = ()
    expires_at: Paths = ()
    error: Paths = ()
    inline: Inline | None = None
    selector: Selector = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        inline = (*self.inline.present, *self.inline.failed) if self.inline else ()
        times = (self.completed_at, self.expires_at)
        selector = selector_of(
            self.event, self.job_id, self.response_url, self.status, self.delivery_id, *times, self.error, inline
        )
        object.__setattr__(self, "selector", selector)

    def may_take_inline(self, *, authenticated: bool) -> bool:
        """Whether a notification's own payload may become the result; `authenticated` = its verification passed."""
        if self.inline is None:
            return False
        return self.inline.unfetchable or (authenticated and self.verification.authenticates)
