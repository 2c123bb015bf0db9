"""The ledger's entries: what was asked, and what it would have cost."""

import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import overload

from watcher.text import JsonObject, rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One request to the service's own endpoints, however it ended."""

    number: int = 0  # from 1, in the order in which requests were decided
    time: float  # when its last byte had arrived, or it was cut off; seconds since the epoch
    seconds: float = 0.0  # that it took to arrive, from its first byte on
    method: str
    path: str  # without the query
    status: int | None = None  # of the answer that was sent; None: none was
    charged: bool = False
    cached: bool = False  # accepted, as a repeat that costs nothing
    is_whole: bool = True  # false: its body did not arrive to the end
    bytes: int = 0  # of the body that arrived
    filename: str | None = None  # of the audio part, as are the next three
    media_type: str | None = None
    size: int | None = None
    sha256: str | None = None
    identifier: str | None = None  # that was given, or that was asked for
    asked: tuple[str, ...] = ()  # the identifiers in the list form's query
    ref_id: str | None = None  # as understood: trimmed, "" is None
    options: dict[str, str] = field(default_factory=dict)  # every other text field, as it was sent
    faults: tuple[str, ...] = ()  # the kinds that were applied

    def as_json(self) -> JsonObject:
        return {**asdict(self), "time": rfc3339(self.time)}


class Ledger(Sequence[LedgerEntry]):
    """All entries since the sandbox was made, the oldest first. Safe to read while requests come in."""

    def __init__(self) -> None:
        self._entries: list[LedgerEntry] = []
        self._lock = threading.Lock()

    def add(self, entry: LedgerEntry) -> None:
        """Add the entry, with the next number."""
        with self._lock:
            self._entries.append(replace(entry, number=len(self._entries) + 1))

    @property
    def charged(self) -> int:
        """Return how many submissions would have been charged."""
        return sum(entry.charged for entry in self)

    def as_json(self) -> JsonObject:
        entries = list(self)
        return {"charged": sum(e.charged for e in entries), "entries": [e.as_json() for e in entries]}

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> LedgerEntry: ...
    @overload
    def __getitem__(self, index: slice) -> list[LedgerEntry]: ...
    def __getitem__(self, index: int | slice) -> LedgerEntry | list[LedgerEntry]:
        return self._entries[index]
