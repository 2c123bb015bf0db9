"""Folders that do not take every name: nothing is paid for that could not be filed, and all is filed."""

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakePlace
from tests.odd_disk import OddDisk, odd_disk
from tests.places import REFUSED, Place, speech
from tests.queues import drain, queued
from watcher.cli import main
from watcher.domain import Item, State
from watcher.errors import Exit
from watcher.folders import acceptance
from watcher.sandbox import Sandbox
from watcher.text import path_text

__all__ = ["odd_disk"]  # a fixture

WINDOWS = {"characters": ':?"<>|*\\', "ends": ". ", "devices": True, "text": True}
LONG, WIDE = "long name " * 20 + ".wav", "ü" * 100 + ".wav"

DISKS: dict[str, tuple[dict[str, Any], str | bytes, str]] = {
    "a colon": (WINDOWS, "a:b/2024-03-01 10:15:00.wav", "a_b/2024-03-01 10_15_00.wav"),
    "all of them": (WINDOWS, 'what? "x" <y> | *z*.wav', "what_ _x_ _y_ _ _z_.wav"),
    "said to be missing": (WINDOWS | {"refusal": errno.ENOENT}, "a?.wav", "a_.wav"),
    "said to be denied": (WINDOWS | {"refusal": errno.EACCES}, "a?.wav", "a_.wav"),
    "said to be broken": (WINDOWS | {"refusal": errno.EIO}, "a?.wav", "a_.wav"),
    "not even looked for": (WINDOWS | {"looks_refused": True}, "a?/b?.wav", "a_/b_.wav"),
    "a dot at the end": (WINDOWS, "Q1./call.wav.", "Q1/call.wav"),
    "a blank at the end": (WINDOWS, "call.wav ", "call.wav"),
    "a device": (WINDOWS, "aux/con.wav", "_aux/_con.wav"),
    "no text": (WINDOWS, b"call \xff\xfe.wav", "call __.wav"),
    "no renames that keep what is there": (WINDOWS | {"renames_plainly": True}, "a?.wav", "a_.wav"),
    "too long": ({"longest": 143, "namemax": 143}, LONG, LONG[:134] + ".wav"),
    "its receipt too long": ({"longest": 143, "namemax": 143}, "x" * 138 + ".wav", "x" * 134 + ".wav"),
    "too long, and no word of it": ({"longest": 143}, LONG, LONG[:134] + ".wav"),
    "a folder too long": ({"longest": 100, "namemax": 100}, f"{'x' * 130}/a.wav", f"{'x' * 100}/a.wav"),
    "counted in characters": ({"longest": 143, "namemax": 143, "counts_characters": True}, WIDE, WIDE),
    "nothing but ASCII": ({"ascii": True}, "Grüße/Gespräch.wav", "Gr__e/Gespr_ch.wav"),
    "nothing but short ones": ({"longest": 60, "namemax": 60}, "ä" * 80 + ".wav", "ä" * 25 + ".wav"),
}


def proven(place: Place, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["reconcile", "--config", str(place.config_path)]) == Exit.WELL
    return capsys.readouterr().out


