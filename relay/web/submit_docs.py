"""`/submit/…` in the OpenAPI document: as much as can be said of addresses that belong to providers."""

from __future__ import annotations

from typing import Any, Final

from relay.ids import ID_LENGTH
from relay.web.problems import CONTENT_TYPE, OUR_ERROR

PATH: Final = "/submit/{webhook_id}/{path}"
TAG: Final = "submit"
METHODS: Final = ("get", "post", "put", "patch", "delete")

_REFUSALS: Final = {
    "400": "Bad Request",
    "401": "Unauthorized",
    "403": "Forbidden",
    "404": "No such webhook, or the provider's profile does not list this call; the detail says what it lists",
    "405": "The profile lists this path with other methods",
    "409": "The request with this Idempotency-Key is under way, or what came of it is not known",
    "413": "Content Too Large",
    "422": "Relay cannot put in what has to be put in, or streaming is asked for",
    "502": "The provider could not be reached, or gave no whole answer; the code ends in _outcome_unknown where it "
    "may have done what it was asked",
    "503": "Service Unavailable",
    "504": "The provider did not answer in time",
}
_DESCRIPTION: Final = (
    "Send a call on to the provider with the webhook's credentials. Only what the provider's profile lists is sent on. "
    "A call that starts a job has the webhook's callback URL put in; its answer comes back unchanged, with the job's "
    "id in Relay-Job-Id. The key may be shown in the provider's own form instead of Bearer. A path may have several "
    "segments."
)


def paths(problem: dict[str, Any]) -> dict[str, Any]:
    """The path items; `problem` is the schema of a problem."""
    return {PATH: {method: _operation(method, problem) for method in METHODS}}


def _operation(method: str, problem: dict[str, Any]) -> dict[str, Any]:
    content = {CONTENT_TYPE: {"schema": {"allOf": [problem, _SHOWN]}}}
    responses: dict[str, Any] = {
        "default": {
            "description": "The provider's answer",
            "headers": {"Relay-Job-Id": {"description": "The job, where the call starts one.", "schema": _JOB}},
            "content": {"*/*": {"schema": {}}},
        }
    }
    responses |= {status: {"description": text, "content": content} for status, text in _REFUSALS.items()}
    operation: dict[str, Any] = {
        "operationId": f"submit.{method}",
        "summary": "Send a call on to the provider",
        "description": _DESCRIPTION,
        "tags": [TAG],
        "parameters": [*_PARAMETERS, *(_HEADERS if method == "post" else ())],
        "responses": responses,
        "security": [{"key": []}],
        "x-scope": "write",
    }
    if method not in ("get", "delete"):
        operation["requestBody"] = {"required": False, "content": {"*/*": {"schema": {}}}}
    return operation


_SHOWN: Final = {  # a member of its own, as RFC 9457 allows, for the clients that look for nothing else
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "description": "The same words where the providers' official clients look for them.",
            "required": ["message", "type", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string", "const": OUR_ERROR},
                "code": {"type": "string"},
            },
        }
    },
}
_JOB: Final = {"type": "string", "pattern": f"^job_[0-9a-f]{{{ID_LENGTH}}}$"}
_PARAMETERS: Final = (
    {
        "name": "webhook_id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": f"^wh_[0-9a-f]{{{ID_LENGTH}}}$"},
    },
    {
        "name": "path",
        "in": "path",
        "required": True,
        "description": "The provider's own path.",
        "schema": {"type": "string"},
    },
)
_HEADERS: Final = (
    {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": "The request takes effect once, however often it is sent with this key. It is sent on too.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    },
    {
        "name": "Relay-Metadata",
        "in": "header",
        "required": False,
        "description": "A JSON object that becomes the job's metadata.",
        "schema": {"type": "string", "maxLength": 8192},
    },
)
