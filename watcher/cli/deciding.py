"""What a person decides: retry, release, fail, pause, resume. Each is written down; the daemon does the rest."""

import argparse
import os
import sys
from collections.abc import Iterable
from dataclasses import replace

from watcher.cli.opening import Desk, Named, open_desk
from watcher.cli.prospects import IDLE, ending, explain_delay, explain_retry, is_barred
from watcher.domain import Item, Pause, PauseKind, State, show_path
from watcher.errors import Exit, NoSuchItem, UsageError
from watcher.folders import names_for
from watcher.journey.companions import companion_name
from watcher.journey.pauses import try_at_once
from watcher.store import Books


def retry(options: argparse.Namespace) -> int:
    if bool(options.items) == options.failed:
        raise UsageError(
            "retry: name recordings, or all failed ones with --failed", hint="See `watcher retry --help`."
        )
    with open_desk(options, decides=True) as desk:
        named = [desk.named(text) for text in options.items]
        with desk.store.writing() as books:
            if options.failed:
                items = list(books.items.listed([State.FAILED]))
            else:
                items = _found(desk, books, named, State.FAILED)
            now = desk.clock.now()
            for item in items:
                path = _free_path(books, item)
                companions = tuple(companion_name(companion, item.path, path) for companion in item.companions)
                changes = {"path": path, "companions": companions, "retried": True, "fresh": options.fresh}
                books.items.change(item, State.RETURNING, now, "a person asked for another try", **changes)
        for item in items:
            print(f"{item.id} {show_path(item.path)}: {explain_retry(desk, item)}")
        _tell_delay(desk, items)
    if not items:
        print("Nothing has failed.", file=sys.stderr)
    return Exit.WELL


def release(options: argparse.Namespace) -> int:
    with open_desk(options, decides=True) as desk:
        named = _named(desk, options)
        with desk.store.writing() as books:
            now = desk.clock.now()
            items = _held(desk, books, named)
            for item in items:
                changes = {"due_at": now, "faults": 0, "duplicate_of": None}
                books.items.change(item, State.QUEUED, now, "released by a person", **changes)
        for item in items:
            print(f"{item.id} {show_path(item.path)}: is queued to be sent again")
        _tell_delay(desk, items)
    if not items:
        print("Nothing is held.", file=sys.stderr)
    return Exit.WELL


def fail(options: argparse.Namespace) -> int:
    with open_desk(options, decides=True) as desk:
        named = _named(desk, options)
        with desk.store.writing() as books:
            now = desk.clock.now()
            items = _held(desk, books, named)
            for item in items:
                fault = item.fault and replace(item.fault, hint="A person gave it up.")  # no longer "decide"
                changes = {"outcome": State.FAILED, "filed_as": item.path, "fault": fault}
                books.items.change(item, State.FILING, now, "given up by a person", **changes)
        for item in items:
            print(f"{item.id} {show_path(item.path)}: is given up, and filed in failed/")
        _tell_delay(desk, items, PauseKind.FOLDER)
    if not items:
        print("Nothing is held.", file=sys.stderr)
    return Exit.WELL


def _tell_delay(desk: Desk, items: list[Item], *kinds: PauseKind) -> None:
    """Why what was decided on these does not happen at once, where it does not; only for pauses of these kinds."""
    if not items:
        return
    with desk.store.reading() as books:
        lines = explain_delay(desk, books, kinds or tuple(PauseKind))
    for line in lines:
        print(line)


def pause(options: argparse.Namespace) -> int:
    with open_desk(options, decides=True) as desk, desk.store.writing() as books:
        reason = show_path(os.fsencode(options.reason)) or "A person paused submitting."
        books.pauses.set(Pause(PauseKind.PERSON, "person", reason, desk.clock.now(), None))
    print("Nothing is submitted until `watcher resume`; everything else goes on.")
    return Exit.WELL


def resume(options: argparse.Namespace) -> int:
    with open_desk(options, decides=True) as desk:
        with desk.store.writing() as books:
            now = desk.clock.now()
            ended = books.pauses.end(PauseKind.PERSON, now)
            try_at_once(books, now)
            standing = books.pauses.active()
            books.obstacles.bring_forward(now)
        if ended is not None:
            print("Submitting goes on." if not standing else "The pause by a person is over.")
        for pause in standing:
            print(f"Still paused: {pause.reason} {ending(pause, now, is_barred=is_barred(standing))}")
        if ended is None and not standing:
            print("Submitting was not paused.")
        elif desk.is_idle():
            print(IDLE)
    return Exit.WELL


def _named(desk: Desk, options: argparse.Namespace) -> list[Named] | None:
    """The recordings that a person named; None for all that are held."""
    if bool(options.items) == options.all:
        command = options.command.partition(".")[2]
        raise UsageError(
            f"{command}: name recordings, or all that are held with --all", hint=f"See `watcher {command} --help`."
        )
    return None if options.all else [desk.named(text) for text in options.items]


def _held(desk: Desk, books: Books, named: list[Named] | None) -> list[Item]:
    """The held items that a person decides on: those that were named, or all."""
    if named is None:
        return list(books.items.listed([State.HELD]))
    return _found(desk, books, named, State.HELD)


def _found(desk: Desk, books: Books, names: Iterable[Named], state: State) -> list[Item]:
    """The items a person named, all in this state. NoSuchItem, before anything is changed, if one is not."""
    items = []
    for name in names:
        item = desk.find(books, name)
        if item.state is not state:  # a later one has its path: the one in the state that can be meant
            paths = {path for places in name.spellings for _, path in places}
            meant = [one for one in books.items.listed([state]) if {one.path, one.filed_as} & paths]
            item = meant[-1] if meant else item
        if item.state is not state:
            verb = "Only failed recordings can be sent again." if state is State.FAILED else "Only held ones can."
            shown = show_path(os.fsencode(name.text))
            raise NoSuchItem(
                f"{shown}: is {item.state}, not {state}", hint=f"{verb} See `watcher show {item.id}`."
            )
        items.append(item)
    return items


def _free_path(books: Books, item: Item) -> bytes:
    """Where it goes in the drop folder: its old path, unless another recording's item has that now."""
    names = names_for(item.path, item.id)
    return next(name for name in names if books.items.live_at(name) is None)  # the last has its whole id
