"""What counts: `reconcile` proves the books against the folders, `estimate` says what a folder would come to."""

import argparse
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from watcher.audio import Completeness, Examination
from watcher.cli.comparing import Comparison, compare
from watcher.cli.hashes import Hashes, compare_hashes
from watcher.cli.looking import duration_in_words, seconds_for
from watcher.cli.opening import Desk, open_desk, print_json
from watcher.cli.printing import as_far_as_read
from watcher.domain import HALF_DONE, JsonObject, State, show_path
from watcher.errors import Exit, FolderError, RecordingError, StoreError, UsageError
from watcher.folders import Folder, hash_of
from watcher.ignore import Ignore
from watcher.journey.foreign import is_left, look_into
from watcher.journey.windows import describe, find_windows
from watcher.store import Books

_STUCK_NAMED = 20


def reconcile(options: argparse.Namespace) -> int:
    with open_desk(options) as desk:
        with desk.store.reading() as books:
            counts, waiting = books.items.counts(), books.waiting.total()
            seen = books.audit.arrivals() + waiting
            wrong = [*_compare_rows(books), *_compare_ledger(books), *_list_stuck(books)]
        comparison = compare(desk)
        with suppress(StoreError):  # whoever may only read is told all the same
            _note_alterations(desk, comparison)
        hashes = Hashes()
        differing = list(compare_hashes(desk, hashes)) if options.hashes else []
    lines = {
        "done": counts[State.DONE],
        "failed": counts[State.FAILED],
        "withdrawn": counts[State.WITHDRAWN],
        "waiting": counts[State.QUEUED] + waiting,
        "in flight": sum(counts[state] for state in HALF_DONE),
        "held": counts[State.HELD],
    }
    if seen != sum(lines.values()):
        wrong.insert(0, f"{seen:,} recordings were seen, and {sum(lines.values()):,} are accounted for")
    wrong += comparison.wrong + [line for line in differing if line[:6] not in _ids(comparison)]
    with as_far_as_read():
        for name, number in lines.items():
            print(f"{name:<10}{number:>9,}")
        print(f"{'seen':<10}{seen:>9,}")
        for line in wrong:
            print(f"wrong: {line}")
        for line in comparison.notes:
            print(f"note: {line}")
        if options.hashes:
            unknown = f"; {hashes.unknown:,} were never read, and have none" if hashes.unknown else ""
            print(
                f"hashes: {hashes.compared:,} recordings were read, {len(differing):,} are not as filed{unknown}"
            )
        if not wrong:
            print("The books add up: folders, items and ledger agree.")
    return Exit.INCOMPLETE if wrong else Exit.WELL


def _ids(comparison: Comparison) -> set[str]:
    """The beginnings of the ids of altered recordings, which are told already."""
    return {item_id[:6] for item_id in comparison.altered}


def _note_alterations(desk: Desk, comparison: Comparison) -> None:
    """What was done to recordings since they were filed stands in the books; the daemon writes their receipts."""
    if comparison.altered:
        with desk.store.writing() as books:
            for item in comparison.altered.values():
                books.filing.mark_altered(item)


def _compare_rows(books: Books) -> Iterator[str]:
    """Every row says what its history and the ledger come to, each written down by itself."""
    for item_id, said in books.audit.contradictions():
        item = books.items.get(item_id)
        yield f"{item_id[:6]}{' ' + show_path(item.path) if item else ''}: {said}"


def _list_stuck(books: Books) -> Iterator[str]:
    """What cannot be moved where the books say that it is to go, or has a receipt that is out of date."""
    for stuck in books.obstacles.listed(_STUCK_NAMED):
        yield f"{stuck.item_id[:6]} {show_path(stuck.path)}: is {stuck.state}, and stuck there: {stuck.fault}"
    if (others := books.obstacles.total() - _STUCK_NAMED) > 0:
        yield f"{others:,} more are stuck: `watcher status --json` lists them"


