"""Which receipts count, and where the recordings are that they speak of.

Strangers may write in done/ or failed/. So a receipt counts only if its own file belongs to the service's user,
and the recording beside it is what the receipt says. Nothing is written here.
"""

import os
import posixpath
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from watcher.accounts import describe_user
from watcher.domain import Fingerprint, Item, State
from watcher.errors import FolderError, RecordingError, TooLong
from watcher.extensions import is_recording_name
from watcher.folders import Folder, hash_of, is_receipts_name, receipt_name
from watcher.folders.names import RECEIPT, is_aside
from watcher.folders.tombstone_files import FoundTombstone, is_tombstone_name
from watcher.journey.arrive.companions import companions_of
from watcher.journey.receipt import RECEIPT_BYTES, is_receipt
from watcher.journey.recovery.evidence import Evidence, Malformed, read_evidence
from watcher.journey.site import Site
from watcher.text import from_json, path_text, show_path
from watcher.tombstone import read_tombstone


@dataclass(frozen=True, slots=True)
class Left:
    """A receipt, or a subfolder, that does not count, and why, for a person."""

    folder: str
    path: bytes
    reason: str

    def __str__(self) -> str:
        return f"{self.folder}/{show_path(self.path)}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Testimony:
    """A receipt that counts, and the state that its recording is found in."""

    folder: str
    path: bytes
    evidence: Evidence


