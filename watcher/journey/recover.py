"""At start-up, put whatever a crash left half done where its step can take it up again."""

import os
from contextlib import suppress
from functools import partial

from watcher import logs
from watcher.domain import Attempt, Charged, Item, Part, PartState, State
from watcher.errors import FolderError
from watcher.folders.names import is_check_note
from watcher.identifai.client import Accepted
from watcher.journey.site import Site
from watcher.journey.submit import doubt, journal, pauses
from watcher.journey.submit.accepted import after_acceptance, await_verdict, take_after_the_lease
from watcher.journey.submit.by_part import accept_part, lose_answer
from watcher.journey.submit.claim import Claim
from watcher.store import Books

_log = logs.get_logger(__name__)

_ALL = 1_000_000
_ENDED = "the daemon ended before the answer was recorded"


def recover(site: Site) -> None:
    """Take every item out of the hands of a dead process. To be called before any step runs.

    `preparing`, `filing` and `returning` need nothing: their steps repeat it. For `submitting` the ledger
    decides: where the last part of the body was never sent, the service has no complete request, and nothing was
    charged; otherwise the item is in doubt. Pauses stay; those that a canary can end are tried at once.
    """
    now = site.clock.now()
    kept = journal.read(site)
    with site.store.writing() as books:
        known = {key for key in kept if any(journal.is_of(key, one) for one in books.ledger.of_item(key[1]))}
        end_attempts(site, books, kept, now)
        books.obstacles.forget()
        books.obstacles.bring_forward(now)
        pauses.try_at_once(books, now)  # we may have been restarted because the cause is mended
        written = _written(books)
    if unknown := [answer for key, answer in kept.items() if key not in known]:
        _tell_unknown(unknown)  # of what older books do not have: only the journal knows it
    else:
        journal.remove(site)  # not before: what was in it is committed now
    if _has_checked(site):
        for subfolders in written.values():
            subfolders.add(b"")
    with suppress(FolderError):  # the step that prepares meets it again, and says so
        site.spool.sweep()
    for folder in (site.done, site.failed, site.drop):  # drop last: its note says where to look
        with suppress(FolderError):  # it is away: its own pause says so
            folder.sweep(now, sorted(written[folder.name]))


def end_attempts(site: Site, books: Books, kept: journal.Kept, now: float) -> None:
    """End all that was under way with the service, and bring its items to where that leaves them.

    Whoever did it is dead, or may do no more. `kept`: the answers in its journal.
    """
    books.ledger.end_all_rate_events(now)
    for attempt in books.ledger.unfinished():
        answer = journal.find(kept, attempt)
        if answer is None:
            _decide(site, books, attempt, now)
        else:
            _accept(books, attempt, answer)
    for item in books.items.in_state(State.SUBMITTING, limit=_ALL):
        _resume(site, books, item, now)


def record_kept(site: Site) -> None:
    """Record what the journal has, though another node works on the site: an identifier that comes late is money.

    The journal stays: who works on the site next removes it.
    """
    for key, answer in journal.read(site).items():
        with site.store.writing(late=True) as books:
            sent = (one for one in books.ledger.of_item(key[1]) if journal.is_of(key, one))
            attempt, item = next(sent, None), books.items.get(key[1])
            if attempt is None or item is None or attempt.identifier is not None:
                continue
            part = _part(books, item, answer.part)
            claim = Claim(item, part, attempt.number, attempt.started_at, item.path, canary=False, no_cache=False)
            take_after_the_lease(site, books, claim, Accepted(answer.identifier, answer.status), answer.at)
            told = {"item": item.id, "identifier": answer.identifier}
            books.afterwards(partial(_log.warning, "answer.recovered", **told))


def _tell_unknown(answers: list[journal.KeptAnswer]) -> None:
    for answer in answers:
        reason = "the database does not know the request: is it a restored, older copy?"
        hint = "Stop the daemon and run `watcher recover`, which takes it from the file beside the database."
        _log.error("answer.unknown", identifier=answer.identifier, reason=reason, hint=hint)


