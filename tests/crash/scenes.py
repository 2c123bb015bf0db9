"""What people dropped, on a disk and before a service of its own, and what must be true of it in the end."""

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any

from tests.clock import FalseClock
from tests.crash.doors import Doors
from tests.crash.long import PART_BYTES, PARTS, long_recording, parts_of
from tests.places import REFUSED, Place, sandbox
from watcher import cli
from watcher.audio.synthesis import wav
from watcher.clock import SystemClock
from watcher.domain import Attempt, Charged, Item, State, VerdictState
from watcher.errors import Exit
from watcher.folders import LOCK, MARKER
from watcher.sandbox import LedgerEntry, Sandbox

EVERY_CROSSING = bool(os.environ.get("EVERY_CROSSING"))
"""As `make crash` has it; `make test` takes a part."""

_WAIT_SECONDS = 10.0
_HOUR = 3600.0
_MOST_DECISIONS = 2  # on one recording: a crash and a lost answer may each leave it in doubt


@cache
def recording(seed: str) -> bytes:
    """A WAV of 4 KB, whole, of its own content for each seed."""
    return wav(0.25, seed=len(seed), note=seed.encode())


class World:
    """One site with one service. Starts and crashes come and go; the disk and the service's books stay."""

    def __init__(self, place: Place, service: Sandbox) -> None:
        self.place = place
        self.service = service
        self.dropped: Counter[tuple[State, bytes]] = Counter()  # where each recording's bytes must end
        self.companions: Counter[bytes] = Counter()
        self.in_parts: set[bytes] = set()  # of what was dropped
        self._let_go = 0
        self._is_released = False

    def drop(self, path: str, content: bytes, fate: State = State.DONE) -> Path:
        """Somebody dropped a recording, which is to end as `fate`."""
        self.dropped[fate, content] += 1
        return self.place.drop(path, content)

    def drop_long(self, path: str, seed: str) -> None:
        """Somebody dropped a recording that goes out as five parts."""
        content = long_recording(seed)
        self.in_parts.add(content)
        self.drop(path, content)

    def drop_companion(self, path: str, content: bytes) -> None:
        """Somebody dropped a file that is to lie in done/, beside its recording."""
        self.companions[content] += 1
        self.place.drop(path, content)

    def fail_before(self, path: str, content: bytes) -> None:
        """The recording lies in failed/, refused by the service once; it will be accepted the next time."""
        self.service.add_fault(**REFUSED, times=1)
        self.drop(path, content)
        self.run()

    def run(self, doors: Doors | None = None) -> Doors:
        """One start, which ends at rest or in a crash; what was let go has arrived at the service.

        Verdicts of before are due by then: a pass asks for them, though it waits for its own alone.
        """
        doors = doors or Doors()
        self.place.clock.wait(self.place.config.verdicts.first_seconds, Event())
        with doors.installed():
            self.place.run_once(verdicts=True)
        self._let_go += doors.let_go
        end = SystemClock().monotonic() + _WAIT_SECONDS
        while len(self._uploads()) < self._let_go and SystemClock().monotonic() < end:
            SystemClock().wait(0.001, Event())
        return doors

    def check_wreck(self) -> None:
        """Asserts what must be true at every moment, so that people and backups may look at any."""
        found = self._found()
        for fate, content in self.dropped:
            assert content in found.values(), f"a recording is nowhere: {fate} {sorted(found)}"
        recordings = {content for _, content in self.dropped}
        for path, content in found.items():
            is_filed = content in recordings and not path.startswith("drop/") and not _is_draft(path)
            assert not is_filed or f"{path}.json" in found, f"filed without a receipt: {path}"
        self._check_doubtful_parts()

    def check(self) -> None:
        """Asserts all that must be true of a site at rest, whatever happened before.

        Where recordings are held, a person has them sent again, and it must be true again, of none held.
        """
        decisions = 0
        while held := self._check():
            assert self._holds, "held, though nobody is to be asked"
            assert decisions < _MOST_DECISIONS, "held for good"
            decisions += 1
            assert cli.main(["release", *held, "--config", str(self.place.config_path)]) == Exit.WELL
            self._is_released = True
            self.run()

    # Within

    def _check_doubtful_parts(self) -> None:
        """What the service was paid for lies in the spool, byte for byte, until its answer is known."""
        if not self.in_parts:
            return
        reader = sqlite3.connect(f"{self.place.config.books.as_uri()}?mode=ro", uri=True)
        with closing(reader):
            open_parts = reader.execute(
                "SELECT parts.sha256 FROM parts JOIN items ON items.id = parts.item_id "
                "WHERE parts.identifier IS NULL AND items.state IN ('preparing', 'queued', 'submitting', 'held')"
            ).fetchall()
        spool = self.place.root / "spool"
        lying = {sha256(path.read_bytes()).hexdigest() for path in spool.glob("*.wav")}
        paid = {entry.sha256 for entry in self._uploads() if entry.charged}
        assert not {digest for (digest,) in open_parts if digest in paid} - lying, "what is paid for was not kept"

    def _check(self) -> list[str]:
        """The ids of recordings that are held."""
        with self.place.books() as books:
            items = list(books.items.listed())
            attempts = {item.id: books.ledger.of_item(item.id) for item in items}
        self._check_states(items)
        self._check_files(items, attempts)
        self._check_spool(items)
        self._check_money(items, attempts)
        config = str(self.place.config_path)
        assert cli.main(["reconcile", "--config", config]) == Exit.WELL, "the books do not add up"
        return [item.id for item in items if item.state is State.HELD]

    def _check_states(self, items: list[Item]) -> None:
        assert len(items) == self.dropped.total(), f"one item a recording: {items}"
        at_rest = {State.DONE, State.FAILED, State.HELD}
        assert {item.state for item in items} <= at_rest, f"not at rest: {items}"
        done = [item for item in items if item.state is State.DONE]
        assert not [item for item in done if not item.identifier and not self._has_parts(item)]
        assert not [item for item in items if item.claim is not None]
        assert not [item for item in items if item.state is State.HELD and not item.fault], "held without a reason"

    def _check_files(self, items: list[Item], attempts: dict[str, list[Attempt]]) -> None:
        found = self._found()
        assert not [path for path in found if _is_draft(path)], "temporary files were left behind"
        lying: Counter[tuple[State, bytes]] = Counter()
        for item in items:
            path = f"drop/{os.fsdecode(item.path)}"
            if item.state is not State.HELD:
                assert item.filed_as is not None, f"its file was lost: {item}"
                path = f"{item.state}/{os.fsdecode(item.filed_as)}"
                if item.state is State.DONE and self.place.config.folders.by_verdict:
                    assert path.startswith("done/human/"), f"it did not move on: {path}"
                self._check_receipt(item, path, attempts[item.id])
                del found[f"{path}.json"]
            assert path in found, f"it is {item.state}, and its file is not at {path}"
            fate = State.DONE if item.state is State.HELD else item.state
            lying[fate, found.pop(path)] += 1
        assert lying == self.dropped, "every recording lies once where it belongs, byte for byte"
        rest = {path: content for path, content in found.items() if not self._is_of_held(path, items)}
        assert Counter(found.values()) == self.companions, f"nothing else lies anywhere: {sorted(found)}"
        assert all(path.startswith("done/") for path in rest), f"companions were left behind: {sorted(rest)}"

    def _found(self) -> dict[str, bytes]:
        """Every file in the folders but our marks, by its path relative to the place."""
        found: dict[str, bytes] = {}
        for name in ("drop", "done", "failed"):
            root = self.place.root / name
            for path in root.rglob("*"):
                if path.is_file() and path not in (root / os.fsdecode(MARKER), root / os.fsdecode(LOCK)):
                    found[f"{name}/{path.relative_to(root)}"] = path.read_bytes()
        return found

    def _is_of_held(self, path: str, items: list[Item]) -> bool:
        return any(item.state is State.HELD and os.fsencode(path[5:]) in item.companions for item in items)

    def _check_receipt(self, item: Item, path: str, attempts: list[Attempt]) -> None:
        assert (self.place.root / f"{path}.json").exists(), f"no receipt beside {path}"
        receipt = self.place.receipt(f"{path}.json")
        assert receipt["id"] == item.id
        assert receipt["state"] == item.state
        assert receipt["identifier"] == item.identifier
        assert (receipt["error"] is None) == (item.state is State.DONE)
        assert receipt["attempts"] == [attempt.as_json() for attempt in attempts], "the receipt is old"
        if item.state is State.DONE:
            assert receipt["verdict"], "no verdict in the receipt"
            assert receipt["verdict"]["state"] == VerdictState.KNOWN

    def _check_spool(self, items: list[Item]) -> None:
        """Nothing lies in the spool but what is of recordings that are held."""
        held = tuple(item.id for item in items if item.state is State.HELD)
        lying = [path.name for path in (self.place.root / "spool").glob("*")]
        assert not [name for name in lying if not held or not name.startswith(held)], f"in the spool: {lying}"

    def _has_parts(self, item: Item) -> bool:
        """Whether it has all its parts, each with the identifier that the service gave for it."""
        with self.place.books() as books:
            parts = books.parts.of(item.id)
        given = {(entry.sha256, entry.identifier) for entry in self._uploads()}
        assert all((part.sha256, part.identifier) in given for part in parts if part.identifier)
        return len(parts) == PARTS and all(part.identifier for part in parts)

    def _check_money(self, items: list[Item], attempts: dict[str, list[Attempt]]) -> None:
        uploads = self._uploads()
        assert not [entry for entry in uploads if entry.status == 429], "a rate limit was not kept to"
        accepted = Counter(entry.sha256 for entry in uploads if entry.charged or entry.cached)
        charged = Counter(entry.sha256 for entry in uploads if entry.charged)
        assert not charged or max(charged.values()) == 1, "paid twice"
        done = {
            sha256(sent).hexdigest()
            for fate, content in self.dropped
            if fate is State.DONE
            for sent in (parts_of(content) if content in self.in_parts else (content,))
        }
        if not self._holds:
            assert set(charged) == done, "paid for exactly what was accepted"
        elif not self._is_released:
            assert not accepted or max(accepted.values()) == 1, "sent again under hold"
        for item in items:
            mine = [entry for entry in uploads if _item_id(entry) == item.id]
            made = attempts[item.id]
            assert len(made) == item.attempts
            assert not [attempt for attempt in made if attempt.ended_at is None]
            # Whatever came through to the service stands in the ledger, and what it cost is never denied.
            assert len(mine) <= sum(attempt.released_at is not None for attempt in made), "sent unseen"
            known = sum(attempt.charged is not Charged.NO for attempt in made)
            assert sum(entry.charged or entry.cached for entry in mine) <= known, "its cost is denied"
        assert {_item_id(entry) for entry in uploads} <= {item.id for item in items}, "sent for no item"

    @property
    def _holds(self) -> bool:
        return self.place.config.identifai.in_doubt == "hold"

    def _uploads(self) -> list[LedgerEntry]:
        return [entry for entry in self.service.ledger if entry.method == "POST" and entry.is_whole]


