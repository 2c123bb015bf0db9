"""The site: the three folders and the books, as every step of the journey needs them."""

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path

from watcher import logs
from watcher.clock import Clock
from watcher.config import Config
from watcher.domain import Pause, PauseKind
from watcher.errors import FolderError, RecordingUnreachable
from watcher.folders import MARKER, Acceptance, Folder, Situation
from watcher.folders.identity import Past, Present, recognise
from watcher.journey.failures import Failures
from watcher.journey.reminders import Reminders
from watcher.journey.submit.pauses import PauseLog
from watcher.mounts import mounts_below, read_mounts, resolve
from watcher.store import Books, Store
from watcher.text import JsonObject, path_to_text, show_path, text_to_path

_log = logs.get_logger(__name__)


def tell_displaced(path: bytes, name: bytes | None) -> None:
    """What a stranger had put in the place of a file of ours has another name now."""
    if name is not None:
        reason = "it was no file of ours, of root's or of the folder's owner's"
        _log.warning("stranger.displaced", path=path, now=name, reason=reason)


def owners_of(database: Path) -> frozenset[int]:
    """The user whose database it is: the service's, whoever runs the command."""
    with suppress(OSError):
        return frozenset({database.stat().st_uid})
    return frozenset()


def past_of(books: Books, name: str, database: Path, owners: frozenset[int]) -> Past:
    """What the books know of the folder of this name.

    `owners`: what `owners_of` says of the database, asked before the transaction.
    """
    known, owner = books.site.get(f"folder.{name}"), books.site.get(f"owner.{name}")
    return Past(
        site_id=books.site.get("id"),
        situation=None if known is None else Situation(**known),
        path=books.site.get(f"path.{name}"),
        database=show_path(os.fsencode(database)),
        owners=owners | ({owner} if isinstance(owner, int) else set()),
    )


