"""Which site this node works on, where its database has several.

The file that stands for the database on this machine says it; before that is written, the mark in the drop folder.
A database file has one site, and none of this.
"""

import re
import secrets
from contextlib import suppress

from watcher.errors import FolderError
from watcher.folders import Folder
from watcher.journey.site import owners_of
from watcher.store import Store

_ID = re.compile(r"[0-9a-f]{16}")


def find_own_site(store: Store, drop: Folder) -> None:
    """Let the store work on the site of this drop folder, as far as it is known. Nothing is written."""
    if store.database.own_site() == "" and (marked := marked_for(store, drop)):
        store.database.belong_to(marked, keeping=False)


def settle_own_site(store: Store, drop: Folder) -> None:
    """Make sure that this node's file says on which site it works, before anything is written for that.

    A node that comes second, or has lost its file, finds the site in the drop folder's mark. Where neither says
    one, this is a first start: the site gets its id here, and the folders are marked with it afterwards, so that a
    crash in between loses nothing. Where they differ, the file is right if the database knows its site: else it is
    left from a start that came to nothing, or from another database.
    """
    own = store.database.own_site()
    if own is None:
        return
    with store.reading() as books:
        is_known = books.site.get("id") is not None
    if not own or not is_known:
        store.database.belong_to(marked_for(store, drop) or own or secrets.token_hex(8))


def marked_for(store: Store, drop: Folder) -> str:
    """Return the site that the drop folder's mark says; "" where it says none."""
    path = store.database.path
    with suppress(FolderError):
        marked = drop.marker(owners_of(path) or owners_of(path.parent)) or ""
        return marked if _ID.fullmatch(marked) else ""
    return ""
