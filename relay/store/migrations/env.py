"""What Alembic runs: the connection and its transaction belong to `relay.store.migrate`."""

from __future__ import annotations

from alembic import context

from relay.store.schema import metadata
from relay.store.verify_schema import default_differs

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,  # all or nothing: a step that fails leaves the schema as it was
    compare_server_default=default_differs,
)
context.run_migrations()
