"""Whether a folder is the one it was: what its mark, its place and the books say of it. Nothing is written."""

import json
import os
import shlex
from dataclasses import dataclass

from watcher.domain import path_to_text, show_path, text_to_path
from watcher.errors import FolderForeign, FolderMissing
from watcher.folders import MARKER, Folder, Situation, judge_marker
from watcher.folders.marker import Judgement
from watcher.store import Books


@dataclass(frozen=True, slots=True)
class Past:
    """What the books know of one of the site's folders: nothing before it was seen first."""

    site_id: str | None = None
    situation: Situation | None = None
    path: str | None = None  # without links, as path_to_text gives it
    database: str = ""

    @classmethod
    def of(cls, books: Books, name: str, database: str) -> "Past":
        known = books.site.get(f"folder.{name}")
        situation = None if known is None else Situation(**known)
        return cls(books.site.get("id"), situation, books.site.get(f"path.{name}"), database)


@dataclass(frozen=True, slots=True)
class Present:
    """How a folder is found now, and what that makes of it."""

    situation: Situation
    path: str
    marker: str | None
    judgement: Judgement


def recognise(folder: Folder, past: Past) -> Present:
    """The folder can be used: it is ours, or new, or was made again and is to be adopted.

    Raises FolderMissing where it is gone, or where only its mount point may be left: a folder without our mark
    that was, or is now, a mount of its own. FolderForeign where the drop folder belongs to another site, or the
    books to another drop folder. The mark decides, not the path: a folder moved with its mark is the one it was.
    """
    found, marker = folder.situation(), folder.marker()
    path = path_to_text(os.path.realpath(folder.root))
    is_drop = folder.name == "drop"
    if is_drop and marker is None and past.path not in (None, path):
        raise _displaced(folder, past)
    # Books made anew take the folders as they are.
    judgement = judge_marker(past.situation, found, marker, past.site_id or marker or "")
    if judgement == "not_mounted":
        raise FolderMissing(
            f"{folder.label()} is not mounted: its mark ({show_path(MARKER)}) is not there",
            hint=f"Mount it. If another disk is meant: cp DONE/.watcher {folder.quoted()}/.watcher",
        )
    if judgement == "foreign" and is_drop:
        raise FolderForeign(
            f"folders.drop: {show_path(folder.root)} belongs to another site ({marker}) and its database",
            hint="Use that one's store.url, or remove .watcher from the folder if that site is no more.",
        )
    return Present(found, path, marker, judgement)


def _displaced(folder: Folder, past: Past) -> FolderForeign:
    """Without our mark, and not where the drop folder was: its recordings would all seem to be taken away."""
    note = shlex.quote(json.dumps({"site": past.site_id}))
    return FolderForeign(
        f"folders.drop: {show_path(folder.root)} is not the drop folder of the database "
        f"{past.database}, which is {show_path(text_to_path(past.path or ''))}",
        hint="Give it a database of its own (store.url). Or, if it is to take that one's place: "
        f"echo {note} > {folder.quoted(MARKER)}",
    )
