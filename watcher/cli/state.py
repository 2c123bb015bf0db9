"""`status`: whether the site works, what needs a person, and how far it is. It needs no key."""

import argparse
import os
import sys
from collections.abc import Callable
from threading import Event

from watcher.cli.columns import cut_middle, is_coloured, terminal_width, wrap
from watcher.cli.opening import open_as_it_stands, open_context, print_json
from watcher.cli.spending import charge_in_words
from watcher.clock import SystemClock
from watcher.config import Config
from watcher.domain import Alteration
from watcher.errors import Exit, UsageError
from watcher.text import length, local_time, moment, name_once, show_path
from watcher.views.health import Trouble, find_troubles, read_vitals
from watcher.views.status import Status, read_status

_INDENT = 13
_RENEWED_SECONDS = 2.0
_CLEAR = "\x1b[H\x1b[2J"  # to the top, and the screen; what was there before can still be scrolled to
_ALARMING = frozenset({"lost", "needs you", "failing", "paused", "no answer", "blocked", "stuck"})

JUST_SEEN = "was just seen"
_DECISIONS = {"failed": "`retry` or `dismiss`", "held": "`release` or `fail`"}


def status(options: argparse.Namespace) -> int:
    if options.healthy:
        if options.all_sites:
            raise UsageError(
                "status: whether work succeeds is asked of one site",
                hint="Ask at each site, or have Prometheus watch watcher_sites_without_node.",
            )
        return _tell_health(options)
    if not options.watch:
        print_once(options)
        return Exit.WELL
    return _watch(options, print_once)


def print_once(options: argparse.Namespace) -> None:
    """Print the state as it is now."""
    if options.all_sites:
        _print_sites_once(options)
        return
    with open_as_it_stands(options) as context:
        found, now, config = read_status(context), context.clock.now(), context.config
    if options.json:
        print_json(found.as_json())
    else:
        _Sheet(found, now, config).print()


def _print_sites_once(options: argparse.Namespace) -> None:
    # Loaded only here: the one prints in terms of this module, the other takes a thirtieth of a short `status`.
    from watcher.cli.all_sites import print_sites  # noqa: PLC0415
    from watcher.views.sites import read_sites  # noqa: PLC0415

    with open_context(options) as context:
        found, now = read_sites(context), context.clock.now()
    if options.json:
        print_json(found.as_json())
    else:
        print_sites(found, now)


def _watch(options: argparse.Namespace, show: Callable[[argparse.Namespace], None]) -> int:
    """Show it again and again: on a terminal in place, for programs one after the other. Ctrl-C ends it."""
    never, clock = Event(), SystemClock()
    try:
        while True:
            if terminal_width() is not None and not options.json and os.environ.get("TERM") != "dumb":
                sys.stdout.write(_CLEAR)
            show(options)
            if terminal_width() is None and not options.json:
                print()
            sys.stdout.flush()
            clock.wait(_RENEWED_SECONDS, never)
    except KeyboardInterrupt:
        return Exit.WELL


def _tell_health(options: argparse.Namespace) -> int:
    """Say whether work succeeds, for monitoring. Exit with the code of the first trouble."""
    with open_as_it_stands(options) as context:
        now, rescan_seconds = context.clock.now(), context.config.arrivals.rescan_seconds
        troubles: list[Trouble] = find_troubles(read_vitals(context), now, rescan_seconds)
    if options.json:
        print_json({"healthy": not troubles, "reasons": [trouble.said for trouble in troubles]})
    else:
        for said in [trouble.said for trouble in troubles] or ["work succeeds"]:
            print(said)
    return troubles[0].code if troubles else Exit.WELL


