"""Decide whether a folder is the one it was, from its mark, its place and the database. Nothing is written."""

import json
import shlex
from dataclasses import dataclass, replace
from typing import Literal

from watcher.errors import FolderForeign, FolderMissing
from watcher.folders.folder import Folder
from watcher.folders.marker import MARKER, Mark, Situation
from watcher.mounts import mount_of, read_mounts, resolve
from watcher.text import path_to_text, show_path, show_text, text_to_path

Judgement = Literal["ours", "new", "adopt", "foreign", "not_mounted"]


@dataclass(frozen=True, slots=True)
class Past:
    """What the database knows about one of the site's folders; nothing before it was first seen."""

    site_id: str | None = None
    situation: Situation | None = None
    path: str | None = None  # without links, as path_to_text gives it
    database: str = ""  # for a person: its path, or the one of the file that says here which site is worked on
    is_shared: bool = False  # with other sites: on a server
    owners: frozenset[int] = frozenset()  # whose files count as ours, beside the usual users'


@dataclass(frozen=True, slots=True)
class Present:
    """How a folder is found now, and what follows from that."""

    situation: Situation
    path: str
    mark: Mark | None
    judgement: Judgement


def judge_marker(known: Situation | None, found: Situation, marker: str | None, site_id: str) -> Judgement:
    """Judge what a folder is to this site. `known`: its situation when it was marked; None if it never was.

    ours: it has our mark. foreign: it has another site's mark. new: mark it, as at the first start. adopt:
    somebody removed the mark, or removed the folder and created it again in the same place: mark it again, and
    log that. not_mounted: the mark is missing, and there is or was a mount point; so this may be the bare mount
    point, or another disk. Do not write to it, mark it, or draw conclusions from it. (Where another disk is meant
    to be used from now on, a person copies the mark to it from one of the other folders.)

    A bind mount from the file system that its mount point is on counts as a plain folder.
    """
    if marker is not None:
        return "ours" if marker == site_id else "foreign"
    if known is None:
        return "new"
    if found.is_known_as(known):
        return "adopt"
    return "not_mounted" if known.is_apart or found.is_apart else "adopt"


def recognise(folder: Folder, past: Past) -> Present:
    """Return how a usable folder is found: as ours, as new, or as made again and to be adopted.

    Raises FolderMissing where it is gone, or where only its mount point may be left: a folder without our mark
    that was, or now is, a mount of its own. Raises FolderForeign where the drop folder belongs to another site, or
    the database to another drop folder. The mark decides, not the path: a folder moved with its mark is the same.
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
    # A new database takes the folders as they are.
    judgement = judge_marker(past.situation, found, marker, past.site_id or marker or "")
    if judgement == "not_mounted":
        raise FolderMissing(
            f"{folder.label()} is not mounted: its mark ({show_path(MARKER)}) is not there",
            hint=f"Mount it. If it is to be another disk: cp DONE/.watcher {folder.quoted()}/.watcher",
        )
    if judgement == "foreign" and is_drop:
        raise FolderForeign(
            f"folders.drop: {show_path(folder.root)} belongs to another site ({show_text(str(marker))})"
            + ("" if past.is_shared else " and its database"),
            hint=_remedy(past),
        )
    return Present(found, path, mark, judgement)


def _situation(folder: Folder) -> Situation:
    """Return where the folder lies. On a share without an identity of its own, what is mounted there is used."""
    found = folder.situation()
    if found.identity:
        return found
    mount = mount_of(resolve(folder.root), read_mounts())
    if mount is None or not mount.is_network:
        return found
    return replace(found, identity=f"{mount.kind}:{mount.source}:{found.inode}")


def _remedy(past: Past) -> str:
    if past.is_shared:
        return (
            f"{past.database} says that this node works on {show_text(str(past.site_id))}: give each site an "
            "audio.spool of its own. Or, if the other no longer exists, remove .watcher from the folder."
        )
    return "Use that site's store.url, or, if it no longer exists, remove .watcher from the folder."


def _was_carried_here(mark: Mark, found: Situation, path: str, past: Past) -> bool:
    """Return whether somebody moved another site's mark into this folder, which the database knows as ours."""
    is_ours = past.situation is not None and (past.situation.inode, past.path) == (found.inode, path)
    return is_ours and mark.site != past.site_id and mark.inode not in (None, found.inode)


def _displaced(folder: Folder, past: Past) -> FolderForeign:
    """Return the error for a folder without our mark, elsewhere than the drop folder was.

    Accepted as the drop folder, it would make all recordings seem to have been taken away.
    """
    note = shlex.quote(json.dumps({"site": past.site_id}))
    whose = f"the site that {past.database} names" if past.is_shared else f"the database {past.database}"
    own = "an audio.spool, so a site, of its own" if past.is_shared else "a database of its own (store.url)"
    return FolderForeign(
        f"folders.drop: {show_path(folder.root)} is not the drop folder of {whose}, which is "
        f"{show_path(text_to_path(past.path or ''))}",
        hint=f"Give it {own}. Or, if it is to take that one's place: echo {note} > {folder.quoted(MARKER)}",
    )
