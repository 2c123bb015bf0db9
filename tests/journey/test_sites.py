"""Which folders a database belongs to: told by the mark in the drop folder, wherever that lies."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.places import Place
from tests.queues import drain, queued, settle
from watcher.domain import PauseKind, State
from watcher.errors import ConfigError, Exit, FolderForeign
from watcher.sandbox import Sandbox


def reading_the_books_of(place: Place, other: Place) -> None:
    """The other place has the same database, and folders of its own."""
    other.configure(store={"url": f"sqlite:///{place.root / 'watcher.db'}"})


@pytest.fixture
def other(place: Place, tmp_path: Path) -> Place:
    """A second place, and a configuration of it that names the first one's database."""
    (tmp_path / "other").mkdir()
    other = Place(tmp_path / "other", place.url, place.clock)
    reading_the_books_of(place, other)
    return other


def test_another_drop_folder_does_not_get_the_books_of_the_first(
    place: Place, other: Place, service: Sandbox
) -> None:
    """It is refused, says whose the database is and what to do, and touches neither books nor folder."""
    short = place.drop("short.wav")
    place.drop("one.wav")
    os.truncate(short, 1000)
    place.run_once()
    other.drop("two.wav")
    before = place.states()

    with pytest.raises(FolderForeign) as refusal:
        other.run_once()

    assert refusal.value.exit_code == Exit.CONFIG
    assert str(other.root / "drop") in refusal.value.message
    assert str(place.root / "drop") in refusal.value.message
    assert "store.url" in refusal.value.hint
    assert "one.wav" not in os.listdir(other.root / "drop")
    assert not (other.root / "drop/.watcher").exists()
    assert place.states() == before
    assert place.run_once().exit_code == Exit.INCOMPLETE  # short.wav still waits
    assert place.states() == before


def test_another_drop_folder_is_refused_while_recordings_wait_in_the_first(place: Place, other: Place) -> None:
    """Else they would be taken for lost."""
    place.drop("one.wav")
    with place.opened() as journey:
        journey.arrivals.step()
        place.clock.wait(3, journey.stopping)
        journey.arrivals.step()
        journey.admission.step()
    assert place.states() == {"one.wav": State.QUEUED}

    with pytest.raises(FolderForeign):
        other.run_once()

    assert place.states() == {"one.wav": State.QUEUED}
    assert place.run_once().exit_code == Exit.WELL
    assert place.states() == {"one.wav": State.DONE}


def test_a_site_that_was_moved_as_a_whole_goes_on(place: Place, service: Sandbox, tmp_path: Path) -> None:
    """Its mark goes with the drop folder: what was done stays done, what waited is sent."""
    place.drop("one.wav")
    place.run_once()
    place.drop("two.wav")
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("drop", "done", "failed", "watcher.db", "config.toml"):
        shutil.move(place.root / name, moved / name)
    there = Place(moved, place.url, place.clock)

    assert there.run_once().exit_code == Exit.WELL

    assert there.states() == {"one.wav": State.DONE, "two.wav": State.DONE}
    assert service.charged == 2
    with there.books() as books:
        assert books.site.get("path.drop") == str(moved / "drop")


def test_a_link_that_leads_elsewhere_under_a_running_daemon_is_a_pause(place: Place, service: Sandbox) -> None:
    """Nothing is withdrawn, sent or marked there; when it leads back, everything goes on by itself."""
    (place.root / "drop").rename(place.root / "real")
    (place.root / "drop").symlink_to("real")
    (place.root / "unknown").mkdir()
    with queued(place, "one") as journey:
        (place.root / "drop").unlink()
        (place.root / "drop").symlink_to("unknown")
        settle(journey)
        drain(journey, seconds=60)
        assert [pause.kind for pause in place.pauses()] == [PauseKind.FOLDER]
        assert place.states() == {"one.wav": State.QUEUED}
        assert service.charged == 0
        assert not (place.root / "unknown/.watcher").exists()

        (place.root / "drop").unlink()
        (place.root / "drop").symlink_to("real")
        settle(journey)
        drain(journey)
    assert place.states() == {"one.wav": State.DONE}


def test_a_drop_folder_moved_without_its_mark_is_taken_once_it_has_it(place: Place, tmp_path: Path) -> None:
    """What the refusal proposes works."""
    place.drop("one.wav")
    place.run_once()
    (tmp_path / "elsewhere").mkdir()
    place.configure(folders={"drop": "elsewhere"})
    with pytest.raises(FolderForeign) as refusal:
        place.run_once()

    subprocess.run(["sh", "-c", refusal.value.hint.partition("place: ")[2]], check=True)

    assert place.run_once().exit_code == Exit.WELL
    (place.root / "drop").rename(tmp_path / "gone")
    assert place.run_once().exit_code == Exit.WELL


def test_a_drop_folder_made_again_where_it_was_is_still_adopted(place: Place) -> None:
    """A person tidied up: nobody has to be asked."""
    place.drop("one.wav")
    place.run_once()
    shutil.rmtree(place.root / "drop")
    place.drop("two.wav")

    assert place.run_once().exit_code == Exit.WELL

    assert json.loads((place.root / "drop/.watcher").read_bytes())["site"]


def test_done_may_be_another_folder_from_now_on(place: Place) -> None:
    """What was filed before stays where it is; that the folder is another one is said."""
    place.drop("one.wav")
    place.run_once()
    (place.root / "archive").mkdir()
    place.configure(folders={"done": "archive"})
    place.drop("two.wav")

    assert place.run_once().exit_code == Exit.WELL

    assert {"done/one.wav", "done/one.wav.json"} < {str(p.relative_to(place.root)) for p in place.root.rglob("*")}
    assert (place.root / "archive/two.wav").exists()


def test_the_hint_of_a_first_start_can_be_pasted_into_a_shell(place: Place, tmp_path: Path) -> None:
    """Whatever characters the folders' paths have."""
    place.configure(folders={"drop": "dro'p $HOME", "done": "done; x", "failed": "a b/failed"})
    with pytest.raises(ConfigError) as refusal:
        place.run_once()

    command = refusal.value.hint.partition("(")[2].rpartition("),")[0]
    subprocess.run(["sh", "-c", command], check=True, cwd=tmp_path)

    assert place.run_once().exit_code == Exit.WELL


def test_another_sites_mark_that_is_carried_into_the_drop_folder_is_no_claim(place: Place, tmp_path: Path) -> None:
    """It was written for the folder it was taken from; where that site itself has marked our folder, it is one."""
    (tmp_path / "another").mkdir()
    other = Place(tmp_path / "another", place.url, place.clock)
    for site in (place, other):
        site.drop("one.wav")
        site.run_once()
    (other.root / "drop/.watcher").replace(place.root / "drop/.watcher")
    for site in (place, other):
        site.drop("two.wav")
        assert site.run_once().exit_code == Exit.WELL
        assert site.states() == {"one.wav": State.DONE, "two.wav": State.DONE}

    (place.root / "drop/.watcher").unlink()
    other.configure(folders={"drop": str(place.root / "drop")})
    with pytest.raises(FolderForeign):
        other.run_once()  # its database knows another folder
    (other.root / "watcher.db").unlink()
    for folder in ("done", "failed"):  # nothing of its past may be left, or it is no new site
        shutil.rmtree(other.root / folder)
        (other.root / folder).mkdir()
    other.run_once()
    with pytest.raises(FolderForeign) as refusal:
        place.run_once()
    assert refusal.value.exit_code == Exit.CONFIG
