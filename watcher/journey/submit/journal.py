"""Answers that the database does not take, on the disk all the same: an identifier is money, a process may die.

One line of JSON for each, in a file beside the database, or in the drop folder where that cannot be written. The
next start reads them before it decides what is in doubt, and removes them once that is committed.
"""

import json
import os
import stat
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from watcher.domain import Attempt, Part
from watcher.errors import StoreError
from watcher.folders import disk
from watcher.folders.names import draft_name
from watcher.identifai.client import Accepted
from watcher.journey.prepare.upkeep import describe_unfiled
from watcher.journey.site import Site, owners_of
from watcher.journey.submit.claim import Claim
from watcher.text import JsonObject, from_json

_SUFFIX = b"-answers"
_MOST_BYTES = 1 << 20
_SAME_SECONDS = 0.002  # receipts, from which a request may have been recovered, have milliseconds
_NEW = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """The service accepted the recording of this attempt, or this part of it, at that time.

    `recording`: the receipt that it would have had, for `recover`; null where an older version wrote the line.
    """

    identifier: str
    status: int
    at: float
    part: int | None = None
    recording: JsonObject | None = None


Kept = dict[tuple[int, str, float], KeptAnswer]
"""By the attempt's number, its item and its beginning: a number may come again in a restored database."""


def _paths(site: Site) -> list[bytes]:
    """Where the journal may lie, the better place first."""
    return [os.fsencode(site.store.database.path) + _SUFFIX, os.path.join(site.drop.root, draft_name("answers"))]


def keep(site: Site, claim: Claim, accepted: Accepted, at: float) -> bytes | None:
    """Append the answer to the journal, durably. Return its path, or None where no place takes it."""
    line = {
        "attempt": claim.number,
        "item": claim.item.id,
        "started_at": claim.started_at,
        "identifier": accepted.identifier,
        "status": accepted.status,
        "at": at,
        "part": None if claim.part is None else claim.part.index,
        "recording": describe_unfiled(site, claim.item, _parts(site, claim)),
    }
    for path in _paths(site):
        with suppress(OSError):
            _append(path, json.dumps(line).encode(), owners_of(site.store.database.path))
            return path
    return None


def _parts(site: Site, claim: Claim) -> Sequence[Part]:
    """Return the parts of the recording that is being sent, as far as the database still tells."""
    if claim.part is None:
        return ()
    with suppress(StoreError), site.store.reading() as books:
        return books.parts.of(claim.item.id)
    return [claim.part]


def read(site: Site, owners: Collection[int] = ()) -> Kept:
    """Return the answers in the journal. A line that was cut off, or is a stranger's, is none.

    `owners`: whose journal counts beside that of the database's owner, where that is lost.
    """
    trusted = _owners(site) | set(owners)
    return {key: answer for path in _paths(site) for key, answer in _read(path, trusted).items()}


def find(kept: Kept, attempt: Attempt) -> KeptAnswer | None:
    """Return the answer to this attempt, if it was kept."""
    return next((answer for key, answer in kept.items() if is_of(key, attempt)), None)


def is_of(key: tuple[int, str, float], attempt: Attempt) -> bool:
    """Return whether this is the answer to that attempt. `recover` may have given it another number."""
    return key[1] == attempt.item_id and abs(key[2] - attempt.started_at) < _SAME_SECONDS


def remove(site: Site) -> None:
    """Remove the journal: the database has what was in it."""
    owners = _owners(site)
    for path in _paths(site):
        with suppress(OSError):
            if os.lstat(path).st_uid in owners:
                os.unlink(path)


def carry(source: Path, target: Path) -> None:
    """Append what the journal beside one database has to the one beside another. Raises OSError."""
    content = _content(os.fsencode(source) + _SUFFIX, owners_of(source) | {os.geteuid()})
    if content.strip():
        _append(os.fsencode(target) + _SUFFIX, content.strip(), owners_of(target))


def _owners(site: Site) -> frozenset[int]:
    return owners_of(site.store.database.path) | {os.geteuid()}


def _append(path: bytes, line: bytes, service: frozenset[int]) -> None:
    """`service`: the user whom it is given to if root creates it: the next start may be that user's."""
    opened = os.open(path, _NEW, 0o600)
    try:
        status = os.fstat(opened)
        if not _is_ours(status, service | {os.geteuid()}):
            raise FileExistsError(path)
        if os.geteuid() == 0 and status.st_size == 0:
            for owner in service:
                os.fchown(opened, owner, -1)
        # The newline before it ends a line that was cut off.
        if os.write(opened, b"\n" + line + b"\n") != len(line) + 2:
            raise OSError(path)
        os.fsync(opened)
    finally:
        os.close(opened)
    folder = os.open(os.path.dirname(path) or b".", disk.FOLDER)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _is_ours(status: os.stat_result, owners: frozenset[int]) -> bool:
    """Return whether nobody else made the file, or linked another one of ours to its name."""
    return stat.S_ISREG(status.st_mode) and status.st_uid in owners and status.st_nlink == 1


def _content(path: bytes, owners: frozenset[int]) -> bytes:
    """Return what the journal at this path has; nothing where there is none, or it is a stranger's. OSError."""
    try:
        opened = os.open(path, _OLD)
    except FileNotFoundError:
        return b""
    try:
        return os.read(opened, _MOST_BYTES) if _is_ours(os.fstat(opened), owners) else b""
    finally:
        os.close(opened)


def _read(path: bytes, owners: frozenset[int]) -> Kept:
    content = b""
    with suppress(OSError):
        content = _content(path, owners)
    kept: Kept = {}
    for line in content.split(b"\n"):
        with suppress(ValueError, KeyError, TypeError):
            told = from_json(line) or {}
            key = int(told["attempt"]), str(told["item"]), float(told["started_at"])
            kept[key] = KeptAnswer(
                str(told["identifier"]),
                int(told["status"]),
                float(told["at"]),
                told["part"] if isinstance(told.get("part"), int) else None,
                told["recording"] if isinstance(told.get("recording"), dict) else None,
            )
    return kept
