"""Whether a folder is the one it was: what its mark, its place and the books say of it. Nothing is written."""

import json
import os
import shlex
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from watcher.errors import FolderForeign, FolderMissing
from watcher.folders import MARKER, Folder, Situation, judge_marker
from watcher.folders.marker import Judgement, Mark
from watcher.mounts import mount_of, read_mounts, resolve
from watcher.store import Books
from watcher.text import path_to_text, show_path, show_text, text_to_path


@dataclass(frozen=True, slots=True)
class Past:
    """What the books know of one of the site's folders: nothing before it was seen first."""

    site_id: str | None = None
    situation: Situation | None = None
    path: str | None = None  # without links, as path_to_text gives it
    database: str = ""  # its path, for a person
    owners: frozenset[int] = frozenset()  # whose files under our names count, beside the usual ones

    @classmethod
    def of(cls, books: Books, name: str, database: Path, owners: frozenset[int]) -> "Past":
        """`owners`: what `owners_of` says of the database, asked before the transaction."""
        known, owner = books.site.get(f"folder.{name}"), books.site.get(f"owner.{name}")
        return cls(
            site_id=books.site.get("id"),
            situation=None if known is None else Situation(**known),
            path=books.site.get(f"path.{name}"),
            database=show_path(os.fsencode(database)),
            owners=owners | ({owner} if isinstance(owner, int) else set()),
        )


def owners_of(database: Path) -> frozenset[int]:
    """The user whose database it is: the service's, whoever runs the command."""
    with suppress(OSError):
        return frozenset({database.stat().st_uid})
    return frozenset()


@dataclass(frozen=True, slots=True)
class Present:
    """How a folder is found now, and what that makes of it."""

    situation: Situation
    path: str
    mark: Mark | None
    judgement: Judgement


def recognise(folder: Folder, past: Past) -> Present:
    """The folder can be used: it is ours, or new, or was made again and is to be adopted.

    Raises FolderMissing where it is gone, or where only its mount point may be left: a folder without our mark
    that was, or is now, a mount of its own. FolderForeign where the drop folder belongs to another site, or the
    books to another drop folder. The mark decides, not the path: a folder moved with its mark is the one it was.
    """
    found, mark = _situation(folder), folder.mark_found(past.owners)
    path = path_to_text(resolve(folder.root))
    is_drop = folder.name == "drop"
    is_itself = past.situation is not None and found.is_known_as(past.situation)
    if mark is not None and is_drop and _was_carried_here(mark, found, path, past):
        mark = None
    if is_drop and mark is None and past.path not in (None, path) and not is_itself:
        raise _displaced(folder, past)
    marker = None if mark is None else mark.site
    # Books made anew take the folders as they are.
    judgement = judge_marker(past.situation, found, marker, past.site_id or marker or "")
    if judgement == "not_mounted":
        raise FolderMissing(
            f"{folder.label()} is not mounted: its mark ({show_path(MARKER)}) is not there",
            hint=f"Mount it. If another disk is meant: cp DONE/.watcher {folder.quoted()}/.watcher",
        )
    if judgement == "foreign" and is_drop:
        raise FolderForeign(
            f"folders.drop: {show_path(folder.root)} belongs to another site ({show_text(str(marker))}) "
            "and its database",
            hint="Use that one's store.url, or remove .watcher from the folder if that site is no more.",
        )
    return Present(found, path, mark, judgement)


def _situation(folder: Folder) -> Situation:
    """Where it lies; on a share, what is mounted there is its identity, where the file system tells no other."""
    found = folder.situation()
    if found.identity:
        return found
    mount = mount_of(resolve(folder.root), read_mounts())
    if mount is None or not mount.is_network:
        return found
    return replace(found, identity=f"{mount.kind}:{mount.source}:{found.inode}")


def _was_carried_here(mark: Mark, found: Situation, path: str, past: Past) -> bool:
    """Whether somebody moved another site's mark into this folder, which the books know for ours."""
    is_ours = past.situation is not None and (past.situation.inode, past.path) == (found.inode, path)
    return is_ours and mark.site != past.site_id and mark.inode not in (None, found.inode)


def _displaced(folder: Folder, past: Past) -> FolderForeign:
    """Without our mark, and not where the drop folder was: its recordings would all seem to be taken away."""
    note = shlex.quote(json.dumps({"site": past.site_id}))
    return FolderForeign(
        f"folders.drop: {show_path(folder.root)} is not the drop folder of the database "
        f"{past.database}, which is {show_path(text_to_path(past.path or ''))}",
        hint="Give it a database of its own (store.url). Or, if it is to take that one's place: "
        f"echo {note} > {folder.quoted(MARKER)}",
    )
