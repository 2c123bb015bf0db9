"""Where a recording is and what came of it, for whoever dropped it: from folders and receipts alone.

Whoever asks need not be able to read configuration or database. The folders of a site lie side by side, each with
a marker that names the site; only the drop folder has the lock as well. No marker needs to be trusted: nothing is
written, and what a receipt says is only repeated. Whether there is an answer, the modes of the folders decide.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from watcher.errors import FolderError, NoSuchItem, RecordingError
from watcher.folders import LOCK, Folder, receipt_name
from watcher.folders.marker import LONGEST, MARKER
from watcher.folders.names import RECEIPT, is_aside
from watcher.journey.receipt import receipt_at
from watcher.text import JsonObject, from_json, length, local_time, path_text, quote_path, seconds_of, show_path

_MOST = 20
_VERDICTS = (b"", b"human", b"artificial", b"inconclusive")  # where folders.by_verdict moves it on to
_SHOWN = 300  # characters of a receipt's field: anybody may have written it
_TOKEN = re.compile(rb"~[0-9a-f]{6,16}(?=\.[^./]*$|$)")


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders of a site, as they are found: those that were filed into may be closed to whoever asks."""

    drop: bytes
    filed: tuple[bytes, ...]


def find_folders(starts: list[bytes]) -> Folders | None:
    """Return the folders of the site that one of these places lies in, or has a drop folder in; None for none."""
    for start in starts:
        for above in _upward(start):
            for place in (above, os.path.join(above, b"drop")):
                if (site := _site_of(place)) is not None:
                    return _beside(place, site)
    return None


def _upward(path: bytes) -> Iterator[bytes]:
    """Yield the path and every folder that it is in."""
    path = os.path.abspath(path)
    while True:
        yield path
        above = os.path.dirname(path)
        if above == path:
            return
        path = above


