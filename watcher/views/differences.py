"""What differs between the books and the folders: bounded in memory, however much it is."""

from bisect import insort
from collections import Counter
from dataclasses import dataclass, field

from watcher.domain import Item
from watcher.folders import Folder
from watcher.text import local_time, show_path

KEPT = 10_000
"""Differences that are looked at again and named; of any more only the number is known."""

_NAMED = 3

_Path = tuple[str, bytes]  # a folder's name, and a path in it


@dataclass(slots=True)
class Names:
    """Some files: how many, and the first names of them."""

    number: int = 0
    first: list[bytes] = field(default_factory=list)

    def add(self, path: bytes) -> None:
        self.number += 1
        insort(self.first, path)
        del self.first[_NAMED:]

    def __str__(self) -> str:
        return ", ".join([*map(show_path, self.first), *["…"] * (self.number > len(self.first))])


@dataclass(slots=True)
class Comparison:
    """What one look found. `strays` need not be wrong: people may put files where they like.

    However many there are, it stays small.
    """

    away: dict[str, str] = field(default_factory=dict)  # by the folder's name
    items: dict[str, str] = field(default_factory=dict)  # by id
    altered: dict[str, Item] = field(default_factory=dict)  # items whose recordings were altered, by id
    orphans: dict[_Path, str] = field(default_factory=dict)  # receipts without an item
    strays: set[_Path] = field(default_factory=set)  # files that are in no book
    beyond: Counter[str] = field(default_factory=Counter)  # how many more there are than are kept, by their kind
    left: Names = field(default_factory=Names)  # in the drop folder, and not recordings: they stay there
    collected: dict[str, Names] = field(
        default_factory=dict
    )  # filed, and taken away, as people may; by the folder
    unlisted: int = 0  # this many strays in the drop folder are known to wait, but not which
    last_scan_at: float | None = None

    def note_stray(self, folder: Folder, path: bytes) -> None:
        if len(self.strays) < KEPT:
            self.strays.add((folder.name, path))
        else:
            self.beyond[folder.name] += 1

    def note_item(self, item: Item, said: str) -> None:
        if len(self.items) < KEPT:
            self.items[item.id] = f"{item.id[:6]} {show_path(item.filed_as or item.path)}: {said}"
        else:
            self.beyond["items"] += 1

    def note_orphan(self, folder: Folder, path: bytes, said: str) -> None:
        if len(self.orphans) < KEPT:
            self.orphans[folder.name, path] = said
        else:
            self.beyond["orphans"] += 1

    @property
    def wrong(self) -> list[str]:
        lines = [*self.away.values(), *self.items.values(), *self.orphans.values()]
        if more := self.beyond["items"]:
            lines.append(f"{more:,} more items differ from the folders")
        if more := self.beyond["orphans"]:
            lines.append(f"{more:,} more receipts are of items that are not filed according to the database")
        return lines

    @property
    def notes(self) -> list[str]:
        """What is in no book or was collected, folder by folder. None of it is an error."""
        notes = []
        for name in ("done", "failed"):
            if names := self.collected.get(name):
                what = "filed recording is" if names.number == 1 else "filed recordings are"
                notes.append(f"{names.number:,} {what} no longer in {name}/ (collected): {names}")
        for name in ("drop", "done", "failed"):
            strays = Names()
            for _, path in (stray for stray in self.strays if stray[0] == name):
                strays.add(path)
            strays.number += self.beyond[name]
            number = strays.number - (self.unlisted if name == "drop" else 0)
            if number <= 0:
                continue
            which = "" if name == "drop" and self.unlisted else f": {strays}"
            files = f"{number:,} {'file' if number == 1 else 'files'} in {name}/"
            if name == "drop":
                at = self.last_scan_at
                looked = "it was never scanned" if at is None else f"the last scan was at {local_time(at)}"
                notes.append(f"{files}, in no book yet ({looked}; `watcher run` takes them){which}")
            else:
                notes.append(f"{files}, not filed by the watcher{which}")
        if number := self.left.number:
            are = (
                "1 file in drop/ is not a recording and is"
                if number == 1
                else f"{number:,} files in drop/ are not recordings and are"
            )
            notes.append(f"{are} left there: {self.left}")
        return notes
