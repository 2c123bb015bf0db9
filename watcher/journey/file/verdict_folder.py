"""The folder of a verdict, below done/: where a recording moves on to (folders.by_verdict)."""

import posixpath

from watcher.domain import Item, State, VerdictState
from watcher.journey.answer import read_answer
from watcher.journey.site import Site
from watcher.store import Books

_FOLDERS = {"human": b"human", "artificial": b"artificial", "inconclusive": b"inconclusive"}


def find_onward(books: Books, item: Item, site: Site) -> bytes | None:
    """Return where in done/ the item is to move on to; None where it lies right, or has no verdict to go by."""
    is_there = item.outcome is State.DONE and item.filed_as is not None and item.removed is None
    if not site.config.folders.by_verdict or not is_there:
        return None
    verdict = read_answer(books, item, site.config.audio).verdict
    if verdict is None or verdict.state is not VerdictState.KNOWN:
        return None
    return onward_of(item, verdict.classification or "")


def onward_of(item: Item, classification: str) -> bytes | None:
    """Return the path below the verdict's folder; None where the item lies there. Pure.

    The subfolders of its drop path are kept below it. How many there are tells whether it was moved on before: the
    first of them may have a verdict's name itself.
    """
    filed_as, folder = item.filed_as or item.path, _FOLDERS.get(classification)
    if folder is None:
        return None
    onward = posixpath.join(folder, _without_verdict(item, filed_as))
    return None if onward == filed_as else onward


def is_one_move(item: Item, one: bytes, other: bytes) -> bool:
    """Return whether the item may have been moved from one of these paths in done/ to the other. Pure."""
    rests = [_without_verdict(item, path) for path in (one, other)]
    return rests != [one, other] and posixpath.dirname(rests[0]) == posixpath.dirname(rests[1])


def _without_verdict(item: Item, path: bytes) -> bytes:
    """Return the path in done/ before the item was moved on; the same where it was not."""
    top, _, rest = path.partition(b"/")
    # A name of last resort begins with the id, and has no subfolders.
    depth = 0 if posixpath.basename(path).startswith(item.id.encode()) else item.path.count(b"/")
    return rest if top in _FOLDERS.values() and path.count(b"/") == depth + 1 else path
