"""Put a tombstone in the place of an item: in the folders, and in the database."""

import os
import secrets

from watcher import logs
from watcher.domain import Item, State
from watcher.folders import Folder, names_for, receipt_name
from watcher.folders.tombstone_files import KEY, read_key, write_key, write_tombstone
from watcher.journey.site import Site, owners_of, tell_displaced
from watcher.store import Books
from watcher.tombstone import KEY_BYTES, Tombstone, Why, bury, hash_content

_log = logs.get_logger(__name__)


def find_key(site: Site) -> bytes:
    """Return the site's key to the contents of its tombstones: in the database, and in done/ to outlive that.

    Of several that the account has it is the one that lies there. The first one lies in done/ before anything is
    hashed with it. Raises FolderError.
    """
    owners = owners_of(site.store.database.path)
    with site.store.reading() as books:
        known = books.tombstones.known_keys()
    lying = read_key(site.done, owners)
    key = lying if lying in known or not known else known[0]
    key = key or secrets.token_bytes(KEY_BYTES)
    if lying != key:
        tell_displaced(os.path.join(site.done.root, KEY), write_key(site.done, key, owners))
    if key not in known:
        with site.store.writing() as books:
            books.tombstones.add_key(key)
    return key


def compose(site: Site, books: Books, item: Item, key: bytes, why: Why, now: float) -> Tombstone:
    """Return the tombstone of this item. One that it has already keeps its time, unless a person erases it now."""
    before = books.tombstones.get(item.id)
    if before is not None and (why is Why.RETENTION or before.why is why):
        return before
    service = site.config.identifai
    return bury(
        item,
        books.parts.of(item.id),
        None if item.content_key is None else hash_content(key, item.content_key),
        erased_at=now,
        why=why,
        base_url=service.base_url,
        account=service.account,
        charged=books.ledger.charged_for(item.id),
    )


def receipt_names(item: Item) -> list[bytes]:
    """Return where the item's receipt may lie: what was gone when it was filed has no name, but a receipt."""
    names = [item.filed_as] if item.filed_as is not None else list(names_for(item.path, item.id))
    return [receipt_name(name) for name in names]


def put_tombstone(folder: Folder, item: Item, tombstone: Tombstone) -> None:
    """Write the tombstone where the receipt lay, durably; at the top where that subfolder is gone.

    One that knows of nothing paid has nothing to tell once the database is lost, and is not written.
    """
    if not tombstone.is_accepted and not tombstone.charged and item.state is State.WITHDRAWN:
        return
    beside = item.filed_as or item.path
    above = os.path.dirname(beside)
    write_tombstone(folder, beside if not above or folder.occupied(above) else os.path.basename(beside), tombstone)


def forget(books: Books, item: Item, tombstone: Tombstone) -> bool:
    """Replace all rows of the item with its tombstone. False, and nothing happens: it has changed since.

    What it cost stays in the sums of the ledger.
    """
    if not books.removals.forget_item(item):
        return False
    books.ledger.sum_up(item.id)
    books.removals.forget_rest(item.id, tombstone.identifiers)
    books.tombstones.put(tombstone)
    return True
