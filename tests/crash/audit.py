"""The auditor: what must be true of a site, whatever happened to it, by what anybody can see.

It reads the folders, the receipts and the bank's own books (the sandbox's ledger), and asks SQLite whether the
database is whole. It shares no code with what files, records or recovers. Each find is a sentence.
"""

import json
import os
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from watcher.sandbox import LedgerEntry

FOLDERS = ("drop", "done", "failed")
_MARKS = (".watcher", ".watcher.lock")
_OURS = re.compile(r"config\.toml|watcher\.db(|-wal|-shm|\.lock|\.instance|\.before-\d+\.bak)")
"""What lies beside the folders when nothing runs; SQLite's two, when the last who looked could only read."""


_DRAFT = re.compile(r"/\.watcher-[0-9a-f]+\.tmp$")


@dataclass(frozen=True)
class Dropped:
    """A file that somebody dropped, and what must become of its bytes."""

    content: bytes
    fate: str  # "done" or "failed": where they lie in the end
    is_companion: bool = False  # it travels with a recording, and has no receipt
    is_charged: bool = True  # once, by the bank
    parts: tuple[bytes, ...] = ()  # what is sent in its stead


def audit_wreck(root: Path, dropped: Sequence[Dropped]) -> Iterator[str]:
    """At any moment: each recording is whole somewhere, and none is filed without a receipt."""
    files = dict(_files(root))
    kept = {content for path, content in files.items() if not _is_hidden(path)}
    for each in dropped:
        if each.content not in kept:
            yield f"a recording is nowhere: {_name(each)}"
    recordings = {each.content for each in dropped if not each.is_companion}
    for path, content in files.items():
        if content in recordings and not path.startswith("drop/") and not _is_hidden(path):
            if f"{path}.json" not in files:
                yield f"filed without a receipt: {path}"
            else:
                yield from _audit_receipt(path, content, files[f"{path}.json"])


def audit_owners(root: Path, uid: int) -> Iterator[str]:
    """At any moment: what is opened again under its name is the service's, whoever made it.

    What is only to be removed may be root's: who owns a folder can do that.
    """
    paths = [*root.glob("watcher.db*"), *(root / folder / name for folder in FOLDERS for name in _MARKS)]
    for path in paths:
        if path.exists() and path.stat().st_uid != uid and ".new" not in path.name:
            yield f"it belongs to uid {path.stat().st_uid}: {path.name}"


def audit_rest(root: Path, dropped: Sequence[Dropped], *, may_stay: bool = False) -> Iterator[str]:
    """At rest: each recording lies once where it belongs with a true receipt, and nothing else lies anywhere.

    `may_stay`: the disk failed, and a companion may still lie in the drop folder where a receipt says so, and
    an empty hidden file of ours whose removal failed.
    """
    files = dict(_files(root))
    expected = Counter((each.fate, each.content) for each in dropped)
    recordings = {each.content for each in dropped if not each.is_companion}
    found: Counter[tuple[str, bytes]] = Counter()
    for path, content in list(files.items()):
        folder = path.partition("/")[0]
        if (folder, content) not in expected:
            continue
        found[folder, content] += 1
        del files[path]
        if content in recordings:
            yield from _audit_receipt(path, content, files.pop(f"{path}.json", None))
    if may_stay:
        for path in [path for path in files if path.startswith("drop/") and _is_told_to_stay(root, path)]:
            content = files.pop(path)
            expected -= Counter((each.fate, content) for each in dropped if each.content == content)
        files = {path: content for path, content in files.items() if content or not _DRAFT.search(path)}
    for (fate, content), number in (expected - found).items():
        yield f"missing in {fate}/, {number} times: {_digest(content)}"
    for (fate, content), number in (found - expected).items():
        yield f"too many in {fate}/, by {number}: {_digest(content)}"
    for path, content in files.items():
        if path.split("/", 1)[1] not in _MARKS:
            yield f"a stray: {path} ({len(content)} bytes)"
    yield from _audit_beside(root)


