"""The verdicts: what the service says and what that rests on, asked for again; and a person's word beside it."""

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice

from watcher import logs
from watcher.accounts import name_person
from watcher.cli.columns import Column, Red, lay_out, terminal_width
from watcher.cli.looking import review_in_words
from watcher.cli.opening import open_context, open_to_decide, print_json
from watcher.composition import make_client
from watcher.domain import ARTIFICIAL, Item, ReviewWord
from watcher.errors import Exit, UsageError
from watcher.journey import decisions
from watcher.journey.answer import Judgement
from watcher.journey.joined import Joined
from watcher.key import read_key
from watcher.outlet import say
from watcher.text import show_path, show_text
from watcher.views.context import CommandContext
from watcher.views.judgements import Judged, find_judged, list_verdicts, refresh_verdicts
from watcher.views.lookup import find_filed, read_name

_LONGEST_NOTE = 500
_SCREEN = 50  # rows of a table that are laid out together


def verdicts(options: argparse.Namespace) -> int:
    code: int = Exit.WELL
    with open_context(options) as context:
        items = find_judged(context, options.items) if options.items else None
        if options.refresh:
            code = _refresh(context, items)
        with closing(list_verdicts(context, items, whole=options.json)) as found:
            if options.json:
                for judged in found:
                    print_json(judged.as_json())
                return code
            is_terminal = terminal_width() is not None
            rows = (row for judged in found for row in _rows(judged, is_terminal=is_terminal))
            for lines in lay_out(_COLUMNS, iter(lambda: list(islice(rows, _SCREEN)), [])):
                print("\n".join(lines))
    return code


_COLUMNS = (
    Column("id"),
    Column("path", is_cut=True),
    Column("part"),
    Column("verdict"),
    Column("confidence"),
    Column("models say", rank=3),
    Column("heuristic", rank=2),
    Column("models", rank=4),
    Column("API", rank=5),
    Column("review", rank=1),
)


def _rows(judged: Judged, *, is_terminal: bool) -> Iterator[Sequence[str]]:
    """A row for the recording, and one for each of its parts that has a verdict."""
    item, verdict = judged.recording.item, judged.recording.verdict
    name = (item.id[:6] if is_terminal else item.id, show_path(item.path))
    review = show_text(review_in_words(item))
    own = list(judged.judgements())
    if [part for part, _ in own] != [None]:
        share = _share(verdict.confidence if verdict else None)
        yield *name, "", _said(verdict, is_terminal=is_terminal), share, "", "", "", "", review
        review = ""
    for part, one in own:
        machine = str((one.support_as_json()["machine"] or {}).get("classification") or "none")
        yield (
            *name,
            "" if part is None else str(part),
            _said(one, is_terminal=is_terminal),
            _share(one.confidence),
            show_text(machine) if one.forced else "",
            show_text(one.heuristic or ""),
            show_text(", ".join(one.models)),
            show_text(one.api_version or ""),
            review,
        )


def _said(verdict: Judgement | Joined | None, *, is_terminal: bool) -> str:
    """The verdict in a word; an artificial one stands out on a terminal, even without colours."""
    said = "" if verdict is None else verdict.classification or str(verdict.state)
    return Red(f"{said} <--") if said == ARTIFICIAL and is_terminal else said


def _share(confidence: float | None) -> str:
    return "" if confidence is None else f"{confidence:g}"


def _refresh(context: CommandContext, items: list[Item] | None) -> int:
    """Have the service asked again, and say what came of it. Return the exit code."""
    key = read_key(context.config, os.environ)
    logs.configure(context.config.log.format, context.config.log.level, key, veil=context.config.veil)
    client = make_client(context.config, key, context.clock)
    try:
        found = refresh_verdicts(context, items, client)
    finally:
        client.close()
    say(f"{found.answered:,} asked for again, {found.changed:,} changed")
    if found.awaited:
        say(f"{len(found.awaited):,} have no verdict now: what was known before stands")
    if found.unanswered:
        say(f"{len(found.unanswered):,} could not be judged again: what was known before stands")
    if found.stopped is not None:
        say(f"watcher: not all could be asked for: {found.stopped.message}")
        if found.stopped.hint:
            say(f"         {found.stopped.hint}")
        return Exit.UNAVAILABLE
    return Exit.INCOMPLETE if found.unanswered else Exit.WELL


def review(options: argparse.Namespace) -> int:
    word, note = ReviewWord(options.word), show_text(options.note).strip()
    if len(note) > _LONGEST_NOTE:
        raise UsageError(
            f"review: the note has {len(note):,} characters", hint=f"Use {_LONGEST_NOTE} at the most."
        )
    with open_to_decide(options) as context:
        named = read_name(context, options.item)
        with context.store.writing() as books:
            item = find_filed(books, named)
            person = name_person(os.environ)
            decisions.review(books, item, word, note, context.clock.now(), person)
    before = f"; before: {item.review.word}, by {item.review.by}" if item.review else ""
    print(f"{item.id} {show_path(item.path)}: {word}, says {person}{before}")
    return Exit.WELL
