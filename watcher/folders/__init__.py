"""The disk: list, fingerprint, open without following links, move durably. Start at Folder and move."""

from watcher.folders.acceptance import Acceptance
from watcher.folders.disk import fingerprint_of, hash_of
from watcher.folders.folder import RESERVE_BYTES, Folder
from watcher.folders.glance import Glance
from watcher.folders.identity import judge_marker
from watcher.folders.lease import is_being_written
from watcher.folders.lock import Lock, lock
from watcher.folders.marker import LOCK, MARKER, Situation
from watcher.folders.move import is_same_time, move
from watcher.folders.names import (
    LONGEST,
    alternative,
    is_receipts_name,
    names_for,
    receipt_name,
    tokens_for,
    versions,
)
from watcher.folders.unsynced import Unsynced
from watcher.folders.walk import Entry, Kind, Scan

__all__ = [
    "LOCK",
    "LONGEST",
    "MARKER",
    "RESERVE_BYTES",
    "Acceptance",
    "Entry",
    "Folder",
    "Glance",
    "Kind",
    "Lock",
    "Scan",
    "Situation",
    "Unsynced",
    "alternative",
    "fingerprint_of",
    "hash_of",
    "is_being_written",
    "is_receipts_name",
    "is_same_time",
    "judge_marker",
    "lock",
    "move",
    "names_for",
    "receipt_name",
    "tokens_for",
    "versions",
]
