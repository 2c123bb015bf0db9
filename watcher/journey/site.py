"""The site: its three folders and its database, as every step needs them."""

import os
import secrets
import threading
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
from watcher.identifai.budget import Pace
from watcher.journey.failures import Failures
from watcher.journey.prepare.spool import Spool
from watcher.journey.reminders import Reminders
from watcher.journey.submit.pauses import PauseLog
from watcher.mounts import mounts_below, read_mounts, resolve
from watcher.store import Books, Database, Store
from watcher.text import JsonObject, path_to_text, show_path, text_to_path

_log = logs.get_logger(__name__)


def tell_displaced(path: bytes, name: bytes | None) -> None:
    """Log that a stranger's file in the place of one of ours was renamed."""
    if name is not None:
        reason = "it belonged neither to us, nor to root, nor to the folder's owner"
        _log.warning("stranger.displaced", path=path, now=name, reason=reason)


def make_content_key(
    digest: str, base_url: str, account: str, *, prevents: bool, asked: str, channels: int | None
) -> str:
    """Return the key of these bytes and of the question asked about them; see Site.content_key. Pure."""
    parts = [digest, base_url, account, str(prevents)]
    if asked != "together" and (channels or 0) > 1:
        parts.append(asked)
    return sha256("\n".join(parts).encode()).hexdigest()


def owners_of(database: Path) -> frozenset[int]:
    """Return the user who owns the database: the service's user, whoever runs the command."""
    with suppress(OSError):
        return frozenset({database.stat().st_uid})
    return frozenset()


def past_of(books: Books, name: str, database: Database, owners: frozenset[int]) -> Past:
    """Return what the database knows about the folder of this name.

    `owners`: what `owners_of` returns for the database, asked before the transaction.
    """
    known, owner = books.site.get(f"folder.{name}"), books.site.get(f"owner.{name}")
    return Past(
        site_id=books.site.get("id"),
        situation=None if known is None else Situation(**known),
        path=books.site.get(f"path.{name}"),
        database=show_path(os.fsencode(database.path)),
        is_shared=database.is_shared,
        owners=owners | ({owner} if isinstance(owner, int) else set()),
    )