def _item_id(entry: LedgerEntry) -> str:
    """Whose upload it was: the ref_id is the item's id, and of a part its number behind that."""
    return (entry.ref_id or "").partition("-")[0]


def _is_draft(path: str) -> bool:
    return os.path.basename(path).startswith(".")


@dataclass(frozen=True)
class Scene:
    """What was done before the start that will crash."""

    set_up: Callable[[World], None]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    service: dict[str, Any] = field(default_factory=dict)
    is_first_start: bool = False
    elsewhere: tuple[str, ...] = ()  # folders that lie on another file system
    stride: int = 1 if EVERY_CROSSING else 2  # every so many crossings a crash

    @contextmanager
    def world(self, root: Path, template: Path, other: Path | None = None) -> Iterator[World]:
        """The scene is set. `template` is an empty database of this version, `other` is on another file system."""
        for name in self.elsewhere:
            assert other is not None
            (other / name).mkdir()
            (root / name).symlink_to(other / name)
        if not self.is_first_start:
            (root / "watcher.db").write_bytes(template.read_bytes())
        # Later than any file that was really made: drafts of before the crash are old at the next start.
        clock = FalseClock(SystemClock().now() + _HOUR)
        with sandbox(clock, verdict_after_seconds=0.0, **self.service) as service:
            world = World(Place(root, service.url, clock, **self.settings), service)
            self.set_up(world)
            yield world


