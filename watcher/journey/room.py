"""Space in done/: nothing is paid for that could not be filed, and only what lacks space waits for it.

A recording's companions are to lie beside it, and need space too.
"""

from contextlib import suppress

from watcher import logs
from watcher.domain import Item, State
from watcher.errors import FolderError, NoRoom, RecordingError, RecordingGone, RecordingUnreachable
from watcher.folders import RESERVE_BYTES
from watcher.journey.arrive.companions import companion_name
from watcher.journey.site import Site
from watcher.store import Books

_log = logs.get_logger(__name__)

_LOOK_AGAIN_SECONDS = 600.0  # unless a scan finds room before
_PLENTY = 100  # of the largest recordings: with this much space, what is on its way is not counted


def check_room(site: Site, item: Item, filed_as: bytes) -> None:
    """Check that done/ has space for the recording and its companions, beside all that is on its way there.

    Raises NoRoom, and what Folder.free_bytes does.
    """
    free, wanted = site.done.free_bytes(filed_as), _wanted(site, item, filed_as)
    if free - wanted >= _PLENTY * site.config.limits.max_upload_bytes:
        return
    before = _on_the_way(site, free)
    if free < wanted + before:
        others = f", after {before:,} for what is on its way there" if before else ""
        what = "it, its receipt and what came with it" if item.companions else "it and its receipt"
        raise NoRoom(
            f"No space for it in {site.done.label()}: {free:,} bytes are free, {wanted:,} are needed "
            f"for {what}{others}",
            hint=f"free space on the disk of {site.done.quoted()}; it is then sent by itself",
        )


def check_companions(site: Site, item: Item, filed_as: bytes) -> None:
    """Check that the recording's companions can follow it to that name. One that was taken away is ignored.

    Raises RecordingUnreachable, and what Folder.bytes_to_copy raises about the folders.
    """
    for companion in item.companions:
        try:
            size = site.done.bytes_to_copy(site.drop, companion, companion_name(companion, item.path, filed_as))
            site.drop.check_gives(companion, reading=size is not None)
        except RecordingGone as error:
            if site.drop.occupied(companion):
                raise RecordingUnreachable(
                    f"{site.drop.label(companion)} came with it, and is no longer a regular file",
                    hint=f"put the file itself there, or remove what is there: {site.drop.quoted(companion)}",
                ) from error


def postpone_for_room(site: Site, books: Books, item: Item, error: NoRoom) -> None:
    """Postpone the recording until a scan finds space for it. As a canary it has had its turn."""
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
    """Make recordings that waited for space due, the oldest first, as many as there is space for now."""
    now = site.clock.now()
    with site.store.reading() as books:
        waiting = books.queue.postponed(NoRoom.code, now)
    if not waiting:
        return
    has_room = []
    with suppress(
        FolderError
    ):  # done/ is away: its pause says so, and the disk below its mount point is not asked
        site.recognise(site.done)
        free = site.done.free_bytes()
        promised = _on_the_way(site, free)
        for item in waiting:
            wanted = _wanted(site, item, item.path)
            with suppress(FolderError):  # its own subfolder's, which must not keep others waiting
                if site.done.free_bytes(item.path) >= promised + wanted:
                    promised += wanted
                    has_room.append(item.id)
    if not has_room:
        return
    with site.store.writing() as books:
        for item_id in has_room:
            now_there = books.items.get(item_id)
            if now_there is not None and now_there.state is State.QUEUED:
                note = "there is space for it again"
                books.items.change(now_there, State.QUEUED, now, note, due_at=now, fault=None)
    _log.info("room.found", recordings=len(has_room), folder=site.done.root)


def _on_the_way(site: Site, free: float) -> int:
    """Return the bytes needed by what is being sent or filed. What would not fit by itself is not counted."""
    with site.store.reading() as books:
        items = books.items.in_state(State.SUBMITTING) + books.items.in_state(State.FILING)
    sizes = (_wanted(site, item, item.filed_as or item.path) for item in items if item.outcome is not State.FAILED)
    return sum(size for size in sizes if size <= free)


def _wanted(site: Site, item: Item, filed_as: bytes) -> int:
    """Return the bytes that the recording needs in done/, with its receipt and the companions to be copied."""
    wanted = item.size + RESERVE_BYTES
    for companion in item.companions:
        # What is gone needs none; what cannot be examined must not keep others waiting: see check_companions.
        with suppress(RecordingError, FolderError):
            there = companion_name(companion, item.path, filed_as)
            wanted += site.done.bytes_to_copy(site.drop, companion, there) or 0
    return wanted
