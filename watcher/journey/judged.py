"""What the service said of an identifier goes into the books, and what that changes is told."""

from collections.abc import Iterator
from dataclasses import replace

from watcher.config import AudioConfig
from watcher.domain import ARTIFICIAL, Item, Verdict, VerdictState
from watcher.identifai.reading import Reading
from watcher.journey.verdict_news import Changed, News, find_news, note_conditions
from watcher.store import Books

AT_REST = frozenset({VerdictState.KNOWN, VerdictState.ERRORED})
"""The states of a verdict that nobody asks for any more, unless a person has it asked for again."""


def take_over(verdict: Verdict, reading: Reading, now: float) -> Verdict:
    """Return the verdict as the service gives it now, at rest.

    One that is as before was known before, though nobody may know since when: a receipt does not say it.
    """
    after = Verdict(
        identifier=verdict.identifier,
        state=reading.state,
        asked_at=now,
        due_at=now,
        since=verdict.since,
        classification=reading.classification,
        confidence=reading.confidence,
        heuristic=reading.heuristic,
        api_version=reading.api_version,
        models=reading.models,
        forced=reading.forced,
        detail=reading.detail,
        asked=verdict.asked + 1,
        machine_classification=reading.machine_classification,
        machine_confidence=reading.machine_confidence,
        result_url=reading.result_url,
        known_at=now if reading.state is VerdictState.KNOWN else None,
    )
    told = ("state", "classification", "confidence", "forced")
    is_as_before = all(getattr(after, name) == getattr(verdict, name) for name in told)
    return replace(after, known_at=verdict.known_at) if is_as_before else after


def put_verdict(
    books: Books, before: Verdict, after: Verdict, reading: Reading | None, now: float, audio: AudioConfig
) -> list[News | Changed]:
    """Store the verdict, with what it rests on. Return what there is to tell after the commit.

    One site asks for each identifier; what changes reaches the recordings of all its account's sites that have it.
    Its receipts are due if anything of it is news. A verdict that was at rest and is another one now stands in the
    history of each recording. That it came to rest is told once for recordings with the same bytes, of the first
    of them; of one that was sent in parts, once all of its parts are at rest.
    """
    identifier = before.identifier
    books.verdicts.put(after)
    is_news = not after.says_as(before) or after.as_json() != before.as_json()
    if reading is not None and reading.result is not None:
        is_news = is_news or books.verdicts.results_of([identifier]).get(identifier) != reading.result
        books.verdicts.keep_result(identifier, reading.result, now)
    found = _spread(books, before, after, now, audio, is_news=is_news)
    for elsewhere in books.verdicts.sites_with(identifier):
        with books.at(elsewhere):
            books.verdicts.copy(identifier)
            _spread(books, before, after, now, audio, is_news=is_news)
    return found


def _spread(
    books: Books, before: Verdict, after: Verdict, now: float, audio: AudioConfig, *, is_news: bool
) -> list[News | Changed]:
    """Let the recordings of a site have what is known. Return what there is to tell of them."""
    identifier = before.identifier
    if is_news:
        books.filing.mark_receipts_due(identifier)
    if after.says_as(before):
        return []
    having = books.items.with_identifier(identifier)
    is_plain = all(
        one.state is not VerdictState.OVERDUE and one.classification != ARTIFICIAL for one in (before, after)
    )
    for item in having:
        if item.plan is not None or not is_plain:  # what most verdicts are is nothing to be told of
            note_conditions(books, item, now, audio)
    if before.state in AT_REST:
        return list(_note_change(books, having, before, after, now))
    if after.state is before.state:
        return []
    found = [find_news(books, item, before, audio) for item in having if item.plan is not None]
    as_it_is = next((item for item in having if item.plan is None), None)
    if as_it_is is not None or not having:
        found.append(News(as_it_is, identifier, before.state, after))
    return [one for one in found if one is not None]


def _note_change(
    books: Books, having: list[Item], before: Verdict, after: Verdict, now: float
) -> Iterator[Changed]:
    for item in having:
        part = next((part.index for part in books.parts.of(item.id) if part.identifier == after.identifier), None)
        changed = Changed(item, part, before, after)
        books.items.note(item, now, str(changed))
        yield changed
