"""SQLite's own: the file, the files beside it, the locks, the pragmas, and what its errors mean."""

from watcher.store.sqlite.database_file import SqliteDatabase

__all__ = ["SqliteDatabase"]
