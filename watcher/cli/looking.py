"""What only reads: status, list, show, why. Exit 0 when they could read; no key is needed."""

import argparse
from collections.abc import Iterator
from contextlib import closing

from rich.table import Table
from rich.text import Text

from watcher.cli.opening import open_as_it_stands, open_context, print_json, wide_console
from watcher.domain import ARTIFICIAL, Alteration, Item, State, Verdict
from watcher.errors import Exit
from watcher.journey.alterations import explain
from watcher.outlet import say
from watcher.text import rfc3339, show_path
from watcher.views.explanation import explain_path
from watcher.views.recordings import History, find_history, list_recordings, list_waiting
from watcher.views.status import Status, read_status
from watcher.views.unbooked import Unbooked


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
    never = "unknown" if found.lost else "never: the daemon has not run yet"
    print(f"last look    {rfc3339(found.last_scan_at) or never}")
    if found.waiting:
        print(f"waiting      {_waiting_in_words(found)}")
    if found.stuck:
        oldest, fault = found.stuck[0], found.stuck[0].fault
        print(
            f"stuck        {found.counts.stuck:,} cannot be moved, or have a receipt written; the oldest: "
            f"{show_path(oldest.path)}: {fault.message}; {fault.hint} (since {rfc3339(oldest.since)})"
        )
    for kind in Alteration:
        if number := found.how_many(kind):
            first = next(one for one in found.altered if one.fault.code == kind)
            print(
                f"{kind:<13}{number:,} since filed; the first: {show_path(first.item.path)}: "
                f"{first.fault.message}. {first.fault.hint}"
            )
    if left := _left_in_words(found):
        print(f"left alone   {left}")
    return Exit.WELL


def _print_blocked(found: Status) -> None:
    """What is not taken, or not sent, until somebody does something: how many, and the oldest with its remedy."""
    if found.blocked:
        oldest = found.blocked[0]
        told = "; ".join(filter(None, [oldest.fault.message, oldest.fault.hint]))
        is_listed = found.waiting and found.waiting[0].is_blocked
        more = " (`watcher list --waiting` names them)" if is_listed else ""
        print(
            f"blocked      {found.counts.blocked:,} cannot be read, moved or filed, so not sent{more}; "
            f"the oldest: {show_path(oldest.path)}{':' if oldest.id else ''} {told}"
        )


