"""folders.by_verdict: what is done moves on into the folder of its verdict, with all that belongs to it."""

import json
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from tests.clock import FalseClock
from tests.conftest import MakePlace
from tests.journey.test_commands_that_look import said
from tests.journey.test_verdicts_kept import judge, lines, verdict_of
from tests.places import KEY, REFUSED, Place, speech
from tests.queues import listening, told
from watcher import folders
from watcher.cli import opening
from watcher.domain import State
from watcher.errors import ConfigError
from watcher.journey.file import onward
from watcher.sandbox import Sandbox


@pytest.fixture(autouse=True)
def _commands(monkeypatch: pytest.MonkeyPatch, clock: FalseClock) -> None:
    monkeypatch.setenv("IDENTIFAI_API_KEY", KEY)
    monkeypatch.setattr(opening, "SystemClock", lambda: clock)


def by_verdict(make_place: MakePlace, **settings: dict[str, Any]) -> Place:
    folders = {"by_verdict": True} | settings.pop("folders", {})
    return make_place(folders=folders, limits={"writes": []}, **settings)


def spoken(name: str, fate: str = "human") -> bytes:
    return speech(name, note=b"sandbox:" + fate.encode())


@pytest.fixture
def service(clock: FalseClock) -> Iterator[Sandbox]:
    with Sandbox(KEY, clock=clock, writes=()) as running:
        yield running


