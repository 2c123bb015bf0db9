"""Move a recording's companions, its marker and sidecars, along with it, under its name."""

from contextlib import suppress

from watcher import logs
from watcher.domain import Item
from watcher.errors import FolderError, FolderFull, NameTaken, RecordingChanged, RecordingError, RecordingGone
from watcher.folders import Folder, move, tokens_for
from watcher.folders.names import LONGEST
from watcher.journey.arrive.companions import companion_name, may_be_plain, names_beside
from watcher.journey.site import Site
from watcher.text import show_path

_log = logs.get_logger(__name__)


def move_companions(
    site: Site, item: Item, source: Folder, target: Folder, *, before_ns: int | None = None
) -> list[str]:
    """Move what came with the recording to `target`, after it. Return a warning for each that could not be moved.

    `before_ns`: one whose ctime is not before it belongs to another recording, and stays. One of the same tick of
    the file system's clock (4 ms) came after the move: what came with the recording was there before it was sent.

    Should the database be lost in between, a companion left in the drop folder is only an orphan, while a
    recording left there would be an arrival. One that cannot be moved stays, or its recording would never be done.
    One that is gone is ignored.
    """
    left: list[str] = []
    for companion in item.companions:
        here = _find(source, item, companion) if target is site.drop else companion
        try:
            _move_one(site, item, companion, here, source, target, before_ns)
        except (RecordingGone, RecordingChanged):
            pass  # taken away, or moved before a crash
        except (RecordingError, FolderError) as error:
            is_alone = isinstance(error, RecordingError | FolderFull | NameTaken)
            if not is_alone and (trouble := site.find_trouble([source, target])) is not None:
                raise trouble from error
            left.append(
                f"{show_path(here)} came with it, but stayed in the {source.name} folder: {error.message}."
            )
            _log.warning("companion.left", item=item.id, path=here, reason=error.message, hint=error.hint)
    return left


def move_companions_on(
    site: Site, item: Item, there: Item, folder: Folder, *, before_ns: int | None = None
) -> list[str]:
    """Move what came with the recording after it, within the folder. `there`: the item as it lies now.

    Return a warning for each that could not be moved. `before_ns`: as for move_companions.
    """
    left: list[str] = []
    for companion in item.companions:
        here = _find(folder, item, companion)
        try:
            _move_one(site, there, companion, here, folder, folder, before_ns)
        except (RecordingGone, RecordingChanged):
            pass  # taken away, or moved before a crash
        except (RecordingError, FolderError) as error:
            left.append(f"{show_path(here)} came with it, and could not be moved on with it: {error.message}.")
            _log.warning("companion.left", item=item.id, path=here, reason=error.message, hint=error.hint)
    return left


def _move_one(
    site: Site,
    item: Item,
    companion: bytes,
    here: bytes,
    source: Folder,
    target: Folder,
    before_ns: int | None,
) -> None:
    """Move it to `target` under the first of its names that is free. Raises NameTaken, and what `move` does."""
    there = companion if target is site.drop else companion_name(companion, item.path, item.filed_as or item.path)
    fingerprint = source.fingerprint(here)
    if before_ns is not None and fingerprint.ctime_ns >= before_ns:
        return
    for token in tokens_for(item.id, plain=True):
        name = site.acceptance.fit(target, there, item.id, token)
        if not token and target is not site.drop and not may_be_plain(name):
            continue
        try:
            move(source, here, target, name, fingerprint, alone=target is site.done)
        except NameTaken:
            continue
        return
    raise target.taken(there)


def _find(folder: Folder, item: Item, companion: bytes) -> bytes:
    """Return where the companion lies in the folder; its plain name, where it lies under none of its names."""
    longest = LONGEST
    with suppress(FolderError):  # the move meets it again
        longest = folder.names_at(companion)[1]
    names = names_beside(item, companion, longest)
    for name in names:
        try:
            folder.fingerprint(name)
        except RecordingGone:
            continue
        except (RecordingError, FolderError):
            pass
        return name
    return names[0]
