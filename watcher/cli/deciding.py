"""What a person decides: retry, release, fail, dismiss, pause, resume.

Each is written down, with who it was; the daemon does the rest.
"""

import argparse
import os
import sys

from watcher.accounts import name_person
from watcher.cli.opening import open_to_decide
from watcher.domain import Fault, Item, PauseKind
from watcher.errors import Exit, UsageError
from watcher.journey import decisions
from watcher.text import show_path
from watcher.views.context import CommandContext
from watcher.views.lookup import Named, find_failed, find_held, read_name
from watcher.views.prospects import IDLE, ending, explain_delay, explain_retry, find_hindrance, is_barred


def retry(options: argparse.Namespace) -> int:
    if bool(options.items) == options.failed:
        raise UsageError(
            "retry: name recordings, or all failed ones with --failed", hint="See `watcher retry --help`."
        )
    with open_to_decide(options) as context:
        named = None if options.failed else [read_name(context, text) for text in options.items]
        with context.store.reading() as books:
            asked = find_failed(books, named, "Only failed recordings can be sent again.")
        hindered = [(item, fault) for item in asked if (fault := find_hindrance(context, item)) is not None]
        left = {item.id for item, _ in hindered}
        with context.store.writing() as books:
            items, overtaken = decisions.retry(
                books,
                [item for item in asked if item.id not in left],
                context.clock.now(),
                name_person(os.environ),
                fresh=options.fresh,
                spares_dismissed=options.failed,
            )
        for item in items:
            print(f"{item.id} {show_path(item.path)}: {explain_retry(context, item)}")
        _tell_delay(context, items)
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
    with open_to_decide(options) as context:
        named = [read_name(context, text) for text in options.items]
        with context.store.writing() as books:
            items = find_failed(books, named, "Only failed ones can be dismissed.")
            decisions.dismiss(books, items, context.clock.now(), name_person(os.environ))
    for item in items:
        since = f" already, by {item.dismissed.by}" if item.dismissed else ""
        print(f"{item.id} {show_path(item.path)}: is dismissed{since}; it stays in failed/, and `retry` undoes it")
    return Exit.WELL


def release(options: argparse.Namespace) -> int:
    with open_to_decide(options) as context:
        named = _named(context, options)
        with context.store.writing() as books:
            items = find_held(books, named)
            decisions.release(books, items, context.clock.now(), name_person(os.environ))
        for item in items:
            print(f"{item.id} {show_path(item.path)}: is queued to be sent again")
        _tell_delay(context, items)
    if not items:
        print("Nothing is held.", file=sys.stderr)
    return Exit.WELL


def fail(options: argparse.Namespace) -> int:
    with open_to_decide(options) as context:
        named = _named(context, options)
        with context.store.writing() as books:
            items = find_held(books, named)
            decisions.give_up(books, items, context.clock.now(), name_person(os.environ))
        for item in items:
            print(f"{item.id} {show_path(item.path)}: is given up, and filed in failed/")
        _tell_delay(context, items, PauseKind.FOLDER)
    if not items:
        print("Nothing is held.", file=sys.stderr)
    return Exit.WELL


def _tell_delay(context: CommandContext, items: list[Item], *kinds: PauseKind) -> None:
    """Why what was decided on these does not happen at once, where it does not; only for pauses of these kinds."""
    if items:
        for line in explain_delay(context, kinds or tuple(PauseKind)):
            print(line)


def pause(options: argparse.Namespace) -> int:
    with open_to_decide(options) as context, context.store.writing() as books:
        reason = show_path(os.fsencode(options.reason))
        decisions.pause(books, reason, context.clock.now(), name_person(os.environ))
    print("Nothing is submitted until `watcher resume`; everything else goes on.")
    return Exit.WELL


def resume(options: argparse.Namespace) -> int:
    with open_to_decide(options) as context:
        with context.store.writing() as books:
            now = context.clock.now()
            ended, standing = decisions.resume(books, now, name_person(os.environ))
        if ended is not None:
            print("Submitting goes on." if not standing else "The pause by a person is over.")
        for pause in standing:
            print(f"Still paused: {pause.reason}\n{ending(pause, now, is_barred=is_barred(standing))}")
        if ended is None and not standing:
            print("Submitting was not paused.")
        elif context.is_idle():
            print(IDLE)
    return Exit.WELL


def _named(context: CommandContext, options: argparse.Namespace) -> list[Named] | None:
    """The recordings that a person named; null for all that are held."""
    if bool(options.items) == options.all:
        command = options.command.partition(".")[2]
        raise UsageError(
            f"{command}: name recordings, or all that are held with --all", hint=f"See `watcher {command} --help`."
        )
    return None if options.all else [read_name(context, text) for text in options.items]
