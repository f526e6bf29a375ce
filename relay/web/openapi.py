"""The OpenAPI 3.1 document, made from the same endpoints that validate requests."""

from __future__ import annotations

import http
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

import relay
from relay.ids import ID_LENGTH
from relay.web import submit_docs
from relay.web.endpoint import Endpoint
from relay.web.fields import Problem as ProblemModel
from relay.web.problems import CONTENT_TYPE

REF: Final = "#/components/schemas/{model}"
_DESCRIPTION: Final = (
    "Register webhooks, follow jobs, read results, subscribe services, replay. Lists are pages, newest first; times "
    "are RFC 3339 in UTC; every error is an RFC 9457 problem with a `code` and a `request_id`. Unknown parameters and "
    "fields are refused."
)
_Schemas = Mapping[tuple[Any, JsonSchemaMode], dict[str, Any]]


def document(endpoints: Sequence[Endpoint], public_url: str) -> dict[str, Any]:
    """The document as a JSON value. Raises ValidationError if it is not OpenAPI 3.1."""
    from openapi_pydantic import OpenAPI  # 140 ms that only a reader of the document need wait for

    references, definitions = _schemas(endpoints)
    paths: dict[str, Any] = {}
    for item in endpoints:
        paths.setdefault(item.path, {})[item.method.lower()] = _operation(item, references)
    paths |= submit_docs.paths(references[(ProblemModel, "serialization")])
    made: dict[str, Any] = {
        "openapi": "3.1.1",
        "info": {"title": "Relay", "version": relay.__version__, "description": _DESCRIPTION},
        "servers": [{"url": public_url}],
        "tags": [{"name": tag} for tag in dict.fromkeys([*map(_tag, endpoints), submit_docs.TAG])],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key, `rk_…`."}},
        },
    }
    OpenAPI.model_validate(made)
    return made


def _schemas(endpoints: Sequence[Endpoint]) -> tuple[_Schemas, dict[str, Any]]:
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(ProblemModel, "serialization"): None}
    for item in endpoints:
        if item.takes_body:
            wanted[(item.body, "validation")] = None
        for answer in item.answers.values():
            if isinstance(answer, type):
                wanted[(answer, "serialization")] = None
    references, made = models_json_schema(list(wanted), ref_template=REF)
    return references, made["$defs"]


def _operation(item: Endpoint, references: _Schemas) -> dict[str, Any]:
    summary, _, description = (item.handler.__doc__ or "").partition("\n")
    first = summary.split(". ")[0].rstrip(".")
    operation: dict[str, Any] = {
        "operationId": operation_id(item),
        "summary": first,
        "description": " ".join((summary + description).split()),
        "tags": [_tag(item)],
        "parameters": [*_path_parameters(item), *_query_parameters(item), *_header_parameters(item)],
        "responses": _responses(item, references),
        "security": [{"key": []}] if item.scope is not None else [{"key": []}, {}],
    }
    if item.scope is not None:
        operation["x-scope"] = str(item.scope)
    if item.takes_body:
        content = {"application/json": {"schema": references[(item.body, "validation")]}}
        operation["requestBody"] = {"required": item.needs_body, "content": content}
    return operation


def operation_id(item: Endpoint) -> str:
    """A name for generated clients: `webhooks.create`."""
    return f"{_tag(item)}.{getattr(item.handler, '__name__', '')}"


def _tag(item: Endpoint) -> str:
    return item.path.split("/")[2]


def _path_parameters(item: Endpoint) -> list[dict[str, Any]]:
    found = []
    for part in item.path.split("/"):
        if part.startswith("{"):
            schema: dict[str, Any] = {"type": "string"}
            if item.prefix is not None:
                schema["pattern"] = f"^{item.prefix}_[0-9a-f]{{{ID_LENGTH}}}$"
            found.append({"name": part.strip("{}"), "in": "path", "required": True, "schema": schema})
    return found


def _query_parameters(item: Endpoint) -> list[dict[str, Any]]:
    schema = item.query.model_json_schema(ref_template=REF)
    found = []
    for name, field in schema.get("properties", {}).items():
        resolved = _inlined(field, schema.get("$defs", {}))
        description = resolved.pop("description", None)
        parameter = {"name": name, "in": "query", "required": False, "schema": _without_null(resolved)}
        if description is not None:
            parameter["description"] = description
        if resolved.get("type") == "array":
            parameter |= {"style": "form", "explode": False}
        found.append(parameter)
    return found


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
        return {name: _inlined(value, definitions) for name, value in schema.items() if name != "title"}
    return [_inlined(value, definitions) for value in schema] if isinstance(schema, list) else schema


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query parameter that is left out is absent, not null."""
    schema = {name: value for name, value in schema.items() if not (name == "default" and value is None)}
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        return {name: value for name, value in schema.items() if name != "anyOf"} | dict(options[0])
    return schema


def _header_parameters(item: Endpoint) -> list[dict[str, Any]]:
    if item.method != "POST":
        return []
    schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}
    text = "The request takes effect once, however often it is sent with this key."
    return [{"name": "Idempotency-Key", "in": "header", "required": False, "description": text, "schema": schema}]


def _responses(item: Endpoint, references: _Schemas) -> dict[str, Any]:
    responses = {str(status): _answer(status, answer, references) for status, answer in item.answers.items()}
    problem = {CONTENT_TYPE: {"schema": references[(ProblemModel, "serialization")]}}
    for status in sorted(_refusals(item)):
        responses[str(status)] = {"description": _phrase(status), "content": problem}
    return responses


def _answer(status: int, answer: type[BaseModel] | str | None, references: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {"description": _phrase(status)}
    if isinstance(answer, str):
        described["content"] = {answer: {"schema": {}}}
    elif answer is not None:
        described["content"] = {"application/json": {"schema": references[(answer, "serialization")]}}
    return described


def _refusals(item: Endpoint) -> set[int]:
    statuses = {400, 503, *item.refusals}
    if item.scope is not None:
        statuses |= {401, 403}
    if item.prefix is not None:
        statuses.add(404)
    if item.method in ("POST", "PATCH"):
        statuses |= {413, 415, 422}
    if item.method == "POST":
        statuses.add(409)
    return statuses


def _phrase(status: int) -> str:
    return http.HTTPStatus(status).phrase
