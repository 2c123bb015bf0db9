"""Where a drill works: hidden folders inside the site's own, and the configuration of its site there."""

import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from watcher.accounts import describe_user
from watcher.clock import Clock
from watcher.config import Config
from watcher.drill.droppings import PART_BYTES
from watcher.errors import FolderFull, FolderRefuses, InstanceRunning, WatcherError
from watcher.folders import disk, lock
from watcher.folders.folder import free_bytes
from watcher.folders.holder import holder_of
from watcher.folders.lock import running
from watcher.folders.names import drill_name
from watcher.folders.root import Root
from watcher.journey.tenure import this_node
from watcher.mounts import resolve
from watcher.text import quote_path, show_path

FOLDERS = ("drop", "done", "failed")
_ORPHAN_SECONDS = 10.0  # within which the program that a dead drill had started is gone, too
_TRIES = 5
_LOCK = "drill.lock"
_BYTES_FOR_BOOKS = 50_000_000  # the database with its log, and what the program itself keeps free beside its spool
_SLACK = 2_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """One of the drill's folders: `path`, in the site's folder `above`. `name`: what lies there."""

    name: str
    above: bytes
    path: bytes

    @property
    def root(self) -> Root:
        return Root(self.above, self.name)


@dataclass(frozen=True, slots=True)
class Ground:
    """The folders of a drill, made and empty, with its configuration."""

    places: tuple[Place, ...]  # drop, done, failed, database, spool

    @property
    def roots(self) -> dict[str, str]:
        """The three folders that recordings lie in, by their names."""
        return {place.name: os.fsdecode(place.path) for place in self.places[:3]}

    @property
    def work(self) -> Path:
        """The folder of the database, the configuration and the log."""
        return Path(os.fsdecode(self.places[3].path))

    @property
    def config_path(self) -> Path:
        return self.work / "config.toml"

    @property
    def log(self) -> Path:
        """What the program said."""
        return self.work / "log"

    def check_room(self, size: int) -> None:
        """Raises FolderFull where there is no room for so many bytes of recordings, or for the books."""
        for place in self.places:
            wanted = _SLACK + (size if place.name in FOLDERS else _BYTES_FOR_BOOKS)
            with place.root.opened() as here:
                free = free_bytes(here, os.fstatvfs(here))
            if free < wanted:
                raise FolderFull(
                    f"no space for a drill in {place.root.label()}: {free:,.0f} bytes are free, {wanted:,} needed",
                    hint="Free some, or name fewer kills (--kills N).",
                )

    def keep(self, seed: int, found: list[str], ledger: dict[str, Any]) -> Path | None:
        """Copy all that lies there beside the database, or where there is room. Return where; None: nowhere."""
        for above in (self.work.parent, Path(tempfile.gettempdir())):
            numbers = ("", *(f"-{number}" for number in range(2, 100)))
            kept = next(path for n in numbers if not (path := above / f"watcher-drill-{seed}{n}").exists())
            try:
                for place in self.places:
                    shutil.copytree(os.fsdecode(place.path), kept / place.name, symlinks=True)
                said = "\n".join(found) + "\n"
                (kept / "found.txt").write_text(said, encoding="utf-8", errors="backslashreplace")
                (kept / "ledger.json").write_text(json.dumps(ledger, indent=1), encoding="utf-8")
            except OSError:
                shutil.rmtree(kept, ignore_errors=True)
            else:
                return kept
        return None


@contextmanager
def laid_out(config: Config, url: str, clock: Clock) -> Iterator[Ground]:
    """Yield the ground of a drill at the site, whose service answers at `url`; nothing of it is left afterwards.

    What a dead drill has left is removed first. Raises InstanceRunning where another one is at work, FolderMissing
    and FolderRefuses where a folder cannot be used.
    """
    places = _find_places(config)
    work = places[3]
    for place in places:
        _check_ours(place)
    with _locked(work), _removing(places, clock):
        _await_orphan(work, clock)
        for place in places:
            with place.root.taking(b""):
                _clear(place, keeping=_LOCK if place is work else "", clock=clock)
        for place in places:
            _make(place)
        with work.root.taking(b""):
            ground = Ground(places)
            ground.config_path.write_text(_configure(config, places, url), encoding="utf-8")
        yield ground


def _find_places(config: Config) -> tuple[Place, ...]:
    folders, books = config.folders, os.path.dirname(resolve(os.fsencode(config.books)))
    token = hashlib.sha256(b"\0".join([folders.drop, os.fsencode(config.books), _node(config)])).hexdigest()[:8]
    name = drill_name(token)
    spool = config.audio.spool
    above = resolve(spool) if os.path.isdir(spool) else resolve(os.path.dirname(spool))
    roots = [*((one, resolve(getattr(folders, one))) for one in FOLDERS), ("database", books)]
    places = [Place(one, root, os.path.join(root, name)) for one, root in roots]
    is_beside = above == places[3].above
    inside = os.path.join(places[3].path, b"spool") if is_beside else os.path.join(above, name)
    return (*places, Place("spool", above, inside))


def _node(config: Config) -> bytes:
    """Several nodes may work on one site, whose folders they reach by the same paths."""
    return b"" if config.store.file is not None else this_node(config).name.encode()


