"""Filed recordings that the database does not know, as after restoring an older copy: read from their receipts."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from watcher.errors import FolderError, RecordingError
from watcher.folders import Folder, receipt_name
from watcher.folders.names import RECEIPT
from watcher.journey.receipt import receipt_at
from watcher.store import Books
from watcher.text import JsonObject, show_path
from watcher.views.context import CommandContext

_SHOWN = 100  # characters shown of a receipt's field: anybody may have written it


@dataclass(frozen=True)
class Unbooked:
    """The recording at `path` in done/ or failed/, known from its receipt alone."""

    folder: str
    path: bytes
    receipt: JsonObject
    is_forgotten: bool = False  # its row was removed, as its time was over

    def __str__(self) -> str:
        told = [f"item {self._said('id')}"]
        if self.receipt.get("identifier") is not None:
            told.append(f"identifier {self._said('identifier')}")
        error = self.receipt.get("error")
        if isinstance(error, dict):
            told.append(f"error {_shown(error.get('message'))}")
        told.append(f"verdict {self._verdict()}")
        filed = f"was filed in {self.folder}/ as {show_path(self.path)} on {self._said('filed_at')}"
        source = "the database does not know it (restored from an older copy?)"
        advice = " It is not sent or paid for while it is there; do not drop it again before `watcher recover`."
        if self.is_forgotten:
            source, advice = "the time of its row in the database was over (retention)", ""
        return f"{filed}: {', '.join(told)}. This is from its receipt: {source}.{advice}"

    def as_json(self) -> JsonObject:
        return {**self.receipt, "unbooked": True}

    def facts(self) -> Iterator[tuple[str, str]]:
        """The fields that `show` prints."""
        for name in ("id", "path", "state", "identifier", "filed_at", "size", "sha256"):
            yield name, self._said(name)
        yield "verdict", self._verdict()

    def _said(self, name: str) -> str:
        return _shown(self.receipt.get(name))

    def _verdict(self) -> str:
        verdict = self.receipt.get("verdict")
        said = verdict.get("classification") or verdict.get("state") if isinstance(verdict, dict) else None
        return "unknown" if said is None else _shown(said)


def _shown(said: object) -> str:
    return "unknown" if said is None else show_path(str(said).encode())[:_SHOWN]


def is_unbooked(books: Books, receipt: JsonObject) -> bool:
    """Whether the database does not have this receipt's item, or only as it was before it was accepted."""
    item = books.items.get(receipt["id"])
    if item is None:
        return books.tombstones.get(receipt["id"]) is None  # else its row is gone, as it should be
    identifier = receipt.get("identifier")
    return identifier is not None and item.identifier is None


def find_unbooked(context: CommandContext, places: Iterable[tuple[Folder | None, bytes]]) -> Unbooked | None:
    """The recording at one of these places; a place in the drop folder stands for the same name in the others."""
    for named, path in places:
        filed = (context.done, context.failed) if named is None or named.name == "drop" else (named,)
        for folder in filter(lambda one: one.answers, filed):
            recording = path.removesuffix(RECEIPT)
            try:
                receipt = receipt_at(folder, receipt_name(recording))
            except (FolderError, RecordingError):
                continue
            if receipt is None:
                continue
            with context.store.reading() as books:
                is_forgotten = books.items.get(receipt["id"]) is None and not is_unbooked(books, receipt)
                is_known = not is_forgotten and not is_unbooked(books, receipt)
            if not is_known:
                return Unbooked(folder.name, recording, receipt, is_forgotten)
    return None
