"""What is read before a site's first start, whatever kind of database it is to have."""

from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import StaticPool

from watcher.store.schema import metadata


def empty_database() -> Engine:
    """A database in memory with empty tables."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    metadata.create_all(engine)
    return engine
