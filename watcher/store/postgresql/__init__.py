"""PostgreSQL's own: the server's address, one writer at a time among all nodes, and what its errors mean."""

from watcher.store.postgresql.server_database import PostgresqlDatabase

__all__ = ["PostgresqlDatabase"]
