"""What a person decides: retry, release, fail, dismiss, pause, resume.

Each is written down, with who it was; the daemon does the rest.
"""

import argparse
import os
import sys
from collections.abc import Iterable

from watcher.cli.opening import Desk, Named, open_desk
from watcher.cli.prospects import IDLE, ending, explain_delay, explain_retry, find_hindrance, is_barred
from watcher.domain import Dismissed, Fault, Item, Pause, PauseKind, State, show_path
from watcher.errors import Exit, NoSuchItem, UsageError
from watcher.folders import names_for
from watcher.journey.companions import companion_name
from watcher.journey.pauses import try_at_once
from watcher.journey.policy import decided
from watcher.person import name_person
from watcher.store import Books


def retry(options: argparse.Namespace) -> int:
    if bool(options.items) == options.failed:
        raise UsageError(
            "retry: name recordings, or all failed ones with --failed", hint="See `watcher retry --help`."
        )
    with open_desk(options, decides=True) as desk:
        named = [desk.named(text) for text in options.items]
        with desk.store.reading() as books:
            if options.failed:
                asked = [item for item in books.items.listed([State.FAILED]) if item.dismissed is None]
            else:
                asked = _found(desk, books, named, State.FAILED)
        hindered = [(item, fault) for item in asked if (fault := find_hindrance(desk, item)) is not None]
        left = {item.id for item, _ in hindered}
        items, overtaken = [], []
        with desk.store.writing() as books:
            now, person = desk.clock.now(), name_person(os.environ)
            for found in (item for item in asked if item.id not in left):
                item = books.items.get(found.id) or found  # others may have decided, while the disk was asked
                if item.state is not State.FAILED or (options.failed and item.dismissed is not None):
                    overtaken.append(item)
                    continue
                path = _free_path(books, item)
                companions = tuple(companion_name(companion, item.path, path) for companion in item.companions)
                changes = {"path": path, "companions": companions, "retried": True, "fresh": options.fresh}
                note = f"{person} asked for another try"
                books.items.change(item, State.RETURNING, now, note, by=person, **changes)
                items.append(item)
        for item in items:
            print(f"{item.id} {show_path(item.path)}: {explain_retry(desk, item)}")
        _tell_delay(desk, items)
    for item, fault in hindered:
        _tell_left(item, fault)
    for item in overtaken:
        what = "dismissed" if item.dismissed is not None else item.state
        _tell_left(item, Fault("decided", f"it is {what} since a moment ago", f"See `watcher show {item.id}`."))
    if not asked:
        print("Nothing has failed that was not dismissed.", file=sys.stderr)
    return Exit.INCOMPLETE if hindered or overtaken else Exit.WELL


def _tell_left(item: Item, why: Fault) -> None:
    """What a person asked for is not done to this one."""
    print(f"watcher: {item.id} {show_path(item.path)}: is left as it is: {why.message}", file=sys.stderr)
    print(f"         {why.hint}", file=sys.stderr)


def dismiss(options: argparse.Namespace) -> int:
    with open_desk(options, decides=True) as desk:
        named = [desk.named(text) for text in options.items]
        with desk.store.writing() as books:
            now, person = desk.clock.now(), name_person(os.environ)
            items = _found(desk, books, named, State.FAILED, verb="Only failed ones can be dismissed.")
            for item in items:
                if item.dismissed is None:
                    changes = {"dismissed": Dismissed(now, person), "receipt_due": True}
                    books.items.change(item, State.FAILED, now, f"dismissed by {person}", by=person, **changes)
    for item in items:
        since = f" already, by {item.dismissed.by}" if item.dismissed else ""
        print(f"{item.id} {show_path(item.path)}: is dismissed{since}; it stays in failed/, and `retry` undoes it")
    return Exit.WELL


def release(options: argparse.Namespace) -> int:
    with open_desk(options, decides=True) as desk:
        named = _named(desk, options)
        with desk.store.writing() as books:
            now, person = desk.clock.now(), name_person(os.environ)
            items = _held(desk, books, named)
            for item in items:
                fault = decided(item, "A person released it.")
                changes = {"due_at": now, "faults": 0, "suspected_at": None, "duplicate_of": None, "fault": fault}
                books.items.change(item, State.QUEUED, now, f"released by {person}", by=person, **changes)
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
            now, person = desk.clock.now(), name_person(os.environ)
            items = _held(desk, books, named)
            for item in items:
                fault = decided(item, "A person gave it up.")
                changes = {"outcome": State.FAILED, "filed_as": item.path, "fault": fault}
                books.items.change(item, State.FILING, now, f"given up by {person}", by=person, **changes)
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
        person = name_person(os.environ)
        books.pauses.set(Pause(PauseKind.PERSON, "person", reason, desk.clock.now(), None, by=person))
    print("Nothing is submitted until `watcher resume`; everything else goes on.")
    return Exit.WELL


def resume(options: argparse.Namespace) -> int:
    with open_desk(options, decides=True) as desk:
        with desk.store.writing() as books:
            now = desk.clock.now()
            ended = books.pauses.end(PauseKind.PERSON, now, by=name_person(os.environ))
            try_at_once(books, now)
            standing = books.pauses.active()
            books.obstacles.bring_forward(now)
        if ended is not None:
            print("Submitting goes on." if not standing else "The pause by a person is over.")
        for pause in standing:
            print(f"Still paused: {pause.reason}\n{ending(pause, now, is_barred=is_barred(standing))}")
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


def _found(desk: Desk, books: Books, names: Iterable[Named], state: State, *, verb: str = "") -> list[Item]:
    """The items a person named, each once, all in this state. NoSuchItem, before any is changed, if one is not.

    `verb`: which ones the command is for, in a sentence.
    """
    items = []
    for name in names:
        item = desk.find(books, name)
        if item.state is not state:  # a later one has its path: the one in the state that can be meant
            paths = {path for places in name.spellings for _, path in places}
            meant = [one for one in books.items.listed([state]) if {one.path, one.filed_as} & paths]
            item = meant[-1] if meant else item
        if item.state is not state:
            verbs = {State.FAILED: "Only failed recordings can be sent again.", State.HELD: "Only held ones can."}
            verb = verb or verbs[state]
            shown = show_path(os.fsencode(name.text))
            raise NoSuchItem(
                f"{shown}: is {item.state}, not {state}", hint=f"{verb} See `watcher show {item.id}`."
            )
        items.append(item)
    return list({item.id: item for item in items}.values())


def _free_path(books: Books, item: Item) -> bytes:
    """Where it goes in the drop folder: its old path, unless another recording's item has that now."""
    names = names_for(item.path, item.id)
    return next(name for name in names if books.items.live_at(name) is None)  # the last has its whole id
