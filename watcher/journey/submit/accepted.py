"""What an identifier changes: of the recording that was just sent, and of one that somebody else has by then."""

from dataclasses import replace
from typing import Any

from watcher.domain import UNSETTLED, WAITING, Charged, Part, PartState, State, Verdict, VerdictState
from watcher.identifai.client import Accepted
from watcher.journey.duplicates import follow_original
from watcher.journey.site import Site
from watcher.journey.submit.by_part import accept_part
from watcher.journey.submit.claim import Claim
from watcher.store import Books

AFTER_THE_LEASE = "another node had taken the site by then"

_OPEN = WAITING | {State.SUBMITTING}
"""Where whoever took the site over may have the recording of an upload that it found under way."""


def end_accepted(books: Books, claim: Claim, accepted: Accepted, now: float, decision: str) -> None:
    """End the attempt in the ledger: it was paid for."""
    books.ledger.end(
        claim.number,
        now,
        outcome="accepted",
        charged=Charged.YES,
        decision=decision,
        status=accepted.status,
        identifier=accepted.identifier,
    )


def take_identifier(
    site: Site, books: Books, claim: Claim, accepted: Accepted, now: float, note: str = ""
) -> None:
    """Give the item, or its part, its identifier, and have the verdict asked for. Raises StaleItem."""
    item, identifier = claim.item, accepted.identifier
    await_verdict(site, books, identifier, now)
    if claim.part is None:
        facts = after_acceptance(identifier, claim.filed_as, now)
        books.items.change(item, State.FILING, now, note, **facts)
        follow_original(books, replace(item, state=State.FILING, **facts), now)
    else:
        accept_part(books, item, claim.part, identifier, now, filed_as=claim.filed_as, note=note)


def take_after_the_lease(site: Site, books: Books, claim: Claim, accepted: Accepted, now: float) -> None:
    """Record an identifier though another node has the site: it is money, and is not to be spent again.

    What that node has not sent anew, it files; what it is sending just now, it cuts off, or learns that its answer
    came late.
    """
    end_accepted(books, claim, accepted, now, AFTER_THE_LEASE)
    found = _find_as_it_is(books, claim)
    if found is None:
        accept_late_part(site, books, claim, accepted, now)
    else:
        take_identifier(site, books, found, accepted, now, AFTER_THE_LEASE)


def accept_late_part(site: Site, books: Books, claim: Claim, accepted: Accepted, now: float) -> None:
    """Give the part its identifier, whoever has the item: so nobody pays for it again."""
    if (part := _find_unsettled(books, claim)) is not None:
        facts = {"identifier": accepted.identifier, "submitted_at": now, "in_doubt": False, "fault": None}
        books.parts.change(part, PartState.ACCEPTED, **facts)
        await_verdict(site, books, accepted.identifier, now)


def _find_as_it_is(books: Books, claim: Claim) -> Claim | None:
    """Return the claim with the item, and its part, as whoever has it left them; None where it is decided on.

    Nor while another part of it is being sent: that one's answer moves the item on.
    """
    item, part = books.items.get(claim.item.id), _find_unsettled(books, claim)
    if item is None or item.state not in _OPEN or item.sha256 != claim.item.sha256:
        return None
    if claim.part is not None:
        is_sent = item.state is State.SUBMITTING
        if part is None or (is_sent and part.state is not PartState.SUBMITTING):
            return None
    return replace(claim, item=item, part=part)


def _find_unsettled(books: Books, claim: Claim) -> Part | None:
    """Return the part that was sent, as it is now; None where it is settled, or none was sent."""
    if (sent := claim.part) is None:
        return None
    found = (part for part in books.parts.of(claim.item.id) if part.state in UNSETTLED)
    return next((part for part in found if (part.index, part.sha256) == (sent.index, sent.sha256)), None)


def after_acceptance(identifier: str, filed_as: bytes, at: float | None) -> dict[str, Any]:
    """Return the changes to an item that the service accepted at that time, on its way to done/."""
    return {
        "outcome": State.DONE,
        "identifier": identifier,
        "filed_as": filed_as,
        "submitted_at": at,
        "fault": None,
        "in_doubt": False,
        "suspected_at": None,
        "fresh": False,
    }


def await_verdict(site: Site, books: Books, identifier: str, now: float) -> None:
    """Have the verdict asked for."""
    due_at = now + site.config.verdicts.first_seconds
    books.verdicts.add(Verdict(identifier, VerdictState.AWAITED, asked_at=None, due_at=due_at, since=now))
