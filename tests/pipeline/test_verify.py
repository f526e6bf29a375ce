import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.clock import Instant
from relay.model import Secret
from relay.pipeline.verify import is_authenticated, secrets_problem, verify
from relay.providers.profile import VerificationScheme
from relay.signing.standard_webhooks import decode_secret, generate_secret, sign

SECONDS = 1_795_000_000
NOW = Instant(SECONDS * 1000)
BODY = b'{"taskId":"t-1","event":"done"}'
Headers = Sequence[tuple[str, str]]

STANDARD = VerificationScheme(kind="standard_webhooks")
SECRET = generate_secret()
SHARED = VerificationScheme(kind="header_equals", header="X-Inference-Webhook-ID")
BASIC = VerificationScheme(kind="basic")
HMAC = VerificationScheme(
    kind="hmac", header="X-Signature", prefix="sha256=", template="{header:X-Ts}.{body}", timestamp_header="X-Ts"
)


def standard_headers(family: str = "webhook", secret: Secret = SECRET) -> list[tuple[str, str]]:
    signed = sign("msg_1", SECONDS, BODY, [decode_secret(secret)])
    return [(f"{family}-id", "msg_1"), (f"{family}-timestamp", str(SECONDS)), (f"{family}-signature", signed)]


def hmac_headers(timestamp: str = str(SECONDS), key: bytes = b"k") -> list[tuple[str, str]]:
    digest = hmac.digest(key, timestamp.encode() + b"." + BODY, hashlib.sha256).hex()
    return [("x-ts", timestamp), ("x-signature", f"sha256={digest}")]


BASIC_HEADERS = [("Authorization", "Basic " + base64.b64encode(b"u:p").decode())]
BASIC_SECRETS = {"username": Secret("u"), "password": Secret("p")}
RIGHT: list[tuple[VerificationScheme, Mapping[str, Secret], Headers]] = [
    (STANDARD, {"secret": SECRET}, standard_headers()),
    (STANDARD, {"secret": SECRET}, standard_headers("Svix")),
    (SHARED, {"secret": Secret("shared")}, [("x-inference-webhook-id", "shared")]),
    (BASIC, BASIC_SECRETS, BASIC_HEADERS),
    (HMAC, {"secret": Secret("k")}, hmac_headers()),
]
NOISE = [("Host", "relay.test"), ("X-Other", "1"), ("X-Other", "2"), ("Content-Type", "application/json")]


@pytest.mark.parametrize(("scheme", "secrets", "headers"), RIGHT)
def test_the_providers_own_notification_is_verified_among_other_headers(
    scheme: VerificationScheme, secrets: Mapping[str, Secret], headers: Headers
) -> None:
    assert verify(scheme, secrets, [*NOISE, *headers], BODY, NOW) is None


@pytest.mark.parametrize(("scheme", "secrets", "headers"), RIGHT)
def test_during_a_rotation_the_other_active_secret_verifies_too(
    scheme: VerificationScheme, secrets: Mapping[str, Secret], headers: Headers
) -> None:
    if scheme.kind != "basic":
        assert verify(scheme, {"next": generate_secret()} | dict(secrets), headers, BODY, NOW) is None


@pytest.mark.parametrize(("scheme", "secrets", "headers"), RIGHT)
def test_a_signature_that_comes_twice_is_refused(
    scheme: VerificationScheme, secrets: Mapping[str, Secret], headers: Headers
) -> None:
    for name, value in headers:
        for twice in ([*headers, (name.upper(), value)], [(name, "x"), *headers], [*headers, (name, "")]):
            assert verify(scheme, secrets, twice, BODY, NOW) == "signature_repeated"


@pytest.mark.parametrize(("scheme", "secrets", "headers"), RIGHT)
def test_an_unsigned_notification_is_refused_once_there_is_a_secret(
    scheme: VerificationScheme, secrets: Mapping[str, Secret], headers: Headers
) -> None:
    assert verify(scheme, secrets, NOISE, BODY, NOW) == "signature_missing"
    assert verify(scheme, secrets, [(name, "") for name, _ in headers], BODY, NOW) == "signature_missing"


@pytest.mark.parametrize(("scheme", "secrets", "headers"), RIGHT)
def test_another_secret_does_not_verify(
    scheme: VerificationScheme, secrets: Mapping[str, Secret], headers: Headers
) -> None:
    others = {name: generate_secret() for name in secrets}
    assert verify(scheme, others, headers, BODY, NOW) == "signature_wrong"


@pytest.mark.parametrize(("scheme", "secrets", "headers"), RIGHT)
def test_without_a_secret_a_webhook_takes_unsigned_notifications_unless_the_profile_requires_one(
    scheme: VerificationScheme, secrets: Mapping[str, Secret], headers: Headers
) -> None:
    assert verify(scheme, {}, [], BODY, NOW) is None
    strict = VerificationScheme(kind=scheme.kind, header=scheme.header, required=True)
    assert verify(strict, {}, headers, BODY, NOW) == "secret_missing"
    assert "missing" in (secrets_problem(strict, {}) or "")


def test_a_provider_that_proves_nothing_is_let_through() -> None:
    assert verify(VerificationScheme(), {"secret": Secret("x")}, [], BODY, NOW) is None


@pytest.mark.parametrize("seconds", [-301, 301])
@pytest.mark.parametrize(("scheme", "secrets", "headers"), [RIGHT[0], RIGHT[4]])
def test_an_old_or_early_timestamp_is_refused(
    scheme: VerificationScheme, secrets: Mapping[str, Secret], headers: Headers, seconds: int
) -> None:
    then = Instant((SECONDS + seconds) * 1000)
    assert verify(scheme, secrets, headers, BODY, then) == "timestamp_outside_tolerance"


