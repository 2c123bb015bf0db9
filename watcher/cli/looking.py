"""What only reads: status, list, show. Exit 0 when they could read; no key is needed."""

import argparse
from collections.abc import Iterator
from dataclasses import replace

from rich.table import Table
from rich.text import Text

from watcher.cli.opening import open_as_it_stands, open_context, print_json, wide_console
from watcher.domain import (
    ARTIFICIAL,
    BACKLOG,
    Alteration,
    Item,
    JsonObject,
    State,
    Verdict,
    path_text,
    rfc3339,
    show_path,
    show_text,
)
from watcher.errors import UNSENDABLE, Exit, NoSuchItem
from watcher.folders.names import RECEIPT
from watcher.journey import receipt
from watcher.journey.alterations import explain
from watcher.journey.filed import find_alteration
from watcher.journey.reading import find_outdated, read_fact
from watcher.journey.submit.windows import describe, find_windows
from watcher.journey.working import Activity, Working
from watcher.outlet import say
from watcher.store import Books, Waiting
from watcher.views.context import CommandContext
from watcher.views.estimate import seconds_for
from watcher.views.explanation import explain_path
from watcher.views.lookup import find_item, read_name, read_path
from watcher.views.spelling import tell_spelling
from watcher.views.unbooked import Unbooked, find_unbooked

_BLOCKED_SHOWN = 1000
_STUCK_SHOWN = 1000
_ALTERED_LOOKED_AT = 1000


def status(options: argparse.Namespace) -> int:
    with open_as_it_stands(options) as context:
        loss = context.loss()
        failing, working = [failure.as_json() for failure in context.failing()], context.working()
        with context.store.reading() as books:
            facts = {"lost": loss and loss.as_fault().as_json(), "failing": failing, **_status(context, books)}
            fact = read_fact(books) if working.holder is not None else None
    if facts["silent"] and working.activity is Activity.RUNNING and not working.reason:
        working = replace(working, reason=facts["silent"][0]["message"])
    facts["daemon"] = working.as_json()
    facts["outdated"] = find_outdated(context.config, fact)
    if options.json:
        print_json(facts)
        return Exit.WELL
    print(f"daemon       {working}")
    states = ", ".join(f"{number} {state}" for state, number in facts["states"].items() if number)
    print(f"recordings   {states or 'none yet'}")
    _print_blocked(facts)
    _print_troubles(facts)
    print(f"rate         {facts['rate']}")
    print(f"backlog      {_backlog_in_words(facts, working)}")
    print(f"last look    {facts['last_scan_at'] or ('unknown' if loss else 'never: the daemon has not run yet')}")
    if facts["waiting"]:
        print(f"waiting      {_waiting_in_words(facts)}")
    if facts["stuck"]:
        oldest, total = facts["stuck"][0], facts["stuck_total"]
        print(
            f"stuck        {total:,} cannot be moved, or have a receipt written; the oldest: "
            f"{show_text(oldest['path'])}: {oldest['message']}; {oldest['hint']} (since {oldest['since']})"
        )
    for kind in Alteration:
        if facts[kind]:
            first = next(one for one in facts["altered"] if one["code"] == kind)
            print(
                f"{kind:<13}{facts[kind]:,} since filed; the first: {show_text(first['path'])}: "
                f"{first['message']}. {first['hint']}"
            )
    if left := _left_in_words(facts["foreign"], facts["foreign_first"], facts["orphaned"]):
        print(f"left alone   {left}")
    return Exit.WELL


def _backlog_in_words(facts: JsonObject, working: Working) -> str:
    """How long what is queued will take at the least, and from when on."""
    number, seconds = facts["backlog"], facts["eta_seconds"]
    stands = working.activity is Activity.HUNG or (working.activity is Activity.RUNNING and bool(working.reason))
    if not number:
        return "none is queued; what has come since is not known" if stands else "none"
    when = "once submitting goes on" if facts["pauses"] else "once the daemon works again" if stands else ""
    recordings = "1 recording" if number == 1 else f"{number:,} recordings"
    lasts = duration_in_words(max(seconds, 1.0)) if seconds else f"{recordings}, as fast as the service answers"
    return ", ".join(filter(None, [lasts, when]))


def _print_blocked(facts: JsonObject) -> None:
    """What is not taken, or not sent, until somebody does something: how many, and the oldest with its remedy."""
    if facts["blocked"]:
        oldest, total = facts["blocked"][0], facts["blocked_total"]
        told = "; ".join(filter(None, [oldest["message"], oldest["hint"]]))
        more = (
            " (`watcher list --waiting` names them)" if facts["waiting"] and facts["waiting"][0]["blocked"] else ""
        )
        print(
            f"blocked      {total:,} cannot be read, moved or filed, so not sent{more}; the oldest: "
            f"{show_text(oldest['path'])}{':' if oldest['id'] else ''} {told}"
        )


