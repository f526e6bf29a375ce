"""What the stand-in NetNut says, byte for byte: pure functions of the request it remembers.

The fields of a final answer are the documented ones; those of a failure, of "still processing" and of the thin
notification are guesses, because NetNut shows none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from relay.clock import Instant, rfc3339, seconds_between


@dataclass(slots=True, kw_only=True)
class Trace:
    """One request as the stand-in remembers it."""

    id: str
    prompt: str
    engine: str
    created_at: Instant
    completed_at: Instant | None = None
    asked: int = 0  # requests for the result after its completion


def final(trace: Trace, *, fails: bool = False, padding: int = 0) -> bytes:
    """The final answer; `padding` makes it that many bytes larger."""
    finished = trace.completed_at if trace.completed_at is not None else trace.created_at
    took = seconds_between(trace.created_at, finished)
    common = {"traceID": trace.id, "model": trace.engine, "scraper": trace.engine, "timestamp": rfc3339(finished)}
    if fails:
        return orjson.dumps({**common, "status": "failed", "error": "the model did not answer"})
    times = {"request_duration": took, "process_duration": took}
    return orjson.dumps({**common, **times, "response": _response(trace.prompt, padding)})


def _response(prompt: str, padding: int) -> dict[str, Any]:
    text = f"Three things people say about {prompt}: earlier, smaller, colder."
    more = {"html": "x" * padding} if padding else {}
    cited = {"citations_found": True, "citations": [{"position": 1, "title": "A survey of 2026"}]}
    return {"prompt": prompt, "text": text, "text_markdown": f"**{text}**", **more, **cited}


def notification(trace: Trace, response_url: str) -> bytes:
    """The thin one: the request is complete, and where its result is."""
    return orjson.dumps(
        {
            "message": "Request completed",
            "traceID": trace.id,
            "status": "completed",
            "response_url": response_url,
        }
    )


def processing(trace: Trace) -> bytes:
    """Not ready yet."""
    return orjson.dumps({"message": "Request is still processing", "traceID": trace.id, "status": "processing"})


def confirmation(trace: Trace, response_url: str) -> bytes:
    """The request was taken."""
    return orjson.dumps({"message": "Request received", "traceId": trace.id, "response_url": response_url})


def message(text: str) -> bytes:
    """Any other answer."""
    return orjson.dumps({"message": text})
