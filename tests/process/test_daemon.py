"""The daemon as people meet it: recordings dropped in every way into a folder that it watches."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

from tests.places import KEY, Place, speech
from tests.process.conftest import MakePlace
from tests.process.programs import (
    ENVIRONMENT,
    Program,
    Programs,
    last_scan_at,
    let_pass,
    posts,
    wait_until,
    waiting,
)
from watcher.sandbox import Sandbox
from watcher.text import JsonObject

PROMISED = {
    *("id", "path", "state", "size", "sha256", "audio", "identifier", "attempts", "error", "verdict"),
    *("arrived_at", "submitted_at", "filed_at", "filed_as"),
}
"""What `list --json` and `show --json` promise of an item."""


def test_fifty_recordings_dropped_in_every_way_are_each_submitted_once_and_filed(
    place: Place, service: Sandbox, watcher: Programs
) -> None:
    """However a recording comes, it is sent once, lies in done/ with the service's identifier, and is listed."""
    daemon = watcher.daemon(place)

    contents = drop_fifty(place)

    wait_until(lambda: filed(place) >= contents.keys(), "50 receipts", told=lambda: daemon.err)
    verdicts = daemon.wait_for("verdict.known", 50)
    given = {entry.sha256: entry.identifier for entry in posts(service)}
    digests = {path: sha256(content).hexdigest() for path, content in contents.items()}
    assert Counter(entry.sha256 for entry in posts(service)) == Counter(digests.values())
    assert service.charged == 50
    # The receipt lies there before its recording: the last one may be on its way.
    wait_until(lambda: not [path for path in place.files() if path.startswith("drop/")], "all are filed")
    assert not [path for path in place.files() if path.startswith("failed/")]
    for path, content in contents.items():
        assert (place.root / "done" / path).read_bytes() == content
        assert place.receipt(f"done/{path}.json")["identifier"] == given[digests[path]]

    listed = {item["path"]: item for item in watcher.ask_json(place, "list")}
    assert {(line["item"], line["path"]) for line in verdicts} == {
        (one["id"], path) for path, one in listed.items()
    }
    assert listed.keys() == contents.keys()
    for path, item in listed.items():
        assert item.keys() >= PROMISED
        assert (item["state"], item["error"], item["filed_as"]) == ("done", None, path)
        assert (item["sha256"], item["size"]) == (digests[path], len(contents[path]))
        assert (item["identifier"], item["attempts"]) == (given[digests[path]], 1)
        assert item["verdict"]["classification"] == "human"
        assert all(item[at].endswith("Z") for at in ("arrived_at", "submitted_at", "filed_at"))
        assert item["arrived_at"] <= item["submitted_at"] <= item["filed_at"]
    assert_one_line_an_outcome(daemon, [item["id"] for item in listed.values()])
    assert daemon.stop() == 0
    assert daemon.out == ""


def drop_fifty(place: Place) -> dict[str, bytes]:
    """Ten each: copied, moved in, written slowly, uploaded under a temporary name, and in a folder moved in."""
    outside = place.root / "outside"
    ways = ("copied", "moved", "slow", "uploaded", "tree")
    contents = {
        f"{way}/agent-{number % 3}/call-{number}.wav": speech(f"{way} {number}")
        for way in ways
        for number in range(10)
    }
    for path, content in contents.items():
        for root in (outside, place.root / "drop"):
            if not (root == place.root / "drop" and path.startswith("tree/")):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
        (outside / path).write_bytes(content)

    shutil.move(outside / "tree", place.root / "drop" / "tree")
    subprocess.run(["cp", "-r", outside / "copied", place.root / "drop"], check=True)
    for path in contents:
        if path.startswith("moved/"):
            subprocess.run(["mv", outside / path, place.root / "drop" / path], check=True)
        if path.startswith("uploaded/"):
            partial = place.root / "drop" / f"{path}.filepart"
            shutil.copy(outside / path, partial)
            partial.rename(place.root / "drop" / path)
    slow = [path for path in contents if path.startswith("slow/")]
    for quarter in range(4):  # less than the quiet time lies between two pieces
        for path in slow:
            piece = len(contents[path]) // 4 + 1
            with (place.root / "drop" / path).open("ab") as file:
                file.write(contents[path][quarter * piece : (quarter + 1) * piece])
        let_pass(0.1)
    return contents