def test_each_lies_in_the_folder_of_its_verdict(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its receipt and what came with it, in its subfolder; errored ones stay, and failed ones are failed."""
    place = by_verdict(make_place, arrivals={"sidecar": [".xml"], "marker": ".done"})
    for fate in ("human", "artificial", "inconclusive", "errored"):
        place.drop(f"a/{fate}.wav", spoken(fate, fate))
        place.drop(f"a/{fate}.xml", b"<call/>")
        place.drop(f"a/{fate}.wav.done", b"")
    place.drop("notes.wav", b"no recording")
    place.drop("notes.xml", b"")
    place.drop("notes.wav.done", b"")
    place.run_once()
    assert {path for path in place.files() if path.endswith(".wav")} >= {
        "done/a/human.wav",
        "done/a/artificial.wav",
    }
    judge(place)

    homes = {fate: f"done/{fate}/a/{fate}" for fate in ("human", "artificial", "inconclusive")}
    homes["errored"] = "done/a/errored"
    filed = {f"{home}{ending}" for home in homes.values() for ending in (".wav", ".wav.json", ".xml", ".wav.done")}
    assert {path for path in place.files() if path.startswith("done/")} == filed
    for fate, home in homes.items():
        receipt = place.receipt(f"{home}.wav.json")
        assert f"done/{receipt['filed_as']}" == f"{home}.wav"
        assert receipt["verdict"]["state"] == ("errored" if fate == "errored" else "known")
        for name in (f"a/{fate}.wav", f"{home}.wav", f"done/a/{fate}.wav", str(place.root / f"{home}.wav")):
            assert json.loads(said(place, capsys, "show", "--json", name))["filed_as"] == receipt["filed_as"]
            assert f"filed as {receipt['filed_as']}" in said(place, capsys, "why", name)
        assert "no longer in done/" not in said(place, capsys, "why", f"{home}.wav")
    assert "is the receipt of" in said(place, capsys, "why", f"{homes['human']}.wav.json")
    assert "came with the recording" in said(place, capsys, "why", f"{homes['human']}.xml")
    said(place, capsys, "reconcile", "--hashes")
    assert service.charged == 4


def test_without_it_all_stays_as_it_was(make_place: MakePlace, service: Sandbox) -> None:
    place = make_place(limits={"writes": []})
    place.drop("a.wav", spoken("a"))
    place.run_once(verdicts=True)
    assert place.files() == {"done/a.wav", "done/a.wav.json"}


def test_without_verdicts_it_means_nothing(make_place: MakePlace) -> None:
    """78, with the key's name."""
    place = by_verdict(make_place, verdicts={"fetch": False})
    with pytest.raises(ConfigError, match=r"folders\.by_verdict is true; expected false while verdicts\.fetch"):
        _ = place.config


def test_an_overdue_verdict_moves_nothing_until_it_comes(make_place: MakePlace, service: Sandbox) -> None:
    place = by_verdict(make_place, verdicts={"give_up_hours": 0.001})
    service.add_fault("stuck", times=0)
    place.drop("a.wav", spoken("a"))
    place.run_once(verdicts=True)
    judge(place)
    assert place.receipt("done/a.wav.json")["verdict"]["state"] == "overdue"
    service.clear_faults()
    place.clock.wait(7200, Event())
    judge(place)
    assert place.files() == {"done/human/a.wav", "done/human/a.wav.json"}


def test_a_duplicate_moves_on_as_its_first_does(make_place: MakePlace, service: Sandbox) -> None:
    """One whose verdict is known when it comes, too; under names of their own."""
    place = by_verdict(make_place)
    place.drop("a.wav", spoken("same", "artificial"))
    place.drop("b.wav", spoken("same", "artificial"))
    place.run_once(verdicts=True)
    place.drop("c.wav", spoken("same", "artificial"))
    place.drop("sub/a.wav", spoken("same", "artificial"))
    place.run_once()
    names = {f"done/artificial/{name}.wav" for name in ("a", "b", "c", "sub/a")}
    assert place.files() == names | {f"{name}.json" for name in names}
    assert service.charged == 1


def test_names_that_are_taken_there_are_never_overwritten(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Monday's call has the plain name; a stranger's file keeps its own; subfolders may have a verdict's name."""
    place = by_verdict(make_place)
    place.drop("call.wav", spoken("monday"))
    place.run_once(verdicts=True)
    (place.root / "done/human/other.wav").write_bytes(b"a stranger's")
    place.drop("call.wav", spoken("tuesday"))
    place.drop("other.wav", spoken("other"))
    place.drop("human/call.wav", spoken("in a folder", "artificial"))
    place.run_once(verdicts=True)
    items = {item.id[:6] for item in place.items().values()}
    files = place.files()
    assert (place.root / "done/human/call.wav").read_bytes() == spoken("monday")
    assert (place.root / "done/human/other.wav").read_bytes() == b"a stranger's"
    (moved,) = (place.root / "done/artificial/human").glob("call~*.wav")  # its plain name was taken in done/
    assert moved.read_bytes() == spoken("in a folder", "artificial")
    taken = {path for path in files if "~" in path and path.endswith(".wav")}
    assert len(taken) == 3
    assert all(path.rpartition("~")[2][:6] in items for path in taken)
    assert all(f"{path}.json" in files for path in taken)
    said(place, capsys, "reconcile")


def test_a_verdict_that_changes_takes_its_recording_along(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who looks into done/artificial finds what the service calls so now; a person's word moves nothing."""
    place = by_verdict(make_place)
    place.drop("a/b.wav", spoken("b"))
    place.run_once(verdicts=True)
    assert (place.root / "done/human/a/b.wav").exists()
    said(place, capsys, "review", "a/b.wav", "--artificial")
    place.run_once()
    assert place.receipt("done/human/a/b.wav.json")["review"]["word"] == "artificial"

    for now in ("artificial", "human"):
        identifier = place.item("a/b.wav").identifier
        service.clear_faults()
        service.add_fault("garbled", identifier=identifier, times=0, body=verdict_of(now))
        lines(place, capsys, "verdicts", "--refresh", "a/b.wav")
        place.run_once()
        assert place.files() == {f"done/{now}/a/b.wav", f"done/{now}/a/b.wav.json"}
    history = json.loads(said(place, capsys, "show", "--json", "a/b.wav"))["history"]
    moved = [change["note"] for change in history if change["note"].startswith("moved on")]
    assert moved == [f"moved on to done/{v}/a/b.wav" for v in ("human", "artificial", "human")]


def test_what_was_collected_stays_so(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its receipt or without: nothing is made anew, and nothing is stuck."""
    place = by_verdict(make_place)
    for name in ("a", "b"):
        place.drop(f"{name}.wav", spoken(name))
    place.run_once()
    (place.root / "done/a.wav").rename(place.root / "collected.wav")
    (place.root / "done/b.wav").rename(place.root / "collected-too.wav")
    (place.root / "done/b.wav.json").unlink()
    judge(place)
    assert place.files() == {"done/a.wav.json"}
    assert place.receipt("done/a.wav.json")["verdict"]["classification"] == "human"
    assert json.loads(said(place, capsys, "status", "--json"))["stuck"] in (0, [], None)


def test_who_moved_it_there_by_hand_did_no_harm(make_place: MakePlace, service: Sandbox) -> None:
    place = by_verdict(make_place)
    place.drop("a.wav", spoken("a"))
    place.run_once()
    (place.root / "done/human").mkdir()
    for name in ("a.wav", "a.wav.json"):
        (place.root / "done" / name).rename(place.root / "done/human" / name)
    judge(place)
    assert place.files() == {"done/human/a.wav", "done/human/a.wav.json"}
    assert place.item("a.wav").filed_as == b"human/a.wav"


def test_what_stands_in_the_way_is_told_and_tried_again(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stranger's file named like the verdict. The recording stays where it is, and others go on."""
    place = by_verdict(make_place, retry={"first_seconds": 1, "max_seconds": 5})
    (place.root / "done/human").write_bytes(b"a file")
    place.drop("a.wav", spoken("a"))
    place.drop("b.wav", spoken("b", "artificial"))
    place.run_once(verdicts=True)
    assert (place.root / "done/artificial/b.wav").exists()
    assert (place.root / "done/a.wav").exists()
    assert place.receipt("done/a.wav.json")["verdict"]["classification"] == "human"
    assert "human" in said(place, capsys, "why", "a.wav")
    (place.root / "done/human").unlink()
    judge(place)
    assert place.files() >= {"done/human/a.wav", "done/human/a.wav.json"}
    assert "done/a.wav.json" not in place.files()


def test_a_recording_that_grew_is_still_known_to_have_grown(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """It moves on, as it is now, and its receipt says so."""
    place = by_verdict(make_place)
    place.drop("a.wav", spoken("a"))
    place.run_once()
    with (place.root / "done/a.wav").open("ab") as file:
        file.write(b"more")
    judge(place)
    receipt = place.receipt("done/human/a.wav.json")
    assert receipt["grown"]["size"] == receipt["size"] + 4
    assert place.files() == {"done/human/a.wav", "done/human/a.wav.json"}


def test_a_retry_from_the_folder_of_a_verdict(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recording of which one part was refused: it goes back from there, and moves on from done/ again."""
    place = by_verdict(make_place, audio={"oversize": "split"})
    place.configure(
        folders={"by_verdict": True},
        limits={"writes": [], "max_upload_bytes": 400_000},
        audio={"oversize": "split"},
    )
    service.add_fault(**REFUSED, ordinal=2)
    place.drop("a/long.wav", speech("long", seconds=60.0))
    place.run_once(verdicts=True)
    judge(place)
    lying = place.item("a/long.wav").filed_as
    assert lying is not None
    assert lying.startswith((b"human/a/", b"inconclusive/a/"))
    said(place, capsys, "retry", "a/long.wav")
    place.run_once(verdicts=True)
    judge(place)
    assert place.item("a/long.wav").state is State.DONE
    assert place.files() == {"done/human/a/long.wav", "done/human/a/long.wav.json"}


@pytest.mark.parametrize("crash", ["before", "after"])
def test_who_asks_in_the_middle_of_a_move_finds_both_places(
    make_place: MakePlace,
    service: Sandbox,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    crash: str,
) -> None:
    """Stopped just before the recording is moved, or just after: the books add up, and the next start goes on."""
    place = by_verdict(make_place)
    place.drop("a.wav", spoken("a"))
    place.run_once()
    move = folders.move

    def killed(*args: Any, **kwargs: Any) -> object:
        if crash == "after":
            move(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(onward, "move", killed)
        with pytest.raises(KeyboardInterrupt):
            judge(place)
    lying = "human/a.wav" if crash == "after" else "a.wav"
    assert (place.root / "done" / lying).exists()
    assert place.item("a.wav").moves_to == b"human/a.wav"
    said(place, capsys, "reconcile")
    for name in ("a.wav", "done/human/a.wav", "done/a.wav"):
        assert place.item("a.wav").id in said(place, capsys, "show", name)
        assert "on to done/human/a.wav" in said(place, capsys, "why", name)
    place.run_once()
    assert place.files() == {"done/human/a.wav", "done/human/a.wav.json"}
    assert place.item("a.wav").moves_to is None


def test_the_move_is_logged_once(make_place: MakePlace, service: Sandbox) -> None:
    place = by_verdict(make_place)
    place.drop("a.wav", spoken("a"))
    with listening() as log:
        place.run_once(verdicts=True)
        judge(place)
    (line,) = told(log, "recording.moved_on")
    assert (line["path"], line["filed_as"]) == (b"a.wav", b"human/a.wav")