def _is_told_to_stay(root: Path, path: str) -> bool:
    told = f"{path.removeprefix('drop/')} came with it, but stayed in the drop folder: "
    receipts = [content for name, content in _files(root) if name.endswith(".json")]
    return any(told in (_parse(receipt).get("warning") or "") for receipt in receipts)


def _audit_beside(root: Path) -> Iterator[str]:
    for path in root.iterdir():
        if path.name == "spool":
            yield from (f"a stray in the spool: {part.name}" for part in path.iterdir())
        elif path.name not in FOLDERS and not _OURS.fullmatch(path.name):
            yield f"a stray beside the folders: {path.name}"
    for path in (root / "watcher.db", *root.glob("watcher.db.*.bak")):
        yield from _audit_database(path)


def audit_money(
    dropped: Sequence[Dropped], ledger: Sequence[LedgerEntry], *, is_held_back: bool = False
) -> Iterator[str]:
    """The bank charged once for each content that was to be charged, and for nothing else.

    `is_held_back`: nobody released what may have been charged, so none was even accepted twice.
    """
    posts = [entry for entry in ledger if entry.method == "POST" and entry.is_whole]
    charged = Counter(entry.sha256 for entry in posts if entry.charged)
    accepted = Counter(entry.sha256 or "" for entry in posts if entry.charged or entry.cached)
    for digest, number in charged.items():
        if number > 1:
            yield f"charged {number} times: {digest}"
    if is_held_back:
        yield from (f"accepted {number} times: {digest}" for digest, number in accepted.items() if number > 1)
    to_be_sent = [each for each in dropped if each.is_charged and not each.is_companion]
    due = {_digest(sent) for each in to_be_sent for sent in each.parts or (each.content,)}
    yield from (f"charged for nothing: {digest}" for digest in charged.keys() - due)
    if not is_held_back:
        yield from (f"never charged: {digest}" for digest in due - charged.keys())
    yield from (
        f"a rate limit was hit: {entry.sha256}" for entry in posts if entry.status == 429 and not entry.faults
    )


def audit_identifiers(root: Path, ledger: Sequence[LedgerEntry]) -> Iterator[str]:
    """Each receipt in done/ names the identifier that the bank gave for these bytes, or for each of its parts."""
    given = {(entry.sha256, entry.identifier) for entry in ledger if entry.charged or entry.cached}
    for path, content in _files(root):
        if path.startswith("done/") and path.endswith(".json"):
            receipt = _parse(content)
            for told in receipt.get("parts") or [receipt]:
                if (told.get("sha256"), told.get("identifier")) not in given:
                    yield f"an identifier that nobody gave: {path}"


def audit_marks(root: Path, ledger: Sequence[LedgerEntry]) -> Iterator[str]:
    """At any moment: what the bank has accepted stands in the database, with its identifier or in doubt.

    However often it accepted these bytes, so many requests stand there whose last part was let go, and of which
    nobody says that they were not charged.
    """
    accepted = Counter(entry.sha256 or "" for entry in ledger if entry.method == "POST" and _is_taken(entry))
    given = {(entry.sha256, entry.identifier) for entry in ledger if _is_taken(entry)}
    requests = list(_requests(root / "watcher.db"))
    known = Counter(digest for digest, row in requests if row["released_at"] and row["charged"] != "no")
    for digest, number in accepted.items():
        if known[digest] < number:
            yield f"accepted {number} times, and known of {known[digest]}: {digest}"
    for digest, row in requests:
        if row["identifier"] and (digest, row["identifier"]) not in given:
            yield f"an identifier in the database that nobody gave: {row['identifier']}"


