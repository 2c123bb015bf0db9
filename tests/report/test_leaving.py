"""The pages that are left for people: `_STATUS.html` in the drop folder, and a report of each day."""

import os
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import MakePlace
from tests.places import Place, speech
from tests.report.sites import HOSTILE, drop_hostile, refuse
from tests.report.test_report import page_of
from watcher.audio.synthesis import wav
from watcher.domain import Pause, PauseKind, State
from watcher.errors import FolderMissing, NameTaken
from watcher.report.leaving import DailyReport, StatusPage
from watcher.sandbox import Sandbox

DAY = 86_400.0


@pytest.fixture
def told(make_place: MakePlace) -> Place:
    """A site with a status file, and recordings that ended in different ways."""
    return make_place(folders={"status": True}, arrivals={"incomplete_minutes": 0.01})


def status_of(place: Place) -> str:
    return (place.root / "drop" / "_STATUS.html").read_text()


def look(place: Place) -> None:
    with place.opened() as journey:
        StatusPage(journey.site).look()


def test_whoever_has_the_folder_alone_knows_what_is_artificial_and_what_to_do(
    told: Place, service: Sandbox
) -> None:
    """The artificial ones come first, then what needs a person with its reason and what to do about it."""
    told.drop("robot.wav", speech("robot", note=b"sandbox:artificial"))
    told.drop("person.wav")
    told.drop("cut.wav", speech("cut")[:300])
    told.run_once(verdicts=True)

    text = status_of(told)
    page = page_of(text.encode())
    assert not page.names.keys() & {"script", "img", "link", "iframe", "form"}
    assert text.index("robot.wav") < text.index("What needs a person") < text.index("cut.wav")
    said = " ".join("".join(page.text).split())
    assert "cut short" in said
    assert f"watcher dismiss {told.item('cut.wav').id}" in said
    assert "2 done: 1 artificial, 1 human" in said
    assert "person.wav" not in text


def test_an_artificial_one_that_was_sent_in_parts_is_told_too(make_place: MakePlace) -> None:
    """By the verdict of all its parts: one artificial part is enough, and it counts among what is done today."""
    place = make_place(folders={"status": True}, limits={"max_upload_bytes": 50_000}, audio={"oversize": "split"})
    place.drop("long.wav", wav(20.0, seed=5))
    place.run_once(verdicts=True)
    with place.books() as books:
        part = books.parts.of(place.item_in(books, "long.wav").id)[0]
        verdict = books.verdicts.get(part.identifier)
        assert verdict is not None
        books.verdicts.put(replace(verdict, classification="artificial"))
    look(place)

    text = " ".join("".join(page_of(status_of(place).encode()).text).split())
    assert "1 artificial, last 7 days" in text
    assert text.index("long.wav") < text.index("What needs a person")
    assert "1 done: 1 artificial, 0 human" in text


def test_it_says_why_submitting_is_paused(told: Place) -> None:
    """And that the backlog waits for that."""
    told.drop("one.wav")
    with told.opened() as journey:
        while not told.items():
            journey.arrivals.step()
            journey.admission.step()
            journey.site.clock.wait(10.0, threading.Event())
        with told.books() as books:
            books.pauses.set(Pause(PauseKind.PERSON, "person", "Audit until Monday", told.clock.now(), None))
        StatusPage(journey.site).look()

    text = status_of(told)
    assert "Audit until Monday" in text
    assert "waits until submitting resumes" in text


def test_it_is_never_an_arrival_whatever_becomes_of_strangers_files(make_place: MakePlace) -> None:
    """Even where files that are no recordings fail; nor does it count as a file that was left alone."""
    place = make_place(folders={"status": True}, arrivals={"foreign": "fail"})
    place.drop("one.wav")
    place.run_once()
    place.run_once()

    assert place.states() == {"one.wav": State.DONE}
    assert (place.root / "drop" / "_STATUS.html").is_file()
    assert os.listdir(place.root / "failed") == [".watcher"]
    with place.books() as books:
        assert books.waiting.left().foreign == 0
    assert not [name for name in os.listdir(place.root / "drop") if name.endswith(".tmp")]


def test_it_is_written_only_when_something_changed(told: Place) -> None:
    """The same state leaves the same file; a change replaces it as a whole, by a new one."""
    told.drop("one.wav")
    told.run_once(verdicts=True)
    with told.opened() as journey:
        page = StatusPage(journey.site)
        page.look()
        path = told.root / "drop" / "_STATUS.html"
        before = path.stat()
        for _ in range(3):
            told.clock.wait(10.0, threading.Event())
            page.look()
        assert path.stat() == before
        with told.books() as books:
            books.pauses.set(Pause(PauseKind.PERSON, "person", "Stop", told.clock.now(), None))
        page.look()
        assert path.stat().st_ino != before.st_ino


