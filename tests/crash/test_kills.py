"""The real program, killed at single system calls, some of which once left what no later start could take up.

`make crash` plays every story with a kill at each call.
"""

import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.commander import Commander
from tests.crash import audit
from tests.crash.kills import NEVER, SERVICE, STORIES, Harm, Stage, play
from tests.people import needs_root
from watcher.sandbox import LedgerEntry

# Story, which of its commands, the call that it dies before, and which of those.
KILLS = [
    ("first_start", 0, r"linkat .* watcher\.db\.lock", 1),
    ("first_start", 0, r"fdatasync watcher\.db\.new$", 1),
    ("first_start", 0, r"unlink watcher\.db\.new-journal", 2),
    ("first_start", 0, r"unlink watcher\.db\.new-journal", 3),
    ("first_start", 0, r"rename watcher\.db\.new", 1),
    ("first_start", 0, r"fchown watcher\.db-wal", 1),
    ("first_start", 0, r"ftruncate watcher\.db-shm", 1),
    ("first_start", 0, r"write drop/\.watcher\.lock", 1),
    ("first_start", 0, r"write drop/\.watcher$", 1),
    ("first_command", 0, r"rename watcher\.db\.new", 1),
    ("upgrade", 0, r"unlink watcher\.db\.before-0001\.bak\.new-journal", 2),
    ("migrate", 0, r"rename watcher\.db\.before-0001\.bak\.new", 1),
    ("ordinary_day", 0, r"sendto", 3),
    ("ordinary_day", 0, r"fdatasync", 9),
    ("ordinary_day", 0, r"renameat2 .* done/call\.wav\.json", 1),
    ("ordinary_day", 0, r"renameat2 drop/call\.wav", 1),
    ("daemon", 0, r"renameat2 drop/call\.wav", 1),
    ("accompanied", 0, r"renameat2 drop/a/call\.xml", 1),
    ("other_disk", 0, r"unlinkat drop/a/call\.wav", 1),
    ("simple_disk", 0, r"unlinkat done/a/\.watcher-\w+\.tmp", 1),
    ("simplest_disk", 0, r"rename(at)? drop/a/call\.wav", 1),
    ("retry", 0, r"fdatasync", 1),
    ("retry", 1, r"unlinkat failed/a/call\.wav\.json", 1),
    ("retry_from_other_disk", 1, r"unlinkat failed/a/call\.wav$", 1),
    ("held", 0, r"sendto", 3),
    ("parts", 0, r"renameat spool/\.\w+\.making/\w+-2\.wav spool/", 1),
    ("parts", 0, r"unlinkat spool/\.\w+\.making$", 1),
    ("parts", 0, r"renameat spool/\.watcher-\w+\.tmp spool/\w+-1\.wav\.json", 1),
    ("parts", 0, r"unlinkat spool/\w+-2\.wav$", 1),
    ("parts_daemon", 0, r"sendto", 9),
    ("parts_held", 0, r"sendto", 3),
    ("parts_retried", 0, r"fdatasync", 1),
    ("parts_retried", 1, r"unlinkat done/long\.wav\.json", 1),
    ("commands", 0, r"fsync done$", 1),
    ("commands", 0, r"unlinkat failed/\.watcher-check-", 1),
]


@pytest.mark.parametrize(
    ("story", "act", "before", "nth"), KILLS, ids=lambda given: re.sub(r"[^\w.-]+", "_", f"{given}")
)
def test_what_a_kill_at_this_call_leaves_the_next_start_takes_up(
    story: str, act: int, before: str, nth: int, ground: Path, away: Path, commanding: Commander
) -> None:
    """Nothing is lost, doubled or paid for twice; whoever looks meanwhile is answered; nothing of ours is left."""
    if before.startswith("fchown"):
        needs_root()  # nobody else gives files away
    played = play(STORIES[story], act, Harm(before=before, nth=nth), ground, away, commanding)

    assert played.is_killed, f"no such call any more: {played.calls}"
    assert played.finds == []


# The auditor can fail


def _lose_receipt(root: Path) -> None:
    (root / "done/a/call.wav.json").unlink()


def _empty_receipt(root: Path) -> None:
    (root / "failed/odd.wav.json").write_bytes(b"")


def _exchange_receipts(root: Path) -> None:
    shutil.copy(root / "failed/odd.wav.json", root / "done/a/call.wav.json")


def _double(root: Path) -> None:
    shutil.copy(root / "done/a/call.wav", root / "drop/call.wav")


def _cut(root: Path) -> None:
    content = (root / "done/a/call.wav").read_bytes()
    (root / "done/a/call.wav").write_bytes(content[:-1])


def _lose(root: Path) -> None:
    for path in (root / "failed").glob("odd.wav*"):
        path.unlink()


def _leave_draft(root: Path) -> None:
    (root / "done/a/.watcher-0123456789abcdef.tmp").touch()


def _leave_half_database(root: Path) -> None:
    (root / "watcher.db.new").touch()