def _compare_ledger(books: Books) -> Iterator[str]:
    """Every identifier was accepted in the ledger once, and every acceptance stands in an item."""
    accepted: Counter[str] = Counter()
    for attempt in books.ledger.listed():
        if attempt.identifier is not None:
            accepted[attempt.identifier] += 1
    held: set[str] = set()
    for item in books.items.listed():
        if item.identifier is not None:
            held.add(item.identifier)
            if item.identifier not in accepted:
                yield f"{item.id[:6]} {show_path(item.path)}: its identifier stands in no line of the ledger"
    for identifier in accepted.keys() - held:
        yield f"{identifier}: was accepted by the service, and no item has it"


# Estimate


@dataclass
class Estimate:
    """What lies in a folder, and what submitting it would come to."""

    recordings: int = 0
    seconds_of_audio: float = 0.0
    of_unknown_length: int = 0
    bytes: int = 0
    submissions: int = 0
    known: int = 0  # bytes that were submitted before, or lie there twice
    refused: int = 0
    unreadable: int = 0
    foreign: int = 0  # no recordings: they would be left where they are


def estimate(options: argparse.Namespace) -> int:
    if not os.path.isdir(options.path):
        raise UsageError(
            f"estimate: {show_path(os.fsencode(options.path))} is no folder",
            hint="Name a folder with recordings in it.",
        )
    with open_desk(options) as desk, desk.store.reading() as books:
        found = _estimate(desk, books, Folder(os.path.abspath(os.fsencode(options.path)), "named"))
        windows = find_windows(books, desk.config.limits.writes, desk.clock.now())
    facts: JsonObject = vars(found) | {"seconds_to_submit": seconds_for(found.submissions, windows)}
    if options.json:
        print_json(facts)
        return Exit.WELL
    unknown = f" ({found.of_unknown_length} of unknown length)" if found.of_unknown_length else ""
    print(f"recordings    {found.recordings:,}, {found.bytes:,} bytes")
    print(f"audio         {found.seconds_of_audio / 60:,.1f} minutes{unknown}")
    print(
        f"submissions   {found.submissions:,}; {found.known:,} more are known or lie there twice, and cost nothing"
    )
    print(f"not accepted  {found.refused:,} (too large, cut short, empty, or no audio)")
    if found.foreign:
        print(f"left alone    {found.foreign:,} that are no recordings, by name or by content")
    if found.unreadable:
        print(f"unreadable    {found.unreadable:,}")
    print(f"takes         {duration_in_words(facts['seconds_to_submit'])} at {describe(windows)}")
    return Exit.WELL


def _estimate(desk: Desk, books: Books, folder: Folder) -> Estimate:
    found = Estimate()
    seen: set[str] = set()
    for entry in folder.walk(Ignore(desk.config.arrivals.ignore).matching):
        if entry.kind != "file":
            continue
        try:
            _add(desk, books, folder, entry.path, found, seen)
        except (RecordingError, FolderError):
            found.unreadable += 1
    return found


def _lacks(content: Examination) -> bool:
    return content.completeness is Completeness.SHORT or content.damage is not None or not content.has_sound


def _add(desk: Desk, books: Books, folder: Folder, path: bytes, found: Estimate, seen: set[str]) -> None:
    file, fingerprint = folder.open(path)
    with file:
        size, limit = fingerprint.size, desk.config.limits.max_upload_bytes
        content = look_into(file, size, path, thorough=size <= limit)
        if is_left(desk.config.arrivals, path, size, content):
            found.foreign += 1
            return
        if not isinstance(content, Examination) or size > limit or _lacks(content):
            found.refused += 1
            return
        file.seek(0)
        key = desk.content_key(hash_of(file))
    found.recordings += 1
    found.bytes += size
    found.seconds_of_audio += content.seconds or 0.0
    found.of_unknown_length += content.seconds is None
    if key in seen or books.copies.first_of(key) is not None:
        found.known += 1
    else:
        found.submissions += 1
    seen.add(key)
