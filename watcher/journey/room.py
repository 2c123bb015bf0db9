"""Room in done/: nothing is paid for that could not be filed, and only what has no room there waits for it."""

from contextlib import suppress

from watcher import logs
from watcher.domain import Item, State
from watcher.errors import FolderError, NoRoom
from watcher.folders import RESERVE_BYTES
from watcher.journey.site import Site
from watcher.store import Books

_log = logs.get_logger(__name__)

_LOOK_AGAIN_SECONDS = 600.0  # unless a scan finds room before
_PLENTY = 100  # of the largest recordings: with so much room, what is on its way is not counted


def check_room(site: Site, item: Item, filed_as: bytes) -> None:
    """done/ has room for the recording under that name, beside all that is on its way there.

    Raises NoRoom, and what Folder.free_bytes does.
    """
    free, wanted = site.done.free_bytes(filed_as), item.size + RESERVE_BYTES
    if free >= _PLENTY * site.config.limits.max_upload_bytes:
        return
    with site.store.reading() as books:
        before = _on_the_way(books, free)
    if free < wanted + before:
        others = f", after {before:,} for what is on its way there" if before else ""
        raise NoRoom(
            f"No space for it in {site.done.label()}: {free:,} bytes are free, {wanted:,} are wanted "
            f"for it and its receipt{others}",
            hint=f"free space where {site.done.quoted()} lies; it goes on by itself",
        )


def put_off_for_room(site: Site, books: Books, item: Item, error: NoRoom) -> None:
    """A scan that finds room makes the recording due again. As a canary it has had its turn."""
    now = site.clock.now()
    is_news = item.fault is None or item.fault.code != error.code
    books.items.change(
        item,
        State.QUEUED,
        now,
        error.message if is_news else "",
        due_at=now + _LOOK_AGAIN_SECONDS,
        attempted_at=now,
        fault=error.as_fault(),
    )
    if is_news:
        told = {"item": item.id, "path": item.path, "reason": error.message, "hint": error.hint}
        books.afterwards(lambda: _log.warning("recording.postponed", **told))


def let_go_what_has_room(site: Site) -> None:
    """Recordings that waited for room are due, the oldest first, as many as there is room for now."""
    now = site.clock.now()
    with site.store.reading() as books:
        waiting = books.items.put_off(NoRoom.code, now)
    if not waiting:
        return
    has_room = []
    with suppress(FolderError):  # done/ is away: its pause tells, and the disk below its mount point is not asked
        site.recognise(site.done)
        free = site.done.free_bytes()
        with site.store.reading() as books:
            promised = _on_the_way(books, free)
        for item in waiting:
            if site.done.free_bytes(item.path) >= promised + item.size + RESERVE_BYTES:
                promised += item.size + RESERVE_BYTES
                has_room.append(item.id)
    if not has_room:
        return
    with site.store.writing() as books:
        for item_id in has_room:
            now_there = books.items.get(item_id)
            if now_there is not None and now_there.state is State.QUEUED:
                note = "there is room for it again"
                books.items.change(now_there, State.QUEUED, now, note, due_at=now, fault=None)
    _log.info("room.found", recordings=len(has_room), folder=site.done.root)


def _on_the_way(books: Books, free: float) -> int:
    """How many bytes recordings take that are sent or filed now. One that does not fit itself keeps no place."""
    items = books.items.in_state(State.SUBMITTING) + books.items.in_state(State.FILING)
    sizes = (item.size for item in items if item.outcome is not State.FAILED)
    return sum(size + RESERVE_BYTES for size in sizes if size + RESERVE_BYTES <= free)
