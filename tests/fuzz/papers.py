"""What lies beside recordings and may be forged or damaged: receipts, markers, tombstones, journals of answers."""

import contextlib
import io
import json
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from tests.clock import FalseClock
from tests.databases import compiled_once, made_at_once
from tests.folders.test_tombstone_files import IN_PARTS, SENT, WITHDRAWN
from tests.fuzz.target import Check, Target, is_safe, plain
from tests.places import REFUSED, Place, sandbox, speech
from watcher import composition
from watcher.cli import main
from watcher.config.tables import AudioConfig
from watcher.errors import WatcherError
from watcher.folders import Folder
from watcher.folders.holder import Holder, holder_of, read_note_at
from watcher.folders.marker import LOCK, MARKER, read_mark, write_mark
from watcher.folders.tombstone_files import KEY, read_key, write_key
from watcher.journey.answer import Answer, compose
from watcher.journey.receipt import compose_receipt, is_receipt, receipt_bytes
from watcher.journey.recovery.evidence import Evidence, Malformed, read_evidence
from watcher.journey.submit import journal
from watcher.text import JsonObject, from_json, to_json
from watcher.tombstone import read_tombstone

_WORDS = (
    *(
        b'"id": "',
        b'"state": "done"',
        b'"format": 1',
        b'"path": "../x"',
        b'"path_quoted": "%2e%2e%2f%00"',
        b"null",
    ),
    *(b'"identifier": ""', b'"filed_as": "/etc/passwd"', b'"companions": [".."]', b"1e999", b"-0.0", b"9" * 400),
    *(b"\\ud800", b"\\u001b[31m", b"\\u202e", b"[" * 30, b'{"a":' * 30, b"NaN", b"true", b"\xff", b"\xef\xbb\xbf"),
)
_LOST = ("", "-wal", "-shm", "-answers")


@contextmanager
def _place(**settings: dict[str, Any]) -> Iterator[tuple[Place, Any]]:
    clock = FalseClock()
    memory = tempfile.TemporaryDirectory(dir="/dev/shm")
    with memory as name, compiled_once(), made_at_once(), sandbox(clock, writes=(), reads=()) as service:
        usual: dict[str, dict[str, Any]] = {"limits": {"writes": [], "reads": [], "max_upload_bytes": 300_000}}
        yield Place(Path(name), service.url, clock, **(usual | settings)), service


@cache
def _receipts() -> tuple[bytes, ...]:
    """One of each kind that the program writes."""
    with _place(audio={"oversize": "split"}) as (place, service):
        service.add_fault(**REFUSED, times=1)
        place.drop("refused.wav")
        place.run_once()
        place.drop("call.wav", speech("call", note=b"sandbox:artificial"))
        place.drop("folder/same.wav", speech("call", note=b"sandbox:artificial"))
        place.drop(b"caf\xe9\n.wav")
        place.drop("long.wav", speech("long", seconds=40.0))
        place.drop("short.wav", speech("short")[:300])
        place.run_once(verdicts=True)
        found = [*(place.root / "done").rglob("*.json"), *(place.root / "failed").rglob("*.json")]
        assert len(found) >= 5
        return tuple(path.read_bytes() for path in sorted(found))


# What one receipt says


def _read_receipt(data: bytes) -> None:
    """It is read, or is none; what was read can be written, and says the same when it is read again."""
    receipt = from_json(data)
    if receipt is None:
        return
    written = to_json(receipt, indent=2)
    assert is_safe(written, "\n")
    assert from_json(written.encode()) == receipt
    if not is_receipt(receipt):
        return
    try:
        evidence = read_evidence(receipt, channels="together")
    except Malformed as error:
        assert is_safe(str(error))
        return
    _judge(evidence)
    first = _again(evidence, receipt)
    assert _told(_again(first, receipt)) == _told(first)  # the first time rounded times to their milliseconds


def _judge(evidence: Evidence) -> None:
    item = evidence.item
    for path in (item.path, item.filed_as, *item.companions):
        if path is not None:
            assert not path.startswith(b"/")
            assert b"\0" not in path
            assert not {b"", b".", b".."} & set(path.split(b"/"))
    numbers = (item.size, item.owner or 0, *(part.size or 0 for part in evidence.parts))
    assert all(0 <= number < 1 << 63 for number in numbers)
    times = (item.arrived_at, item.filed_at, item.submitted_at, *(one.started_at for one in evidence.attempts))
    assert all(at is None or 0 <= at < 9e9 for at in times)


def _again(evidence: Evidence, receipt: JsonObject) -> Evidence:
    """What a receipt says that is written from what another said."""
    verdicts = {one.identifier: one for one in evidence.verdicts}
    answer = Answer(next(iter(verdicts.values()), None))
    if evidence.parts:
        answer = compose(evidence.parts, verdicts, AudioConfig())
    own = {"prevent_c2pa_forces": receipt["options"]["prevent_c2pa_forces"]}
    told = compose_receipt(
        evidence.item,
        list(evidence.attempts),
        answer,
        base_url=evidence.base_url,
        account=evidence.account,
        options=own,
    )
    read = from_json(receipt_bytes(told))
    assert read is not None
    return read_evidence(read, channels="together")


def _told(evidence: Evidence) -> tuple[object, ...]:
    """Without what a receipt has no room for: see its bounds."""
    item = replace(evidence.item, attempts=0, attempted_at=None, in_doubt=False)
    return item, evidence.parts, sorted(evidence.verdicts, key=lambda one: one.identifier)


# What a whole recovery makes of one, and what is shown of it


