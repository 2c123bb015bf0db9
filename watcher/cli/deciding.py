"""The commands that record a person's decision: retry, release, fail, dismiss, pause, resume.

Each decision is recorded with the user's name; the daemon does the rest.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from watcher.accounts import name_person
from watcher.cli.opening import open_to_decide
from watcher.domain import Fault, Item, Pause, PauseKind
from watcher.errors import Exit, UsageError
from watcher.journey import decisions
from watcher.text import show_path, show_text
from watcher.views.context import CommandContext
from watcher.views.interruptions import ending, is_barred
from watcher.views.lookup import Named, find_failed, find_held, find_retriable, read_name
from watcher.views.prospects import IDLE, explain_delay, explain_retry, find_hindrance
from watcher.views.site_names import SiteName, name_sites


def retry(options: argparse.Namespace) -> int:
    if bool(options.items) == options.failed:
        raise UsageError(
            "retry: name recordings, or use --failed for all failed ones", hint="See `watcher retry --help`."
        )
    with open_to_decide(options) as context:
        named = None if options.failed else [read_name(context, text) for text in options.items]
        with context.store.reading() as books:
            asked = find_retriable(books, named)
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
        _tell_not_retried(item, fault)
    for item in overtaken:
        what = "dismissed" if item.dismissed is not None else item.state
        _tell_not_retried(item, Fault("decided", f"it has just become {what}", f"See `watcher show {item.id}`."))
    if not asked:
        print("There are no failed recordings that were not dismissed.", file=sys.stderr)
    return Exit.INCOMPLETE if hindered or overtaken else Exit.WELL


def _tell_not_retried(item: Item, why: Fault) -> None:
    """Say that this recording is not retried, and why."""
    print(f"watcher: {item.id} {show_path(item.path)}: is not retried: {why.message}", file=sys.stderr)
    print(f"         {why.hint}", file=sys.stderr)


def dismiss(options: argparse.Namespace) -> int:
    with open_to_decide(options) as context:
        named = [read_name(context, text) for text in options.items]
        with context.store.writing() as books:
            items = find_failed(books, named, "Only failed recordings can be dismissed.")
            decisions.dismiss(books, items, context.clock.now(), name_person(os.environ))
    for item in items:
        how = f"was dismissed already, by {item.dismissed.by}" if item.dismissed else "is dismissed"
        print(f"{item.id} {show_path(item.path)}: {how}; it stays in failed/, and `retry` undoes this")
    return Exit.WELL


def release(options: argparse.Namespace) -> int:
    with open_to_decide(options) as context:
        named = _named(context, options)
        with context.store.writing() as books:
            items = find_held(books, named)
            decisions.release(books, items, context.clock.now(), name_person(os.environ))
        for item in items:
            print(f"{item.id} {show_path(item.path)}: is queued and will be sent again")
        _tell_delay(context, items)
    if not items:
        print("Nothing is held.", file=sys.stderr)
    return Exit.WELL


def fail(options: argparse.Namespace) -> int:
    with open_to_decide(options) as context:
        named = _named(context, options)
        with context.store.writing() as books:
            items = decisions.give_up(books, find_held(books, named), context.clock.now(), name_person(os.environ))
        for item in items:
            print(f"{item.id} {show_path(item.path)}: is given up and will be filed in {item.outcome}/")
        _tell_delay(context, items, PauseKind.FOLDER)
    if not items:
        print("Nothing is held.", file=sys.stderr)
    return Exit.WELL


def _tell_delay(context: CommandContext, items: list[Item], *kinds: PauseKind) -> None:
    """Say why the decision on these takes no effect yet, if so. `kinds`: the pauses that matter; none: all."""
    if items:
        for line in explain_delay(context, kinds or tuple(PauseKind)):
            print(line)


def pause(options: argparse.Namespace) -> int:
    with open_to_decide(options) as context, context.store.writing() as books:
        reason, now, person = show_path(os.fsencode(options.reason)), context.clock.now(), name_person(os.environ)
        sites = name_sites(books, context.config) if options.all_sites else None
        if sites is None:
            before = decisions.pause(books, reason, now, person)
            replaced = [before] if before else []
        else:
            replaced = [*decisions.pause_each(books, [site.id for site in sites], reason, now, person).values()]
    if sites is None:
        print("Submitting is paused until `watcher resume`; everything else goes on.")
    else:
        print(f"Submitting is paused at {_sites_in_words(sites)}; everything else goes on.")
        print("`watcher resume --all-sites` ends it; `watcher resume` at a site ends it there alone.")
    for said in decisions.replaced_in_words(replaced):
        print(show_text(said))
    return Exit.WELL


def resume(options: argparse.Namespace) -> int:
    if options.all_sites:
        return _resume_all_sites(options)
    with open_to_decide(options) as context:
        with context.store.writing() as books:
            now = context.clock.now()
            ended, standing = decisions.resume(books, now, name_person(os.environ))
        if ended is not None:
            print("Submitting goes on." if not standing else "The person's pause is over.")
        _tell_standing(standing, now)
        if ended is None and not standing:
            print("Submitting was not paused.")
        elif context.is_idle():
            print(IDLE)
    return Exit.WELL


def _resume_all_sites(options: argparse.Namespace) -> int:
    """End a person's pause at every site of the account, and say what still stands in the way of each."""
    with open_to_decide(options) as context, context.store.writing() as books:
        now, person = context.clock.now(), name_person(os.environ)
        sites = name_sites(books, context.config)
        found = decisions.resume_each(books, [site.id for site in sites], now, person)
    ended = [site for site in sites if found[site.id][0] is not None]
    standing: dict[tuple[Pause, ...], list[SiteName]] = {}
    for site in sites:
        if pauses := found[site.id][1]:
            standing.setdefault(tuple(pauses), []).append(site)
    if ended:
        print(f"The person's pause is over at {_sites_in_words(ended)}.")
    for left, where in standing.items():
        print(f"At {_sites_in_words(where)}:")
        _tell_standing(left, now)
    if not ended and not standing:
        print(f"Submitting was not paused at {_sites_in_words(sites)}.")
    return Exit.WELL


def _tell_standing(pauses: Sequence[Pause], now: float) -> None:
    """Say what still keeps recordings from being submitted, and what ends that."""
    for pause in pauses:
        print(f"Still paused: {pause.reason}\n{ending(pause, now, is_barred=is_barred(pauses))}")


def _sites_in_words(sites: Sequence[SiteName]) -> str:
    named = ", ".join(map(str, sites))
    return named if len(sites) == 1 else f"{len(sites):,} sites ({named})"


def _named(context: CommandContext, options: argparse.Namespace) -> list[Named] | None:
    """The recordings that a person named; null for all held ones."""
    if bool(options.items) == options.all:
        command = options.command.partition(".")[2]
        raise UsageError(
            f"{command}: name recordings, or use --all for all held ones", hint=f"See `watcher {command} --help`."
        )
    return None if options.all else [read_name(context, text) for text in options.items]
