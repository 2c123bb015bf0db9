"""`status`: the state of the site, for a person. It needs no key, and exits with 0 when it could read."""

import argparse

from watcher.cli.opening import open_as_it_stands, print_json
from watcher.domain import Alteration
from watcher.errors import Exit
from watcher.text import name_once, rfc3339, show_path
from watcher.views.status import Status, read_status


def status(options: argparse.Namespace) -> int:
    with open_as_it_stands(options) as context:
        found = read_status(context)
    if options.json:
        print_json(found.as_json())
        return Exit.WELL
    print(f"daemon       {found.working}")
    states = ", ".join(f"{number} {state}" for state, number in found.counts.states.items() if number)
    print(f"recordings   {states or 'none yet'}")
    _print_blocked(found)
    _print_troubles(found)
    print(f"rate         {found.rate}")
    print(f"backlog      {_backlog_in_words(found)}")
    for one in found.in_parts:
        print(f"in parts     {show_path(one.item.path)}: {one.progress}")
    never = "unknown" if found.lost else "never: the daemon has not run yet"
    print(f"last scan    {rfc3339(found.last_scan_at) or never}")
    if found.waiting:
        print(f"waiting      {_waiting_in_words(found)}")
    if found.stuck:
        oldest, fault = found.stuck[0], found.stuck[0].fault
        print(
            f"stuck        {found.counts.stuck:,} cannot be moved, or their receipts cannot be written; "
            f"the oldest: {name_once(oldest.path, fault.message)}; {fault.hint} (since {rfc3339(oldest.since)})"
        )
    for kind in Alteration:
        if number := found.how_many(kind):
            first = next(one for one in found.altered if one.fault.code == kind)
            print(
                f"{kind:<13}{number:,} after filing; the first: "
                f"{name_once(first.item.path, first.fault.message)}. {first.fault.hint}"
            )
    if left := _left_in_words(found):
        print(f"left alone   {left}")
    return Exit.WELL


JUST_SEEN = "was just seen"
_DECISIONS = {"failed": "`retry` or `dismiss`", "held": "`release` or `fail`"}


def _print_blocked(found: Status) -> None:
    """Print how many files are not taken or sent until a person acts, and the oldest with its remedy."""
    if found.blocked:
        oldest = found.blocked[0]
        told = "; ".join(filter(None, [oldest.fault.message, oldest.fault.hint]))
        is_listed = found.waiting and found.waiting[0].is_blocked
        more = " (`watcher list --waiting` names them)" if is_listed else ""
        print(
            f"blocked      {found.counts.blocked:,} cannot be read, moved or filed, so not sent{more}; "
            f"the oldest: {name_once(oldest.path, told)}"
        )


def _print_troubles(found: Status) -> None:
    """Print a line for each thing that needs a person or does not work as it should."""
    if lost := found.lost:
        print(f"lost         {lost.message}. {lost.hint}")
    if needs := "; ".join(
        f"{number:,} {state} (`watcher list --state {state}`, then {_DECISIONS[state]})"
        for state, number in found.counts.needs_person.items()
        if number
    ):
        print(f"needs you    {needs}")
    for one in found.failing:
        told = " ".join(filter(None, [f"{one.fault.message}.", one.fault.hint]))
        worked = rfc3339(one.succeeded_at) or "before the start"
        print(
            f"failing      {one.step}: {told} ({one.times:,} times in a row since {rfc3339(one.since)}; "
            f"last worked {worked})"
        )
    for pause in found.pauses:
        until = f" until {rfc3339(pause.until)}" if pause.until is not None else ""
        by = f"by {pause.by}, " if pause.by else ""
        print(f"paused       {pause.reason} ({by}since {rfc3339(pause.since)}{until})")
    for fault in found.silent:
        print(f"no answer    {fault.message}; {fault.hint}")
    for line in found.outdated:
        print(f"outdated     {line}")


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
    if seconds < 1:
        return "none"
    hours, minutes = divmod(round(seconds / 60), 60)
    return (
        f"about {hours} h {minutes} min"
        if hours
        else f"about {minutes} min"
        if minutes
        else f"about {seconds:.0f} s"
    )