@dataclass
class Site:
    """One drop folder with its done and failed folders, its database and its configuration.

    The configuration may be replaced by one with other limits while the steps run: read it anew each time.
    """

    config: Config
    store: Store
    drop: Folder
    done: Folder
    failed: Folder
    spool: Spool
    clock: Clock
    pause_log: PauseLog = field(default_factory=PauseLog)
    acceptance: Acceptance = field(default_factory=Acceptance)
    failures: Failures = field(default_factory=Failures)
    write_pace: Pace = field(default_factory=Pace)
    read_pace: Pace = field(default_factory=Pace)
    papers: threading.Lock = field(default_factory=threading.Lock)
    """Held by whoever replaces or removes a receipt of what was filed before."""
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    """What tells this process from all others that work with the account."""
    reminders: Reminders = field(init=False)
    _past: dict[str, Past] = field(default_factory=dict)
    """By folder, what the database has: whoever works on the site is alone, and asks several times a recording."""

    def __post_init__(self) -> None:
        self.reminders = Reminders(self.clock.monotonic)

    @classmethod
    def open(cls, config: Config, store: Store, clock: Clock) -> "Site":
        """Return the site of this configuration. Touches nothing."""
        folders = config.folders
        return cls(
            config=config,
            store=store,
            drop=Folder(folders.drop, "drop"),
            done=Folder(folders.done, "done", owning=folders.own),
            failed=Folder(folders.failed, "failed", owning=folders.own),
            spool=Spool(config.audio.spool),
            clock=clock,
        )

    @property
    def options(self) -> JsonObject:
        """The options that change the question: the same bytes with others are another submission."""
        return {"prevent_c2pa_forces": self.config.identifai.prevent_c2pa_forces}

    def content_key(self, digest: str, channels: int | None = None) -> str:
        """Return the content key: equal for two recordings exactly when the second need not be paid for.

        `channels`: how many a recording has, since another question is asked where they are not sent together.
        """
        service = self.config.identifai
        return make_content_key(
            digest,
            service.base_url,
            service.account,
            prevents=service.prevent_c2pa_forces,
            asked=self.config.audio.channels,
            channels=channels,
        )

    def look_at_folders(self) -> bool:
        """Return whether the drop folder is there to be scanned.

        Submitting is paused while it is not, or while done/ or failed/ is away or cannot take even a receipt:
        nothing may be paid for that could not be filed. The pause ends when all is well again.
        """
        is_there = False
        with self.store.reading() as books:
            paused = books.pauses.get(PauseKind.FOLDER) is not None
        try:
            self.recognise(self.drop)
            is_there = True
            for folder in (self.done, self.failed):
                self.recognise(folder)
                folder.check_takes(
                    0, trying=paused
                )  # else a pause for a quota would end and begin again each time
        except FolderError as error:
            self.pause_for_folder(error)
            return is_there
        if paused:
            with self.store.writing() as books:
                books.pauses.end(PauseKind.FOLDER, self.clock.now())
                books.obstacles.bring_forward(self.clock.now())
        return True

    def judge(self, folder: Folder) -> tuple[Past, Present]:
        """Return what the database knows about the folder, and how it is found now. Nothing is written.

        Raises what identity.recognise does: then nothing may be created there, and nothing found there counts.
        """
        database = self.store.database
        owners = owners_of(database.path)
        past = self._past.get(folder.name)
        if past is None or not past.owners >= owners:
            with self.store.reading() as books:
                past = past_of(books, folder.name, database, owners)
            if past.situation is not None:
                self._past[folder.name] = past
        return past, recognise(folder, past)

    def root_of(self, folder: Folder) -> tuple[int, int]:
        """Return the device and inode of the folder, as it is recognised now. Raises what `judge` does."""
        _, present = self.judge(folder)
        return present.situation.device, present.situation.inode

    def recognise(self, folder: Folder) -> None:
        """Recognise the folder as the one it was, as made again in its place, or as new, and mark it if need be.

        Raises what `judge` does.
        """
        past, present = self.judge(folder)
        marked = present.mark.site if present.mark else ""
        site_id = past.site_id or self.store.database.own_site() or marked or secrets.token_hex(8)
        owner = present.mark.owner if present.mark else None
        if present.judgement in ("new", "adopt"):
            owner, displaced = folder.mark(site_id, past.owners)
            tell_displaced(os.path.join(folder.root, MARKER), displaced)
        if present.judgement == "adopt":
            is_elsewhere = past.path not in (None, present.path)
            reason = f"it was {past.path} before" if is_elsewhere else "it, or its mark, was made again"
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
            self._past.clear()

    def find_trouble(self, folders: Iterable[Folder], *, taking: bool = False) -> FolderError | None:
        """Return why one of these folders cannot be used at all; None: the trouble is with a single path.

        `taking`: also try whether done/ and failed/ take a file.
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
        """Return the mount points below the drop folder where nothing is mounted now, though something was.

        Remember what is mounted there now, and forget mount points whose folder was removed.
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
        """Check that a file missing at this path was taken away by itself, not with its whole disk.

        Raises FolderMissing where the drop folder itself is away, RecordingUnreachable where a mount below it is.
        """
        self.recognise(self.drop)
        for point in self.mounts_away():
            if path.startswith(point + b"/"):
                raise RecordingUnreachable(
                    f"{self.drop.label(path)} is away: nothing is mounted at {show_path(point)}",
                    hint=f"mount it again, or remove {self.drop.quoted(point)} if it is gone for good: files wait",
                )

    def pause_for_folder(self, error: FolderError) -> None:
        """Pause submitting while the folder is as the error says. Every scan looks again."""
        with self.store.writing() as books:
            books.pauses.set(Pause(PauseKind.FOLDER, error.code, str(error.as_fault()), self.clock.now(), None))
        with self.store.reading() as books:
            self.pause_log.look(books)