def _site_of(folder: bytes) -> str | None:
    """Return the site whose marker lies in the folder; None where none does that can be read."""
    with suppress(OSError):
        opened = os.open(os.path.join(folder, MARKER), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            site = (from_json(os.pread(opened, LONGEST, 0)) or {}).get("site")
        finally:
            os.close(opened)
        return site if isinstance(site, str) else None
    return None


def _beside(place: bytes, site: str) -> Folders | None:
    """Return the folders of this site beside the place, itself included; None where none is its drop folder."""
    above = os.path.dirname(place)
    marked = [place]
    with suppress(OSError), os.scandir(above) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        others = (os.path.join(above, name) for name in names)
        marked += [other for other in others if other != place and _site_of(other) == site]
    drops = [folder for folder in marked if os.path.lexists(os.path.join(folder, LOCK))]
    if not drops:
        return None
    filed = [folder for folder in marked if folder not in drops]
    usual = [os.path.join(above, name) for name in (b"done", b"failed")]
    closed = [folder for folder in usual if folder not in marked and os.path.isdir(folder)]
    return Folders(drops[0], (*filed, *closed))


def tell_whereabouts(folders: Folders, typed: bytes, now: float) -> list[str]:
    """Return what is known of the recording that was typed: a text for each of its name, the latest first.

    Raises NoSuchItem where nothing is, or where what may be known is closed to whoever asks.
    """
    path = _relative(folders, typed)
    found, closed = (
        _find_receipts(folders, path),
        [one for one in folders.filed if not os.access(one, os.R_OK | os.X_OK)],
    )
    told = [_tell_waiting(folders.drop, path, now)]
    told += [_tell_receipt(folder, filed, receipt, now) for _, folder, filed, receipt in found]
    said = [text for text in told if text]
    if said:
        return said
    name = show_path(path)
    if closed:
        names = ", ".join(show_path(one) for one in closed)
        raise NoSuchItem(
            f"{name}: it is no longer in the drop folder, and what became of it stands in {names}, which you may "
            "not read",
            hint="Ask whoever looks after the watcher: to answer you here, that folder must be readable for you.",
        )
    raise NoSuchItem(
        f"{name}: it is neither in the drop folder {show_path(folders.drop)} nor among what was filed",
        hint="Check the name; in a subfolder, give its path from the drop folder on.",
    )


def _relative(folders: Folders, typed: bytes) -> bytes:
    """Return the path in the drop folder: of a file in any of the folders, or as it was typed."""
    whole = os.path.abspath(typed)
    for root in (folders.drop, *folders.filed):
        for base in {root, os.path.realpath(root)}:
            if whole.startswith(base + b"/"):
                return whole[len(base) + 1 :].removesuffix(RECEIPT)
    parts = [part for part in typed.split(b"/") if part not in (b"", b".", b"..")]
    return b"/".join(parts).removesuffix(RECEIPT)


Found = tuple[float, bytes, bytes, JsonObject]
"""When it was filed, the folder, the recording's path in it, and its receipt: empty where it cannot be read."""


def _find_receipts(folders: Folders, path: bytes) -> list[Found]:
    """Return the receipts of the recordings of this path; where there are none, of this name in any subfolder."""
    below, name = os.path.split(path)
    places = [os.path.join(verdict, below) for verdict in _VERDICTS]
    found = [one for folder in folders.filed for place in places for one in _receipts_of(folder, place, name)]
    exact = [one for one in found if _is_of(one[3], path)]
    if not exact:
        found = []
        for folder in folders.filed:
            for here, below_here, _ in os.walk(folder):
                below_here[:] = [one for one in below_here if not is_aside(one)]
                place = os.path.relpath(here, folder)
                found += _receipts_of(folder, b"" if place == b"." else place, name)
                if len(found) >= _MOST:
                    break
        exact = [one for one in found if _is_of(one[3], path)]
    return sorted(exact or found, key=lambda one: -one[0])[:_MOST]


def _receipts_of(folder: bytes, below: bytes, name: bytes) -> Iterator[Found]:
    """Yield the receipts in one subfolder for recordings of this name, each with what was filed; see Found."""
    wanted = receipt_name(name)
    reading = Folder(folder, os.path.basename(folder).decode("utf-8", "replace"))
    entries: list[bytes] = []
    with suppress(OSError):
        entries = os.listdir(os.path.join(folder, below))
    for entry in entries:
        if not entry.endswith(RECEIPT) or _TOKEN.sub(b"", entry.removesuffix(RECEIPT)) + RECEIPT != wanted:
            continue
        receipt: JsonObject | None = None
        with suppress(FolderError, RecordingError):
            receipt = receipt_at(reading, os.path.join(below, entry))
        if receipt is None and not os.access(os.path.join(folder, below, entry), os.R_OK):
            receipt = {}  # it is there, and closed to whoever asks
        if receipt is not None:
            recording = (
                name if entry == wanted else entry.removesuffix(RECEIPT)
            )  # a long one is cut in its receipt's
            yield _filed_at(receipt), folder, os.path.join(below, recording), receipt


def _is_of(receipt: JsonObject, path: bytes) -> bool:
    return not receipt or receipt.get("path") == path_text(path)


def _filed_at(receipt: JsonObject) -> float:
    with suppress(ValueError):
        return seconds_of(receipt.get("filed_at")) or 0.0
    return 0.0


def _tell_waiting(drop: bytes, path: bytes, now: float) -> str:
    """Say that it is still in the drop folder; "" where it is not."""
    try:
        status = os.lstat(os.path.join(drop, path))
    except (OSError, ValueError):
        return ""
    if not stat.S_ISREG(status.st_mode):
        return ""
    since = length(max(now - max(status.st_mtime, status.st_ctime), 0.0))
    return (
        f"{show_path(path)} is still in the drop folder, unchanged for {since}: it is waiting, or being sent. "
        f"Whoever looks after the watcher sees why: watcher why {quote_path(path)}"
    )


def _tell_receipt(folder: bytes, filed: bytes, receipt: JsonObject, now: float) -> str:
    """Say what the receipt says became of the recording."""
    at = _filed_at(receipt)
    when = f" on {local_time(at)}, {length(max(now - at, 0.0))} ago" if at else ""
    where = show_path(os.path.join(folder, filed))
    gone = "" if os.path.lexists(os.path.join(folder, filed)) else ", and has been taken away since"
    if not receipt:
        return f"{where} was filed{gone}, but you may not read its receipt, which says what came of it."
    name = _said(receipt.get("path")) or show_path(filed)
    error = receipt.get("error")
    if isinstance(error, dict):
        why = " ".join(filter(None, [_said(error.get("message")), _said(error.get("hint"))]))
        return f"{name} failed: {why} It was filed as {where}{when}{gone}."
    return f"{name} was accepted; {_tell_verdict(receipt)}. It was filed as {where}{when}{gone}."


def _tell_verdict(receipt: JsonObject) -> str:
    verdict, review = receipt.get("verdict"), receipt.get("review")
    told = "no verdict yet"
    if isinstance(verdict, dict):
        said = _said(verdict.get("classification"))
        confidence = verdict.get("confidence")
        sure = f" (confidence {confidence:g})" if isinstance(confidence, int | float) and said else ""
        told = f"the verdict is {said}{sure}" if said else f"no verdict yet ({_said(verdict.get('state'))})"
    if isinstance(review, dict):
        told += f"; {_said(review.get('by'))} says {_said(review.get('word'))}"
    return told


def _said(told: object) -> str:
    """Return a text of the receipt, safe to print and no longer than a person reads."""
    text = "" if told is None else show_path(str(told).encode("utf-8", "backslashreplace"))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