class _Sheet:
    """What `status` tells a person: what matters most comes first."""

    def __init__(self, found: Status, now: float, config: Config) -> None:
        self._found = found
        self._now = now
        self._config = config

    def print(self) -> None:
        self._print_works()
        self._print_troubles()
        self._print_needs()
        found = self._found
        for charge in found.today.charges:
            self._line("today" if charge.span == "day" else "this month", charge_in_words(charge))
        self._line("verdicts", self._verdicts_in_words())
        states = ", ".join(f"{number:,} {state}" for state, number in found.counts.states.items() if number)
        self._line("recordings", states or "none yet")
        self._line("rate", found.rate)
        self._line("backlog", _backlog_in_words(found))
        for one in found.in_parts:
            self._line("in parts", f"{self._name(one.item.path)}: {one.progress}")
        never = "unknown" if found.lost else "never: the daemon has not run yet"
        self._line("last scan", never if found.last_scan_at is None else moment(found.last_scan_at, self._now))
        if found.waiting:
            self._line("waiting", _waiting_in_words(found))
        if left := _left_in_words(found):
            self._line("left alone", left)

    def _print_works(self) -> None:
        """Whether it works, first of all."""
        found = self._found
        said = found.working.describe(self._now)
        troubles = find_troubles(found, self._now, self._config.arrivals.rescan_seconds)
        if not troubles:
            said += "; all works"
        elif all(trouble.code is Exit.UNAVAILABLE for trouble in troubles):
            said += ", but nothing is submitted: see below"
        self._line("daemon", said)

    def _print_troubles(self) -> None:
        """What does not work as it should."""
        found = self._found
        if lost := found.lost:
            self._line("lost", f"{lost.message}. {lost.hint}")
        for one in found.failing:
            told = " ".join(filter(None, [f"{one.fault.message}.", one.fault.hint]))
            worked = "before the start" if one.succeeded_at is None else moment(one.succeeded_at, self._now)
            since = moment(one.since, self._now)
            times = f"{one.times:,} times in a row since {since}; last worked {worked}"
            self._line("failing", f"{one.step}: {told} ({times})")
        for pause in found.pauses:
            until = f", until {local_time(pause.until)}" if pause.until is not None else ""
            by = f"by {pause.by}, " if pause.by else ""
            self._line("paused", f"{pause.reason} ({by}since {moment(pause.since, self._now)}{until})")
        for fault in found.silent:
            self._line("no answer", f"{fault.message}; {fault.hint}")
        for line in found.outdated:
            self._line("outdated", line)

    def _print_needs(self) -> None:
        """What waits for a person, whatever it is."""
        found = self._found
        needs = (
            f"{number:,} {state} (`watcher list --state {state}`, then {_DECISIONS[state]})"
            for state, number in found.counts.needs_person.items()
            if number
        )
        if said := "; ".join(needs):
            self._line("needs you", said)
        if found.blocked:
            oldest = found.blocked[0]
            told = "; ".join(filter(None, [oldest.fault.message, oldest.fault.hint]))
            is_listed = found.waiting and found.waiting[0].is_blocked
            more = " (`watcher list --waiting` names them)" if is_listed else ""
            self._line(
                "blocked",
                f"{found.counts.blocked:,} cannot be read, moved or filed, so not sent{more}; "
                f"the oldest: {name_once(oldest.path, told)}",
            )
        if found.stuck:
            first, fault = found.stuck[0], found.stuck[0].fault
            self._line(
                "stuck",
                f"{found.counts.stuck:,} cannot be moved, or their receipts cannot be written; the oldest: "
                f"{name_once(first.path, fault.message)}; {fault.hint} (since {moment(first.since, self._now)})",
            )
        for kind in Alteration:
            if number := found.how_many(kind):
                altered = next(one for one in found.altered if one.fault.code == kind)
                named = name_once(altered.item.path, altered.fault.message)
                self._line(str(kind), f"{number:,} after filing; the first: {named}. {altered.fault.hint}")

    def _verdicts_in_words(self) -> str:
        """Today's by class, and how many are still to come."""
        today = ", ".join(f"{number:,} {said}" for said, number in self._found.today.judged.items() if number)
        others = ", ".join(
            f"{number:,} {state}"
            for state, number in self._found.counts.verdicts.items()
            if number and state != "known"
        )
        return "; ".join(filter(None, [f"today {today or 'none'}", others]))

    def _name(self, path: bytes) -> str:
        width = terminal_width()
        return show_path(path) if width is None else cut_middle(show_path(path), width - _INDENT - 20)

    def _line(self, label: str, said: str) -> None:
        line = wrap(label, said, _INDENT)
        if label in _ALARMING and is_coloured():
            line = f"\x1b[31m{line[:_INDENT]}\x1b[0m{line[_INDENT:]}"
        print(line)


def _backlog_in_words(found: Status) -> str:
    """How long the queued recordings will take at the least, and when that time begins."""
    number, seconds = found.counts.backlog, found.eta_seconds
    if not number:
        return "none known; nobody has looked since" if found.working.stands_still else "none"
    when = "once the daemon works again" if found.working.stands_still else ""
    when = "once submitting resumes" if found.pauses else when
    recordings = "1 recording" if number == 1 else f"{number:,} recordings"
    lasts = duration_in_words(max(seconds, 1.0)) if seconds else f"{recordings}, as fast as the service answers"
    return ", ".join(filter(None, [lasts, when]))


def _waiting_in_words(found: Status) -> str:
    """How many files are not taken yet, and the one that has waited longest without being blocked."""
    blocked = found.counts.waiting_blocked
    said = f"{found.counts.waiting:,} not taken yet{f', {blocked:,} of them blocked' if blocked else ''}"
    oldest = next((file for file in found.waiting if not file.is_blocked), None)
    return said if oldest is None else f"{said}; the oldest: {name_once(oldest.path, oldest.reason or JUST_SEEN)}"


def _left_in_words(found: Status) -> str:
    """The files in the drop folder that are not recordings; "" for none."""
    words, foreign, orphaned = [], found.left.foreign, found.left.orphaned
    if foreign:
        names = [*map(show_path, found.left.first), *["…"] * (foreign > len(found.left.first))]
        what = "file that is not a recording" if foreign == 1 else "files that are not recordings"
        words.append(f"{foreign:,} {what} ({', '.join(names)})")
    if orphaned:
        what = "marker or sidecar" if orphaned == 1 else "markers or sidecars"
        words.append(f"{orphaned:,} {what} without a recording")
    return ", ".join(words)


def duration_in_words(seconds: float) -> str:
    """About how long, in words."""
    return "none" if seconds < 1 else f"about {length(round(seconds / 60) * 60 if seconds >= 60 else seconds)}"
