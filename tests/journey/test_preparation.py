"""What is not sent as it is, is prepared: its parts lie in the spool, in the books, and nowhere else."""

import errno
import json
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cutting import Cutter
from tests.disks import Disk
from tests.people import needs_root
from tests.places import Place, sandbox, speech
from tests.queues import add, posts, settle
from watcher.composition import Journey
from watcher.domain import Item, Mode, Part, PartState, State
from watcher.errors import CodecDied, RecordingRefused
from watcher.sandbox import Sandbox

LIMIT = 200_000
LONG = speech("long", seconds=45.0)  # 720,000 bytes: five parts of 10 s
IDLE = float("inf")


@pytest.fixture
def service() -> Iterator[Sandbox]:
    with sandbox() as service:
        yield service


@dataclass
class Site:
    place: Place
    journey: Journey
    cutter: Cutter

    def prepare(self) -> None:
        """Whatever can be prepared now is."""
        while self.journey.preparation.step() <= 0:
            pass

    def item(self, path: str = "long.wav") -> Item:
        return self.place.item(path)

    def parts(self, path: str = "long.wav") -> list[Part]:
        with self.place.books() as books:
            return books.parts.of(self.place.item_in(books, path).id)

    def change(self, path: str, index: int, after: PartState, **changes: Any) -> None:
        """Part `index` is as if it had been sent."""
        with self.place.books() as books:
            part = books.parts.of(self.place.item_in(books, path).id)[index - 1]
            for state in (PartState.SUBMITTING, after):
                books.parts.change(part, state)
                part = books.parts.of(part.item_id)[index - 1]
            books.parts.change(part, after, **changes)


@contextmanager
def opened(root: Path, service: Sandbox, **audio: Any) -> Iterator[Site]:
    place = Place(root, service.url, **settings(**audio))
    with place.opened() as journey:
        cutter = Cutter()
        journey.preparation._maker = cutter
        add(place, journey, long=LONG)
        yield Site(place, journey, cutter)


def settings(**audio: Any) -> dict[str, Any]:
    return {"limits": {"max_upload_bytes": LIMIT}, "audio": {"oversize": "split", **audio}}


def spool(place: Place) -> set[str]:
    folder = place.root / "spool"
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def names(item: Item, *indices: int) -> set[str]:
    return {f"{item.id}-{index}.wav" for index in indices}


def test_a_recording_that_is_too_large_is_prepared(tmp_path: Path, service: Sandbox) -> None:
    """`preparing`, then its parts lie in the spool as their rows say, and it is queued."""
    with opened(tmp_path, service) as site:
        assert site.item().state is State.PREPARING
        plan = site.item().plan
        assert plan is not None
        assert plan.mode is Mode.CUT
        site.prepare()
        item, parts = site.item(), site.parts()
        assert item.state is State.QUEUED
        assert [part.index for part in parts] == [1, 2, 3, 4, 5]
        assert item.plan is not None
        assert item.plan.most == 5
        assert spool(site.place) == names(item, 1, 2, 3, 4, 5) == {part.name for part in parts}
        assert parts[-1].end_seconds == pytest.approx(45.0)
        mode = stat.S_IMODE((tmp_path / "spool").stat().st_mode)
        assert mode == 0o700
        assert (tmp_path / "drop/long.wav").read_bytes() == LONG


def test_the_spool_has_room_again_when_what_lies_there_was_sent(tmp_path: Path, service: Sandbox) -> None:
    """Preparation runs only so far ahead as spool_bytes allow, the oldest first."""
    with opened(tmp_path, service, spool_bytes=1_000_000) as site:
        add(site.place, site.journey, next=speech("next", seconds=45.0))
        site.prepare()
        assert site.place.states() == {"long.wav": State.QUEUED, "next.wav": State.PREPARING}
        for index in (1, 2, 3, 4):
            site.change("long.wav", index, PartState.ACCEPTED, identifier=f"{index:064x}")
        site.prepare()
        assert site.place.states() == {"long.wav": State.QUEUED, "next.wav": State.QUEUED}


