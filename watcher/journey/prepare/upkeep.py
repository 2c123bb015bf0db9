"""What the spool holds is what is still needed, and beside each part that is paid for lies its identifier."""

from collections.abc import Sequence

from watcher.domain import IN_DROP, Item, Part, PartState
from watcher.journey.answer import Answer
from watcher.journey.receipt import compose_receipt
from watcher.journey.site import Site
from watcher.text import JsonObject, rfc3339


def tidy(site: Site) -> None:
    """Clear the spool of what is filed, withdrawn or failed, and write the identifiers that are missing there.

    What is of no item known here stays: it may be all that is left of what a lost database had paid for. Raises
    FolderError, of the spool.
    """
    ids = site.spool.items()
    if not ids:
        return
    with site.store.reading() as books:
        states = books.parts.states_of(ids)
        accepted = [p for p in books.parts.of_live() if p.state is PartState.ACCEPTED and p.item_id in ids]
    if over := {item_id for item_id, state in states.items() if state not in IN_DROP}:
        site.spool.clear(over)
    noted = site.spool.noted() if accepted else set()
    for part in accepted:
        if part.name is None or part.name in noted:
            continue
        with site.store.reading() as books:
            item, parts = books.items.get(part.item_id), books.parts.of(part.item_id)
        if item is not None:
            keep_identifier(site, item, parts, part)


def keep_identifier(site: Site, item: Item, parts: Sequence[Part], part: Part) -> None:
    """Write beside the part what it is and that it is paid for, so that a lost database does not lose that.

    It has the recording and all parts, too: `recover` then has their boundaries, and pays for none again. May be
    repeated. Raises FolderError, of the spool.
    """
    if part.name is None:
        return
    site.spool.note(
        part.name,
        {
            "part": part.index,
            "identifier": part.identifier,
            "submitted_at": rfc3339(part.submitted_at),
            "recording": describe_unfiled(site, item, parts),
        },
    )


def describe_unfiled(site: Site, item: Item, parts: Sequence[Part]) -> JsonObject:
    """Return the receipt that the recording would have now, without its requests."""
    service = site.config.identifai
    answer = Answer(parts=tuple(parts) or None)
    return compose_receipt(
        item, [], answer, base_url=service.base_url, account=service.account, options=site.options
    )