def _print_troubles(found: Status) -> None:
    """What wants somebody, or does not go on as it should, a line each."""
    if lost := found.lost:
        print(f"lost         {lost.message}. {lost.hint}")
    if needs := ", ".join(f"{number} {state}" for state, number in found.counts.needs_person.items() if number):
        how = "`watcher list --state failed`, or held; then retry or dismiss, release or fail"
        print(f"needs you    {needs}: {how}")
    for one in found.failing:
        told = " ".join(filter(None, [f"{one.fault.message}.", one.fault.hint]))
        worked = rfc3339(one.succeeded_at) or "never since the start"
        print(
            f"failing      {one.step}: {told} ({one.times:,} times in a row since {rfc3339(one.since)}; "
            f"worked {worked})"
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
    """How long what is queued will take at the least, and from when on."""
    number, seconds = found.counts.backlog, found.eta_seconds
    if not number:
        return "none is queued; what has come since is not known" if found.working.stands_still else "none"
    when = "once the daemon works again" if found.working.stands_still else ""
    when = "once submitting goes on" if found.pauses else when
    recordings = "1 recording" if number == 1 else f"{number:,} recordings"
    lasts = duration_in_words(max(seconds, 1.0)) if seconds else f"{recordings}, as fast as the service answers"
    return ", ".join(filter(None, [lasts, when]))


def _waiting_in_words(found: Status) -> str:
    """How many have no item yet, and the one that has waited longest without being blocked."""
    blocked = found.counts.waiting_blocked
    said = f"{found.counts.waiting:,} not taken yet{f', {blocked:,} of them blocked' if blocked else ''}"
    oldest = next((file for file in found.waiting if not file.is_blocked), None)
    return said if oldest is None else f"{said}; the oldest: {show_path(oldest.path)} {oldest.reason}"


def _left_in_words(found: Status) -> str:
    """What lies in the drop folder and is none of ours; "" for nothing."""
    words, foreign, orphaned = [], found.left.foreign, found.left.orphaned
    if foreign:
        names = [*map(show_path, found.left.first), *["…"] * (foreign > len(found.left.first))]
        what = "file that is no recording" if foreign == 1 else "files that are no recordings"
        words.append(f"{foreign:,} {what} ({', '.join(names)})")
    if orphaned:
        what = "marker or sidecar" if orphaned == 1 else "markers or sidecars"
        words.append(f"{orphaned:,} {what} without a recording that is to be taken")
    return ", ".join(words)


def duration_in_words(seconds: float) -> str:
    """About how long, for a person."""
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


def list_items(options: argparse.Namespace) -> int:
    if options.waiting:
        return _list_waiting(options)
    states = [State(state) for state in options.state or ()]
    with open_context(options) as context, closing(list_recordings(context, states)) as recordings:
        if options.json:
            for recording in recordings:
                print_json(recording.as_json())
            return Exit.WELL
        console = wide_console()
        table = Table("id", "state", "path", "identifier or error", "verdict", box=None, pad_edge=False)
        for recording in recordings:
            item = recording.item
            told = item.identifier[:12] if item.identifier else item.fault.code if item.fault else ""
            said = verdict_in_words(recording.verdict, marked=console.is_terminal)
            notes = [item.altered.kind] if item.altered else []
            state = ", ".join([item.state, *notes, *(["dismissed"] if item.dismissed else [])])
            table.add_row(item.id[:6], state, show_path(item.path), told, said)
    console.print(table)
    return Exit.WELL


def _list_waiting(options: argparse.Namespace) -> int:
    """What lies in the drop folder and has no item yet: what is blocked first, the longest waiting first."""
    with open_context(options) as context:
        found, is_running = list_waiting(context), context.is_running()
    if not is_running and not options.json:  # what came since is not among them
        seen_at = rfc3339(found.seen_at)
        seen = f"this is how it was at {seen_at}" if seen_at is not None else "nobody has looked there yet"
        say(f"watcher: no daemon runs now: {seen}")
    if options.json:
        for file in found.files:
            print_json(file.as_json())
    else:
        # A line each, however long: what is to be run stands at its end.
        print(f"{'since':<24}  {'size':>13}  path: why it is not taken yet")
        for file in found.files:
            why = f"blocked: {file.reason}" if file.is_blocked else file.reason or "was just seen"
            print(f"{rfc3339(file.since):<24}  {file.size:>13,}  {show_path(file.path)}: {why}")
    if found.total > len(found.files):
        say(f"watcher: {found.total - len(found.files):,} more wait, which are not listed")
    return Exit.WELL


def why(options: argparse.Namespace) -> int:
    with open_context(options) as context:
        print(explain_path(context, options.path))
    return Exit.WELL


def verdict_in_words(verdict: Verdict | None, *, marked: bool, detailed: bool = False) -> Text:
    """The verdict in a word or two; `marked`: an artificial one cannot be overlooked, with colours or without."""
    if verdict is None:
        return Text()
    said = verdict.classification or str(verdict.state)
    if detailed and verdict.confidence is not None:
        said += f" (confidence {verdict.confidence:g})"
    if verdict.classification == ARTIFICIAL and marked:
        return Text(f"{said} <--", style="red")
    return Text(said)


def show(options: argparse.Namespace) -> int:
    with open_context(options) as context:
        found = find_history(context, options.item)
    if options.json:
        print_json(found.as_json())
    elif isinstance(found, Unbooked):
        _print_unbooked(found)
    else:
        _print_history(found)
    return Exit.WELL


def _print_history(found: History) -> None:
    console = wide_console()
    if found.note:
        console.print(Text(found.note))
    for name, told in _story(found.recording.item, found.recording.verdict):
        console.print(Text.assemble(f"{name:<13}", told))
    if found.obstacle:
        console.print(Text(f"{'stuck':<13}{found.obstacle}"))
    print("\nwhat happened")
    for change in found.changes:
        print(f"  {change['at']}  {change['to']:<11}{change['note']}")
    for attempt in found.requests:
        print(
            f"  {rfc3339(attempt.started_at)}  request {attempt.number}: {attempt.outcome}, "
            f"charged: {attempt.charged}, {attempt.decision}"
        )


def _print_unbooked(found: Unbooked) -> None:
    console = wide_console()
    for name, told in found.facts():
        console.print(Text(f"{name:<13}{told}"))
    console.print(Text(f"{show_path(found.path)} {found}"))


def _story(item: Item, verdict: Verdict | None) -> Iterator[tuple[str, str | Text]]:
    """What is known of an item, for a person: what became of it first, then what it is."""
    yield "id", item.id
    yield "path", show_path(item.path)
    yield "state", str(item.state)
    if verdict is not None:
        yield "verdict", verdict_in_words(verdict, marked=True, detailed=True)
    if item.fault is not None:
        yield "error", str(item.fault)
    if item.altered is not None:
        yield str(item.altered.kind), str(explain(item))
    if item.dismissed is not None:
        yield "dismissed", f"by {item.dismissed.by}, at {rfc3339(item.dismissed.at)}"
    facts: dict[str, object] = {
        "warning": item.warning,
        "identifier": item.identifier,
        "duplicate_of": item.duplicate_of,
        "filed_as": None if item.filed_as is None else show_path(item.filed_as),
        "audio": item.audio,
        "size": f"{item.size:,} bytes",
        "sha256": item.sha256,
    }
    yield from ((name, str(value)) for name, value in facts.items() if value is not None)
