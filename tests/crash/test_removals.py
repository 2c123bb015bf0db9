"""A process may end anywhere while it removes: the next one finishes it, and nothing is ever paid again."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clock import FalseClock
from tests.crash.doors import Doors, Moment
from tests.crash.scenes import recording
from tests.places import Place, sandbox
from watcher.cli import main
from watcher.clock import SystemClock
from watcher.domain import State
from watcher.errors import Exit
from watcher.folders import Folder
from watcher.folders.tombstone_files import read_key, read_tombstones
from watcher.sandbox import Sandbox

_MOST = 400
_STRIDE = 1 if os.environ.get("EVERY_CROSSING") else 5  # the same doors are crossed for each of three
_NAMES = ("a/one", "two", "copy of two")
_DAYS = 86_400.0
_STRANGERS = {"done/a/minutes.txt": b"theirs", "done/two.xml.bak": b"theirs, too"}


@dataclass
class Site:
    """A site with filed recordings, as it is before the removal that will be cut off."""

    place: Place
    service: Sandbox
    clock: FalseClock
    saved: Path

    def restore(self) -> None:
        """Everything on the disk is as it was before."""
        shutil.rmtree(self.place.root)
        shutil.copytree(self.saved, self.place.root, symlinks=True)

    def contents(self) -> dict[str, bytes]:
        return {name: recording("two" if "two" in name else name) for name in _NAMES}


@pytest.fixture
def site(ground: Path, template: Path) -> Iterator[Site]:
    """Three recordings are filed with their companions, two of them of the same bytes; strangers' files beside."""
    # Later than any file that was really made: drafts of before the crash are old at the next start.
    clock = FalseClock(SystemClock().now() + 3600)
    (ground / "site").mkdir()
    with sandbox(clock, verdict_after_seconds=0.0) as service:
        settings = {"recordings_days": 1, "receipts_days": 1, "history_days": 1}
        place = Place(ground / "site", service.url, clock, arrivals={"sidecar": [".xml"]}, retention=settings)
        (place.root / "watcher.db").write_bytes(template.read_bytes())
        found = Site(place, service, clock, ground / "saved")
        for name, content in found.contents().items():
            place.drop(f"{name}.xml", b"<call/>")
            place.drop(f"{name}.wav", content)
        place.run_once(verdicts=True)
        assert set(place.states().values()) == {State.DONE}
        for path, content in _STRANGERS.items():
            (place.root / path).write_bytes(content)
        (place.root / "done/link.wav").symlink_to("a/minutes.txt")
        shutil.copytree(place.root, found.saved, symlinks=True)
        yield found


def erase(site: Site) -> None:
    """A person has all of them erased."""
    with site.place.books() as books:
        ids = [item.id for item in books.items.listed()]
    if ids:
        main(["erase", *ids, "--config", str(site.place.config_path)])


def prune(site: Site) -> None:
    """The time of all of them is over."""
    site.clock.advance(2 * _DAYS)
    site.place.run_once()


def check_wreck(site: Site) -> None:
    """At every moment the database or a file tells that each content was paid for; strangers' files lie there."""
    for path, content in _STRANGERS.items():
        assert (site.place.root / path).read_bytes() == content
    assert (site.place.root / "done/link.wav").is_symlink()
    done = Folder(os.fsencode(site.place.root / "done"), "done")
    files = {found.tombstone.id for found in read_tombstones(done)}
    with site.place.books() as books:
        assert books.tombstones.forgotten() + len(list(books.items.listed())) == len(_NAMES)
        for item in books.items.listed():
            has_receipt = (site.place.root / f"done/{os.fsdecode(item.path)}.json").exists()
            assert has_receipt or item.id in files, "neither a receipt nor a tombstone tells of it"
        keys = books.tombstones.known_keys()
    assert not keys or keys == (read_key(done),)


def check(site: Site) -> None:
    """Nothing is left but tombstones, the books add up, and the same bytes cost nothing, if they come again."""
    config = str(site.place.config_path)
    check_wreck(site)
    ours = {path for path in site.place.files() if path not in _STRANGERS and path != "done/link.wav"}
    assert {path for path in ours if not path.endswith(".erased.json")} == set()
    assert len(ours) == len(_NAMES)
    assert not [path for path in (site.place.root / "done").rglob(".watcher-*") if path.name != ".watcher-key"]
    assert site.place.items() == {}
    for path in _STRANGERS:  # else each look at the books waits for them to be moved
        (site.place.root / path).unlink()
    assert main(["reconcile", "--config", config]) == Exit.WELL
    sent = [entry for entry in site.service.ledger if entry.method == "POST"]
    for name, content in site.contents().items():
        site.place.drop(f"again {os.path.basename(name)}.xml", b"<call/>")
        site.place.drop(f"again {os.path.basename(name)}.wav", content)
    site.place.run_once(verdicts=True)
    assert set(site.place.states().values()) == {State.DONE}
    assert [entry for entry in site.service.ledger if entry.method == "POST"] == sent
    assert {item.identifier for item in site.place.items().values()} <= {entry.identifier for entry in sent}


@pytest.mark.parametrize("within", [False, True], ids=["between operations", "within them"])
@pytest.mark.parametrize("removal", [erase, prune])
def test_a_crash_while_something_is_removed_leaves_nothing_half_done(
    site: Site, removal: Callable[[Site], None], record_property: Callable[[str, object], None], *, within: bool
) -> None:
    """Whatever crossing the process ends at, repeating it leaves the same as if nothing had happened."""
    moments = [Moment.AFTER] if within else list(Moment)
    for k in range(1, _MOST, _STRIDE):
        site.restore()
        doors = Doors(k, moments, counts_syscalls=within)
        try:
            with doors.installed():
                removal(site)
            check_wreck(site)
            removal(site)
            site.place.run_once()
            check(site)
        except BaseException as error:
            error.add_note(f"the last crossings were {doors.crossed[-3:]}")
            raise
        if not doors.is_dead:
            record_property("crossings", k // _STRIDE)
            assert k > 15
            return
    pytest.fail("the removal never came to its end")