@pytest.mark.parametrize("disk", DISKS)
def test_what_done_does_not_take_under_its_name_is_filed_under_the_nearest(
    place: Place, odd_disk: OddDisk, service: Sandbox, disk: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Recording and receipt lie side by side, the receipt has the whole path, nothing else is left in done/."""
    rules, path, filed_as = DISKS[disk]
    odd_disk.rule(**rules)
    odd_disk.mount(place.root / "done")
    content = speech("call")
    place.drop(path, content)

    assert place.run_once(verdicts=True).exit_code == Exit.WELL

    assert service.charged == 1
    assert place.files() == {f"done/{filed_as}", f"done/{filed_as}.json"}
    assert (place.root / "done" / filed_as).read_bytes() == content
    receipt = place.receipt(f"done/{filed_as}.json")
    assert receipt["path"] == path_text(os.fsencode(path))
    assert receipt["filed_as"] == filed_as
    assert receipt["verdict"]["state"] == "known"
    assert "note:" not in proven(place, capsys)


@pytest.mark.parametrize("disk", ["a colon", "too long", "no text", "not even looked for"])
def test_what_fails_is_filed_in_such_a_folder_too_and_comes_back_under_its_own_name(
    make_place: MakePlace, odd_disk: OddDisk, service: Sandbox, disk: str
) -> None:
    """With what came with it."""
    place = make_place(arrivals={"marker": ".ready", "sidecar": [".xml"]})
    rules, path, filed_as = DISKS[disk]
    odd_disk.rule(**rules)
    odd_disk.mount(place.root / "failed")
    service.add_fault(**REFUSED, times=1)
    name = os.fsdecode(path)
    stem, filed_stem = name.removesuffix(".wav"), filed_as.removesuffix(".wav")
    for each, content in ((name, speech("call")), (f"{stem}.xml", b"<call/>"), (f"{name}.ready", b"")):
        if len(each.rpartition("/")[2]) <= 255:
            place.drop(each, content)

    place.run_once()

    found = place.files()
    assert {f"failed/{filed_as}", f"failed/{filed_as}.json", f"failed/{filed_stem}.xml"} < found
    assert len(found) == 4
    assert all(file.startswith("failed/") for file in found)
    with place.books() as books:
        (item,) = books.items.listed([State.FAILED])
        books.items.change(item, State.RETURNING, place.clock.now(), retried=True)
    assert place.run_once().exit_code == Exit.WELL
    assert place.files() == {f"done/{name}", f"done/{name}.json", f"done/{stem}.xml", f"done/{name}.ready"}


def test_names_that_become_the_same_are_filed_side_by_side(
    place: Place, odd_disk: OddDisk, service: Sandbox
) -> None:
    """Because they are cleaned alike, or because the file system does not tell capitals from small letters."""
    odd_disk.rule(**WINDOWS, ignores_case=True)
    odd_disk.mount(place.root / "done")
    names = ["a?.wav", "a:.wav", "A_.WAV", "a_.wav"]
    for name in names:
        place.drop(name)

    assert place.run_once().exit_code == Exit.WELL

    filed = {path_text(item.filed_as or b"") for item in place.items().values()}
    assert len({name.lower() for name in filed}) == 4
    assert len(place.files()) == 8
    for name in names:
        item = place.item(name)
        filed_as = path_text(item.filed_as or b"")
        assert (place.root / "done" / filed_as).read_bytes() == speech(name)
        assert place.receipt(f"done/{filed_as}.json")["id"] == item.id


def test_nothing_is_paid_for_that_done_takes_under_no_name(
    place: Place, odd_disk: OddDisk, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """It waits in the drop folder, and says why; it goes on when done/ takes it."""
    odd_disk.mount(place.root / "done")
    place.run_once()
    odd_disk.rule(longest=10)  # neither an id, nor a draft of ours
    place.drop("call.wav")

    assert place.run_once().exit_code == Exit.INCOMPLETE

    assert service.charged == 0
    assert place.files() == {"drop/call.wav"}
    capsys.readouterr()
    main(["why", "--config", str(place.config_path), "call.wav"])
    assert "File name too long" in capsys.readouterr().out
    odd_disk.rule()
    place.clock.wait(601, threading.Event())
    assert place.run_once().exit_code == Exit.WELL
    assert service.charged == 1


def test_a_name_that_a_killed_trial_left_is_free(place: Place) -> None:
    """It is known by its mode, and by its size; an empty file of somebody else has its name, as any other."""
    (place.root / "done/a b.wav").touch(mode=0o200)
    (place.root / "done/a b.wav.json").touch(mode=0o200)
    (place.root / "done/c d.wav.json").touch()
    place.drop("a b.wav")
    place.drop("c d.wav")

    place.run_once()

    assert place.item("a b.wav").filed_as == b"a b.wav"
    other = place.item("c d.wav")
    assert other.filed_as == f"c d~{other.id[:6]}.wav".encode()
    assert (place.root / "done/c d.wav.json").read_bytes() == b""


def test_an_empty_file_of_a_trial_is_no_strangers_to_overwrite(place: Place) -> None:
    """What has bytes in it, or another name for it elsewhere, is kept, whatever its mode."""
    (place.root / "done/a b.wav.json").write_bytes(b"theirs")
    (place.root / "done/a b.wav.json").chmod(0o200)
    (place.root / "done/c d.wav").touch(mode=0o200)
    os.link(place.root / "done/c d.wav", place.root / "done/linked")
    place.drop("a b.wav")
    place.drop("c d.wav")

    place.run_once()

    assert (place.root / "done/a b.wav.json").read_bytes() == b"theirs"
    assert (place.root / "done/linked").exists()
    assert all(b"~" in (item.filed_as or b"") for item in place.items().values())


def test_a_folder_is_asked_once_for_what_is_strange_in_its_names(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for each recording: names with blanks and umlauts cost no more than others."""
    tried: list[bytes] = []
    really = acceptance._try

    def counted(folder: Any, path: bytes, *, itself: bool) -> bool:
        tried.append(path)
        return really(folder, path, itself=itself)

    monkeypatch.setattr(acceptance, "_try", counted)
    for number in range(10):
        place.drop(f"plain-{number}.wav")
        place.drop(f"agent {number} Müller.wav")
    place.run_once()
    assert len(tried) == 2  # by the first of all, and by the first with more
    assert set(place.states().values()) == {State.DONE}


def test_a_disk_that_takes_less_than_the_one_before_is_asked_anew(
    place: Place, odd_disk: OddDisk, service: Sandbox
) -> None:
    """What was accepted before is filed under another name, though the one it was to have is refused by now."""
    odd_disk.mount(place.root / "done")
    with queued(place, "a b?", "c d?") as journey:
        journey.submissions[0].step()
        odd_disk.rule(**WINDOWS)
        drain(journey, seconds=20)
    assert {item.filed_as for item in place.items().values()} == {b"a b_.wav", b"c d_.wav"}
    assert service.charged == 2


def test_what_is_named_like_a_receipt_takes_no_receipts_name(place: Place, service: Sandbox) -> None:
    """Neither in done/ nor in failed/: the recording that comes later has its own name, and its receipt too."""
    service.add_fault(**REFUSED, times=1)
    for name in ("failed.wav.JSON", "done.wav.json"):
        place.drop(name, speech(name))
        place.run_once()
    place.drop("failed.wav", b"no recording")
    place.drop("done.wav")
    place.run_once()
    assert place.receipt("done/done.wav.json")["path"] == "done.wav"
    assert place.receipt("failed/failed.wav.json")["path"] == "failed.wav"
    assert len(place.files()) == 8


def every_item(place: Place) -> list[Item]:
    """Also those whose names others had, or have since."""
    with place.books() as books:
        return list(books.items.listed())


@pytest.mark.parametrize("outcome", ["done", "failed"])
@pytest.mark.parametrize("foreign", ["leave", "fail"])
@pytest.mark.parametrize("first", ["victim", "intruder", "neither"])
def test_no_order_of_arrival_gives_a_receipts_name_away(
    make_place: MakePlace, service: Sandbox, outcome: str, foreign: str, first: str
) -> None:
    """Of a recording by its content, that is; also of one that is named as the second of two of a name is, and
    also when it is tried again."""
    place = make_place(arrivals={"foreign": foreign}, limits={"writes": []})
    if outcome == "failed":
        service.add_fault(**REFUSED, times=100)
    order = sorted(["victim.wav", "victim.wav.json"], reverse=first == "intruder")
    for batch in [order] if first == "neither" else [[name] for name in order]:
        for name in batch:
            place.drop(name, speech(name))
        place.run_once()
    place.drop("victim.wav", speech("another victim"))
    place.run_once()
    (second,) = (
        item for item in every_item(place) if b"~" in (item.filed_as or b"") and item.path == b"victim.wav"
    )
    place.drop(f"{os.fsdecode(second.filed_as or b'')}.json", speech("another intruder"))
    place.run_once()
    if outcome == "failed":
        place.retry("victim.wav.json")
        place.run_once()

    assert place.receipt(f"{outcome}/victim.wav.json")["path"] == "victim.wav"
    items = every_item(place)
    assert [str(item.state) for item in items] == [outcome] * 4
    for item in items:
        assert item.filed_as is not None
        assert place.receipt(f"{outcome}/{os.fsdecode(item.filed_as)}.json")["id"] == item.id
        assert (item.filed_as == item.path) == (item.path == b"victim.wav" and item.id != second.id)
    assert len(place.files()) == 8


@pytest.mark.parametrize("name", ["victim.wav.json.", "victim.wav.json ", "victim.wav.JSON .."])
def test_no_cleaned_name_is_a_receipts(place: Place, odd_disk: OddDisk, service: Sandbox, name: str) -> None:
    """Of what ends with dots or blanks Windows keeps the rest: which may be a receipt's name."""
    odd_disk.rule(**WINDOWS)
    odd_disk.mount(place.root / "done")
    place.drop(name, speech("intruder"))
    place.run_once()
    place.drop("victim.wav")
    place.run_once()
    assert place.receipt("done/victim.wav.json")["path"] == "victim.wav"
    assert {item.filed_as is None for item in place.items().values()} == {False}
    assert service.charged == 2


def test_a_sidecar_takes_no_receipts_name(make_place: MakePlace) -> None:
    """Though it may be named `name.json`: not where `name` is a recording's."""
    place = make_place(arrivals={"sidecar": [".json"]})
    for name in ("victim.wav.mp3", "call.wav"):
        place.drop(name, speech(name))
        place.drop(os.path.splitext(name)[0] + ".json", b"{}")
    place.run_once()
    item = place.item("victim.wav.mp3")
    assert f"done/victim.wav~{item.id[:6]}.json" in place.files()
    assert {"done/call.json", "done/call.wav.json"} < place.files()
    place.drop("victim.wav")
    place.drop("victim.json", b"{}")
    place.run_once()
    assert place.receipt("done/victim.wav.json")["path"] == "victim.wav"


def test_the_list_of_rules_is_not_empty(tmp_path: Path, odd_disk: OddDisk) -> None:
    """The odd disk refuses what it is told to refuse, and keeps all else: the tests above can fail."""
    point = tmp_path / "point"
    point.mkdir()
    odd_disk.rule(**WINDOWS, longest=20, namemax=20)
    odd_disk.mount(point)
    (point / "fine.txt").write_bytes(bytes(300_000))
    assert (point / "fine.txt").stat().st_size == 300_000
    for name in (b"a:b", b"dot.", b"con.txt", b"\xff", b"x" * 21):
        with pytest.raises(OSError, match=r"Invalid|too long|Illegal|argument"):
            (Path(os.fsdecode(os.path.join(os.fsencode(point), name)))).touch()
    assert os.listdir(point) == ["fine.txt"]
    assert os.statvfs(point).f_namemax == 20


@pytest.mark.parametrize("before", ["a", "sub/a", "call.wav"])
def test_a_subfolder_whose_name_a_file_was_filed_under_costs_only_the_name(
    place: Place, service: Sandbox, before: str
) -> None:
    """What lies in it is filed at the top, under its id; nothing waits, and the file keeps its name."""
    place.drop(before, speech("first"))
    place.run_once()
    assert place.item(before).state is State.DONE
    later = f"{before}/call.wav"
    place.drop(later, speech("second"))

    assert place.run_once().exit_code == Exit.WELL

    item = place.item(later)
    assert (item.state, item.filed_as) == (State.DONE, f"{item.id}.wav".encode())
    assert (place.root / f"done/{item.id}.wav").read_bytes() == speech("second")
    assert place.receipt(f"done/{item.id}.wav.json")["path"] == later
    assert service.charged == 2


def test_a_subfolder_with_the_name_of_a_receipt_costs_only_the_name(
    make_place: MakePlace, service: Sandbox
) -> None:
    """`a.json/call.wav`, where `a` was filed; with what came with it."""
    place = make_place(arrivals={"sidecar": [".xml"]}, limits={"writes": []})
    place.drop("a.wav", speech("first"))
    place.drop("a.xml", b"<a/>")
    place.run_once()
    place.drop("a.wav.json/call.wav", speech("second"))
    place.drop("a.wav.json/call.xml", b"<b/>")

    assert place.run_once().exit_code == Exit.WELL

    item = place.item("a.wav.json/call.wav")
    assert (item.state, item.filed_as) == (State.DONE, f"{item.id}.wav".encode())
    assert (place.root / f"done/{item.id}.xml").read_bytes() == b"<b/>"
    assert place.receipt("done/a.wav.json")["id"] == place.item("a.wav").id


def test_what_failed_in_a_subfolder_that_is_a_file_by_now_is_filed_in_failed(
    place: Place, service: Sandbox
) -> None:
    """Nothing was paid, and it does not wait for ever either."""
    (place.root / "failed/a").write_bytes(b"a file")
    service.add_fault(**REFUSED, times=1)
    place.drop("a/call.wav")

    place.run_once()

    item = place.item("a/call.wav")
    assert (item.state, item.filed_as) == (State.FAILED, f"{item.id}.wav".encode())
    assert (place.root / "failed/a").read_bytes() == b"a file"