def _written(books: Books) -> dict[str, set[bytes]]:
    """Return each folder's subfolders that may hold a half-written file: each was committed before its first byte.

    Not all subfolders: they may hold years of recordings, and a start must not take longer each day.
    """
    written: dict[str, set[bytes]] = {"done": set(), "failed": set(), "drop": {b""}}
    for item in (*books.items.in_state(State.FILING, _ALL), *books.filing.with_any_receipt_due()):
        written[item.outcome or State.FAILED].add(os.path.dirname(item.filed_as or item.path))
    for item in books.items.in_state(State.RETURNING, _ALL):
        written["drop"].add(os.path.dirname(item.path))
    written["done"] |= {os.path.dirname(path) for path in books.filing.moves_on()}
    return written


def _has_checked(site: Site) -> bool:
    """Return whether a `check` was killed before it had tidied up, or is running now."""
    with suppress(FolderError):
        return any(map(is_check_note, site.drop.drafts()))
    return False


def _accept(books: Books, attempt: Attempt, answer: journal.KeptAnswer) -> None:
    """Record an answer that the database did not take; `_resume` then moves the item on."""
    books.ledger.end(
        attempt.number,
        answer.at,
        outcome="accepted",
        charged=Charged.YES,
        decision="done",
        status=answer.status,
        identifier=answer.identifier,
    )
    told = {"item": attempt.item_id, "identifier": answer.identifier}
    books.afterwards(lambda: _log.warning("answer.recovered", **told))


def _decide(site: Site, books: Books, attempt: Attempt, now: float) -> None:
    item = books.items.get(attempt.item_id)
    if attempt.released_at is None:
        charged, outcome, decision = Charged.NO, "cut_off", "not sent"
    else:
        charged, outcome = Charged.UNKNOWN, "in_doubt"
        decision = doubt.decision(holds=site.config.identifai.holds_in_doubt)
    books.ledger.end(
        attempt.number,
        now,
        outcome=outcome,
        charged=charged,
        decision=decision,
        was_cut_off=True,
        detail=_ENDED,
    )
    if item is None or item.state is not State.SUBMITTING:
        return
    _put_back(site, books, item, attempt.part, charged, now)
    told = {"item": item.id, "path": item.path, "charged": charged, "decision": decision}
    books.afterwards(lambda: _log.warning("recording.recovered", **told))


def _resume(site: Site, books: Books, item: Item, now: float) -> None:
    """Bring an item whose last attempt had ended to where that attempt leaves it."""
    attempts = books.ledger.of_item(item.id)
    last = attempts[-1] if attempts else None
    index = None if last is None else last.part
    if last is not None and last.identifier is not None:
        await_verdict(site, books, last.identifier, now)
        note = "found half done at start: it had been accepted"
        if (part := _part(books, item, index)) is not None:
            accept_part(books, item, part, last.identifier, last.ended_at or now, filed_as=item.path, note=note)
            return
        facts = after_acceptance(last.identifier, item.path, last.ended_at)
        books.items.change(item, State.FILING, now, note, **facts)
    elif last is not None and last.charged is Charged.UNKNOWN:
        _put_back(site, books, item, index, last.charged, now)
    else:
        _put_back(site, books, item, index, Charged.NO, now, "found half done at start")


def _part(books: Books, item: Item, index: int | None) -> Part | None:
    """Return the part of the item that was being sent; None where it was sent as it is."""
    return next((one for one in books.parts.of(item.id) if one.index == index), None)


def _put_back(
    site: Site,
    books: Books,
    item: Item,
    index: int | None,
    charged: Charged,
    now: float,
    note: str = "the daemon ended before it was sent",
) -> None:
    """Queue the item again, or hold it where it may have been charged and a person is to decide.

    `index`: of the part of it that was being sent.
    """
    part, holds = _part(books, item, index), site.config.identifai.holds_in_doubt
    if charged is Charged.NO:
        if part is not None:
            books.parts.change(part, PartState.QUEUED)
        books.items.change(item, State.QUEUED, now, note)
        return
    if part is not None:
        lose_answer(books, item, part, now, _ENDED, holds=holds)
        return
    facts = doubt.after_lost_answer(item, holds=holds)
    after = State(str(facts.pop("state")))
    if after is State.QUEUED:
        facts["due_at"] = now
    note = facts["fault"].message if "fault" in facts else _ENDED
    books.items.change(item, after, now, note, **facts)
