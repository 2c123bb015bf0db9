"""What is fuzzed: something of ours that takes bytes which others wrote, and what must hold whatever they are."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

MEGABYTE = 1 << 20

Check = Callable[[bytes], None]
"""Raises whatever it likes where something does not hold."""


@dataclass(frozen=True)
class Target:
    """Something that is fuzzed.

    `opened` yields the check, with whatever it needs around it. `seeds`: real inputs, of which others are made.
    `words`: what stands in such inputs, put in at random. `seconds`: of CPU, and `memory_bytes`: what one input
    may take beside what was taken before.
    """

    name: str
    opened: Callable[[], AbstractContextManager[Check]]
    seeds: Callable[[], Sequence[bytes]]
    words: tuple[bytes, ...] = ()
    is_json: bool = False
    most_bytes: int = MEGABYTE
    seconds: float = 1.0
    memory_bytes: int = 128 * MEGABYTE


def plain(name: str, check: Check, seeds: Callable[[], Sequence[bytes]], **bounds: object) -> Target:
    """A target that needs nothing around its check."""
    return Target(name, partial(_bare, check), seeds, **bounds)  # type: ignore[arg-type]


@contextmanager
def _bare(check: Check) -> Iterator[Check]:
    yield check


def is_safe(text: str, but_for: str = "") -> bool:
    """Whether a terminal shows the text and obeys nothing in it."""
    return all(one.isprintable() or one in but_for for one in text)


def all_safe(texts: Iterable[str]) -> bool:
    return all(map(is_safe, texts))
