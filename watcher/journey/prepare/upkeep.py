"""What the spool holds is what is still needed, and beside each part that is paid for lies its identifier."""

from watcher.domain import IN_DROP, Part, PartState
from watcher.journey.site import Site
from watcher.text import rfc3339


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
        if part.name is not None and part.name not in noted:
            keep_identifier(site, part)


def keep_identifier(site: Site, part: Part) -> None:
    """Write beside the part what it is and that it is paid for, so that a lost database does not lose that.

    May be repeated. Raises FolderError, of the spool.
    """
    if part.name is None:
        return
    service = site.config.identifai
    site.spool.note(
        part.name,
        {
            "item": part.item_id,
            "part": part.index,
            "channel": part.channel,
            "start": part.start,
            "end": part.end,
            "start_seconds": part.start_seconds,
            "end_seconds": part.end_seconds,
            "how": part.how,
            "sha256": part.sha256,
            "size": part.size,
            "content_key": part.content_key,
            "identifier": part.identifier,
            "submitted_at": rfc3339(part.submitted_at),
            "base_url": service.base_url,
            "account": service.account,
        },
    )
