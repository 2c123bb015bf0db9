"""Recordings of which only a tombstone is left."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from watcher.errors import FolderError
from watcher.folders import Folder
from watcher.folders.tombstone_files import tombstone_at
from watcher.store import Books
from watcher.text import JsonObject, local_time, rfc3339
from watcher.tombstone import Tombstone, Why

_BEGINNING = re.compile(r"[0-9a-f]{6,16}")
_HOW = {Why.RETENTION: "removed when its time was over (retention)", Why.ERASED: "erased, as a person had asked"}


@dataclass(frozen=True)
class Buried:
    """An item that is no more."""

    tombstone: Tombstone

    def __str__(self) -> str:
        found = self.tombstone
        fate = "withdrawn" if found.outcome is None else str(found.outcome)
        told = f"was {fate}, and was {_HOW[found.why]} at {local_time(found.erased_at)}."
        if found.is_accepted:
            told += f" Its identifier is {', '.join(found.identifiers)}."
            told += " The same bytes, if they are dropped again, are filed with it and cost nothing."
        elif found.refused:
            told += " The service had refused it; the same bytes are not sent again."
        return told

    def as_json(self) -> JsonObject:
        return {**self.tombstone.as_json(), "state": "erased"}

    def facts(self) -> Iterator[tuple[str, str]]:
        """The fields that `show` prints."""
        found = self.tombstone
        yield "id", found.id
        yield "state", "erased"
        yield from (("identifier", identifier) for identifier in found.identifiers)
        if found.submitted_at is not None:
            yield "submitted_at", str(rfc3339(found.submitted_at))
        yield "erased_at", f"{rfc3339(found.erased_at)} ({found.why})"
        yield "charged", f"{found.charged:,} {'request' if found.charged == 1 else 'requests'}, at the most"


def find_buried_item(books: Books, text: str) -> Buried | None:
    """What is left of the item whose id begins so; null for nothing. Raises NoSuchItem if several do."""
    found = books.tombstones.find(text) if _BEGINNING.fullmatch(text) else None
    return None if found is None else Buried(found)


def buried_at(folder: Folder, path: bytes) -> Buried | None:
    """The tombstone that lies at this path; null for anything else."""
    try:
        found = tombstone_at(folder, path)
    except FolderError:
        return None
    return None if found is None else Buried(found)