@dataclass
class Site:
    """One drop folder with its done and failed folders, its database and its configuration.

    The configuration may be exchanged for one with other limits while the steps work: ask for it each time.
    """

    config: Config
    store: Store
    drop: Folder
    done: Folder
    failed: Folder
    clock: Clock
    pause_log: PauseLog = field(default_factory=PauseLog)
    acceptance: Acceptance = field(default_factory=Acceptance)
    failures: Failures = field(default_factory=Failures)
    reminders: Reminders = field(init=False)

    def __post_init__(self) -> None:
        self.reminders = Reminders(self.clock.monotonic)

    @classmethod
    def open(cls, config: Config, store: Store, clock: Clock) -> "Site":
        """The site of this configuration. Touches nothing."""
        folders = config.folders
        return cls(
            config=config,
            store=store,
            drop=Folder(folders.drop, "drop"),
            done=Folder(folders.done, "done", owning=folders.own),
            failed=Folder(folders.failed, "failed", owning=folders.own),
            clock=clock,
        )

    @property
    def options(self) -> JsonObject:
        """The options that are part of what is bought: the same bytes with others are another submission."""
        return {"prevent_c2pa_forces": self.config.identifai.prevent_c2pa_forces}

    def content_key(self, digest: str) -> str:
        """Equal for two recordings exactly when the second one need not be paid for."""
        service = self.config.identifai
        parts = [digest, service.base_url, service.account, str(service.prevent_c2pa_forces)]
        return sha256("\n".join(parts).encode()).hexdigest()

    def look_at_folders(self) -> bool:
        """Whether the drop folder is there to be looked through.

        A pause says so while it is not, or while done/ or failed/ is away or can not take even a receipt, since
        nothing may be paid for that could not be filed. It ends when all is well again.
        """
        is_there = False
        with self.store.reading() as books:
            paused = books.pauses.get(PauseKind.FOLDER) is not None
        try:
            self.recognise(self.drop)
            is_there = True
            for folder in (self.done, self.failed):
                self.recognise(folder)
                folder.check_takes(0, trying=paused)  # else a pause for a quota would end, and begin again
        except FolderError as error:
            self.pause_for_folder(error)
            return is_there
        if paused:
            with self.store.writing() as books:
                books.pauses.end(PauseKind.FOLDER, self.clock.now())
                books.obstacles.bring_forward(self.clock.now())
        return True

    def judge(self, folder: Folder) -> tuple[Past, Present]:
        """What the books know of the folder, and how it is found now. Nothing is written.

        Raises what identity.recognise does: then nothing may be created in its place, or believed of it.
        """
        database = self.store.database.path
        owners = owners_of(database)
        with self.store.reading() as books:
            past = past_of(books, folder.name, database, owners)
        return past, recognise(folder, past)

    def recognise(self, folder: Folder) -> None:
        """The folder is the one it was: it bears our mark, or was made again where it was, or is seen first.

        Raises what `judge` does.
        """
        past, present = self.judge(folder)
        site_id = past.site_id or (present.mark.site if present.mark else "") or secrets.token_hex(8)
        owner = present.mark.owner if present.mark else None
        if present.judgement in ("new", "adopt"):
            owner, displaced = folder.mark(site_id, past.owners)
            tell_displaced(os.path.join(folder.root, MARKER), displaced)
        if present.judgement == "adopt":
            is_elsewhere = past.path not in (None, present.path)
            reason = f"before it was {past.path}" if is_elsewhere else "it, or its mark, was made again"
            _log.warning("folder.adopted", folder=folder.name, path=folder.root, reason=reason)
        is_news = (
            present.judgement in ("new", "adopt")
            or (past.site_id, past.path) != (site_id, present.path)
            or past.situation is None
            or past.situation.is_apart != present.situation.is_apart
            or past.situation.identity != present.situation.identity
        )
        if is_news:
            with self.store.writing() as books:
                books.site.put("id", site_id)
                books.site.put(f"folder.{folder.name}", asdict(present.situation))
                books.site.put(f"path.{folder.name}", present.path)
                books.site.put(f"owner.{folder.name}", owner)

    def find_trouble(self, folders: Iterable[Folder], *, taking: bool = False) -> FolderError | None:
        """Why nothing at all can be done in these folders; null where only a single path can be to blame.

        `taking`: whether done/ and failed/ take a file is tried too.
        """
        try:
            for folder in folders:
                self.recognise(folder)
                if taking and folder is not self.drop:
                    folder.check_takes(0, trying=True)
        except FolderError as error:
            return error
        return None

    def mounts_away(self) -> frozenset[bytes]:
        """Mount points below the drop folder on which nothing is mounted now, though something was.

        What is mounted there now is remembered; a mount point whose folder was removed is forgotten.
        """
        real = resolve(self.drop.root)
        present = {mount.point[len(real) :].lstrip(b"/") for mount in mounts_below(real, read_mounts())}
        with self.store.reading() as books:
            noted = {text_to_path(path) for path in books.site.get("mounts") or ()}
        known = present | {path for path in noted if os.path.isdir(os.path.join(real, path))}
        if known != noted:
            with self.store.writing() as books:
                books.site.put("mounts", sorted(map(path_to_text, known)))
        return frozenset(known - present)

    def check_mounted(self, path: bytes) -> None:
        """What does not lie at this path in the drop folder was taken away, and not with a whole disk.

        Raises FolderMissing where the drop folder itself is away, RecordingUnreachable where a mount below it is.
        """
        self.recognise(self.drop)
        for point in self.mounts_away():
            if path.startswith(point + b"/"):
                raise RecordingUnreachable(
                    f"{self.drop.label(path)} is away: nothing is mounted at {show_path(point)}",
                    hint=f"mount it again, or remove {self.drop.quoted(point)} if it is no more; its files wait",
                )

    def pause_for_folder(self, error: FolderError) -> None:
        """Nothing is submitted while the folder is as the error says. Looked at again by every scan."""
        with self.store.writing() as books:
            books.pauses.set(Pause(PauseKind.FOLDER, error.code, str(error.as_fault()), self.clock.now(), None))
        with self.store.reading() as books:
            self.pause_log.look(books)