def test_a_recording_larger_than_the_spool_is_prepared_part_by_part(tmp_path: Path, service: Sandbox) -> None:
    """As many parts as there is room for lie there; the boundaries of all are committed at once, and hold."""
    with opened(tmp_path, service, spool_bytes=350_000) as site:
        site.prepare()
        first, item = site.parts(), site.item()
        assert item.state is State.QUEUED
        assert len(first) == 5
        assert spool(site.place) == names(item, 1, 2)
        for index in (1, 2):
            site.change("long.wav", index, PartState.ACCEPTED, identifier=f"{index:064x}")
        site.prepare()
        assert {name for name in spool(site.place) if name.endswith(".wav")} == names(item, 3, 4)
        assert [(p.start, p.end, p.sha256) for p in site.parts()] == [(p.start, p.end, p.sha256) for p in first]
        assert site.item().state is State.QUEUED


def test_what_is_held_or_in_doubt_takes_no_room(tmp_path: Path, service: Sandbox) -> None:
    """Either may lie there for days: nobody else waits for that."""
    with opened(tmp_path, service, spool_bytes=1_000_000) as site:
        site.prepare()
        with site.place.books() as books:
            books.items.change(site.place.item_in(books, "long.wav"), State.HELD, 0.0)
        add(site.place, site.journey, next=speech("next", seconds=45.0))
        site.prepare()
        assert site.item("next.wav").state is State.QUEUED


