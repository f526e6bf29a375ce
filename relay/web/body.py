"""Reading a JSON body: bounded, strict about form, and never a surprise for what stands behind it.

NUL, lone surrogates and integers beyond 64 bits are valid JSON that no database column holds: refused here, by place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from starlette.requests import Request

from relay.web.problems import Problem, Wrong

MOST_BYTES: Final = 1024 * 1024
MOST_INTEGER: Final = 2**63 - 1
MOST_DEPTH: Final = 64
SHOWN_ERRORS: Final = 20
_FOUR_DIGITS: Final = 4096  # an integer of more digits is not worth converting to say that it is too large


async def read(request: Request) -> bytes:
    """The body. Raises Problem 413 as soon as it is known to be over the limit."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MOST_BYTES:
        raise _too_large()
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            raise _too_large()
        parts.append(part)
    return b"".join(parts)


def parse(raw: bytes, content_type: str | None) -> Any:
    """The JSON value. Raises Problem 415, 400 or 422."""
    if not _is_json(content_type):
        raise Problem(
            415, "unsupported_media_type", "Send the body as application/json.", headers={"accept": "application/json"}
        )
    try:
        value = json.loads(raw.decode(), parse_constant=_refuse_constant, parse_int=_integer)
    except (ValueError, RecursionError):
        raise Problem(400, "malformed_json", "The body is not valid JSON in UTF-8.") from None
    wrong = [item for _, item in zip(range(SHOWN_ERRORS), _unstorable(value, "#", 0), strict=False)]
    if wrong:
        raise Problem(422, "validation_error", _count(len(wrong)), wrong)
    return value


def _count(number: int) -> str:
    return "1 field is wrong." if number == 1 else f"{number} fields are wrong."


def count_of_fields(number: int) -> str:
    """How many fields are wrong, in words."""
    return _count(number)


def escape(name: str | int) -> str:
    """One step of a JSON pointer (RFC 6901)."""
    return str(name).encode("utf-8", "replace").decode().replace("~", "~0").replace("/", "~1")


def _too_large() -> Problem:
    return Problem(
        413, "body_too_large", f"The body is larger than {MOST_BYTES} bytes.", headers={"connection": "close"}
    )


def _is_json(content_type: str | None) -> bool:
    kind, _, parameters = (content_type or "").partition(";")
    kind = kind.strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _integer(digits: str) -> int:
    return int(digits) if len(digits) < _FOUR_DIGITS else MOST_INTEGER + 1


def _unstorable(value: Any, place: str, depth: int) -> Iterator[Wrong]:
    if depth > MOST_DEPTH:
        yield Wrong(f"is nested deeper than {MOST_DEPTH} levels", "too_deep", pointer=place)
    elif isinstance(value, str):
        yield from _text(value, place)
    elif isinstance(value, int) and not isinstance(value, bool):
        if not -MOST_INTEGER - 1 <= value <= MOST_INTEGER:
            yield Wrong("is an integer beyond 64 bits", "integer_too_large", pointer=place)
    elif isinstance(value, float) and value in (float("inf"), float("-inf")):
        yield Wrong("is a number beyond what a double holds", "number_too_large", pointer=place)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unstorable(item, f"{place}/{index}", depth + 1)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _text(name, f"{place}/{escape(name)}")
            yield from _unstorable(item, f"{place}/{escape(name)}", depth + 1)


def _text(text: str, place: str) -> Iterator[Wrong]:
    if "\x00" in text:
        yield Wrong("contains the character U+0000", "nul_character", pointer=place)
    elif not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        yield Wrong("contains a lone surrogate", "lone_surrogate", pointer=place)
