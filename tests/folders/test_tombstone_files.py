"""Tombstones in a folder: what is written is read again, and what strangers write is nobody's tombstone."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.people import STRANGER, as_user, shared_folder
from watcher.domain import Mode, PartState, State
from watcher.folders import Folder
from watcher.folders.tombstone_files import KEY, read_key, read_tombstones, write_key, write_tombstone
from watcher.tombstone import BuriedPart, Tombstone, Why, hash_content, read_tombstone

SENT = Tombstone(
    id="0123456789abcdef",
    content=hash_content(bytes(32), "a content key"),
    outcome=State.DONE,
    identifier="an-identifier",
    mode=None,
    parts=(),
    submitted_at=1_800_000_000.25,
    erased_at=1_900_000_000.5,
    why=Why.RETENTION,
    base_url="https://backend.identifai.net",
    account="default",
    charged=1,
    in_doubt=False,
    refused=False,
)
IN_PARTS = replace(
    SENT,
    identifier=None,
    mode=Mode.CUT,
    parts=(
        BuriedPart(1, None, 0.0, 60.5, False, PartState.ACCEPTED, "one"),
        BuriedPart(2, 0, 60.5, 99.0, False, PartState.REFUSED, None),
    ),
)
WITHDRAWN = replace(SENT, content=None, outcome=None, identifier=None, submitted_at=None, charged=0)


@pytest.fixture
def done(tmp_path: Path) -> Folder:
    return Folder(os.fsencode(tmp_path), "done")


@pytest.mark.parametrize("tombstone", [SENT, IN_PARTS, WITHDRAWN])
def test_what_was_written_is_read_again(done: Folder, tombstone: Tombstone) -> None:
    """All of it, from the subfolder where its receipt lay, under the item's id."""
    path = write_tombstone(done, b"agent-7/call.wav.json", tombstone)
    write_tombstone(done, b"agent-7/call.wav.json", tombstone)
    (found,) = read_tombstones(done)
    assert (found.path, found.tombstone) == (path, tombstone)
    assert path == b"agent-7/0123456789abcdef.erased.json"
    assert found.owner == os.geteuid()
    assert b"call" not in done.read(path, 10_000).replace(b'"mode"', b"")  # type: ignore[union-attr]


STRANGE: list[dict[str, Any]] = [
    {"tombstone": False},
    {"watcher": 2},
    {"id": "../../etc/passwd"},
    {"id": "fedcba9876543210"},  # of another file's name
    {"content": "not hex"},
    {"outcome": "queued up"},
    {"outcome": "queued"},
    {"identifier": 7},
    {"parts": [{"index": 1}]},
    {"parts": {}},
    {"erased_at": None},
    {"erased_at": "yesterday"},
    {"erased_at": "1905-01-01T00:00:00.000Z"},
    {"submitted_at": "9000-10-01T00:00:00.900Z"},
    {"charged": -1},
    {"charged": True},
    {"in_doubt": "no"},
    {"account": "x" * 5000},
]


@pytest.mark.parametrize("change", STRANGE, ids=str)
def test_anything_else_is_no_tombstone(done: Folder, tmp_path: Path, change: dict[str, Any]) -> None:
    """Whoever can write in the folder can write anything there: nothing of it is believed or raises an error."""
    written = tmp_path / os.fsdecode(write_tombstone(done, b"call.wav", SENT))
    written.write_text(json.dumps(SENT.as_json() | change))
    assert list(read_tombstones(done)) == []


def test_files_of_other_kinds_are_passed_over(done: Folder, tmp_path: Path) -> None:
    """Links, folders, what is too long or no JSON: what has a tombstone's name need not be one."""
    (tmp_path / "1111111111111111.erased.json").write_bytes(b"{" * 5000)
    (tmp_path / "2222222222222222.erased.json").symlink_to("0123456789abcdef.erased.json")
    (tmp_path / "3333333333333333.erased.json").mkdir()
    (tmp_path / "4444444444444444.erased.json").write_bytes(b" " * 2_000_000)
    os.mkfifo(tmp_path / "5555555555555555.erased.json")
    write_tombstone(done, b"call.wav", SENT)
    assert [found.tombstone for found in read_tombstones(done)] == [SENT]
    assert read_tombstone(None) is None


def test_the_key_is_nobody_elses_to_read_and_is_read_again(done: Folder, tmp_path: Path) -> None:
    """Mode 0600; a file of that name that holds no key gives none."""
    assert read_key(done) is None
    write_key(done, bytes(range(32)))
    assert read_key(done) == bytes(range(32))
    path = tmp_path / os.fsdecode(KEY)
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text('{"key": "00"}')
    assert read_key(done) is None
    write_key(done, bytes(32))
    assert read_key(done) == bytes(32)


def test_the_key_that_root_writes_is_the_services(place: Path) -> None:
    """Though the folder is another's. One that only root can read is moved aside."""
    folder = Folder(os.fsencode(shared_folder(place / "done")), "done")
    write_key(folder, bytes(32))
    assert as_user(read_key, folder) is None
    displaced = as_user(write_key, folder, bytes(range(32)))
    assert displaced is not None
    assert as_user(read_key, folder) == bytes(range(32))
    (place / "done" / os.fsdecode(KEY)).unlink()
    write_key(folder, bytes(32), {STRANGER.uid or 0})
    assert as_user(read_key, folder) == bytes(32)


def test_a_link_in_the_keys_place_is_moved_aside(done: Folder, tmp_path: Path) -> None:
    """Nothing is read or written through it."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("theirs")
    (tmp_path / os.fsdecode(KEY)).symlink_to(elsewhere)
    assert read_key(done) is None
    displaced = write_key(done, bytes(32))
    assert displaced is not None
    assert (tmp_path / os.fsdecode(displaced)).is_symlink()
    assert elsewhere.read_text() == "theirs"
    assert read_key(done) == bytes(32)