@contextmanager
def _recovering() -> Iterator[Check]:
    with _place() as (place, _):
        place.drop("call.wav")
        place.run_once(verdicts=True)
        yield partial(_recover, place)


def _recover(place: Place, data: bytes) -> None:
    """The books are rebuilt, from whatever lies there; a second time adds nothing; all can be shown."""
    for ending in _LOST:
        Path(f"{place.root}/watcher.db{ending}").unlink(missing_ok=True)
    (place.root / "done/call.wav.json").write_bytes(data)
    lefts: list[str] = []
    for number in range(2):
        try:
            found = composition.recover_books(
                place.config,
                place.clock,
                trusted=(),
                hashes=False,
                is_trial=False,
                tell=lambda left: lefts.append(str(left)),
                show=lambda _: None,
            )
        except WatcherError as error:
            assert is_safe(error.message, "\n")
            return
        assert not number or not found.adopted
    assert all(map(is_safe, lefts))
    commands = [["list", "--json"], ["status"], ["reconcile"], ["list"]]
    commands += [["why", f"{place.root}/done/call.wav"], ["where", f"{place.root}/drop/call.wav"]]
    commands += [["show", item.id, *more] for item in place.items().values() for more in ([], ["--json"])]
    for number in (0, 3):
        _say(place, *commands[(zlib.crc32(data) + number) % len(commands)])


def _say(place: Place, *words: str) -> None:
    """What a command prints, which no terminal obeys."""
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(io.StringIO()) as errors:
        main([*words, "--config", str(place.config_path)])
    assert is_safe(said.getvalue(), "\n\t")  # between two columns of a list
    assert is_safe(errors.getvalue(), "\n")


# Files under a name of ours


@contextmanager
def _marked() -> Iterator[Check]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        opened = os.open(name, os.O_RDONLY)
        try:
            yield partial(_mark, Path(name), opened)
        finally:
            os.close(opened)


def _mark(folder: Path, opened: int, data: bytes) -> None:
    """A marker, a lock's note, the key to tombstones: read or nothing, and replaced by ours in whole sectors."""
    for name in (MARKER, LOCK, KEY):
        (folder / os.fsdecode(name)).write_bytes(data)
    read_mark(opened)
    site = Folder(os.fsencode(folder), "done")
    key = read_key(site)
    assert key is None or len(key) == 32
    at = os.path.join(os.fsencode(folder), LOCK)
    for holder in (read_note_at(at, {os.geteuid()}), holder_of(at, now=1_795_000_000.0)):
        if holder is not None:
            assert is_safe(str(holder))
            assert holder.lives in (None, True, False)
    write_mark(opened, "0123456789abcdef")
    mark = read_mark(opened)
    assert mark is not None
    assert mark.site == "0123456789abcdef"
    assert (folder / os.fsdecode(MARKER)).stat().st_size % 512 == 0
    write_key(site, bytes(range(32)))
    assert read_key(site) == bytes(range(32))


def _markers() -> list[bytes]:
    holder = Holder.ourselves().as_note() | {"at": 1_795_000_000.0}
    notes = [{"site": "0123456789abcdef", "folder": 1234}, holder, holder | {"pid": 1}, {"key": bytes(32).hex()}]
    return [json.dumps(one).encode().ljust(511) + b"\n" for one in notes]


def _bury(data: bytes) -> None:
    """A tombstone is read, or is none; what was read is what is written."""
    tombstone = read_tombstone(from_json(data))
    if tombstone is None:
        return
    told = tombstone.as_json()
    assert is_safe(to_json(told, indent=2), "\n")
    again = read_tombstone(from_json(to_json(told).encode()))
    assert again is not None
    assert again.as_json() == told
    assert tombstone.plan() is None or tombstone.mode is not None
    assert tombstone.outcome is None or str(tombstone.outcome) in ("done", "failed")
    assert set(tombstone.id) <= set("0123456789abcdef")


def _tombstones() -> list[bytes]:
    return [to_json(one.as_json(), indent=2).encode() for one in (SENT, IN_PARTS, WITHDRAWN)]


@contextmanager
def _journalled() -> Iterator[Check]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield partial(_read_journal, Path(name, "watcher.db-answers"))


def _read_journal(path: Path, data: bytes) -> None:
    """Each line is an answer or none, and what it says of a recording is evidence or none."""
    path.write_bytes(data)
    for answer in journal._read(os.fsencode(path), frozenset({os.geteuid()})).values():
        with suppress(Malformed):
            if answer.recording is not None:
                _judge(read_evidence(answer.recording, channels="together"))


def _journals() -> list[bytes]:
    lines = []
    for number, receipt in enumerate(_receipts()):
        line = {
            "attempt": number,
            "item": "0123456789abcdef",
            "started_at": 1_795_000_000.25,
            "identifier": "ab" * 32,
        }
        line |= {"status": 200, "at": 1_795_000_001.0, "part": None, "recording": json.loads(receipt)}
        lines.append(json.dumps(line).encode())
    return [*lines, b"\n" + b"\n\n".join(lines) + b"\n"]


TARGETS = (
    plain("receipts", _read_receipt, _receipts, words=_WORDS, is_json=True),
    Target("recovery", _recovering, _receipts, words=_WORDS, is_json=True, seconds=5.0, memory_bytes=256 << 20),
    Target("markers", _marked, _markers, words=_WORDS, is_json=True, most_bytes=200_000),
    plain("tombstones", _bury, _tombstones, words=_WORDS, is_json=True),
    Target("journal", _journalled, _journals, words=_WORDS, is_json=True),
)
