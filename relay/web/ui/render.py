"""Templates to pages. Everything that is put into one is escaped; nothing is ever marked safe but our own macros."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache, partial
from importlib import resources
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from relay.web.ui import words

if TYPE_CHECKING:  # 25 ms that only a reader of a page need wait for
    from jinja2 import Environment

FOLDER: Final = "relay.web.ui"
STATIC_TYPES: Final[Mapping[str, str]] = {
    "app.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


def page(template: str, values: Mapping[str, Any]) -> bytes:
    """The page as UTF-8."""
    return _environment().get_template(template).render(values).encode("utf-8", "replace")


@cache
def static(name: str) -> bytes:
    """One of STATIC_TYPES."""
    return resources.files(FOLDER).joinpath("static", name).read_bytes()


@cache
def version(name: str) -> str:
    """Changes when the file does: it stands in the URL, so that a browser may keep the file."""
    return hashlib.sha256(static(name)).hexdigest()[:12]


def _listed(query: QueryParams) -> list[tuple[str, str]]:
    return [(name, value) for name, value in query.multi_items() if name not in ("cursor", "done")]


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    def source(name: str) -> str:
        return resources.files(FOLDER).joinpath("templates", name).read_text("utf-8")

    def cleaned(value: Any) -> Any:
        if value is None:
            return ""
        return words.plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    made = Environment(
        autoescape=True,
        finalize=cleaned,
        loader=FunctionLoader(source),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    for function in (
        words.ago, words.clock_time, words.cut, words.look, words.number, words.percent, words.short_id, words.size,
        words.span, words.stamp,
    ):  # fmt: skip
        made.globals[function.__name__] = function
    made.globals["version"] = version
    made.globals["encoded"] = partial(urlencode, errors="replace")
    made.globals["with_cursor"] = lambda query, cursor: urlencode([*_listed(query), ("cursor", cursor)])
    made.globals["without_cursor"] = lambda query: urlencode(_listed(query))
    made.filters["tojson_text"] = lambda value: json.dumps(value, ensure_ascii=False)
    made.globals["ui"] = made.get_template("macros.html").module
    return made