def _plain(world: World) -> None:
    world.drop("agent-7/call.wav", recording("call"))


def _strange_name(world: World) -> None:
    world.drop("agent 7/call: Müller?.wav", recording("call"))  # of which done/ is asked before it is paid for


def _duplicates(world: World) -> None:
    world.drop("first.wav", recording("same"))
    world.drop("copy.wav", recording("same"))


def _refused(world: World) -> None:
    odd = recording("odd")
    world.service.add_fault(**REFUSED, times=0, sha256=sha256(odd).hexdigest())
    world.drop("odd.wav", odd, State.FAILED)
    world.drop("notes.wav", b"Call back on Monday.\n", State.FAILED)


def _accompanied(world: World) -> None:
    world.drop_companion("a/call.xml", b"<call/>")
    world.drop_companion("a/call.wav.done", b"ready")
    world.drop("a/call.wav", recording("call"))


def _taken_name(world: World) -> None:
    world.drop("call.wav", recording("monday"))
    world.run()
    world.drop("call.wav", recording("tuesday"))


def _retried(world: World) -> None:
    world.fail_before("a/one.wav", recording("one"))
    world.place.retry("a/one.wav")


def _dragged_back(world: World) -> None:
    world.fail_before("one.wav", recording("one"))
    os.rename(world.place.root / "failed/one.wav", world.place.root / "drop/again.wav")