def audit_places(root: Path) -> Iterator[str]:
    """At any moment: what the database says was filed lies there, byte for byte, with its receipt."""
    files = dict(_files(root))
    for row in _rows(root / "watcher.db", "items"):
        if row["state"] in ("done", "failed") and row["filed_as"] and not row.get("removed_at"):
            may_lie = [os.fsdecode(name) for name in (row["filed_as"], row.get("moves_to")) if name]
            lying = [path for name in may_lie if (path := f"{row['state']}/{name}") in files]
            if not lying:
                yield f"filed, says the database, and not there: {row['state']}/{may_lie[0]}"
            elif row["sha256"] and _digest(files[lying[0]]) != row["sha256"]:
                yield f"filed, says the database, with other bytes: {lying[0]}"
            elif f"{lying[0]}.json" not in files:
                yield f"filed, says the database, and has no receipt: {lying[0]}"


def _is_taken(entry: LedgerEntry) -> bool:
    return entry.is_whole and (entry.charged or entry.cached)


def _requests(database: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every request that the database has, with the digest of what it sent."""
    whole = {row["id"]: row["sha256"] for row in _rows(database, "items")}
    parts = {(row["item_id"], row["index"]): row["sha256"] for row in _rows(database, "parts")}
    for row in _rows(database, "attempts"):
        part = row.get("part")
        yield (parts.get((row["item_id"], part)) if part else whole.get(row["item_id"])) or "", row


def audit_database(database: Path) -> Iterator[str]:
    """At any moment: SQLite finds it whole, once it has taken up its log."""
    if database.exists():
        with _copied(database) as copy:
            yield from _audit_database(copy)


def _rows(database: Path, table: str) -> list[dict[str, Any]]:
    """The table, of whatever version; empty where there is none, or the database is damaged."""
    with (
        suppress(sqlite3.DatabaseError),
        _copied(database) as copy,
        closing(sqlite3.connect(copy)) as connection,
    ):
        connection.row_factory = sqlite3.Row
        there = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")] if there else []
    return []


@contextmanager
def _copied(database: Path) -> Iterator[Path]:
    """A copy of it, with its log: whoever opens the database itself changes what lies there."""
    with TemporaryDirectory() as elsewhere:
        for name in (database.name, f"{database.name}-wal", f"{database.name}-journal"):
            if (database.parent / name).exists():
                shutil.copyfile(database.parent / name, Path(elsewhere, name))
        yield Path(elsewhere, database.name)


def _files(root: Path) -> Iterator[tuple[str, bytes]]:
    """Every file in the folders, by its path relative to the site."""
    for folder in FOLDERS:
        for above, _, names in os.walk(os.path.realpath(root / folder)):
            for name in names:
                inner = os.path.relpath(os.path.join(above, name), os.path.realpath(root / folder))
                yield f"{folder}/{inner}", Path(above, name).read_bytes()


def _audit_receipt(path: str, content: bytes, receipt: bytes | None) -> Iterator[str]:
    if receipt is None:
        yield f"no receipt beside {path}"
        return
    told = _parse(receipt)
    folder, _, name = path.partition("/")
    if not told:
        yield f"no JSON in the receipt of {path}"
    elif (told.get("sha256"), told.get("size")) not in ((_digest(content), len(content)), (None, len(content))):
        yield f"the receipt of {path} is of other bytes"
    elif (told.get("state"), told.get("filed_as")) != (folder, name):
        yield f"the receipt of {path} says {told.get('state')}/{told.get('filed_as')}"
    elif (folder == "done") != _is_accepted(told) or (folder == "failed") != bool(told.get("error")):
        yield f"the receipt of {path} has {told.get('identifier')} and {told.get('error')}"


def _is_accepted(told: dict[str, Any]) -> bool:
    return any(each.get("identifier") for each in told.get("parts") or [told])


def _parse(receipt: bytes) -> dict[str, Any]:
    try:
        told = json.loads(receipt)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _audit_database(path: Path) -> Iterator[str]:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            told = connection.execute("PRAGMA integrity_check").fetchall()
    except sqlite3.Error as error:
        told = [(str(error),)]
    if told != [("ok",)]:
        yield f"the database is damaged: {path.name} {told}"


def _is_hidden(path: str) -> bool:
    return os.path.basename(path).startswith(".")


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def _name(dropped: Dropped) -> str:
    return f"{_digest(dropped.content)[:12]}, which is to end in {dropped.fate}/"