def filed(place: Place) -> set[str]:
    """Paths below done/ that have a receipt."""
    return {
        path.removeprefix("done/").removesuffix(".json")
        for path in place.files()
        if path.startswith("done/") and path.endswith(".json")
    }


def assert_one_line_an_outcome(daemon: Program, ids: list[str]) -> None:
    for event in ("recording.queued", "recording.submitted", "recording.done"):
        assert Counter(line["item"] for line in daemon.events(event)) == Counter(ids), event
    others = Counter(line["event"] for line in daemon.log if not line.keys() & {"item", "identifier"})
    assert set(others.values()) == {1}, others


def test_an_idle_daemon_says_nothing(make_place: MakePlace, watcher: Programs) -> None:
    """Looking at the folder again and again writes no line, and a file that waits is no news each time."""
    place = make_place(arrivals={"settle_seconds": 0.1, "rescan_seconds": 0.4})
    place.drop("empty.wav", b"")
    daemon = watcher.daemon(place)
    daemon.wait_for("watch.chosen")
    seen: set[object] = set()

    def looks() -> int:
        seen.add(last_scan_at(place))
        return len(seen)

    wait_until(lambda: looks() >= 2, "two scans", told=lambda: daemon.err)
    at_first = [line["event"] for line in daemon.log]
    wait_until(lambda: looks() >= 7, "seven scans", told=lambda: daemon.err)

    assert [line["event"] for line in daemon.log] == at_first
    assert len(set(at_first)) == len(at_first)
    assert daemon.stop() == 0
    assert [line["event"] for line in daemon.log] == [*at_first, "daemon.stopped"]