def _lost_answer(world: World) -> None:
    world.service.add_fault("lose_answer", times=1)
    world.drop("call.wav", recording("call"))


def _in_parts_twice(world: World) -> None:
    """With one more that is sent as it is, and lost answers on the way."""
    world.service.add_fault("lose_answer", ordinal=3)
    world.drop_long("a/long.wav", "long")
    world.drop("call.wav", recording("call"))
    world.drop_long("copy.wav", "long")


def _in_parts_lost_answer(world: World) -> None:
    world.service.add_fault("lose_answer", ordinal=3)
    world.drop_long("long.wav", "long")


def _in_parts_retried(world: World) -> None:
    """The service refused its second part; a person has it completed."""
    world.service.add_fault(**REFUSED, ordinal=2)
    world.drop_long("long.wav", "long")
    world.run()
    world.place.retry("long.wav")


_COMPANIONS = {"arrivals": {"marker": ".done", "sidecar": [".xml"]}}
_HOLD = {"identifai": {"in_doubt": "hold"}}
_PARTS: dict[str, dict[str, Any]] = {"limits": {"max_upload_bytes": PART_BYTES}, "audio": {"oversize": "split"}}
_STRIDE = 1 if EVERY_CROSSING else 7  # five parts cross the same doors five times
_LITTLE_ROOM = _PARTS | {"audio": {"oversize": "split", "spool_bytes": 2 * PART_BYTES}}

SCENES = {
    "plain": Scene(_plain),
    "first_start": Scene(_plain, is_first_start=True),
    "unlimited": Scene(_plain, {"limits": {"writes": []}}, service={"writes": ()}),
    "strange_name": Scene(_strange_name),
    "duplicates": Scene(_duplicates),
    "refused": Scene(_refused),
    "accompanied": Scene(_accompanied, _COMPANIONS),
    "taken_name": Scene(_taken_name),
    "retried": Scene(_retried),
    "dragged_back": Scene(_dragged_back),
    "lost_answer": Scene(_lost_answer),
    "owned": Scene(_accompanied, _COMPANIONS | {"folders": {"own": True}}),
    "owned_refused": Scene(_refused, {"folders": {"own": True}}),
    "owned_retried": Scene(_retried, {"folders": {"own": True}}),
    "by_verdict": Scene(_accompanied, _COMPANIONS | {"folders": {"by_verdict": True}}),
    "by_verdict_taken": Scene(_taken_name, {"folders": {"by_verdict": True}}),
    "by_verdict_owned": Scene(_accompanied, _COMPANIONS | {"folders": {"by_verdict": True, "own": True}}),
    "other_disk": Scene(_plain, elsewhere=("done",)),
    "retried_from_other_disk": Scene(_retried, elsewhere=("failed",)),
    "hold": Scene(_duplicates, _HOLD),
    "hold_lost_answer": Scene(_lost_answer, _HOLD),
    "parts_twice": Scene(_in_parts_twice, _PARTS, stride=_STRIDE),
    "parts_one_by_one": Scene(_in_parts_lost_answer, _LITTLE_ROOM, stride=_STRIDE),
    "parts_hold": Scene(_in_parts_lost_answer, _PARTS | _HOLD, stride=_STRIDE),
    "parts_retried": Scene(_in_parts_retried, _PARTS, stride=_STRIDE),
}
