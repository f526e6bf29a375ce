"""`Relay-Metadata: {json}`: what a job carries along, given where the body belongs to somebody else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from relay.web import body as bodies
from relay.web.fields import Metadata
from relay.web.problems import Problem, Wrong

METADATA: Final = "relay-metadata"
MOST_BYTES: Final = 8192


def metadata_of(values: Sequence[str]) -> dict[str, Any]:
    """The members of the header's JSON object; none without the header. Raises Problem 400, which names the header."""
    if not values:
        return {}
    if len(values) > 1:
        raise _wrong("is given twice")
    raw = values[0].encode("latin-1")
    if len(raw) > MOST_BYTES:
        raise _wrong(f"is longer than {MOST_BYTES} bytes")
    try:
        value = bodies.parse(raw, "application/json")
        return TypeAdapter(Metadata).validate_python(value, strict=True)
    except Problem as problem:
        detail = problem.errors[0].detail if problem.errors else "is not valid JSON in UTF-8"
        raise _wrong(detail) from None
    except ValidationError:
        raise _wrong("is not a JSON object of at most 50 members") from None


def _wrong(detail: str) -> Problem:
    wrong = Wrong(detail, "invalid_header", parameter="Relay-Metadata")
    return Problem(400, "invalid_header", f"Relay-Metadata {detail}.", [wrong])
