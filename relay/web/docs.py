"""`/docs`: the reference as one page without scripts, rendered from the OpenAPI document."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any, Final

HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_CODE: Final = re.compile("`([^`]+)`")


def page(document: dict[str, Any]) -> str:
    """The page. Everything that comes from the document is escaped."""
    from jinja2 import Environment  # 25 ms that only a reader of the page need wait for

    environment = Environment(autoescape=True, trim_blocks=True)
    environment.filters["coded"] = _coded
    template = environment.from_string(_template())

    def fields(operation: dict[str, Any]) -> list[dict[str, Any]]:
        content = operation.get("requestBody", {}).get("content", {})
        reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
        schema = document["components"]["schemas"].get(reference.rpartition("/")[2], {})
        required = schema.get("required", ())
        return [_row(name, item, name in required) for name, item in schema.get("properties", {}).items()]

    return template.render(document=document, parameters=_parameters, fields=fields)


def _template() -> str:
    return resources.files("relay.web").joinpath("templates", "docs.html").read_text("utf-8")


def _coded(text: str) -> str:
    """What stands between backticks, as code."""
    from markupsafe import Markup, escape

    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))


def _parameters(operation: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        _row(
            f"{item['name']} ({item['in']})",
            item["schema"] | {"description": item.get("description", "")},
            item["required"],
        )
        for item in operation["parameters"]
    ]


def _row(name: str, schema: dict[str, Any], required: bool) -> dict[str, Any]:
    texts = [schema.get("description"), *(option.get("description") for option in schema.get("anyOf", ()))]
    description = next((text for text in texts if text), "")
    return {"name": name, "kind": _kind(schema), "description": description, "required": required}


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_kind(option) for option in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "any")
