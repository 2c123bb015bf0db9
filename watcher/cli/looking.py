"""The commands that only read: status, list, show, why. They need no key, and exit with 0 when they could read."""

import argparse
from collections.abc import Iterator
from contextlib import closing

from rich.table import Table
from rich.text import Text

from watcher.cli.opening import open_as_it_stands, open_context, print_json, wide_console
from watcher.domain import ARTIFICIAL, BACKLOG, Alteration, Item, PartState, State, Verdict
from watcher.errors import Exit
from watcher.journey.alterations import explain
from watcher.journey.answer import Answer, Judgement
from watcher.journey.joined import Joined, OfRecording
from watcher.outlet import say
from watcher.text import name_once, rfc3339, show_path
from watcher.views.buried import Buried
from watcher.views.explanation import explain_path
from watcher.views.recordings import History, Recording, find_history, list_recordings, list_waiting
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


_JUST_SEEN = "was just seen"
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
    return said if oldest is None else f"{said}; the oldest: {name_once(oldest.path, oldest.reason or _JUST_SEEN)}"


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
            told = told or _parts_in_words(recording.answer)
            said = verdict_in_words(recording.verdict, marked=console.is_terminal)
            if item.review is not None:
                said.append(f"{'; ' if said else ''}{item.review.word} by {item.review.by}")
            progress = recording.answer.progress() if item.state in BACKLOG else ""
            altered = item.altered.kind if item.altered else ""
            state = ", ".join(filter(None, [item.state, progress, altered, "dismissed" if item.dismissed else ""]))
            table.add_row(item.id[:6], state, show_path(item.path), told, said)
    console.print(table)
    return Exit.WELL


def _list_waiting(options: argparse.Namespace) -> int:
    """Print the files that are not taken yet: blocked ones first, then by how long they wait."""
    with open_context(options) as context:
        found, is_running = list_waiting(context), context.is_running()
    if not is_running and not options.json:  # newer files are missing from the list
        seen_at = rfc3339(found.seen_at)
        seen = f"this list is from {seen_at}" if seen_at is not None else "the drop folder was never scanned"
        say(f"watcher: no daemon is running: {seen}")
    if options.json:
        for file in found.files:
            print_json(file.as_json())
    else:
        # One line per file, however long: it ends with the command to run.
        print(f"{'since':<24}  {'size':>13}  path: why it is not taken yet")
        for file in found.files:
            why = f"{'blocked: ' if file.is_blocked else ''}{name_once(file.path, file.reason or _JUST_SEEN)}"
            print(f"{rfc3339(file.since):<24}  {file.size:>13,}  {why}")
    if found.total > len(found.files):
        say(f"watcher: {found.total - len(found.files):,} more are waiting and not listed")
    return Exit.WELL


def why(options: argparse.Namespace) -> int:
    with open_context(options) as context:
        print(explain_path(context, options.path))
    return Exit.WELL


def verdict_in_words(verdict: Judgement | Joined | None, *, marked: bool, detailed: bool = False) -> Text:
    """The verdict in a word or two. `marked`: an artificial one stands out, even without colours."""
    if verdict is None:
        return Text()
    said = verdict.classification or str(verdict.state)
    if detailed and verdict.confidence is not None:
        said += f" (confidence {verdict.confidence:g})"
    if verdict.classification == ARTIFICIAL and marked:
        return Text(f"{said} <--", style="red")
    return Text(said)


def review_in_words(item: Item) -> str:
    """A person's word on it, and who said so; "" for none."""
    return f"{item.review.word}, by {item.review.by}" if item.review else ""


def show(options: argparse.Namespace) -> int:
    with open_context(options) as context:
        found = find_history(context, options.item)
    if options.json:
        print_json(found.as_json())
    elif isinstance(found, Unbooked):
        _print_unbooked(found)
    elif isinstance(found, Buried):
        console = wide_console()
        for name, told in found.facts():
            console.print(Text(f"{name:<13}{told}"))
        console.print(Text(f"It {found}"))
    else:
        _print_history(found)
    return Exit.WELL


def _print_history(found: History) -> None:
    console = wide_console()
    if found.note:
        console.print(Text(found.note))
    for name, told in _story(found.recording):
        console.print(Text.assemble(f"{name:<13}", told))
    if found.obstacle:
        console.print(Text(f"{'stuck':<13}{found.obstacle}"))
    _print_parts(found.recording.answer)
    print("\nwhat happened")
    for change in found.changes:
        print(f"  {change['at']}  {change['to']:<11}{change['note']}")
    for attempt in found.requests:
        part = "" if attempt.part is None else f", part {attempt.part}"
        print(
            f"  {rfc3339(attempt.started_at)}  request {attempt.number}{part}: {attempt.outcome}, "
            f"charged: {attempt.charged}, {attempt.decision}"
        )