HOLDING = """
from watcher.heap import give_back_large_blocks, give_back_small_blocks

def held():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

give_back_large_blocks()
"""
LARGE = """
bytes(24 << 20)  # what glibc learns its lesson from
before, kept = held(), []
for _ in range(8):
    large = bytearray(b"x") * (4 << 20)
    kept.append(bytearray(b"x") * 10_000)  # lies above it
    del large
print(held() - before)
"""
SMALL = """
before = held()
small = [bytearray(b"x") * 5_000 for _ in range(10_000)]
kept = small[::500]
del small
give_back_small_blocks()
print(held() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no such setting")
@pytest.mark.parametrize("needed", [LARGE, SMALL], ids=["large", "small"])
def test_memory_that_was_needed_for_a_moment_is_given_back(needed: str) -> None:
    """Whatever is held that was asked for later: what a scan of 100,000 files needs is not kept for ever."""
    found = subprocess.run([sys.executable, "-c", HOLDING + needed], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 2 << 20


def test_what_is_no_recording_costs_nothing_and_is_explained(
    make_place: MakePlace, service: Sandbox, watcher: Programs
) -> None:
    """Text named .wav and 16 MB fail unsent, an empty file waits; `why` and `status` tell, in words."""
    place = make_place(audio={"oversize": "fail"})
    daemon = watcher.daemon(place)
    place.drop("text.wav", b"Call back on Monday.\n")
    place.drop("large.wav", speech("large") + bytes(16_000_000))
    place.drop("empty.wav", b"")

    daemon.wait_for("recording.failed", 2)
    wait_until(lambda: set(waiting(place)) == {"empty.wav"}, "only the empty file waits")

    assert len(service.ledger) == 0
    assert "15,000,000" in watcher.ask(place, "why", "large.wav")
    assert "is empty" in watcher.ask(place, "why", place.root / "drop" / "empty.wav")
    assert place.receipt("failed/text.wav.json")["error"]["hint"]
    (status,) = watcher.ask_json(place, "status")
    assert status["states"]["failed"] == 2
    assert [file["path"] for file in status["waiting"]] == ["empty.wav"]
    assert {path for path in place.files() if path.startswith("drop/")} == {"drop/empty.wav"}


ODD_NAMES = [
    b"caf\xe9.wav",
    b"two\nlines.wav",
    b"-rf.wav",
    b"\x1b[31mred.wav",
    "Rückruf 日本.wav".encode(),
    b" .wav",
]


def test_odd_names_in_a_folder_moved_in_are_listed_as_one_safe_line_each(
    place: Place, service: Sandbox, watcher: Programs
) -> None:
    """Names that are no UTF-8, or hold a newline or a terminal's codes, break neither the daemon nor a script."""
    daemon = watcher.daemon(place)
    outside = os.fsencode(place.root / "share")
    os.makedirs(outside + b"/d\xe9p\xf4t")
    for number, name in enumerate(ODD_NAMES):
        (Path(os.fsdecode(outside)) / os.fsdecode(b"d\xe9p\xf4t/" + name)).write_bytes(speech(f"odd {number}"))

    subprocess.run(["mv", outside, place.root / "drop" / "share"], check=True)

    daemon.wait_for("recording.done", len(ODD_NAMES))
    out = watcher.ask(place, "list", "--json")
    items: list[JsonObject] = [json.loads(line) for line in out.splitlines()]
    names = {(b"share/d\xe9p\xf4t/" + name).decode(errors="backslashreplace") for name in ODD_NAMES}
    assert all(line.isprintable() for line in out.splitlines())
    assert {item["path"] for item in items} == {item["filed_as"] for item in items} == names
    assert service.charged == len(ODD_NAMES)
    plain = watcher.ask(place, "list")
    assert all(cell.isprintable() for line in plain.split("\n") for cell in line.split("\t"))
    assert len(plain.splitlines()) == len(ODD_NAMES) + 1
    for name in ODD_NAMES:
        path = os.fsdecode(b"share/d\xe9p\xf4t/" + name)
        assert (place.root / "done" / path).exists()
    assert "is done" in watcher.ask(place, "why", "--", os.fsdecode(b"share/d\xe9p\xf4t/-rf.wav"))


def test_a_recording_written_for_long_is_taken_once_and_whole(
    place: Place, service: Sandbox, watcher: Programs
) -> None:
    """A recorder that stops and goes on for longer than the quiet time is waited for, by its own header."""
    daemon = watcher.daemon(place)
    content = speech("live", seconds=6)
    target = place.root / "drop" / "live.wav"
    with target.open("wb") as file:
        file.write(content[:30_000])
    wait_until(lambda: "cut_short" in waiting(place).values(), "it waits", told=lambda: daemon.err)
    assert "cut short" in watcher.ask(place, "why", "live.wav")
    with target.open("ab") as file:
        file.write(content[30_000:])

    daemon.wait_for("recording.done")

    assert [(entry.sha256, entry.charged) for entry in posts(service)] == [(sha256(content).hexdigest(), True)]


def test_folders_that_come_quickly_are_no_news(place: Place, service: Sandbox, watcher: Programs) -> None:
    """A library's warnings about them, as long as a page, are kept out of the log."""
    environment = {name: text for name, text in ENVIRONMENT.items() if name != "PYTHONWARNINGS"}
    daemon = watcher.daemon(place, environment=environment | {"IDENTIFAI_API_KEY": KEY})
    for n in range(400):
        (place.root / "drop" / f"year={n}" / "month=1" / "day=1").mkdir(parents=True)
    place.drop("year=399/month=1/day=1/last.wav")

    daemon.wait_for("recording.done")

    assert {line["logger"] for line in daemon.log if not line["logger"].startswith("watcher.")} == set()
    assert {line["level"] for line in daemon.log} == {"info"}
