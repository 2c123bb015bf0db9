"""The crash tests can fail: what they are there to find, they find."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.crash.doors import CHANGES_FOLDER, Doors, Moment
from tests.crash.scenes import SCENES
from tests.crash.sweep import play, sweep
from tests.transitions import any_transition
from watcher.config.tables import Identifai
from watcher.domain import Charged, Item, State
from watcher.folders import Folder, Unsynced, receipt_name
from watcher.identifai.client import Accepted, Client
from watcher.identifai.upload import Upload
from watcher.journey import recover
from watcher.journey.file.out import Claimed, Out
from watcher.journey.file.papers import Papers
from watcher.journey.receipt import receipt_bytes

_LOOKS = frozenset(
    {
        "walk",
        "fingerprint",
        "open",
        "check_gives",
        "check_takes",
        "read",
        "read_owned",
        "there_since",
        "drafts",
        "occupied",
        "taken",
        "situation",
        "marker",
        "identity",
        "is_barred",
        "mark_found",
        "owner",
        "free_bytes",
        "names_at",
        "bytes_to_copy",
        "owning",  # no operation: whether what is filed becomes ours
    }
)


def _file_then_write_receipt(patch: pytest.MonkeyPatch) -> None:
    """The receipt comes after the move."""
    move_out = Out.move

    def moved_out(out: Out, claimed: Claimed, unsynced: Unsynced) -> Item:
        filed = move_out(out, claimed, unsynced)
        receipt = receipt_bytes(out._papers.compose(claimed.filed))
        claimed.folder.write_whole(receipt_name(filed.filed_as or b""), receipt, replacing=True)
        return filed

    patch.setattr(Papers, "write_first", lambda *_: None)
    patch.setattr(Out, "move", moved_out)


def _record_then_file(patch: pytest.MonkeyPatch) -> None:
    """An item is done before its recording was moved."""
    claim, move_out = Out.claim, Out.move

    def recorded(out: Out, item: Item, unsynced: Unsynced) -> Claimed:
        with out._site.store.writing() as books:
            out.record(books, replace(item, filed_at=out._site.clock.now()))
        return claim(out, item, unsynced)

    def moved_out(out: Out, claimed: Claimed, unsynced: Unsynced) -> Item:
        filed = move_out(out, claimed, unsynced)
        with any_transition(), out._site.store.writing() as books:
            books.items.change(replace(claimed.item, state=State.DONE), State.FILING, 0.0)
        return filed

    patch.setattr(Out, "claim", recorded)
    patch.setattr(Out, "move", moved_out)


def _forget_doubt(patch: pytest.MonkeyPatch) -> None:
    """What may have been charged is sent again, as if it had never been sent."""

    def decided(site: Any, books: Any, attempt: Any, now: float) -> None:
        books.ledger.end(attempt.number, now, outcome="cut_off", charged=Charged.NO, decision="not sent")
        books.items.change(books.items.get(attempt.item_id), State.QUEUED, now)

    patch.setattr(recover, "_decide", decided)


def _commit_after_sending(patch: pytest.MonkeyPatch) -> None:
    """That the last part goes is committed once the service has answered."""
    submit = Client.submit

    def submitted(client: Client, upload: Upload, release: Callable[[], None]) -> Accepted:
        answer = submit(client, upload, lambda: None)
        release()
        return answer

    patch.setattr(Client, "submit", submitted)


def _resubmit_blindly(patch: pytest.MonkeyPatch) -> None:
    """What is in doubt is sent again, though a person is to be asked."""
    patch.setattr(Identifai, "holds_in_doubt", property(lambda _: False))


def _write_in_place(patch: pytest.MonkeyPatch) -> None:
    """A receipt is written under its own name, so that half of one can lie there."""

    def written(folder: Folder, path: bytes, data: bytes, *, replacing: bool, **more: Any) -> None:
        write(folder, path, b"", replacing=replacing, **more)
        write(folder, path, data, replacing=True, **more)

    write = Folder.write_whole
    patch.setattr(Folder, "write_whole", written)


@pytest.mark.parametrize(
    ("plant", "scene", "counts_syscalls", "finding"),
    [
        (_file_then_write_receipt, "plain", False, "filed without a receipt"),
        (_record_then_file, "plain", False, "one item a recording"),
        (_forget_doubt, "plain", False, "its cost is denied"),
        (_forget_doubt, "hold", False, "sent again under hold"),
        (_commit_after_sending, "plain", False, "sent unseen"),
        (_commit_after_sending, "hold", False, "sent again under hold"),
        (_resubmit_blindly, "hold", False, "sent again under hold"),
        (_write_in_place, "plain", True, "nothing else lies anywhere"),
    ],
)
def test_a_planted_bug_is_found(
    plant: Any, scene: str, counts_syscalls: bool, finding: str, ground: Path, template: Path
) -> None:
    """A step in the wrong order does no harm while nothing crashes, and is found when something does."""
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        play(SCENES[scene], "undisturbed", ground, template, None, [Doors()])
        with pytest.raises(AssertionError, match=finding):
            sweep(
                SCENES[scene],
                ground,
                template,
                None,
                lambda k: Doors(k, [Moment.AFTER], counts_syscalls=counts_syscalls),
            )


def test_every_operation_of_a_folder_is_known_to_the_doors() -> None:
    """An operation that is added to Folder is either a door or only looks."""
    assert {name for name in vars(Folder) if not name.startswith("_")} == CHANGES_FOLDER | _LOOKS


def test_nothing_passes_a_door_after_the_crash(ground: Path, template: Path) -> None:
    """What runs while a crash unwinds changes nothing any more: the last crossing is the crash's own."""
    (doors,) = play(SCENES["plain"], "one", ground, template, None, [Doors(12)])

    assert doors.is_dead
    assert len(doors.crossed) == 12