def _waiting_in_words(facts: JsonObject) -> str:
    """How many have no item yet, and the one that has waited longest without being blocked."""
    blocked = facts["waiting_blocked"]
    said = f"{facts['waiting_total']:,} not taken yet{f', {blocked:,} of them blocked' if blocked else ''}"
    oldest = next((file for file in facts["waiting"] if not file["blocked"]), None)
    return said if oldest is None else f"{said}; the oldest: {show_text(oldest['path'])} {oldest['reason']}"


def _blocked(books: Books) -> list[JsonObject]:
    """What is not taken, or not sent, until somebody does something, the oldest first: files, and items."""
    files: list[JsonObject] = [
        {"id": None, **_told(file), "since": rfc3339(file.since), "again_at": None}
        for file in books.waiting.listed()
        if file.is_blocked
    ]
    items: list[JsonObject] = [
        {
            "id": item.id,
            "path": path_text(item.path),
            "since": rfc3339(item.arrived_at),
            "again_at": rfc3339(item.due_at),
            **item.fault.as_json(),
        }
        for item in books.queue.blocked(UNSENDABLE, _BLOCKED_SHOWN)
        if item.fault is not None
    ]
    return sorted([*files, *items], key=lambda one: str(one["since"]))


def _told(file: Waiting) -> JsonObject:
    return {"path": path_text(file.path), "code": file.code, "message": file.reason, "hint": ""}


def _print_troubles(facts: JsonObject) -> None:
    """What wants somebody, or does not go on as it should, a line each."""
    if lost := facts["lost"]:
        print(f"lost         {lost['message']}. {lost['hint']}")
    if needs := ", ".join(f"{number} {state}" for state, number in facts["needs_person"].items() if number):
        how = "`watcher list --state failed`, or held; then retry or dismiss, release or fail"
        print(f"needs you    {needs}: {how}")
    for one in facts["failing"]:
        told = " ".join(filter(None, [f"{one['message']}.", one["hint"]]))
        print(
            f"failing      {one['step']}: {told} ({one['times']:,} times in a row since {one['since']}; "
            f"worked {one['succeeded_at'] or 'never since the start'})"
        )
    for pause in facts["pauses"]:
        until = f" until {pause['until']}" if pause["until"] else ""
        by = f"by {pause['by']}, " if pause["by"] else ""
        print(f"paused       {pause['reason']} ({by}since {pause['since']}{until})")
    for folder in facts["silent"]:
        print(f"no answer    {folder['message']}; {folder['hint']}")
    for line in facts["outdated"]:
        print(f"outdated     {line}")


def _left_in_words(foreign: int, first: list[str], orphaned: int) -> str:
    """What lies in the drop folder and is none of ours; "" for nothing."""
    words = []
    if foreign:
        names = [show_path(name.encode()) for name in first] + ["…"] * (foreign > len(first))
        what = "file that is no recording" if foreign == 1 else "files that are no recordings"
        words.append(f"{foreign:,} {what} ({', '.join(names)})")
    if orphaned:
        what = "marker or sidecar" if orphaned == 1 else "markers or sidecars"
        words.append(f"{orphaned:,} {what} without a recording that is to be taken")
    return ", ".join(words)


def _status(context: CommandContext, books: Books) -> JsonObject:
    counts, folders = books.items.counts(), (context.drop, context.done, context.failed)
    pauses = [pause.as_json() for pause in books.pauses.active()]
    waiting = [file.as_json() for file in books.waiting.listed()]
    left = books.waiting.left()
    backlog = sum(counts[state] for state in BACKLOG)
    oldest = next(books.items.listed(sorted(BACKLOG)), None)
    windows = find_windows(books, context.config.limits.writes, context.clock.now())
    return {
        "states": {str(state): number for state, number in counts.items()},
        "needs_person": {"failed": counts[State.FAILED] - books.items.dismissed(), "held": counts[State.HELD]},
        "verdicts": {str(state): number for state, number in books.verdicts.counts().items()},
        "paused": {k: pauses[0][k] for k in ("reason", "since", "until", "by")} if pauses else None,
        "pauses": pauses,
        "silent": [folder.silence().as_fault().as_json() for folder in folders if not folder.answers],
        "rate": describe(windows),
        "backlog": backlog,  # queued, or being sent
        "eta_seconds": seconds_for(backlog, windows),
        "last_scan_at": rfc3339(books.site.get("last_scan_at")),
        "oldest_queued_at": rfc3339(oldest.arrived_at) if oldest else None,
        "waiting": waiting,  # the first 1,000
        "waiting_total": books.waiting.total(),
        "waiting_blocked": books.waiting.blocked(),
        "blocked": _blocked(books),
        "blocked_total": books.waiting.blocked() + books.queue.how_many_blocked(UNSENDABLE),
        "stuck": [obstacle.as_json() for obstacle in books.obstacles.listed(_STUCK_SHOWN)],
        "stuck_total": books.obstacles.total(),
        **_altered(context, books),
        "foreign": left.foreign,  # in the drop folder, and no recordings: nothing waits for them
        "foreign_first": [path_text(path) for path in left.first],
        "orphaned": left.orphaned,
    }


