"""Whether a database is what the code thinks it is: what `relay db check` looks at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect

from relay.store.schema import metadata


def findings(connection: Connection) -> list[str]:
    """Everything about this database that is not as it should be, one line each; empty when all is well.

    Compares tables, columns, indexes and index predicates with the code. On SQLite it also reads the whole file and
    checks its structure, which takes a while on a large one.
    """
    context = MigrationContext.configure(connection, opts={"compare_server_default": default_differs})
    found = [line for difference in compare_metadata(context, metadata) for line in _in_words(difference)]
    if not found:
        found = [*_predicates(connection)]
    if connection.dialect.name == "sqlite":
        answers = connection.exec_driver_sql("PRAGMA quick_check").scalars().all()
        found += [f"the file is damaged: {answer}" for answer in answers if answer != "ok"]
    return found


def default_differs(
    _context: MigrationContext, _found: Any, _wanted: Any, found: str | None, _default: Any, wanted: str | None
) -> bool | None:
    """For Alembic's `compare_server_default`: on SQLite it takes DEFAULT '' for a change. None = as Alembic sees it."""
    return False if found in ("''", "('')") and wanted == "" else None


def _in_words(difference: Any) -> Iterator[str]:
    """One line per difference. Alembic puts changes of one column in a list, everything else in a tuple."""
    if isinstance(difference, list):
        for change in difference:
            yield f"column {change[2]}.{change[3]} has another {change[0].removeprefix('modify_')}"
        return
    action, *parts = difference
    verb, _, kind = action.partition("_")
    name = getattr(parts[-1], "name", parts[-1])
    table = getattr(getattr(parts[-1], "table", None), "name", None)
    place = f"{table}.{name}" if table and kind == "column" else str(name)
    yield f"{kind} {place} is {'missing' if verb == 'add' else 'not of this Relay'}"


def _predicates(connection: Connection) -> Iterator[str]:
    """Indexes whose WHERE is another than in the code: Alembic does not compare it."""
    option = f"{connection.dialect.name}_where"
    inspector = inspect(connection)
    for table in metadata.tables.values():
        stored = {
            index["name"]: index.get("dialect_options", {}).get(option) for index in inspector.get_indexes(table.name)
        }
        for index in table.indexes:
            wanted = index.dialect_options[connection.dialect.name]["where"]
            if _normal(stored.get(index.name)) != _normal(wanted):
                yield f"index {index.name} covers other rows than it should"


def _normal(predicate: object) -> str:
    """A predicate without what a database adds when it prints one: casts, brackets, spaces, case."""
    text = "" if predicate is None else str(predicate)
    return re.sub(r"::\w+|[()\s]", "", text).lower()
