"""The site: the three folders and the books, as every step of the journey needs them."""

from dataclasses import dataclass
from hashlib import sha256

from watcher import logs
from watcher.clock import Clock
from watcher.config import Config
from watcher.domain import JsonObject, Pause, PauseKind
from watcher.errors import FolderError
from watcher.folders import Folder
from watcher.journey import policy
from watcher.store import Books, Store

_log = logs.get_logger(__name__)


@dataclass(frozen=True)
class Site:
    """One drop folder with its done and failed folders, its database and its configuration."""

    config: Config
    store: Store
    drop: Folder
    done: Folder
    failed: Folder
    clock: Clock

    @classmethod
    def open(cls, config: Config, store: Store, clock: Clock) -> "Site":
        """The site of this configuration. Touches nothing."""
        folders = config.folders
        return cls(
            config=config,
            store=store,
            drop=Folder(folders.drop, "drop"),
            done=Folder(folders.done, "done"),
            failed=Folder(folders.failed, "failed"),
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
        """Whether all three folders are there and done/ and failed/ can take a file.

        A pause says so while they are not, since nothing may be paid for that could not be filed.
        """
        try:
            with self.drop.opened():
                pass
            self.done.check_takes(self.config.limits.max_upload_bytes)
            self.failed.check_takes(0)
        except FolderError as error:
            self.pause_for_folder(error)
            return False
        with self.store.reading() as books:
            paused = books.pauses.get(PauseKind.FOLDER) is not None
        if paused:
            with self.store.writing() as books:
                end_pause(books, PauseKind.FOLDER, self.clock.now())
        return True

    def pause_for_folder(self, error: FolderError) -> None:
        """Nothing is submitted while the folder is as the error says. Looked at again by every scan."""
        reason = f"{error.message}. {error.hint}".strip()
        with self.store.writing() as books:
            begin_pause(books, Pause(PauseKind.FOLDER, error.code, reason, self.clock.now(), None))


def begin_pause(books: Books, pause: Pause) -> None:
    """The pause is in force; one log line if it is new."""
    if books.pauses.set(pause):
        _log.warning("submitting.paused", kind=pause.kind, reason=pause.reason, until=pause.as_json()["until"])


def end_pause(books: Books, kind: PauseKind, now: float) -> None:
    """No pause of this kind is in force; one log line if one was."""
    pause = books.pauses.end(kind, now)
    if pause is not None:
        lasted = round(now - pause.since, 1)
        _log.info("submitting.resumed", kind=kind, reason=pause.reason, lasted_seconds=lasted, tries=pause.tries)


def pass_gate(books: Books, now: float) -> policy.Gate:
    """What the pauses allow now; those whose time is over have ended."""
    gate = policy.find_gate(books.pauses.active(), now)
    for kind in gate.over:
        end_pause(books, kind, now)
    return gate
