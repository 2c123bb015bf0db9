"""The disk: list, fingerprint, open without following links, move durably. See Folder and move."""

from watcher.folders.folder import Folder
from watcher.folders.lock import Lock, lock
from watcher.folders.move import move
from watcher.folders.names import LONGEST, alternative, receipt_name
from watcher.folders.walk import Entry, Kind, Scan

__all__ = [
    "LONGEST",
    "Entry",
    "Folder",
    "Kind",
    "Lock",
    "Scan",
    "alternative",
    "lock",
    "move",
    "receipt_name",
]
