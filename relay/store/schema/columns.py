"""What the tables are made of."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    MetaData,
    String,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)


def id_column(name: str = "id", *, primary_key: bool = True) -> Column[str]:
    return Column(name, String(40), primary_key=primary_key)


def instant_column(name: str, *, nullable: bool = True) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def only(condition: str) -> dict[str, Any]:
    """A partial index: rows for which the condition holds."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


def queue_columns() -> list[Column[Any]]:
    """The four columns that make a row a queue entry."""
    return [
        Column("due_at", BigInteger),
        Column("lease_until", BigInteger),
        Column("claims", Integer, nullable=False, server_default="0"),
        Column("last_error", Text),
    ]


# A row that is updated several times needs room on its PostgreSQL page, or the update cannot stay HOT.
HOT: dict[str, Any] = {
    "postgresql_with": {"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.02, "autovacuum_vacuum_threshold": 1000}
}
