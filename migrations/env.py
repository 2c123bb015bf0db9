"""Run the revisions on the connection and in the transaction that the store passes in.

No fileConfig here: it would disable existing loggers.
"""

from alembic import context

from watcher.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    on_version_apply=context.config.attributes.get("on_version_apply"),
    transactional_ddl=True,  # works in SQLite once the driver does not commit before each statement
)
context.run_migrations()