def _damage_database(root: Path) -> None:
    with closing(sqlite3.connect(root / "watcher.db")) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'items'").fetchone()
    with (root / "watcher.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)


def _charge_twice(ledger: list[LedgerEntry]) -> list[LedgerEntry]:
    return [*ledger, *ledger]


def _charge_for_what_failed(ledger: list[LedgerEntry]) -> list[LedgerEntry]:
    return [replace(entry, charged=True) if entry.status == 400 else entry for entry in ledger]


def _charge_nothing(ledger: list[LedgerEntry]) -> list[LedgerEntry]:
    return [entry for entry in ledger if not entry.charged]


def _accept_again(ledger: list[LedgerEntry]) -> list[LedgerEntry]:
    return [*ledger, *(replace(entry, charged=False, cached=True) for entry in ledger if entry.charged)]


def _give_another_identifier(ledger: list[LedgerEntry]) -> list[LedgerEntry]:
    return [replace(entry, identifier="another") for entry in ledger]


def _forget_request(root: Path) -> None:
    _change_database(root, "DELETE FROM attempts")


def _deny_request(root: Path) -> None:
    _change_database(root, "UPDATE attempts SET charged = 'no'")


def _forget_release(root: Path) -> None:
    _change_database(root, "UPDATE attempts SET released_at = NULL, ended_at = NULL, charged = 'unknown'")


def _take_anothers_identifier(root: Path) -> None:
    _change_database(root, "UPDATE attempts SET identifier = 'another'")


def _take_back(root: Path) -> None:
    shutil.move(root / "done/a/call.wav", root / "drop/call.wav")


def _change_database(root: Path, change: str) -> None:
    with closing(sqlite3.connect(root / "watcher.db")) as connection, connection:
        connection.execute(change)


def _audit(stage: Stage, ledger: list[LedgerEntry]) -> list[str]:
    root = stage.place.root
    return [
        *audit.audit_wreck(root, stage.dropped),
        *audit.audit_rest(root, stage.dropped),
        *audit.audit_database(root / "watcher.db"),
        *audit.audit_places(root),
        *audit.audit_marks(root, ledger),
        *audit.audit_money(stage.dropped, ledger, is_held_back=True),
        *audit.audit_money(stage.dropped, ledger),
        *audit.audit_identifiers(root, ledger),
    ]


@pytest.mark.parametrize(
    ("harm", "find"),
    [
        (_lose_receipt, "filed without a receipt: done/a/call.wav"),
        (_empty_receipt, "no JSON in the receipt of failed/odd.wav"),
        (_exchange_receipts, "the receipt of done/a/call.wav is of other bytes"),
        (_double, "a stray: drop/call.wav"),
        (_cut, "missing in done/"),
        (_lose, "a recording is nowhere"),
        (_leave_draft, "a stray: done/a/.watcher-0123456789abcdef.tmp"),
        (_leave_half_database, "a stray beside the folders: watcher.db.new"),
        (_damage_database, "the database is damaged"),
        (_forget_request, "accepted 1 times, and known of 0"),
        (_deny_request, "accepted 1 times, and known of 0"),
        (_forget_release, "accepted 1 times, and known of 0"),
        (_take_anothers_identifier, "an identifier in the database that nobody gave"),
        (_take_back, "filed, says the database, and not there: done/a/call.wav"),
    ],
)
def test_the_auditor_finds_harm_in_the_folders(
    harm: Callable[[Path], None], find: str, ground: Path, away: Path, commanding: Commander
) -> None:
    """Whatever a kill could do to files, he says; of a site that is well, nothing."""
    with STORIES["simple_disk"].stage(ground, away, commanding) as stage:
        stage.place.run_once(verdicts=True)
        ledger = list(stage.bank.ledger)
        assert _audit(stage, ledger) == []
        harm(stage.place.root)
        assert any(found.startswith(find) for found in _audit(stage, ledger))


@pytest.mark.parametrize(
    ("harm", "find"),
    [
        (_charge_twice, "charged 2 times"),
        (_charge_for_what_failed, "charged for nothing"),
        (_charge_nothing, "never charged"),
        (_accept_again, "accepted 2 times"),
        (_give_another_identifier, "an identifier that nobody gave"),
    ],
)
def test_the_auditor_finds_harm_in_the_banks_books(
    harm: Callable[[list[LedgerEntry]], list[LedgerEntry]],
    find: str,
    ground: Path,
    away: Path,
    commanding: Commander,
) -> None:
    """Whatever could be paid twice, for nothing, or not at all, he says."""
    with STORIES["simple_disk"].stage(ground, away, commanding) as stage:
        stage.place.run_once(verdicts=True)
        assert any(found.startswith(find) for found in _audit(stage, harm(list(stage.bank.ledger))))


def test_the_auditor_finds_what_is_not_the_services(ground: Path, away: Path, commanding: Commander) -> None:
    """A lock, a log or a mark that only root can open."""
    needs_root()
    with STORIES["simple_disk"].stage(ground, away, commanding) as stage:
        stage.place.run_once()
        assert list(audit.audit_owners(stage.place.root, SERVICE)) == []
        for name in ("watcher.db.lock", "drop/.watcher", "drop/.watcher.lock"):
            os.chown(stage.place.root / name, 0, 0)
        assert len(list(audit.audit_owners(stage.place.root, SERVICE))) == 3


def test_a_start_that_refuses_is_told(ground: Path, away: Path, commanding: Commander) -> None:
    """The followed program's exit code is its own."""
    with STORIES["first_start"].stage(ground, away, commanding) as stage:
        (stage.place.root / "watcher.db").write_bytes(b"no database at all" * 100)
        said, _ = stage.trace(STORIES["first_start"].acts[0], NEVER)
        assert said.code == 78