def _configure(config: Config, places: tuple[Place, ...], url: str) -> str:
    """Return the drill's configuration: the site's own where it decides what is written where, and impatient."""
    work = places[3].path
    named = {place.name: _name_in(work, place) for place in places if place.name != "database"}
    tables: dict[str, dict[str, Any]] = {
        "folders": {
            **{name: named[name] for name in FOLDERS},
            "own": config.folders.own,
            "by_verdict": config.folders.by_verdict,
        },
        "identifai": {"base_url": url, "in_doubt": config.identifai.in_doubt},
        "limits": {
            "writes": [],
            "reads": [],
            "in_flight": config.limits.in_flight,
            "max_upload_bytes": PART_BYTES,
        },
        "arrivals": {
            "settle_seconds": 0.1,
            "unclosed_seconds": 1,
            "rescan_seconds": 1,
            "watch": config.arrivals.watch,
            "proof": config.arrivals.proof,
        },
        "audio": {"prepare": config.audio.prepare, "oversize": "split", "spool": named["spool"]},
        "retry": {"first_seconds": 0.1, "max_seconds": 0.5},
        "verdicts": {"fetch": config.verdicts.fetch, "first_seconds": 0.1, "max_seconds": 0.5},
        "log": {"format": "json"},
    }
    lines = []
    for table, keys in tables.items():
        lines.append(f"[{table}]")
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


def _name_in(work: bytes, place: Place) -> str:
    """Return the place's path as TOML can hold it: through a link where it is no printable text."""
    try:
        text = place.path.decode()
    except UnicodeDecodeError:
        text = ""
    if text.isprintable() and text:
        return text
    os.symlink(place.path, os.path.join(work, place.name.encode() + b".link"))
    return f"{place.name}.link"


@contextmanager
def _locked(work: Place) -> Iterator[None]:
    """Make the folder of the database, and hold the lock in it, which no other drill at this site can have."""
    _make(work)
    try:
        held = lock(os.path.join(work.path, _LOCK.encode()))
    except InstanceRunning as error:
        raise InstanceRunning(
            error.message.replace("another instance", "another drill", 1),
            hint="Wait until it has ended, or end it: what it made goes with it.",
        ) from error
    except BaseException:
        with suppress(OSError):
            os.unlink(os.path.join(work.path, _LOCK.encode()))
        with suppress(OSError):
            os.rmdir(work.path)
        raise
    with held:
        yield


def _await_orphan(work: Place, clock: Clock) -> None:
    """Wait until the program that a dead drill had started has gone as well: the kernel ends it."""
    path = os.path.join(work.path, b"watcher.db.instance")
    until = clock.monotonic() + _ORPHAN_SECONDS
    while (holder := holder_of(path)) is not None:
        if clock.monotonic() > until:
            raise running(path, holder)
        clock.wait(0.1, Event())


def _check_ours(place: Place) -> None:
    """Raises FolderRefuses where something lies in the drill's place that this user cannot remove."""
    with place.root.taking(b""), suppress(FileNotFoundError):
        found = os.stat(place.path, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode) or os.geteuid() not in (0, found.st_uid):
            raise FolderRefuses(
                f"{show_path(place.path)} is in the way: a drill of {describe_user(found.st_uid)} left it",
                hint=f"Nothing of the site is in there. Remove it: sudo rm -rf {quote_path(place.path)}",
            )


def _make(place: Place) -> None:
    with place.root.opened(), place.root.taking(b""), suppress(FileExistsError):
        os.mkdir(place.path, 0o700)


@contextmanager
def _removing(places: tuple[Place, ...], clock: Clock) -> Iterator[None]:
    """Remove every folder of the drill after the block, however that ends. FolderRefuses where one stays."""
    try:
        yield
    except WatcherError as error:
        if (left := _remove_all(places, clock)) is not None:
            error.message += f"\n{left.message}"
            error.hint = "\n".join(filter(None, [error.hint, left.hint]))
        raise
    except BaseException as error:
        if (left := _remove_all(places, clock)) is not None:
            raise left from error
        raise
    if (left := _remove_all(places, clock)) is not None:
        raise left


def _remove_all(places: tuple[Place, ...], clock: Clock) -> FolderRefuses | None:
    """Remove every folder of the drill. Return the error that names those that could not be."""
    left: list[tuple[Place, OSError]] = []
    for place in (*places[:3], places[4], places[3]):  # the one with the lock is the last: it tells of the others
        try:
            if _clear(place, keeping="", clock=clock):
                os.rmdir(place.path)
        except OSError as error:
            left.append((place, error))
    if not left:
        return None
    named = " ".join(quote_path(place.path) for place, _ in left)
    return FolderRefuses(
        f"what the drill made could not be removed: {show_path(left[0][0].path)} ({left[0][1].strerror})",
        hint=f"Nothing of the site is in there. Remove it: rm -rf {named}",
    )


def _clear(place: Place, *, keeping: str, clock: Clock) -> bool:
    """Empty the folder, which others may have put a link in the place of. Return whether it is there. OSError."""
    for left in reversed(range(_TRIES)):
        try:
            here = os.open(place.path, disk.FOLDER)
        except FileNotFoundError:
            return False
        try:
            for name in set(os.listdir(here)) - {keeping}:
                if stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
                    shutil.rmtree(name, dir_fd=here)
                else:
                    os.unlink(name, dir_fd=here)
            break
        except OSError as error:
            # What a killed program still had open, NFS keeps under another name for a moment.
            if not left or error.errno not in (errno.ENOTEMPTY, errno.EBUSY, errno.ENOENT):
                raise
            clock.wait(0.3, Event())
        finally:
            disk.close(here)
    return True
