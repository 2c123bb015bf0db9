"""Runs the revisions on the connection, and inside the transaction, that the store hands over.

There is no fileConfig here: it would silence the loggers that exist.
"""

from alembic import context

from watcher.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite can, once the driver is kept from committing before each statement
)
context.run_migrations()
