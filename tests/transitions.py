"""Who takes items from one state to another in the stories of the suite, as `TRANSITIONS` has it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from watcher.domain import TRANSITIONS, Item, Mover, State
from watcher.store.items import Items

_PROJECT = str(Path(__file__).parent.parent / "watcher")
_ROOMS = {
    Mover.ARRIVE: ("journey/arrive",),
    Mover.PREPARE: ("journey/prepare",),
    Mover.SUBMIT: ("journey/submit", "journey/duplicates", "journey/room"),
    Mover.FILE: ("journey/file",),
    Mover.RECOVER: ("journey/recover",),
    Mover.PERSON: ("journey/decisions",),
}
_strangers: list[str] = []


def strangers() -> list[str]:
    """Who made a change since the last call that the table does not give to it."""
    found = _strangers[:]
    _strangers.clear()
    return found


@contextmanager
def observed() -> Iterator[None]:
    """In the block, each change of a state by the product's own code is compared with the table."""
    change, add = Items.change, Items.add

    def changed(items: Items, item: Item, after: State, *args: Any, **changes: Any) -> None:
        _note(item.state, after)
        change(items, item, after, *args, **changes)

    def added(items: Items, item: Item, *args: Any, **more: Any) -> None:
        _note(None, item.state)
        add(items, item, *args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Items, "change", changed)
        patch.setattr(Items, "add", added)
        yield


@contextmanager
def any_transition() -> Iterator[None]:
    """In the block the store takes whatever a test says: it begins in the middle of a story."""
    with pytest.MonkeyPatch.context() as patch:
        for before in (None, *State):
            patch.setitem(TRANSITIONS, before, dict.fromkeys(State, tuple(Mover)))
        yield


def _note(before: State | None, after: State) -> None:
    frame = sys._getframe(2)
    if not frame.f_code.co_filename.startswith(_PROJECT):
        return  # a test's own deed
    mover = _mover(frame)
    if mover not in TRANSITIONS[before].get(after, ()):
        _strangers.append(f"{before} to {after} by {mover or frame.f_code.co_filename}")


def _mover(frame: FrameType) -> Mover | None:
    room = frame.f_code.co_filename.removeprefix(f"{_PROJECT}/")
    return next((mover for mover, rooms in _ROOMS.items() if room.startswith(rooms)), None)
