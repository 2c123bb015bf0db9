"""At start-up: whatever a crash left half done is put where its step can take it up again."""

import os
from contextlib import suppress

from watcher import logs
from watcher.domain import Attempt, Charged, Fault, State
from watcher.errors import FolderError
from watcher.folders.names import is_check_note
from watcher.journey import pauses, policy
from watcher.journey.site import Site
from watcher.store import Books

_log = logs.get_logger(__name__)

_ALL = 1_000_000


def recover(site: Site) -> None:
    """No item is in the hands of a process that is dead. To be called alone, before any step.

    `filing` and `returning` need nothing: their steps repeat the move. `submitting` is decided by the ledger:
    where the last part of the body was never let go the service has no request, so nothing was charged;
    otherwise the item is in doubt. Pauses stay; those that a canary can end are tried at once.
    """
    now = site.clock.now()
    with site.store.writing() as books:
        books.ledger.hits_ended(now)
        for attempt in books.ledger.unfinished():
            _decide(site, books, attempt, now)
        for item in books.items.in_state(State.SUBMITTING, limit=_ALL):
            books.items.change(item, State.QUEUED, now, "found half done at start-up")
        books.obstacles.forget()
        books.obstacles.bring_forward(now)
        pauses.try_at_once(books, now)  # a person may have started us since the key is right, or the service well
        written = _written(books)
    if _has_checked(site):
        for subfolders in written.values():
            subfolders.add(b"")
    for folder in (site.done, site.failed, site.drop):  # last the note that says where to look
        with suppress(FolderError):  # it is away: its own pause says so
            folder.sweep(now, sorted(written[folder.name]))


def _written(books: Books) -> dict[str, set[bytes]]:
    """The subfolders of each folder in which a file may be half written: all are committed before the first byte.

    Not the whole folders: they may hold years of recordings, and a start must not take longer each day.
    """
    written: dict[str, set[bytes]] = {"done": set(), "failed": set(), "drop": {b""}}
    for item in (*books.items.in_state(State.FILING, _ALL), *books.items.with_any_receipt_due()):
        written[item.outcome or State.FAILED].add(os.path.dirname(item.filed_as or item.path))
    for item in books.items.in_state(State.RETURNING, _ALL):
        written["drop"].add(os.path.dirname(item.path))
    return written


def _has_checked(site: Site) -> bool:
    """Whether a `check` was killed before it had tidied up, or is at it now."""
    with suppress(FolderError):
        return any(map(is_check_note, site.drop.drafts()))
    return False


def _decide(site: Site, books: Books, attempt: Attempt, now: float) -> None:
    item = books.items.get(attempt.item_id)
    if attempt.released_at is None:
        charged, outcome, decision = Charged.NO, "cut_off", "not sent"
    else:
        holds = site.config.identifai.in_doubt == "hold"
        charged, outcome = Charged.UNKNOWN, "in_doubt"
        decision = "held for a person" if holds else "in doubt: sent again, never with no_cache"
    detail = "the daemon ended before the answer came"
    books.ledger.end(attempt.number, now, outcome=outcome, charged=charged, decision=decision, detail=detail)
    if item is None or item.state is not State.SUBMITTING:
        return
    if charged is Charged.NO:
        books.items.change(item, State.QUEUED, now, "the daemon ended before it was sent")
    elif site.config.identifai.in_doubt == "hold":
        fault = Fault(
            "in_doubt",
            "It was sent, and the daemon ended before the answer came: it may have been charged.",
            policy.hint_to_decide(item),
        )
        books.items.change(item, State.HELD, now, fault.message, fault=fault, in_doubt=True)
    else:
        books.items.change(item, State.QUEUED, now, detail, due_at=now, in_doubt=True)
    told = {"item": item.id, "path": item.path, "charged": charged, "decision": decision}
    books.afterwards(lambda: _log.warning("recording.recovered", **told))