def test_the_profiles_tolerance_counts() -> None:
    wide = VerificationScheme(kind="standard_webhooks", tolerance_seconds=1000)
    assert verify(wide, {"secret": SECRET}, standard_headers(), BODY, Instant(NOW + 999_000)) is None


@pytest.mark.parametrize("timestamp", ["nan", "", "-1", "1e9", "9" * 400])
def test_a_timestamp_that_is_none_is_refused(timestamp: str) -> None:
    assert verify(HMAC, {"secret": Secret("k")}, hmac_headers(timestamp), BODY, NOW) == "timestamp_malformed"
    assert verify(HMAC, {"secret": Secret("k")}, hmac_headers()[1:], BODY, NOW) == "timestamp_malformed"


def test_a_timestamp_counts_even_where_the_template_leaves_it_out() -> None:
    scheme = VerificationScheme(kind="hmac", header="x-sig", timestamp_header="X-Ts")
    signed = ("x-sig", hmac.digest(b"k", BODY, hashlib.sha256).hex())
    assert verify(scheme, {"secret": Secret("k")}, [signed, ("x-TS", str(SECONDS))], BODY, NOW) is None
    old = ("x-ts", str(SECONDS - 301))
    assert verify(scheme, {"secret": Secret("k")}, [signed, old], BODY, NOW) == "timestamp_outside_tolerance"


def test_a_changed_timestamp_or_body_is_refused() -> None:
    changed = [("x-ts", str(SECONDS + 1)), hmac_headers()[1]]
    assert verify(HMAC, {"secret": Secret("k")}, changed, BODY, NOW) == "signature_wrong"
    assert verify(HMAC, {"secret": Secret("k")}, hmac_headers(), BODY + b" ", NOW) == "signature_wrong"
    assert verify(STANDARD, {"secret": SECRET}, standard_headers(), BODY + b" ", NOW) == "signature_wrong"


def test_a_signature_over_a_value_inside_the_body_is_verified() -> None:
    scheme = VerificationScheme(
        kind="hmac", header="X-Sig", encoding="base64", template="{json:taskId}.{header:x-ts}", timestamp_header="x-ts",
        key_encoding="base64",
    )  # fmt: skip
    digest = hmac.digest(b"kkk", f"t-1.{SECONDS}".encode(), hashlib.sha256)
    headers = [("X-Ts", str(SECONDS)), ("X-Sig", base64.b64encode(digest).decode())]
    secrets = {"secret": Secret(base64.b64encode(b"kkk").decode())}
    assert verify(scheme, secrets, headers, BODY, NOW) is None
    assert verify(scheme, secrets, headers, BODY.replace(b"t-1", b"t-2"), NOW) == "signature_wrong"
    assert verify(scheme, secrets, headers, b"not json", NOW) == "signature_wrong"


@pytest.mark.parametrize(
    ("scheme", "secrets", "problem"),
    [
        (STANDARD, {"secret": Secret("whsec_")}, "24 to 64 bytes"),
        (STANDARD, {"secret": Secret("too-short")}, "24 to 64 bytes"),
        (STANDARD, {"secret": SECRET, "next": Secret("whsec_$")}, "not base64"),
        (HMAC, {"secret": Secret("")}, "empty"),
        (
            VerificationScheme(kind="hmac", header="X-Signature", key_encoding="base64"),
            {"s": Secret("$$")},
            "not base64",
        ),
        (BASIC, {"username": Secret("u")}, "username and a password"),
        (BASIC, {"username": Secret("u"), "password": Secret("")}, "empty"),
        (SHARED, {"secret": Secret("")}, "empty"),
    ],
)
def test_a_secret_that_verifies_nothing_is_explained_when_set_and_refuses_instead_of_failing(
    scheme: VerificationScheme, secrets: Mapping[str, Secret], problem: str
) -> None:
    assert problem in (secrets_problem(scheme, secrets) or "")
    headers = [*standard_headers(), *hmac_headers(), ("Authorization", "Basic dTo="), ("X-Inference-Webhook-ID", "x")]
    assert verify(scheme, secrets, headers, BODY, NOW) in ("secret_unusable", "signature_wrong")


@pytest.mark.parametrize(("scheme", "secrets", "headers"), RIGHT)
def test_good_secrets_have_no_problem(
    scheme: VerificationScheme, secrets: Mapping[str, Secret], headers: Headers
) -> None:
    assert secrets_problem(scheme, secrets) is None
    assert secrets_problem(scheme, {}) is None
    assert secrets_problem(VerificationScheme(), secrets) is None


def test_only_a_verified_notification_of_a_profile_that_says_so_is_authenticated() -> None:
    proving = VerificationScheme(kind="header_equals", header="x", authenticates=True)
    assert is_authenticated(proving, {"secret": Secret("x")})
    assert not is_authenticated(proving, {})
    assert not is_authenticated(SHARED, {"secret": Secret("x")})
    assert not is_authenticated(VerificationScheme(authenticates=True), {"secret": Secret("x")})


NAMES = st.sampled_from(
    ["webhook-id", "webhook-timestamp", "webhook-signature", "svix-signature", "x-ts", "x-signature", "authorization"]
)


@given(
    headers=st.lists(st.tuples(NAMES | st.text(), st.text(st.characters()) | st.just(str(SECONDS)))), body=st.binary()
)
def test_no_request_raises_and_none_is_let_in(headers: Headers, body: bytes) -> None:
    for scheme, secrets, _ in RIGHT:
        if scheme is not SHARED:
            assert verify(scheme, secrets, headers, body, NOW) is not None
