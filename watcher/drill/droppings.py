"""What is dropped in a drill: recordings of each fate, made from a seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from watcher.audio.synthesis import wav

PART_BYTES = 48_000
"""The most bytes that the drill's service takes: a longer recording is sent in parts."""

_A_ROUND = 3
_LONG_EVERY = 5  # rounds
_NOTES = b"Call back on Monday. This is no recording.\n"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A recording, and what must become of it."""

    path: str  # in the drop folder
    content: bytes
    fate: Literal["done", "failed"]
    is_paid: bool  # once, however many have these bytes
    in_parts: bool = False

    @property
    def digest(self) -> str:
        return sha256(self.content).hexdigest()


class Droppings:
    """Makes them, the same from the same seed. `parts`: some are longer than the service takes."""

    def __init__(self, seed: int, *, parts: bool) -> None:
        self._chance = random.Random(seed)  # noqa: S311 — the same moments again, no secret
        self._seed = seed
        self._parts = parts
        self._plain: list[bytes] = []
        self._made = 0
        self._rounds = 0

    def next_round(self) -> list[Dropped]:
        """Return the next few: a plain one first, then what chance says, and now and then one in parts."""
        self._rounds += 1
        made = [self._make_plain(), *(self._make_any() for _ in range(_A_ROUND - 1))]
        if self._parts and self._rounds % _LONG_EVERY == 1:
            made.append(self._make("long", wav(10.0, seed=self._number()), "done", in_parts=True))
        return made

    def _make_any(self) -> Dropped:
        kind = self._chance.choice(("plain", "plain", "again", "refused", "foreign"))
        if kind == "again":
            return self._make("again", self._chance.choice(self._plain), "done")
        if kind == "refused":
            content = wav(0.5, seed=self._number(), note=b"sandbox:unsupported")
            return self._make("refused", content, "failed")
        if kind == "foreign":
            return self._make("notes", _NOTES * 20 + b"%d\n" % self._number(), "failed")
        return self._make_plain()

    def _make_plain(self) -> Dropped:
        content = wav(self._chance.uniform(0.5, 2.5), seed=self._number())
        self._plain.append(content)
        return self._make("call", content, "done")

    def _make(
        self, name: str, content: bytes, fate: Literal["done", "failed"], *, in_parts: bool = False
    ) -> Dropped:
        self._made += 1
        path = f"agent-{self._made % 3}/{name}-{self._made:04}.wav"
        return Dropped(path, content, fate, is_paid=fate == "done", in_parts=in_parts)

    def _number(self) -> int:
        """Return a number for what is made next, which no other has."""
        return self._seed * 1_000_000 + self._made


def bytes_of(kills: int) -> int:
    """Return how many bytes so many rounds come to at the most, and a little more."""
    return (kills + 2) * (_A_ROUND * PART_BYTES + 4 * PART_BYTES)


def count_due(dropped: list[Dropped]) -> Iterator[str]:
    """Yield the digest of each content that is sent as it is, and to be paid for once."""
    yield from {one.digest for one in dropped if one.is_paid and not one.in_parts}
