"""What SQLite itself finds wrong with the file."""

from sqlalchemy import text

from watcher.store.database import Database

_QUICK_CHECK = text("PRAGMA quick_check(3)")


def find_damage(database: Database) -> list[str]:
    """What is damaged in the database, the first three finds, in SQLite's words; none where it is well.

    Reads the whole file, hinders nobody, and changes nothing. StoreError where it can not even be read.
    """
    with database.reading() as connection:
        return [str(found) for found in connection.execute(_QUICK_CHECK).scalars() if found != "ok"]
