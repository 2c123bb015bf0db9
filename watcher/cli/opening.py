"""How a command comes to its configuration, its database and its clock."""

import argparse
import codecs
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from rich.console import Console

from watcher import logs
from watcher.cli.spelling import other_spellings
from watcher.clock import Clock, SystemClock
from watcher.config import Config, find_config, load
from watcher.domain import MOVING, Item, State, to_json
from watcher.errors import FolderError, NoSuchItem, StoreError
from watcher.folders import LOCK, Folder
from watcher.folders.holder import Holder, holder_of
from watcher.journey.failures import Failure, read_failures
from watcher.journey.instance import lock_database
from watcher.journey.loss import find_loss
from watcher.journey.recognition import owners_of
from watcher.journey.site import Site
from watcher.journey.working import Activity, Working, judge
from watcher.mounts import resolve
from watcher.silence import find_silent
from watcher.store import Books, Store

RECEIPT = b".json"
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class Named:
    """An item as a person named it: the text, and where it may lie (see Desk.places) in each of its spellings.

    The first spelling is the one that was typed.
    """

    text: str
    spellings: tuple[list[tuple[Folder | None, bytes]], ...]


@dataclass(frozen=True)
class Desk:
    """What a command that reads or decides works with. It needs no key."""

    config: Config
    store: Store
    clock: Clock

    @property
    def drop(self) -> Folder:
        return self._folder("drop", self.config.folders.drop)

    @property
    def done(self) -> Folder:
        return self._folder("done", self.config.folders.done)

    @property
    def failed(self) -> Folder:
        return self._folder("failed", self.config.folders.failed)

    def _folder(self, name: str, root: bytes) -> Folder:
        owning = self.config.folders.own and name != "drop"
        return Folder(root, name, owning=owning, answers=root not in self.silent)

    @cached_property
    def silent(self) -> frozenset[bytes]:
        """Those of the folders whose server does not answer: nothing may be asked of them."""
        folders = self.config.folders
        return find_silent([folders.drop, folders.done, folders.failed])

    def holder(self) -> Holder | None:
        """Who works on this site now, the daemon or a pass; null: nobody.

        Raises FolderError where that cannot be told.
        """
        database = self.store.database.path
        if not self.drop.answers:
            return self.database_holder()
        lock = os.path.join(self.drop.root, LOCK)
        return holder_of(lock, owners_of(database), now=self.clock.now()) or self.database_holder()

    def database_holder(self) -> Holder | None:
        """Who works with this database. Raises FolderError."""
        return holder_of(os.fsencode(f"{self.store.database.path}.instance"))

    def failing(self) -> tuple[Failure, ...]:
        """The steps that fail as a whole now, in the process that works here; none where nobody can tell."""
        holder = self._worker()
        return () if holder is None else read_failures(holder.note)

    def is_running(self) -> bool:
        """Whether somebody works with this database now. No folder of recordings is asked."""
        return self._worker() is not None

    def working(self) -> Working:
        """Whether the daemon works, and since when; no folder of recordings is asked."""
        lock = f"{self.store.database.path}.instance"
        try:
            holder = holder_of(os.fsencode(lock))
        except FolderError as error:
            return Working(Activity.UNKNOWN, reason=error.message, hint=error.hint)
        if holder is not None:
            return judge(holder, self.clock.now())
        with suppress(OSError):
            return Working(Activity.NOT_RUNNING, since=os.stat(lock).st_mtime)  # its last word
        return Working(Activity.NOT_RUNNING, reason="it has never run here")

    def _worker(self) -> Holder | None:
        """Who has the database now; null where nobody has, or nobody can tell."""
        try:
            return holder_of(os.fsencode(f"{self.store.database.path}.instance"))
        except FolderError:
            return None

    def is_idle(self) -> bool:
        """Whether it is certain that nobody works on this site now: then nothing goes on by itself."""
        try:
            return self.holder() is None
        except FolderError:
            return False

    def loss(self) -> StoreError | None:
        """What to say where this site had a database, and has none; null where it has one, or never had."""
        return find_loss(self.store.database.path, self.drop, (self.done, self.failed))

    def content_key(self, digest: str) -> str:
        """See Site.content_key."""
        return Site.open(self.config, self.store, self.clock).content_key(digest)

    def places(self, raw: bytes) -> list[tuple[Folder | None, bytes]]:
        """What a person's path may mean: a path of this machine in one of the folders, or relative to any of them.

        Or one that begins with `drop/`, `done/` or `failed/`, as they are called here, wherever they lie.
        """
        whole = os.path.abspath(raw)
        found: list[tuple[Folder | None, bytes]] = []
        for folder in (self.drop, self.done, self.failed):
            for base in {folder.root, resolve(folder.root)}:
                if whole.startswith(base + b"/"):
                    found.insert(0, (folder, whole[len(base) + 1 :]))
        named, _, rest = os.path.normpath(raw).partition(b"/")
        if not os.path.isabs(raw) and named != b"..":
            found.append((None, os.path.normpath(raw)))
            found += [
                (folder, rest)
                for folder in (self.drop, self.done, self.failed)
                if rest and folder.name.encode() == named
            ]
        return found

    def other_spellings(self, raw: bytes) -> Iterator[bytes]:
        """The same path in other Unicode forms; see spelling.other_spellings."""
        if self.silent:
            return
        roots = {folder.name.encode(): folder.root for folder in (self.drop, self.done, self.failed)}
        named, _, rest = raw.partition(b"/")
        if rest and named in roots:
            yield from other_spellings(rest, [roots[named]])
        yield from other_spellings(raw, [os.getcwdb(), *roots.values()])

    def named(self, text: str) -> Named:
        """What a person named, and where it may lie; asked before a transaction, since the disk tells."""
        raw = read_path(text)
        return Named(text, tuple(map(self.places, chain([raw], self.other_spellings(raw)))))

    def find(self, books: Books, named: Named) -> Item:
        """The item that a person named by its id, the first 6 characters of it or more, or a path.

        What lies at the path now goes before what had it later; a receipt stands for its recording. A name is
        found in any Unicode form. Raises NoSuchItem when there is none, or when the beginning fits several.
        """
        with suppress(NoSuchItem):
            return books.items.find(named.text, [])
        for places in named.spellings:
            with suppress(NoSuchItem):
                return self._find_at(books, named.text, places)
        return books.items.find(named.text, [])

    def _find_at(self, books: Books, text: str, places: list[tuple[Folder | None, bytes]]) -> Item:
        receipts = [(folder, path.removesuffix(RECEIPT)) for folder, path in places if path.endswith(RECEIPT)]
        for folder, path in (*places, *receipts):
            if (item := find_lying(books, folder, path)) is not None:
                return item
        return books.items.find(text, [path for _, path in (*places, *receipts)])


