"""What a webhook must bring depends on its provider's profile; what is wrong is named by field, never by value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from relay.errors import UrlRefused
from relay.model import Secret
from relay.outbound.urls import canonical_origin, parse_url
from relay.providers.profile import Profile
from relay.signing.standard_webhooks import decode_secret
from relay.web.body import count_of_fields
from relay.web.problems import Problem, Wrong, unprocessable

_BASIC: Final = ("username", "password")
_SECRETS: Final = ("secret", "previous_secret")


def profile_of(profiles: Mapping[str, Profile], name: str) -> Profile:
    """The loaded profile. Raises Problem 422, with the names that there are."""
    profile = profiles.get(name)
    if profile is None:
        known = ", ".join(sorted(profiles)) or "none"
        raise unprocessable("#/provider", f"is not a loaded profile (loaded: {known})", "unknown_provider")
    return profile


def check_credentials(profile: Profile, given: Mapping[str, str]) -> dict[str, Secret]:
    """The credentials that the profile asks for, no more and no fewer. Raises Problem 422."""
    wanted = profile.auth.credential_fields
    _compare("#/credentials", given, required=wanted, allowed=wanted, whose=profile.name)
    credentials = {name: Secret(value) for name, value in given.items()}
    try:
        profile.auth.headers(credentials)
    except ValueError as error:
        raise unprocessable("#/credentials", str(error), "invalid_credentials") from None
    return credentials


def check_parameters(profile: Profile, given: Mapping[str, str]) -> dict[str, str]:
    """The parameters that the profile knows, with all that are required. Raises Problem 422."""
    required = [parameter.name for parameter in profile.parameters if parameter.required]
    allowed = [parameter.name for parameter in profile.parameters]
    _compare("#/parameters", given, required=required, allowed=allowed, whose=profile.name)
    return dict(given)


def check_verification(profile: Profile, given: Mapping[str, str]) -> dict[str, Secret]:
    """The secrets that notifications are verified with. A provider that signs nothing may be given one all the same:
    it is kept for the day its profile can use it. Raises Problem 422."""
    scheme = profile.callback.verification if profile.callback is not None else None
    kind = scheme.kind if scheme is not None else "none"
    allowed = _BASIC if kind == "basic" else _SECRETS
    required = allowed[: 2 if kind == "basic" else 1] if given or (scheme is not None and scheme.required) else ()
    _compare("#/verification", given, required=required, allowed=allowed, whose=profile.name)
    secrets = {name: Secret(value) for name, value in given.items()}
    if kind == "standard_webhooks":
        for name, secret in secrets.items():
            try:
                decode_secret(secret)
            except ValueError as error:
                raise unprocessable(f"#/verification/{name}", str(error), "invalid_secret") from None
    return secrets


def read_origins(origins: Sequence[str] | None, base_url: str | None) -> dict[str, Any]:
    """`origins` and `base_url` in canonical spelling. Raises Problem 422."""
    read = []
    for index, origin in enumerate(origins or ()):
        try:
            read.append(canonical_origin(origin))
        except UrlRefused as error:
            raise unprocessable(f"#/origins/{index}", str(error), error.code) from None
    return {"origins": tuple(dict.fromkeys(read)), "base_url": _base_url(base_url)}


def _base_url(given: str | None) -> str | None:
    if given is None:
        return None
    try:
        target = parse_url(given, allow_http=True, allow_short=True)
    except UrlRefused as error:
        raise unprocessable("#/base_url", str(error), error.code) from None
    if "?" in target.path:
        raise unprocessable("#/base_url", "has a query", "url_refused")
    return target.text.rstrip("/")


def _compare(
    place: str, given: Mapping[str, str], *, required: Sequence[str], allowed: Sequence[str], whose: str
) -> None:
    missing = [
        Wrong(f"is needed for {whose}", "missing", pointer=f"{place}/{name}") for name in required if name not in given
    ]
    unknown = [
        Wrong(
            f"is not known for {whose} (known: {', '.join(allowed) or 'none'})",
            "unknown_field",
            pointer=f"{place}/{name}",
        )
        for name in given
        if name not in allowed
    ]
    wrong = [*missing, *unknown]
    if wrong:
        raise Problem(422, "validation_error", count_of_fields(len(wrong)), wrong)
