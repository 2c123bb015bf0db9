"""The drill's auditor finds each broken promise: one that never does proves nothing."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from watcher.audio.synthesis import wav
from watcher.drill.auditor import Scene, audit_accepted, audit_bill, audit_money, audit_rest, audit_wreck
from watcher.drill.droppings import Dropped
from watcher.sandbox import LedgerEntry


class World:
    """Recordings at rest as they must be, and the sandbox's books; a test breaks something of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.call = Dropped("a/call.wav", wav(0.2, seed=1), "done", is_paid=True)
        self.again = Dropped("a/again.wav", self.call.content, "done", is_paid=True)
        self.refused = Dropped("b/refused.wav", wav(0.2, seed=2), "failed", is_paid=False)
        self.long = Dropped("b/long.wav", wav(0.3, seed=3), "done", is_paid=True, in_parts=True)
        self.dropped = [self.call, self.again, self.refused, self.long]
        self.ledger: list[LedgerEntry] = []
        for name in ("drop", "done", "failed"):
            (root / name).mkdir()
            (root / name / ".watcher").write_text("{}")
        parts = [{"sha256": "part-1", "identifier": "i1"}, {"sha256": "part-2", "identifier": "i2"}]
        self.pay("part-1", "i1")
        self.pay("part-2", "i2")
        self.pay(self.call.digest, "i3")
        self.file(self.call, identifier="i3")
        self.file(self.again, identifier="i3", duplicate_of="1")
        self.file(self.refused, error={"code": "refused"})
        self.file(self.long, parts=parts)

    def pay(self, digest: str, identifier: str, *, cached: bool = False) -> None:
        self.ledger.append(
            LedgerEntry(
                time=0.0,
                method="POST",
                path="/",
                sha256=digest,
                identifier=identifier,
                charged=not cached,
                cached=cached,
            )
        )

    def at(self, one: Dropped) -> Path:
        return self.root / one.fate / one.path

    def receipt(self, one: Dropped) -> Path:
        return self.at(one).with_name(self.at(one).name + ".json")

    def file(self, one: Dropped, **told: Any) -> None:
        self.at(one).parent.mkdir(exist_ok=True)
        self.at(one).write_bytes(one.content)
        facts = {"id": "1", "state": one.fate, "path": one.path, "sha256": one.digest, "size": len(one.content)}
        self.receipt(one).write_text(json.dumps(facts | {"identifier": None, "error": None} | told))

    def tell(self, one: Dropped, **told: Any) -> None:
        """The receipt says otherwise."""
        self.receipt(one).write_text(json.dumps(json.loads(self.receipt(one).read_text()) | told))

    def finds(self) -> list[str]:
        scene = Scene({name: str(self.root / name) for name in ("drop", "done", "failed")})
        return [
            *audit_wreck(scene, self.dropped),
            *audit_rest(scene, self.dropped),
            *audit_money(self.dropped, self.ledger),
            *audit_bill(scene, self.dropped, self.ledger),
        ]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_what_is_as_it_must_be_is_no_find(world: World) -> None:
    assert world.finds() == []


def lose(world: World) -> None:
    world.at(world.refused).unlink()
    world.receipt(world.refused).unlink()


def lose_one_of_two(world: World) -> None:
    world.at(world.again).unlink()
    world.receipt(world.again).unlink()


def cut_short(world: World) -> None:
    world.at(world.call).write_bytes(world.call.content[:-100])


def take_receipt(world: World) -> None:
    world.receipt(world.call).unlink()


def tear_receipt(world: World) -> None:
    text = world.receipt(world.call).read_text()
    world.receipt(world.call).write_text(text[: len(text) // 2])


def leave_in_drop(world: World) -> None:
    (world.root / "drop" / "call.wav").write_bytes(world.call.content)


def file_wrongly(world: World) -> None:
    (world.root / "failed" / "call.wav").write_bytes(world.call.content)
    receipt = world.receipt(world.call).read_text().replace('"state": "done"', '"state": "failed"')
    (world.root / "failed" / "call.wav.json").write_text(receipt)


def leave_draft(world: World) -> None:
    (world.root / "done" / ".watcher-0a.tmp").write_bytes(b"half")


def leave_receipt(world: World) -> None:
    (world.root / "done" / "gone.wav.json").write_text(world.receipt(world.call).read_text())


def forget_identifier(world: World) -> None:
    world.tell(world.call, identifier=None)


def invent_identifier(world: World) -> None:
    world.tell(world.call, identifier="invented")


def forget_reason(world: World) -> None:
    world.tell(world.refused, error=None)


def mistake_bytes(world: World) -> None:
    world.tell(world.call, sha256=sha256(b"others").hexdigest())


def send_whole(world: World) -> None:
    world.tell(world.long, parts=None, identifier="i1")


def pay_twice(world: World) -> None:
    world.pay(world.call.digest, "i4")


def pay_part_twice(world: World) -> None:
    world.pay("part-1", "i1")


def pay_for_nothing(world: World) -> None:
    world.pay(world.refused.digest, "i5")


def pay_for_strangers(world: World) -> None:
    world.pay("unheard of", "i6")


def never_pay(world: World) -> None:
    world.ledger = [entry for entry in world.ledger if entry.sha256 != "part-2"]


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lose, "lost: b/refused.wav is nowhere"),
        (lose_one_of_two, "lost: a/"),
        (cut_short, "half there: done/a/call.wav"),
        (take_receipt, "filed without a receipt: done/a/call.wav"),
        (tear_receipt, "not a whole receipt: done/a/call.wav.json"),
        (leave_in_drop, "lies in drop/ 1 times more"),
        (file_wrongly, "filed in the wrong folder: failed/call.wav"),
        (leave_draft, "left behind: done/.watcher-0a.tmp"),
        (leave_receipt, "left behind: done/gone.wav.json"),
        (forget_identifier, "a receipt without an identifier: done/a/call.wav.json"),
        (invent_identifier, "an identifier that the service never gave for these bytes: done/a/call.wav.json"),
        (forget_reason, "a receipt without a reason: failed/b/refused.wav.json"),
        (mistake_bytes, "a receipt of other bytes: done/a/call.wav.json"),
        (send_whole, "not sent in parts: done/b/long.wav"),
        (pay_twice, "paid 2 times: a/"),
        (pay_part_twice, "paid 2 times: a part, part-1"),
        (pay_for_nothing, "paid for nothing: b/refused.wav"),
        (pay_for_strangers, "paid for, and nobody dropped it: unheard of"),
        (never_pay, "never paid for: a part of b/long.wav"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_broken_promise_is_found(world: World, damage: Callable[[World], None], found: str) -> None:
    damage(world)
    assert [find for find in world.finds() if found in find], world.finds()


def test_what_is_accepted_twice_under_hold_is_found(world: World) -> None:
    """Though the service answers from its cache, and charges nothing."""
    assert list(audit_accepted(world.dropped, world.ledger)) == []
    world.pay(world.call.digest, "i3", cached=True)
    (found,) = audit_accepted(world.dropped, world.ledger)
    assert "accepted 2 times under hold: a/" in found
    assert list(audit_money(world.dropped, world.ledger)) == []