def read_path(text: str) -> bytes:
    r"""The path that a person typed, `\xNN` being the byte of that number."""
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), os.fsencode(text))


def find_lying(books: Books, folder: Folder | None, path: bytes) -> Item | None:
    """The item whose recording lies at this path in this folder, as the books have it; null: the drop folder."""
    if folder is None or folder.name == "drop":
        return books.items.live_at(path)
    state = State(folder.name)
    latest = books.items.latest_at(path)
    if latest is not None and _may_lie(latest, state, path):
        return latest
    there = books.items.listed([state, *MOVING])
    return next((item for item in there if _may_lie(item, state, path)), None)


def _may_lie(item: Item, state: State, path: bytes) -> bool:
    """Whether it was filed under this name, is about to be, or is still to be fetched back from there."""
    is_moved = item.state in MOVING and item.outcome is state
    return item.filed_as == path and (item.state is state or is_moved)


def read_config(options: argparse.Namespace) -> Config:
    """The configuration the command was told, or found."""
    return load(find_config(options.config, os.environ))


@contextmanager
def open_desk(options: argparse.Namespace, *, decides: bool = False, is_status: bool = False) -> Iterator[Desk]:
    """A configured site's database, of this version. StoreError when it is older or newer, or lost.

    Before a site's first start there is nothing to read; who `decides` something has it written down all the same.
    `is_status`: a lost database is told, and no error.
    """
    config = read_config(options)
    logs.configure(config.log.format, config.log.level, None)
    with Store(config.store.url) as store:
        desk = Desk(config, store, SystemClock())
        if store.database.exists():
            store.database.check_version()
        elif not is_status and (loss := desk.loss()):
            raise loss
        elif decides:
            with lock_database(store.database):
                store.database.migrate()
        yield desk


def print_json(value: object) -> None:
    """The value as JSON on a line: in UTF-8, or in ASCII where stdout is of another encoding."""
    is_utf_8 = codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8"
    print(to_json(value) if is_utf_8 else json.dumps(value))


class _Console(Console):
    """rich's, but for who is told that the reader has gone."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def wide_console() -> Console:
    """Stdout for tables: as wide as the terminal, or wide enough for a line a row where there is none."""
    return _Console(
        width=None if sys.stdout.isatty() else 200,
        soft_wrap=True,
        markup=False,
        highlight=False,
        color_system=None if os.environ.get("NO_COLOR") else "auto",  # rich alone would leave the bold type
    )
