"""Alembic's environment: runs on the connection that `storage.migrate` hands over.

From a checkout, `frontserver.storage.migrate.configuration` is the way in; there is no ini file.
"""

from __future__ import annotations

from alembic import context

from frontserver.storage.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    # SQLite can't alter most things in place: Alembic copies the table instead.
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