class Receipts:
    """The receipts below done/ and failed/, one by one, in no order. `owners`: whose files count."""

    def __init__(self, site: Site, owners: Collection[int], *, hashes: bool) -> None:
        self._site = site
        self._owners = owners
        self._hashes = hashes

    def __iter__(self) -> Iterator[Testimony | FoundTombstone | Left]:
        """Look at every file with the name of a receipt. Raises FolderMissing or FolderRefuses, of the root."""
        for folder in (self._site.done, self._site.failed):
            scan = folder.walk(lambda name: "no receipt" if is_aside(name) else None)
            for entry in scan:
                if not is_receipts_name(entry.path):
                    continue
                if entry.kind != "file":
                    yield Left(folder.name, entry.path, "is no regular file")
                elif (found := self._look(folder, entry.path)) is not None:
                    yield found
            for path, reason in scan.unreadable:
                yield Left(folder.name, path, f"cannot be looked into ({reason})")

    def _look(self, folder: Folder, path: bytes) -> Testimony | FoundTombstone | Left | None:
        """Return what lies there; None for a file that is no receipt at all. Whatever it is, it stops no other."""
        try:
            return self._judge(folder, path)
        except Malformed as error:
            return Left(folder.name, path, f"is not a receipt as we write them: {error}")
        except (FolderError, RecordingError) as error:
            return Left(folder.name, path, error.message)

    def _judge(self, folder: Folder, path: bytes) -> Testimony | FoundTombstone | Left | None:
        try:
            found = folder.read_owned(path, RECEIPT_BYTES)
        except TooLong:
            return None
        if found is None:
            return Left(folder.name, path, "cannot be read")
        data, owner = found
        receipt = from_json(data)
        if is_tombstone_name(path) and (tombstone := read_tombstone(receipt)) is not None:
            if owner not in self._owners:
                return Left(folder.name, path, self._forged(owner))
            return FoundTombstone(path, owner, tombstone)
        if receipt is None or not is_receipt(receipt):
            return self._judge_damaged(folder, path, owner, is_json=receipt is not None)
        if owner not in self._owners:
            return Left(folder.name, path, self._forged(owner))
        if self._was_dropped(folder, path):
            return Left(folder.name, path, "came from the drop folder, so it is not a receipt of ours")
        evidence = read_evidence(receipt, channels=self._site.config.audio.channels)
        if evidence.item.outcome is None:
            raise Malformed("its state is neither done nor failed")
        if str(evidence.item.outcome) != folder.name:
            return Left(folder.name, path, f"is of a recording in {evidence.item.outcome}/")
        return self._place(folder, path, evidence)

    def _was_dropped(self, folder: Folder, path: bytes) -> bool:
        """Return whether a receipt says that this file is what was filed with it, or came with that.

        Such a file belongs to the service where it was copied: on another disk, or with `folders.own`. One that
        was dropped never gets the name of a receipt beside a recording.
        """
        if is_recording_name(path.removesuffix(RECEIPT)):
            return False
        above, name = posixpath.split(path)
        way, beginning = above.split(b"/"), posixpath.splitext(name)[0].partition(b"~")[0]

        def passed_over(other: bytes) -> str | None:
            return None if other in way or (other.startswith(beginning) and is_receipts_name(other)) else "another"

        return any(
            entry.path != path
            and posixpath.dirname(entry.path) == above
            and self._has_filed(folder, entry.path, name)
            and not self._was_dropped(folder, entry.path)
            for entry in folder.walk(passed_over, below=above)
        )

    def _has_filed(self, folder: Folder, path: bytes, name: bytes) -> bool:
        """Return whether a receipt of the service lies at this path, and has the file of that name beside it."""
        with suppress(TooLong, Malformed):
            found = folder.read_owned(path, RECEIPT_BYTES)
            receipt = None if found is None or found[1] not in self._owners else from_json(found[0])
            if receipt is None or not is_receipt(receipt):
                return False
            item = read_evidence(receipt, channels=self._site.config.audio.channels).item
            if item.filed_as is None or posixpath.basename(receipt_name(item.filed_as)) != posixpath.basename(
                path
            ):
                return False
            names = {item.filed_as, *companions_of(item)}
            return name in map(posixpath.basename, names)
        return False

    def _forged(self, owner: int) -> str:
        whose = " or ".join(describe_user(uid) for uid in sorted(self._owners))
        return f"belongs to {describe_user(owner)}, not to {whose}: it may be forged"

    def _judge_damaged(self, folder: Folder, path: bytes, owner: int, *, is_json: bool) -> Left | None:
        """Return that a receipt of ours is damaged; None for what was never one, such as a sidecar."""
        if is_json or owner not in self._owners or not folder.occupied(path.removesuffix(RECEIPT)):
            return None
        return Left(folder.name, path, "is damaged: what it knew is lost, unless another receipt has it")

    def _place(self, folder: Folder, path: bytes, evidence: Evidence) -> Testimony | Left:
        """Find the recording: beside its receipt, or still in the drop folder, or collected."""
        item = evidence.item
        filed_as = _recording_of(path, item)
        there = None if filed_as is None else _fingerprint(folder, filed_as)
        is_beside = there is not None and filed_as is not None and receipt_name(filed_as) == path
        item = replace(item, filed_as=filed_as)
        if there is not None and filed_as is not None:
            if (reason := self._differs(folder, filed_as, there, item)) is not None:
                return Left(folder.name, path, reason)
            item = replace(item, fingerprint=there)
            if self._has_companion_in_drop(item):
                item = replace(item, state=State.FILING)
        elif filed_as is not None and (waits := self._half_filed(item)) is not None:
            item = replace(item, fingerprint=waits, state=State.FILING)
        return Testimony(folder.name, path, replace(evidence, item=item, is_beside=is_beside))

    def _differs(self, folder: Folder, path: bytes, there: Fingerprint, item: Item) -> str | None:
        """Return how the recording beside the receipt is not what that says; None where it is."""
        if item.altered is not None and there.size == item.altered.size:
            return None  # and it says so
        if there.size != item.size:
            return f"says {item.size:,} bytes, and its recording has {there.size:,}"
        if self._hashes and item.sha256 is not None and _digest(folder, path) != item.sha256:
            return "its recording has other bytes than it says"
        return None

    def _half_filed(self, item: Item) -> Fingerprint | None:
        """Return the fingerprint of the recording if it is in the drop folder since its filing was cut off.

        What came later is another one, or was brought back for another try: those arrive anew.
        """
        drop, filed_at = self._site.drop, item.filed_at
        with suppress(FolderError, RecordingError):
            here = drop.fingerprint(item.path)
            is_older = filed_at is not None and here.ctime_ns <= filed_at * 1e9 + 1e6  # it has milliseconds
            if here.size == item.size and is_older:
                is_it = item.sha256 is None or _digest(drop, item.path) == item.sha256
                return here if is_it else None
        return None

    def _has_companion_in_drop(self, item: Item) -> bool:
        """Return whether something that came with the recording was not moved along with it."""
        filed_at = item.filed_at
        for companion in item.companions:
            with suppress(FolderError, RecordingError):
                left = self._site.drop.fingerprint(companion)
                if filed_at is not None and left.ctime_ns <= filed_at * 1e9 + 1e6:
                    return True
        return False


def _recording_of(path: bytes, item: Item) -> bytes | None:
    """Return the path of the recording whose receipt lies at `path`; None where none was filed with it.

    Somebody may have moved both into another subfolder.
    """
    if item.filed_as is None:
        return None
    beside = path.removesuffix(RECEIPT)
    if path_text(posixpath.basename(beside)).encode() == posixpath.basename(item.filed_as):
        return beside
    named = posixpath.join(posixpath.dirname(path), posixpath.basename(item.filed_as))
    return named if receipt_name(named) == path else item.filed_as


def _fingerprint(folder: Folder, path: bytes) -> Fingerprint | None:
    try:
        return folder.fingerprint(path)
    except RecordingError:
        return None


def _digest(folder: Folder, path: bytes) -> str:
    file, _ = folder.open(path)
    with file:
        return hash_of(file)


def owners_trusted(database: bytes) -> frozenset[int]:
    """Return the service's user: who owns the database, else the locks beside it; else who will own it."""
    places = [database, database + b".instance", database + b".lock"]
    for path in [*places, os.path.dirname(database)] if os.geteuid() == 0 else places:
        with suppress(OSError):
            return frozenset({os.stat(path).st_uid})
    return frozenset({os.geteuid()})
