"""The commands show and why: they need no key, and exit with 0 when they could read."""

import argparse
from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from watcher.cli.columns import wrap
from watcher.cli.console import wide_console
from watcher.cli.opening import open_context, print_json
from watcher.domain import ARTIFICIAL, BACKLOG, Item, Verdict
from watcher.errors import Exit
from watcher.journey.alterations import explain
from watcher.journey.answer import Answer, Judgement
from watcher.journey.joined import Joined, OfRecording
from watcher.text import local_time, seconds_of, show_path, show_text
from watcher.views.buried import Buried
from watcher.views.explanation import explain_path
from watcher.views.recordings import History, Recording, find_history
from watcher.views.unbooked import Unbooked

_NOTE_INDENT = 34


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
        at = local_time(seconds_of(change["at"]) or 0.0)
        print(wrap(f"  {at}  {change['to']}", show_text(change["note"]), _NOTE_INDENT))
    for attempt in found.requests:
        part = "" if attempt.part is None else f", part {attempt.part}"
        said = f"{attempt.number}{part}: {attempt.outcome}, charged: {attempt.charged}, {attempt.decision}"
        print(wrap(f"  {local_time(attempt.started_at)}  request", said, _NOTE_INDENT))


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
        yield "review", f"{review_in_words(item)}, at {local_time(item.review.at)}{note}"
    if isinstance(answer.verdict, OfRecording):
        yield from _joining_in_words(answer.verdict, answer)
    if item.fault is not None:
        yield "error", str(item.fault)
    if item.altered is not None:
        yield str(item.altered.kind), str(explain(item))
    if item.removed is not None:
        yield "removed", f"at {local_time(item.removed.at)} ({item.removed.how})"
    if item.dismissed is not None:
        yield "dismissed", f"by {item.dismissed.by}, at {local_time(item.dismissed.at)}"
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
