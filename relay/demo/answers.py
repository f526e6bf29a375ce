"""What the stand-in NetNut says, byte for byte: pure functions of the request it remembers.

The fields of a final answer are the documented ones; those of a failure, of "still processing" and of the thin
notification are guesses, because NetNut shows none.
"""

from __future__ import annotations

from typing import Any

import orjson

from relay.clock import rfc3339, seconds_between
from relay.demo.jobs import Job, State


def final(trace: Job) -> bytes:
    """The final answer, or that there is none to be had."""
    took = seconds_between(trace.created_at, trace.ended_at)
    engine = str(trace.wanted.get("engine", "perplexity"))
    common = {"traceID": trace.id, "model": engine, "scraper": engine, "timestamp": rfc3339(trace.ended_at)}
    if trace.told not in (State.COMPLETED, State.PARTIAL):
        return orjson.dumps({**common, "status": _word(trace), "error": "the model did not answer"})
    times = {"request_duration": took, "process_duration": took}
    return orjson.dumps({**common, **times, "response": _response(trace)})


def _response(trace: Job) -> dict[str, Any]:
    prompt, padding = str(trace.wanted["prompt"]), trace.knobs.padding
    text = f"Three things people say about {prompt}: earlier, smaller, colder."
    more = {"html": "x" * padding} if padding else {}
    cited = {"citations_found": True, "citations": [{"position": 1, "title": "A survey of 2026"}]}
    return {"prompt": prompt, "text": text, "text_markdown": f"**{text}**", **more, **cited}


def notification(trace: Job, response_url: str) -> dict[str, Any]:
    """The thin one: the request is complete, and where its result is."""
    named = {"traceID": trace.id} if trace.knobs.sends_id else {}
    where = trace.knobs.response_url or response_url
    return {"message": "Request completed", **named, "status": _word(trace), "response_url": where}


def processing(trace: Job) -> bytes:
    """Not ready yet."""
    word = trace.knobs.status_word or "processing"
    return orjson.dumps({"message": "Request is still processing", "traceID": trace.id, "status": word})


def confirmation(trace: Job, response_url: str) -> dict[str, Any]:
    """The request was taken."""
    return {"message": "Request received", "traceId": trace.id, "response_url": response_url}


def _word(trace: Job) -> str:
    return trace.knobs.status_word or trace.told.value
