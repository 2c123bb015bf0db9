"""What the store's tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from watcher.store import Store


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/watcher.db"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """A store of this version with nothing in it."""
    with Store(url) as store:
        store.database.migrate()
        yield store