def test_the_spool_s_trouble_is_no_recording_s(
    tmp_path: Path, service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: it waits, the books say why, and it goes on by itself."""
    with opened(tmp_path, service) as site:
        site.cutter.troubles = [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))]
        site.prepare()
        assert site.item().state is State.PREPARING
        with site.place.books() as books:
            [obstacle] = books.obstacles.listed(10)
        assert obstacle.fault.code == "folder_full"
        assert "spool" in obstacle.fault.message
        assert spool(site.place) == set()
        site.place.clock.wait(60.0, site.journey.stopping)
        site.prepare()
        assert site.item().state is State.QUEUED
        with site.place.books() as books:
            assert books.obstacles.total() == 0


def test_a_spool_that_is_full_keeps_what_was_begun_for_later(tmp_path: Path, service: Sandbox) -> None:
    """A real disk without room for all parts: nothing half made stays, and nothing is filed or blamed."""
    disk = Disk(tmp_path / "small", "-o", "size=400k")
    try:
        with opened(tmp_path, service, spool="small/spool") as site:
            site.prepare()
            assert site.item().state is State.PREPARING
            assert list((tmp_path / "small/spool").iterdir()) == []
            with site.place.books() as books:
                [obstacle] = books.obstacles.listed(10)
            assert obstacle.fault.code == "folder_full"
            subprocess.run(["mount", "-o", "remount,size=4m", tmp_path / "small"], check=True)
            site.place.clock.wait(60.0, site.journey.stopping)
            site.prepare()
            assert site.item().state is State.QUEUED
    finally:
        disk.close()


def test_beside_each_part_that_is_paid_for_lies_its_identifier(tmp_path: Path, service: Sandbox) -> None:
    """So a lost database does not lose it. It is written again where it is missing, and stays without its part."""
    with opened(tmp_path, service) as site:
        site.prepare()
        item = site.item()
        site.change("long.wav", 2, PartState.ACCEPTED, identifier="f" * 64)
        site.prepare()
        note = json.loads((tmp_path / "spool" / f"{item.id}-2.wav.json").read_text())
        assert (note["recording"]["id"], note["part"], note["identifier"]) == (item.id, 2, "f" * 64)
        assert note["recording"]["parts"][1]["sha256"] == site.parts()[1].sha256
        (tmp_path / "spool" / f"{item.id}-2.wav.json").unlink()
        site.prepare()
        assert f"{item.id}-2.wav.json" in spool(site.place)


def test_a_codec_that_dies_is_tried_once_more(tmp_path: Path, service: Sandbox) -> None:
    """One death may be the machine's fault."""
    with opened(tmp_path, service) as site:
        site.cutter.troubles = [CodecDied("it was killed")]
        site.prepare()
        assert site.item().state is State.QUEUED


def test_a_second_death_is_a_verdict_on_the_file(tmp_path: Path, service: Sandbox) -> None:
    """It fails as undecodable, unpaid."""
    with opened(tmp_path, service) as site:
        site.cutter.troubles = [CodecDied("it was killed"), CodecDied("it was killed")]
        site.prepare()
        while site.journey.filing.step() <= 0:
            pass
        item = site.item()
        assert (item.state, item.fault and item.fault.code) == (State.FAILED, "undecodable")
        assert posts(service) == []


@pytest.mark.parametrize(
    ("code", "audio"), [("too_long", {"max_parts": 4}), ("too_short", {"min_seconds": 46}), ("no_sound", {})]
)
def test_what_would_cost_too_much_or_has_nothing_to_hear_fails_unpaid(
    tmp_path: Path, service: Sandbox, code: str, audio: dict[str, Any]
) -> None:
    with opened(tmp_path, service, **audio) as site:
        site.cutter.silent = frozenset({1, 2, 3, 4, 5} if code == "no_sound" else ())
        site.prepare()
        while site.journey.filing.step() <= 0:
            pass
        item = site.item()
        assert (item.state, item.fault and item.fault.code) == (State.FAILED, code)
        assert (tmp_path / "failed/long.wav").read_bytes() == LONG
        assert spool(site.place) == set()
        assert posts(service) == []


def test_a_part_without_sound_is_not_made_and_not_sent(tmp_path: Path, service: Sandbox) -> None:
    with opened(tmp_path, service) as site:
        site.cutter.silent = frozenset({2})
        site.prepare()
        item, parts = site.item(), site.parts()
        assert spool(site.place) == names(item, 1, 3, 4, 5)
        assert (parts[1].state, parts[1].fault and parts[1].fault.code) == (PartState.REFUSED, "no_sound")
        assert item.plan is not None
        assert item.plan.most == 4


def test_a_recording_that_is_taken_away_meanwhile_is_withdrawn(tmp_path: Path, service: Sandbox) -> None:
    """As one that is queued; and what was made of it is gone."""
    with opened(tmp_path, service) as site:
        site.prepare()
        (tmp_path / "drop/long.wav").unlink()
        site.journey.arrivals.hints.scan_soon()
        site.journey.arrivals.step()
        assert site.item().state is State.WITHDRAWN
        site.prepare()
        assert spool(site.place) == set()


def test_a_recording_that_changes_while_it_is_prepared_settles_again(tmp_path: Path, service: Sandbox) -> None:
    """Nothing of the bytes before is queued."""
    with opened(tmp_path, service) as site:
        changed = speech("other", seconds=45.0)

        class Changing(Cutter):
            def make(self, *args: Any) -> Any:
                (tmp_path / "drop/long.wav").write_bytes(changed)
                return super().make(*args)

        site.journey.preparation._maker = Changing()
        site.prepare()
        assert site.item().state is State.WITHDRAWN
        site.journey.preparation._maker = site.cutter
        settle(site.journey)
        site.prepare()
        item = site.item()
        assert item.state is State.QUEUED
        assert (
            b"".join((tmp_path / "spool" / (p.name or "")).read_bytes()[-1000:] for p in site.parts()[-1:])
            == (changed[-1000:])
        )


def test_a_spool_that_is_deleted_in_mid_work_is_made_again(tmp_path: Path, service: Sandbox) -> None:
    """With the committed boundaries, to the same bytes."""
    with opened(tmp_path, service) as site:
        site.prepare()
        before = site.parts()
        for path in (tmp_path / "spool").iterdir():
            path.unlink()
        (tmp_path / "spool").rmdir()
        with site.place.books() as books:
            books.items.change(site.place.item_in(books, "long.wav"), State.PREPARING, 0.0)
        site.prepare()
        assert site.parts() == before
        assert spool(site.place) == names(site.item(), 1, 2, 3, 4, 5)
        assert site.cutter.orders[-1].spans is not None


def test_what_is_in_doubt_and_cannot_be_made_again_is_held(tmp_path: Path, service: Sandbox) -> None:
    """Whatever identifai.in_doubt says: other bytes than those that went out may be paid for twice."""
    with opened(tmp_path, service) as site:
        site.prepare()
        site.change("long.wav", 2, PartState.QUEUED, in_doubt=True)
        for path in (tmp_path / "spool").iterdir():
            path.unlink()
        site.cutter.salt = b"of another version"
        with site.place.books() as books:
            books.items.change(site.place.item_in(books, "long.wav"), State.PREPARING, 0.0)
        site.prepare()
        item, parts = site.item(), site.parts()
        assert (item.state, item.fault and item.fault.code) == (State.HELD, "in_doubt")
        assert [part.state for part in parts] == [PartState.QUEUED, PartState.HELD, *[PartState.QUEUED] * 3]
        assert names(item, 2) & spool(site.place) == set()


def test_after_a_crash_nothing_half_made_is_left(tmp_path: Path, service: Sandbox) -> None:
    """Only names of ours are swept, and only of items that are done with."""
    with opened(tmp_path, service) as site:
        site.prepare()
        item = site.item()
    folder = tmp_path / "spool"
    (folder / f".{item.id}.making").mkdir()
    (folder / f".{item.id}.making/half.wav").write_bytes(b"half")
    (folder / "somebody's.txt").write_bytes(b"not ours")
    unknown = f"{'a' * 16}-1.wav"
    (folder / unknown).write_bytes(b"of a database that is lost")
    with site.place.opened() as journey:
        journey.preparation.step()
        assert spool(site.place) == names(item, 1, 2, 3, 4, 5) | {"somebody's.txt", unknown}


def test_packets_that_cannot_be_taken_over_are_decoded(tmp_path: Path, service: Sandbox) -> None:
    """The last resort, where its headers had promised more."""
    with opened(tmp_path, service) as site:
        site.cutter.troubles = [RecordingRefused("no_copy", "no", hint="")]
        site.prepare()
        item = site.item()
        assert item.state is State.QUEUED
        assert item.plan is not None
        assert item.plan.mode is Mode.FLAC


def test_a_spool_of_somebody_else_s_is_not_used(tmp_path: Path, service: Sandbox) -> None:
    """Whoever owns it could exchange what is sent."""
    needs_root()
    (tmp_path / "spool").mkdir(mode=0o700)
    os.chown(tmp_path / "spool", 12345, 12345)
    with opened(tmp_path, service) as site:
        site.prepare()
        assert site.item().state is State.PREPARING
        with site.place.books() as books:
            [obstacle] = books.obstacles.listed(10)
        assert "belongs to somebody else" in obstacle.fault.message
        os.chown(tmp_path / "spool", 0, 0)
        site.place.clock.wait(60.0, site.journey.stopping)
        site.prepare()
        assert site.item().state is State.QUEUED


def test_what_nobody_can_make_fails_and_says_what_to_install(tmp_path: Path, service: Sandbox) -> None:
    with opened(tmp_path, service) as site:
        site.cutter.troubles = [RecordingRefused("not_prepared", "no", hint="Install")]
        site.prepare()
        assert site.item().state is State.FILING


def test_a_small_recording_does_not_wait_for_one_that_is_prepared(tmp_path: Path, service: Sandbox) -> None:
    """The sender takes it, though it came later."""
    with opened(tmp_path, service) as site:
        add(site.place, site.journey, "small")
        assert site.journey.submissions[0].step() == 0.0
        assert site.place.states() == {"long.wav": State.PREPARING, "small.wav": State.FILING}