@pytest.mark.parametrize("kind", ["file", "link", "dangling", "link to ours", "folder", "pipe", "second name"])
def test_it_never_replaces_what_is_not_ours(told: Place, tmp_path: Path, kind: str) -> None:
    """A stranger's file, link, folder or pipe of its name stays as it is, and what a link leads to, too."""
    told.run_once()
    path, elsewhere = told.root / "drop" / "_STATUS.html", tmp_path / "elsewhere.html"
    ours = path.read_bytes()
    path.unlink()
    match kind:
        case "file":
            path.write_text("<html>a stranger's</html>")
        case "link":
            elsewhere.write_text("precious")
            path.symlink_to(elsewhere)
        case "dangling":
            path.symlink_to(elsewhere)
        case "link to ours":
            elsewhere.write_bytes(ours)
            path.symlink_to(elsewhere)
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "second name":
            elsewhere.write_bytes(ours)
            os.link(elsewhere, path)
    before = fingerprint(path), elsewhere.read_bytes() if elsewhere.exists() else None

    with pytest.raises(NameTaken, match="not ours") as taken:
        look(told)

    assert "no page is written" in (taken.value.hint or "")
    assert (fingerprint(path), elsewhere.read_bytes() if elsewhere.exists() else None) == before


def fingerprint(path: Path) -> tuple[int, ...]:
    """Which file it is, and its last change."""
    found = path.lstat()
    return found.st_ino, found.st_mode, found.st_nlink, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def test_an_earlier_one_of_ours_is_replaced(told: Place) -> None:
    """After a restart too, whoever's it is by then."""
    told.run_once()
    before = (told.root / "drop" / "_STATUS.html").stat()
    look(told)
    assert (told.root / "drop" / "_STATUS.html").stat().st_ino != before.st_ino


@pytest.mark.parametrize("hides", [False, True], ids=["shown", "hidden"])
def test_no_name_does_harm_in_the_status_file(make_place: MakePlace, service: Sandbox, *, hides: bool) -> None:
    """Hostile names fail, and are artificial; they are text on the page, or are not on it."""
    place = make_place(folders={"status": True}, privacy={"names": "hide" if hides else "show"})
    refuse(service, len(HOSTILE) // 2)
    drop_hostile(place)
    place.drop(b"<i>robot</i>\x1b[0m.wav", speech("robot", note=b"sandbox:artificial"))
    place.run_once(verdicts=True)

    text = status_of(place)
    page = page_of(text.encode())
    assert not page.names.keys() & {"script", "img", "textarea", "i"}
    assert all(c.isprintable() or c == "\n" for c in text)
    failed = [item for item in place.items().values() if item.state is State.FAILED]
    assert len(failed) == len(HOSTILE) // 2
    assert all(item.id in text for item in failed)
    assert ("robot&lt;/i&gt;" in text) is not hides
    if hides:
        for name in HOSTILE.values():
            assert os.path.splitext(name)[0].strip() not in text.encode(), name


def test_a_report_of_each_day_is_left_once(make_place: MakePlace, tmp_path: Path) -> None:
    """At its time on the next day, and after a stop of some days for each of them; nothing is ever replaced."""
    reports = tmp_path / "reports"
    place = make_place(report={"folder": str(reports), "at": "06:00"}, limits={"timezone": "UTC"})
    place.drop("one.wav")
    until_six(place)
    with place.opened() as journey, pytest.raises(FolderMissing):
        DailyReport(journey.site).look()
    reports.mkdir()
    place.run_once(verdicts=True)  # the arrivals of today, and the report of yesterday
    assert len(os.listdir(reports)) == 1

    first_day = set(os.listdir(reports))
    stranger = reports / f"{day_after(place, 1)}.html"
    stranger.write_text("a stranger's")
    place.clock.wait(3 * DAY, threading.Event())
    with place.opened() as journey:
        DailyReport(journey.site).look()
        DailyReport(journey.site).look()
    made = set(os.listdir(reports)) - first_day
    assert len(made) == 3
    assert stranger.read_text() == "a stranger's"
    assert [name for name in made if "one.wav" in (reports / name).read_text()] == [f"{arrival(place)}.html"]


def until_six(place: Place) -> None:
    """Let the clock go on to a time after six in the morning."""
    seconds = place.clock.now() % DAY
    place.clock.wait((DAY - seconds + 7 * 3_600) % DAY, threading.Event())


def arrival(place: Place) -> str:
    return day_of(place.item("one.wav").arrived_at)


def day_after(place: Place, days: int) -> str:
    return day_of(place.clock.now() + days * DAY)


def day_of(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()
