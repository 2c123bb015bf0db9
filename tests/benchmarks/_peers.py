"""Two others that do the same work: huey with watchdog, and a watchdog script as a careful engineer writes it.

`python -m tests.benchmarks._peers huey|script URL FOLDER`, where the folder has drop/ and done/; "ready" is logged
when a recording may come, and SIGTERM ends it.

Both hear of a file when it is closed or moved in, and upload it at once with requests, four at a time, each thread
with a session that is kept; the form has the fields that ours has. Then the receipt is written into done/, and the
recording moved beside it. Neither does anything else of what ours does: no settling, no judging of the audio, no
hash, no duplicates, no check that the file is still the one that was seen, no ledger, limits or caps, no history,
no second try, no other name where one is taken, no subfolders, no look for what no event told of.
"""

import json
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import requests
from huey import SqliteHuey
from watchdog.events import FileClosedEvent, FileMovedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers.inotify import InotifyObserver

THREADS = 4
_UPLOADS = "/api/classification_audio"

_log = logging.getLogger("peer")
_of_thread = threading.local()


class _Arrivals(FileSystemEventHandler):
    """Hands on the name of each file that was written here and closed, or moved here."""

    def __init__(self, arrived: Callable[[str], object]) -> None:
        self._arrived = arrived

    def on_closed(self, event: FileSystemEvent) -> None:
        self._hand_on(event.src_path)

    def on_moved(self, event: FileSystemEvent) -> None:
        self._hand_on(event.dest_path)  # "" where it was moved away

    def _hand_on(self, path: str | bytes) -> None:
        name = os.path.basename(os.fsdecode(path))
        if name and not name.startswith("."):
            self._arrived(name)


def _watch(folder: str, arrived: Callable[[str], object]) -> InotifyObserver:
    observer = InotifyObserver(generate_full_events=True)  # else what is moved in looks like what is begun
    observer.schedule(_Arrivals(arrived), folder, event_filter=[FileClosedEvent, FileMovedEvent])
    observer.start()
    return observer


def _upload(url: str, path: str) -> str:
    """Return the service's identifier of the recording."""
    if not hasattr(_of_thread, "session"):
        _of_thread.session = requests.Session()
        key = os.environ["IDENTIFAI_API_KEY"]
        _of_thread.session.headers.update({"X-Api-Key": key, "Accept": "application/json"})
    name = os.path.basename(path)
    with open(path, "rb") as file:
        form = {"audio": (name, file, "audio/wav")}
        answer = _of_thread.session.post(url + _UPLOADS, data={"ref_id": name}, files=form, timeout=60)
    answer.raise_for_status()
    identifier: str = answer.json()["identifier"]
    return identifier


def _receipt(name: str, identifier: str, size: int) -> bytes:
    told = {"path": name, "state": "done", "identifier": identifier, "size": size, "filed_at": time.time()}
    return json.dumps(told, indent=2).encode()


def run_huey(url: str, root: str) -> None:
    """A task of huey's for each file, in a queue that is an SQLite file; its consumer has four threads.

    It syncs what huey syncs: putting a task into the queue and taking it out, in WAL with synchronous=FULL. The
    receipt and the move are written as tasks commonly write them, without a sync.

    Not promised: a task is out of the queue before it runs, so after a kill nobody knows whether its recording was
    paid for, and it lies in drop/ for good; after a power cut a receipt may be empty, or the move undone.
    """
    drop, done = os.path.join(root, "drop"), os.path.join(root, "done")
    huey = SqliteHuey(filename=os.path.join(root, "huey.db"), fsync=True, results=False)

    def file_recording(name: str) -> None:
        path = os.path.join(drop, name)
        size = os.path.getsize(path)
        identifier = _upload(url, path)
        with open(os.path.join(done, name + ".json"), "wb") as receipt:
            receipt.write(_receipt(name, identifier, size))
        os.rename(path, os.path.join(done, name))

    task = huey.task()(file_recording)
    consumer = huey.create_consumer(workers=THREADS, periodic=False, initial_delay=0.05, max_delay=0.05)
    observer = _watch(drop, task)
    _log.info("ready")
    consumer.run()
    observer.stop()


class _Books:
    """Which recordings were sent, and the service's identifiers. Each line is on the disk when a call returns."""

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS uploads (name TEXT PRIMARY KEY, state TEXT NOT NULL, identifier TEXT)"
        )

    def begin(self, name: str) -> bool:
        """Note that it is being sent; false where it has been before."""
        told = self._execute("INSERT INTO uploads VALUES (?, 'sending', NULL) ON CONFLICT DO NOTHING", name)
        return told.rowcount == 1

    def accept(self, name: str, identifier: str) -> None:
        self._execute("UPDATE uploads SET state = 'accepted', identifier = ? WHERE name = ?", identifier, name)

    def state(self, name: str) -> tuple[str, str] | None:
        row: tuple[str, str] | None = self._execute(
            "SELECT state, identifier FROM uploads WHERE name = ?", name
        ).fetchone()
        return row

    def _execute(self, statement: str, *values: str) -> sqlite3.Cursor:
        with self._lock:
            return self._connection.execute(statement, values)


class _Script:
    """A pool of four threads, and books that say before an upload that it begins, and after it how it ended.

    Six syncs a recording: both commits, in WAL with synchronous=FULL; the receipt's file, and done/ once its name
    is there; done/ and drop/ after the move.

    Promised: what was sent is never sent again, whenever it is killed or the power fails; what was accepted is
    filed at the next start, and a filed recording has its receipt. Not promised: what was being sent at a kill, or
    was refused, waits for a person, who must look into the log; so does a recording of a name that was there once.
    """

    def __init__(self, url: str, root: str) -> None:
        self._url = url
        self._drop, self._done = os.path.join(root, "drop"), os.path.join(root, "done")
        self._books = _Books(os.path.join(root, "uploads.db"))

    def run(self) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            observer = _watch(self._drop, lambda name: pool.submit(self._take, name))
            for name in sorted(os.listdir(self._drop)):
                pool.submit(self._take, name)
            _log.info("ready")
            signal.sigwait({signal.SIGTERM})
            observer.stop()

    def _take(self, name: str) -> None:
        try:
            if self._books.begin(name):
                identifier = _upload(self._url, os.path.join(self._drop, name))
                self._books.accept(name, identifier)
                self._file(name, identifier)
            else:
                self._resume(name)
        except Exception:  # noqa: BLE001 — of one recording; the others go on
            _log.exception("%s stays where it is", name)

    def _resume(self, name: str) -> None:
        state = self._books.state(name)
        if state is not None and state[0] == "accepted":
            self._file(name, state[1])
        else:
            _log.warning("%s was being sent before: nobody knows whether it was paid for", name)

    def _file(self, name: str, identifier: str) -> None:
        path, target = os.path.join(self._drop, name), os.path.join(self._done, name)
        temporary = os.path.join(self._done, f".{name}.json")
        with open(temporary, "wb") as receipt:
            receipt.write(_receipt(name, identifier, os.path.getsize(path)))
            receipt.flush()
            os.fsync(receipt.fileno())
        os.rename(temporary, f"{target}.json")
        _sync(self._done)
        os.rename(path, target)
        _sync(self._done)
        _sync(self._drop)
        _log.info("filed %s as %s", name, identifier)


def _sync(folder: str) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def main() -> None:
    name, url, root = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(threadName)s: %(message)s")
    if name == "huey":
        run_huey(url, root)
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # for sigwait, before there are threads
    _Script(url, root).run()


if __name__ == "__main__":
    main()