def _parts_in_words(answer: Answer) -> str:
    """How many parts were accepted of a recording that was sent in several; "" for any other."""
    accepted = sum(part.state is PartState.ACCEPTED for part in answer.parts or ())
    return f"{accepted:,} part{'' if accepted == 1 else 's'}" if accepted else ""


def _print_parts(answer: Answer) -> None:
    """Print the parts of a recording, each with its stretch of it, what became of it, and its verdict."""
    if not answer.parts:
        return
    console = wide_console()
    table = Table(
        "part", "channel", "from", "to", "state", "identifier or error", "verdict", box=None, pad_edge=False
    )
    for part in answer.parts:
        told = part.identifier[:12] if part.identifier else part.fault.code if part.fault else ""
        said = verdict_in_words(answer.of_part(part), marked=console.is_terminal, detailed=True)
        channel = answer.channel_in_words(part.channel)
        stretch = [clock_in_words(part.start_seconds), clock_in_words(part.end_seconds)]
        table.add_row(str(part.index), channel, *stretch, str(part.state), told, said)
    console.print()
    console.print(table)


def clock_in_words(seconds: float) -> str:
    """The place in a recording, or its length, as players show it: `1:02:03.4`."""
    whole, tenths = divmod(round(seconds * 10), 10)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}.{tenths}" if hours else f"{minutes}:{rest:02}.{tenths}"


def _print_unbooked(found: Unbooked) -> None:
    console = wide_console()
    for name, told in found.facts():
        console.print(Text(f"{name:<13}{told}"))
    console.print(Text(f"{show_path(found.path)} {found}"))


def _story(recording: Recording) -> Iterator[tuple[str, str | Text]]:
    """What is known of an item, by name: first what became of it, then what it is."""
    item, answer = recording.item, recording.answer
    progress = answer.progress() if item.state in BACKLOG else ""
    yield "id", item.id
    yield "path", show_path(item.path)
    yield "state", ", ".join(filter(None, [item.state, progress]))
    if answer.verdict is not None:
        yield "verdict", verdict_in_words(answer.verdict, marked=True, detailed=True)
    if isinstance(answer.verdict, Verdict):
        yield from _support_in_words(answer.verdict)
    if item.review is not None:
        note = f": {item.review.note}" if item.review.note else ""
        yield "review", f"{review_in_words(item)}, at {rfc3339(item.review.at)}{note}"
    if isinstance(answer.verdict, OfRecording):
        yield from _joining_in_words(answer.verdict, answer)
    if item.fault is not None:
        yield "error", str(item.fault)
    if item.altered is not None:
        yield str(item.altered.kind), str(explain(item))
    if item.removed is not None:
        yield "removed", f"at {rfc3339(item.removed.at)} ({item.removed.how})"
    if item.dismissed is not None:
        yield "dismissed", f"by {item.dismissed.by}, at {rfc3339(item.dismissed.at)}"
    facts: dict[str, object] = {
        "warning": item.warning,
        "identifier": item.identifier,
        "duplicate_of": item.duplicate_of,
        "filed_as": None if item.filed_as is None else show_path(item.filed_as),
        "audio": item.audio,
        "sent": None if item.plan is None else f"{item.plan.mode}: {item.plan.reason}",
        "size": f"{item.size:,} bytes",
        "sha256": item.sha256,
    }
    yield from ((name, str(value)) for name, value in facts.items() if value is not None)


def _support_in_words(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """What the verdict rests on."""
    if verdict.detail:
        yield "", verdict.detail
    grounds = {
        "heuristic": verdict.heuristic,
        "models": ", ".join(verdict.models) or None,
        "API version": verdict.api_version,
        "result": verdict.result_url,
    }
    yield from (("", f"{name}: {value}") for name, value in grounds.items() if value is not None)


def _joining_in_words(verdict: OfRecording, answer: Answer) -> Iterator[tuple[str, str | Text]]:
    """What the joined verdict rests on."""
    for one in verdict.channels:
        said = (
            verdict_in_words(one.verdict, marked=True, detailed=True)
            if one.verdict
            else Text("no sound: not judged")
        )
        yield "", Text.assemble(f"{answer.channel_in_words(one.channel)}: ", said)
    if verdict.whole.detail:
        yield "", verdict.whole.detail
    if verdict.whole.unjudged_seconds:
        yield "", f"{verdict.whole.unjudged_seconds:,.1f} s were not judged"
