"""Stage 2: was it the provider?

The callback URL is unguessable, which is the first proof; this is the second, for providers that sign or send a
shared header. The answer is a short reason for the 401, or None. Keys that a provider publishes are handed in
(`relay.pipeline.jwks` has them).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from relay.clock import Instant
from relay.model import Secret
from relay.providers.profile import VerificationScheme
from relay.signing import jwks, schemes, standard_webhooks
from relay.signing.standard_webhooks import HEADER_NAMES, Reason


def verify(
    scheme: VerificationScheme,
    secrets: Mapping[str, Secret],
    inbound_headers: Sequence[tuple[str, str]],
    body: bytes,
    now: Instant,
    keys: Sequence[bytes] = (),
) -> str | None:
    """None if the request is verified or there is nothing to verify it by; else why it is refused.

    Every value of `secrets` is an active one (several during a rotation), except for Basic, where they are
    `username` and `password`. `keys` are the public ones where the provider publishes them: no secret is needed then.
    `is_authenticated` tells the two meanings of None apart.
    """
    if scheme.kind == "none":
        return None
    if scheme.kind == "ed25519_jwks":
        return _ed25519(scheme, keys, inbound_headers, body, now)
    if not secrets:
        return Reason.SECRET_MISSING if scheme.required else None
    try:
        headers = _take(inbound_headers, _names(scheme))
        return Reason.SIGNATURE_REPEATED if headers is None else _check(scheme, secrets, headers, body, now)
    except ValueError:  # a secret that cannot be decoded: the operator's mistake, not the sender's, yet no proof
        return Reason.SECRET_UNUSABLE


def is_authenticated(scheme: VerificationScheme, secrets: Mapping[str, Secret]) -> bool:
    """Whether a request that passed `verify` is proven to be the provider's, its body included."""
    return scheme.authenticates and (scheme.kind == "ed25519_jwks" or (scheme.kind != "none" and bool(secrets)))


def secrets_problem(scheme: VerificationScheme, secrets: Mapping[str, Secret]) -> str | None:
    """Why nothing could ever be verified by these secrets, in words for whoever sets them; None = they can."""
    if scheme.kind in ("none", "ed25519_jwks"):
        return None
    if not secrets:
        return "this provider's notifications are verified by a secret, which is missing" if scheme.required else None
    try:
        _prepare(scheme, secrets)
    except ValueError as error:
        return str(error)
    return None


def _prepare(scheme: VerificationScheme, secrets: Mapping[str, Secret]) -> list[bytes]:
    """The keys to verify with. Raises ValueError, without the secrets, when one cannot be used."""
    if scheme.kind == "basic":
        username, password = _credentials(secrets)
        return [schemes.key_bytes(username, "utf8"), schemes.key_bytes(password, "utf8")]
    encoding = {"standard_webhooks": "whsec", "hmac": scheme.key_encoding}.get(scheme.kind, "utf8")
    return [schemes.key_bytes(secret, encoding) for secret in secrets.values()]


def _check(
    scheme: VerificationScheme, secrets: Mapping[str, Secret], headers: Mapping[str, str], body: bytes, now: Instant
) -> Reason | None:
    keys = _prepare(scheme, secrets)
    if scheme.kind == "standard_webhooks":
        return standard_webhooks.check(headers, body, keys, now, tolerance_seconds=scheme.tolerance_seconds)
    got = headers.get(_signature_header(scheme))
    if not got:
        return Reason.SIGNATURE_MISSING
    if scheme.kind == "hmac":
        return _hmac(scheme, keys, headers, body, now)
    if scheme.kind == "basic":
        right = schemes.basic(*_credentials(secrets), got)
    else:
        right = schemes.header_equals(tuple(secrets.values()), got)
    return None if right else Reason.SIGNATURE_WRONG


def _hmac(
    scheme: VerificationScheme, keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now: Instant
) -> Reason | None:
    if (late := _late(scheme, headers, now)) is not None:
        return late
    right = schemes.hmac_signature(
        algorithm=scheme.algorithm,
        encoding="base64" if scheme.encoding == "base64" else "hex",
        prefix=scheme.prefix,
        template=schemes.parse_template(scheme.template),
        keys=keys,
        headers=headers,
        body=body,
        got=headers[_signature_header(scheme)],
    )
    return None if right else Reason.SIGNATURE_WRONG


def _ed25519(
    scheme: VerificationScheme,
    keys: Sequence[bytes],
    inbound_headers: Sequence[tuple[str, str]],
    body: bytes,
    now: Instant,
) -> Reason | None:
    headers = _take(inbound_headers, _names(scheme))
    if headers is None:
        return Reason.SIGNATURE_REPEATED
    got = headers.get(_signature_header(scheme))
    if not got:
        return Reason.SIGNATURE_MISSING
    if (late := _late(scheme, headers, now)) is not None:
        return late
    right = jwks.ed25519_signature(
        keys=keys,
        encoding=scheme.encoding,
        prefix=scheme.prefix,
        template=schemes.parse_template(scheme.template),
        headers=headers,
        body=body,
        got=got,
    )
    return None if right else Reason.SIGNATURE_WRONG


def _late(scheme: VerificationScheme, headers: Mapping[str, str], now: Instant) -> Reason | None:
    if not scheme.timestamp_header:
        return None
    return schemes.timestamp_fresh(headers.get(scheme.timestamp_header.lower(), ""), now, scheme.tolerance_seconds)


def _credentials(secrets: Mapping[str, Secret]) -> tuple[Secret, Secret]:
    if not {"username", "password"} <= secrets.keys():
        raise ValueError("Basic verification needs a username and a password")
    return secrets["username"], secrets["password"]


def _signature_header(scheme: VerificationScheme) -> str:
    return (scheme.header or "authorization").lower()


def _names(scheme: VerificationScheme) -> frozenset[str]:
    if scheme.kind == "standard_webhooks":
        return HEADER_NAMES
    names = {_signature_header(scheme)}
    if scheme.kind in ("hmac", "ed25519_jwks"):
        names |= {part.text for part in schemes.parse_template(scheme.template) if part.kind == "header"}
        if scheme.timestamp_header:
            names.add(scheme.timestamp_header.lower())
    return frozenset(names)


def _take(inbound_headers: Sequence[tuple[str, str]], names: frozenset[str]) -> dict[str, str] | None:
    """The headers that prove something; None if one comes twice: which of the two the sender meant is a guess."""
    taken: dict[str, str] = {}
    for name, value in inbound_headers:
        lowered = name.lower()
        if lowered in taken:
            return None
        if lowered in names:
            taken[lowered] = value
    return taken
