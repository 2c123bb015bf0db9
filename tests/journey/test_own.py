"""`folders.own`: what is filed becomes the service's own, which nobody else can change; `reconcile --hashes`."""

import os
import stat
from hashlib import sha256
from pathlib import Path

import pytest

from tests.conftest import MakePlace
from tests.journey.test_commands_that_look import said
from tests.people import CREW, SOMEBODY, needs_root
from tests.places import REFUSED, Place, speech
from tests.process.programs import on_terminal
from watcher.cli import main
from watcher.domain import State
from watcher.errors import Exit
from watcher.folders import Folder
from watcher.sandbox import Sandbox

OWN = {"folders": {"own": True}}


def facts(path: Path) -> tuple[int, int]:
    """Whose it is, and its mode."""
    status = path.stat()
    return status.st_uid, stat.S_IMODE(status.st_mode)


def hashes(place: Place) -> int:
    return main(["reconcile", "--hashes", "--config", str(place.config_path)])


# A copy of our own


def test_what_is_filed_is_a_copy_of_the_services_own(make_place: MakePlace, service: Sandbox) -> None:
    """Another's recording, its companions, what is refused unsent: mode 0640, and whose the folder's files are."""
    needs_root()
    place = make_place(**OWN, arrivals={"sidecar": [".xml"]})
    for name, content in (("call.wav", None), ("call.xml", b"<call/>"), ("bad.wav", b"none"), ("bad.xml", b"-")):
        path = place.drop(name, content)
        os.chown(path, SOMEBODY, CREW)
        path.chmod(0o666)
    before = (place.root / "drop/call.wav").stat()
    place.run_once()
    assert place.states() == {"call.wav": State.DONE, "bad.wav": State.FAILED}
    for name in ("done/call.wav", "done/call.xml", "failed/bad.wav", "failed/bad.xml"):
        assert facts(place.root / name) == ((place.root / "done").stat().st_uid, 0o640), name
    filed = (place.root / "done/call.wav").stat()
    assert filed.st_ino != before.st_ino
    assert filed.st_mtime_ns == before.st_mtime_ns
    assert not [path for path in place.files() if path.startswith("drop/")]
    assert place.receipt("done/call.wav.json")["sha256"] == sha256(speech("call.wav")).hexdigest()


@pytest.mark.parametrize("is_own", [True, False])
def test_who_kept_a_way_to_the_recording_changes_only_what_is_not_our_own(
    is_own: bool, make_place: MakePlace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another name of the file leads to what is filed, unless that is a copy; without one `--hashes` tells."""
    place = make_place(folders={"own": is_own})
    path = place.drop("call.wav")
    kept = place.root / "kept.wav"
    os.link(path, kept)
    place.run_once()
    times = kept.stat()
    with kept.open("r+b") as file:
        file.seek(1000)
        file.write(b"changed")
    os.utime(kept, ns=(times.st_atime_ns, times.st_mtime_ns))  # no look at sizes and times shows it
    assert ((place.root / "done/call.wav").read_bytes() == speech("call.wav")) is is_own
    assert hashes(place) == (Exit.WELL if is_own else Exit.INCOMPLETE)
    assert ("call.wav: is not what was filed" in capsys.readouterr().out) is not is_own


def test_a_name_that_is_taken_is_never_overwritten_by_a_copy(make_place: MakePlace) -> None:
    place = make_place(**OWN)
    place.drop("call.wav", speech("monday"))
    place.run_once()
    place.drop("call.wav", speech("tuesday"))
    place.run_once()
    recordings = [path for path in place.files() if path.startswith("done/") and path.endswith(".wav")]
    contents = {(place.root / path).read_bytes() for path in recordings}
    assert contents == {speech("monday"), speech("tuesday")}


def test_a_retry_brings_back_the_services_copy(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """What lies in the drop folder is the service's then, readable by its group, and is sent and filed as ever."""
    place = make_place(**OWN)
    service.add_fault(**REFUSED, times=1)
    place.drop("call.wav").chmod(0o666)
    place.run_once()
    said(place, capsys, "retry", "call.wav")
    said(place, capsys, "pause")
    place.run_once()
    assert facts(place.root / "drop/call.wav") == (os.geteuid(), 0o640)
    said(place, capsys, "resume")
    place.run_once()
    assert place.states() == {"call.wav": State.DONE}
    assert (place.root / "done/call.wav").read_bytes() == speech("call.wav")


def test_the_room_for_a_copy_is_asked_for_though_it_is_the_same_disk(tmp_path: Path) -> None:
    """A rename takes none."""
    for name in ("drop", "done"):
        (tmp_path / name).mkdir()
    (tmp_path / "drop/call.xml").write_bytes(bytes(100_000))
    drop, done = (Folder(os.fsencode(tmp_path / name), name) for name in ("drop", "done"))
    owning = Folder(done.root, "done", owning=True)
    assert done.bytes_to_copy(drop, b"call.xml", b"call.xml") is None
    assert owning.bytes_to_copy(drop, b"call.xml", b"call.xml") == 100_000


@pytest.mark.parametrize("is_kept", [True, False])
def test_check_says_where_a_copy_would_not_be_our_own(
    make_place: MakePlace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_kept: bool
) -> None:
    """As on a share that gives all files one mode. That filing takes a copy was asked for, and is no warning."""
    place = make_place(**OWN)
    if not is_kept:
        chmod = os.chmod
        monkeypatch.setattr(os, "fchmod", lambda opened, _: chmod(opened, 0o664))
    main(["check", "--config", str(place.config_path)])
    told = capsys.readouterr().out
    assert ("get another owner or a mode other than 0640" in told) is not is_kept
    assert "only be reached by copying" not in told


# Compared with what was filed


def test_hashes_names_each_recording_that_is_not_what_was_filed(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its bytes, whatever its times say; and a receipt that tells of others. What is well is counted."""
    service.add_fault(**REFUSED, times=1)
    for name in ("refused.wav", "changed.wav", "told.wav", "well.wav"):
        place.drop(name)
    place.run_once()
    assert hashes(place) == Exit.WELL
    assert "hashes: 4 recordings were read, 0 are not as filed" in capsys.readouterr().out
    for path in (place.root / "done/changed.wav", place.root / "failed/refused.wav"):
        times, content = path.stat(), bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    receipt = place.root / "done/told.wav.json"
    receipt.write_text(receipt.read_text().replace(place.item("told.wav").sha256 or "-", "0" * 64))

    assert hashes(place) == Exit.INCOMPLETE

    told = capsys.readouterr().out
    assert told.count("is not what was filed: its sha256 is ") == 2
    for name in ("changed.wav", "refused.wav", "told.wav"):
        assert f"wrong: {place.item(name).id[:6]} {name}: " in told
    assert "well.wav" not in told
    assert main(["reconcile", "--config", str(place.config_path)]) == Exit.INCOMPLETE  # of the receipt
    assert "changed.wav" not in capsys.readouterr().out


def test_hashes_shows_on_a_terminal_how_far_it_is(place: Place) -> None:
    """And nothing of that goes where its data goes."""
    for number in range(3):
        place.drop(f"{number}.wav")
    place.run_once()
    code, told = on_terminal("reconcile", "--hashes", "--config", str(place.config_path))
    assert code == Exit.WELL, told
    assert "3 of 3" in told
    assert "hashes: 3 recordings were read" in told