def _altered(context: CommandContext, books: Books) -> JsonObject:
    """Recordings that were altered since they were filed, and still lie there so."""
    there = [item for item in books.filing.altered(_ALTERED_LOOKED_AT) if _lies_altered(context, item)]
    told = [(item, explain(item)) for item in there]
    numbers = {
        str(kind): sum(1 for item in there if item.altered and item.altered.kind is kind) for kind in Alteration
    }
    listed = [
        {"id": item.id, "path": path_text(item.path), **fault.as_json()}
        for item, fault in told
        if fault is not None
    ]
    return {**numbers, "altered": listed}


def _lies_altered(context: CommandContext, item: Item) -> bool:
    folder = context.done if item.state is State.DONE else context.failed
    return find_alteration(folder, item, context.clock.now()) is not None


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
    with open_context(options) as context, context.store.reading() as books:
        if options.json:
            for item in books.items.listed(states):
                print_json(receipt.describe(item, books.verdicts.get(item.identifier)))
            return Exit.WELL
        console = wide_console()
        table = Table("id", "state", "path", "identifier or error", "verdict", box=None, pad_edge=False)
        for item in books.items.listed(states):
            verdict = books.verdicts.get(item.identifier)
            told = item.identifier[:12] if item.identifier else item.fault.code if item.fault else ""
            said = verdict_in_words(verdict, marked=console.is_terminal)
            notes = [item.altered.kind] if item.altered else []
            state = ", ".join([item.state, *notes, *(["dismissed"] if item.dismissed else [])])
            table.add_row(item.id[:6], state, show_path(item.path), told, said)
    console.print(table)
    return Exit.WELL


def why(options: argparse.Namespace) -> int:
    with open_context(options) as context:
        print(explain_path(context, options.path))
    return Exit.WELL


def _list_waiting(options: argparse.Namespace) -> int:
    """What lies in the drop folder and has no item yet: what is blocked first, the longest waiting first."""
    with open_context(options) as context:
        with context.store.reading() as books:
            files, total, seen_at = (
                books.waiting.listed(),
                books.waiting.total(),
                books.site.get("last_scan_at"),
            )
        is_running = context.is_running()
    if not is_running and not options.json:  # what came since is not among them
        seen = (
            f"this is how it was at {rfc3339(seen_at)}" if seen_at is not None else "nobody has looked there yet"
        )
        say(f"watcher: no daemon runs now: {seen}")
    if options.json:
        for file in files:
            print_json(file.as_json())
    else:
        # A line each, however long: what is to be run stands at its end.
        print(f"{'since':<24}  {'size':>13}  path: why it is not taken yet")
        for file in files:
            why = f"blocked: {file.reason}" if file.is_blocked else file.reason or "was just seen"
            print(f"{rfc3339(file.since):<24}  {file.size:>13,}  {show_path(file.path)}: {why}")
    if total > len(files):
        say(f"watcher: {total - len(files):,} more wait, which are not listed")
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
        named = read_name(context, options.item)
        with context.store.reading() as books:
            try:
                item = find_item(books, named)
            except NoSuchItem:
                for places in named.spellings:
                    if (unbooked := find_unbooked(context, books, places)) is not None:
                        return _show_unbooked(unbooked, as_json=options.json)
                raise
            verdict = books.verdicts.get(item.identifier)
            facts = receipt.describe(item, verdict)
            obstacle = books.obstacles.fault_of(item.id)
            facts["obstacle"] = obstacle.as_json() if obstacle else None
            facts["history"] = books.items.history(item.id)
            facts["requests"] = [attempt.as_json() for attempt in books.ledger.of_item(item.id)]
    if options.json:
        print_json(facts)
        return Exit.WELL
    console = wide_console()
    if note := _tell_spelling(read_path(options.item), item):
        console.print(Text(note))
    for name, told in _story(item, verdict):
        console.print(Text.assemble(f"{name:<13}", told))
    if obstacle:
        console.print(Text(f"{'stuck':<13}{obstacle}"))
    print("\nwhat happened")
    for change in facts["history"]:
        print(f"  {change['at']}  {change['to']:<11}{change['note']}")
    for attempt in facts["requests"]:
        print(
            f"  {attempt['started_at']}  request {attempt['number']}: {attempt['outcome']}, "
            f"charged: {attempt['charged']}, {attempt['decision']}"
        )
    return Exit.WELL


def _show_unbooked(unbooked: Unbooked, *, as_json: bool) -> int:
    if as_json:
        print_json({**unbooked.receipt, "unbooked": True})
        return Exit.WELL
    console = wide_console()
    for name, told in unbooked.facts():
        console.print(Text(f"{name:<13}{told}"))
    console.print(Text(f"{show_path(unbooked.path)} {unbooked}"))
    return Exit.WELL


def _tell_spelling(typed: bytes, item: Item) -> str:
    """That the item was found under a name that was typed otherwise; "" where it was not."""
    notes = [tell_spelling(typed.removesuffix(RECEIPT), path) for path in (item.path, item.filed_as) if path]
    return notes[0] if all(notes) else ""


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
