"""A site of a year: a million recordings in the books, and for `reconcile` their files with receipts on the disk.

95 in 100 are done, one of them in 1,000 with another's identifier and one in three parts; one in 100 failed; the
rest was withdrawn, is held, or queued. Each has its history, its line in the ledger and its verdict.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.places import Place
from watcher.clock import SystemClock
from watcher.store import Store
from watcher.store.verdict_copies import COPIED
from watcher.text import rfc3339

ROWS = 1_000_000
_A_DAY = 400  # recordings in a subfolder
CONTENT = b"RIFF, or so it says"

_BATCH = 20_000
_BEGAN = 1_735_689_600.0  # 1 January 2025
_SECONDS = 31.0  # from one arrival to the next
_OF_VERDICT = "FROM verdicts WHERE verdicts.identifier = items.identifier"
_NAMES = "call-+4930{0:08}-agent-{1:03}-queue-support-inbound-{0:07}.wav"


def make_books(root: Path, rows: int = ROWS, seconds: float = _SECONDS) -> Place:
    """A place whose database has so many recordings, one every so many seconds. Its folders are empty yet."""
    place = Place(root, "http://127.0.0.1:1", SystemClock(), verdicts={"fetch": False})
    with Store(place.config.store.url) as store:
        store.database.migrate()
        path = store.database.path
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for setting in ("journal_mode = MEMORY", "synchronous = OFF", "cache_size = -2000000"):
            connection.execute(f"PRAGMA {setting}")
        connection.execute("BEGIN")
        for first in range(0, rows, _BATCH):
            made = [_recording(n, seconds) for n in range(first, min(first + _BATCH, rows))]
            _insert(connection, "items", [item for item, _ in made])
            _insert(connection, "transitions", [one for item, _ in made for one in _history(item)])
            _insert(connection, "attempts", [one for item, parts in made for one in _requests(item, parts)])
            _insert(connection, "parts", [part for _, parts in made for part in parts])
            _insert(connection, "verdicts", [one for item, parts in made for one in _verdicts(item, parts)])
        connection.execute("INSERT INTO tallies (name, label, number) SELECT 'items', '', count(*) FROM items")
        told = ", ".join(f"{name} = (SELECT {column.name} {_OF_VERDICT})" for name, column in COPIED.items())
        connection.execute(f"UPDATE items SET {told} WHERE identifier IS NOT NULL")
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
    return place


def make_files(place: Place, rows: int = ROWS) -> None:
    """Every recording lies where the books have it, with its receipt where it was filed; its row has its inode."""
    folders: set[str] = set()
    path = place.root / "watcher.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for first in range(0, rows, _BATCH):
            marks = []
            query = "SELECT * FROM items WHERE serial > ? AND serial <= ? AND state != 'withdrawn'"
            cursor = connection.execute(query, (first, first + _BATCH))
            names = [column[0] for column in cursor.description]
            for item in (dict(zip(names, row, strict=True)) for row in cursor.fetchall()):
                folder = item["state"] if item["filed_as"] is not None else "drop"
                file = f"{place.root}/{folder}/{item['path'].decode()}"
                if (above := os.path.dirname(file)) not in folders:
                    os.makedirs(above, exist_ok=True)
                    folders.add(above)
                found = _write(file, CONTENT)
                if item["filed_as"] is not None:
                    _write(f"{file}.json", _receipt(item, place.config.identifai.base_url))
                mark = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
                marks.append((":".join(map(str, mark)), item["serial"]))
            connection.execute("BEGIN")
            connection.executemany("UPDATE items SET fingerprint = ? WHERE serial = ?", marks)
            connection.execute("COMMIT")


def _receipt(item: dict[str, Any], service: str) -> bytes:
    """The receipt that the product would have written, as `reconcile` compares it and `recover` reads it."""
    recording, parts = _recording(item["serial"] - 1, _SECONDS)
    verdicts = {one["identifier"]: one for one in _verdicts(recording, parts)}
    told = {
        name: item[name] for name in ("state", "identifier", "duplicate_of", "id", "size", "sha256", "warning")
    }
    told |= {"format": 1, "base_url": service, "account": "default", "options": {"prevent_c2pa_forces": False}}
    told |= dict.fromkeys(("review", "dismissed", "grown", "changed", "removed"))
    told |= {name: rfc3339(item[name]) for name in ("arrived_at", "submitted_at", "filed_at")}
    told["verdict"] = _told_verdict(verdicts.get(item["identifier"]))
    told["error"] = item["fault_code"] and {name: item[f"fault_{name}"] for name in ("code", "message", "hint")}
    told["path"], told["filed_as"] = item["path"].decode(), item["filed_as"].decode()
    told["audio"] = {name: item[name] for name in ("container", "codec", "seconds", "channels", "sample_rate")}
    told["plan"] = item["plan_mode"] and {
        "mode": item["plan_mode"],
        "submissions": item["parts_most"],
        "reason": item["plan_reason"],
    }
    told["parts"] = [_told_part(part, verdicts) for part in parts] or None
    told["content_key"], told["owner"] = item["content_key"], os.geteuid()
    told["attempts"] = [
        {
            "number": number,
            "part": one["part"],
            "started_at": rfc3339(one["started_at"]),
            "ended_at": rfc3339(one["ended_at"]),
            "bytes": one["size"],
            "detail": "",
            "no_cache": False,
            **{name: one[name] for name in ("status", "outcome", "charged", "decision", "identifier")},
        }
        for number, one in enumerate(_requests(recording, parts), 1)
    ]
    return json.dumps(told, indent=2).encode()


def _told_part(part: dict[str, Any], verdicts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    told = {name: value for name, value in part.items() if name not in ("item_id", "proof", "content_key")}
    told |= {"proof": json.loads(part["proof"]), "submitted_at": rfc3339(part["submitted_at"])}
    return told | {"verdict": _told_verdict(verdicts.get(part["identifier"]))}


def _told_verdict(verdict: dict[str, Any] | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    names = ("state", "classification", "confidence", "heuristic", "api_version")
    segments = [{"index": 0, "label": verdict["classification"], "score": verdict["confidence"]}]
    models = json.loads(verdict["models"])
    return {name: verdict[name] for name in names} | {"models": models, "detail": "", "segments": segments}


def _write(path: str, content: bytes) -> os.stat_result:
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    try:
        os.write(opened, content)
        return os.fstat(opened)
    finally:
        os.close(opened)


def _insert(connection: sqlite3.Connection, table: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        names = ", ".join(f'"{name}"' for name in rows[0])
        places = ", ".join("?" * len(rows[0]))
        statement = f"INSERT INTO {table} ({names}) VALUES ({places})"
        connection.executemany(statement, [tuple(row.values()) for row in rows])


def _recording(n: int, seconds: float) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The row of the n-th recording, and those of its parts."""
    arrived_at, digest = _BEGAN + n * seconds + 0.123, sha256(b"%d" % n).hexdigest()
    place = n % 1_000
    state = "done"
    if place >= 950:
        state = ["failed", "withdrawn", "held", "withdrawn", "done"][place % 5]
    if n % 2_000 == 1_999:
        state = "queued"
    path = f"day-{n // _A_DAY:04}/{_NAMES.format(n, n % 97)}".encode()
    is_filed, is_done = state in ("done", "failed"), state == "done"
    original = n - 100 if is_done and n % 1_000 == 500 else None
    in_parts = is_done and n % 1_000 == 7
    parts = [_part(n, index, arrived_at) for index in (1, 2, 3)] if in_parts else []
    row = {
        "id": digest[:16],
        "path": path,
        "state": state,
        "fingerprint": f"65024:{n}:{len(CONTENT)}:1735689600123456789:1735689600123456789",
        "size": len(CONTENT),
        "sha256": sha256(CONTENT).hexdigest(),
        "media_type": "audio/wav",
        "extension": ".wav",
        "container": "WAV",
        "codec": "µ-law",
        "seconds": 181.26 + n % 60,
        "channels": 2,
        "sample_rate": 8000,
        "content_key": sha256(b"key %d" % (original or n)).hexdigest(),
        "plan_mode": "cut" if parts else None,
        "parts_most": 3 if parts else None,
        "plan_reason": "It is longer than the service takes." if parts else None,
        "arrived_at": arrived_at,
        "due_at": arrived_at,
        "identifier": _identifier(original or n) if is_done and not parts else None,
        "fault_code": "refused" if state == "failed" else "in_doubt" if state == "held" else None,
        "fault_message": "The service does not take this recording." if state in ("failed", "held") else None,
        "fault_hint": "Convert it to WAV, and drop it again." if state in ("failed", "held") else None,
        "duplicate_of": None if original is None else sha256(b"%d" % original).hexdigest()[:16],
        "attempts": 0 if state in ("withdrawn", "queued") or original is not None else len(parts) or 1,
        "attempted_at": None if state in ("withdrawn", "queued") else arrived_at + 3,
        "outcome": state if is_filed else None,
        "filed_as": path if is_filed else None,
        "submitted_at": arrived_at + 4 if is_done else None,
        "filed_at": arrived_at + 5 if is_filed else None,
        "companions": b"",
    }
    return row, parts


def _part(n: int, index: int, arrived_at: float) -> dict[str, Any]:
    return {
        "item_id": sha256(b"%d" % n).hexdigest()[:16],
        "index": index,
        "start": index * 1000,
        "end": index * 1000 + 1000,
        "start_seconds": 60.0 * (index - 1),
        "end_seconds": 60.0 * index,
        "how": "cut",
        "sha256": sha256(b"part %d of %d" % (index, n)).hexdigest(),
        "size": 480_044,
        "media_type": "audio/wav",
        "extension": ".wav",
        "proof": '{"blocks": 1000}',
        "content_key": sha256(b"key %d of %d" % (index, n)).hexdigest(),
        "state": "accepted",
        "identifier": _identifier(n, index),
        "submitted_at": arrived_at + 4,
    }


def _identifier(n: int, index: int = 0) -> str:
    return f"aud_{sha256(b'%d, %d' % (n, index)).hexdigest()[:40]}"


def _history(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    states = [None, "queued"]
    if item["attempts"]:
        states.append("submitting")
    if item["outcome"]:
        states.append("filing")
    if item["state"] != "queued":
        states.append(item["state"])
    for at, (before, after) in enumerate(pairwise(states)):
        note = "the service accepted it" if after == "filing" else ""
        values = (item["id"], item["arrived_at"] + at, before, after, note)
        yield dict(zip(("item_id", "at", "before", "after", "note"), values, strict=True))


def _requests(item: dict[str, Any], parts: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    accepted = item["state"] == "done"
    for number in range(item["attempts"]):
        yield {
            "item_id": item["id"],
            "started_at": item["arrived_at"] + 3,
            "released_at": item["arrived_at"] + 3.5,
            "ended_at": item["arrived_at"] + 4,
            "size": item["size"],
            "status": 200 if accepted else 400,
            "outcome": "accepted" if accepted else "refused",
            "charged": "yes" if accepted else "no",
            "decision": item["state"],
            "identifier": parts[number]["identifier"] if parts else item["identifier"],
            "part": number + 1 if parts else None,
        }


def _classification(identifier: str) -> str:
    """Most are human, a few neither, one in twenty artificial."""
    number = int(identifier[4:12], 16)
    return "artificial" if number % 20 == 0 else "inconclusive" if number % 33 == 0 else "human"


def _verdicts(item: dict[str, Any], parts: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    if item["duplicate_of"] is not None:
        return
    for identifier in [part["identifier"] for part in parts] or [item["identifier"]]:
        if identifier is not None:
            yield {
                "identifier": identifier,
                "state": "known",
                "since": item["arrived_at"],
                "due_at": item["arrived_at"] + 60,
                "asked_at": item["arrived_at"] + 60,
                "known_at": item["arrived_at"] + 5 + int(item["id"][:4], 16) % 400,
                "asked": 2,
                "classification": _classification(identifier),
                "confidence": 0.5 + int(item["id"][4:8], 16) % 499 / 1000,
                "heuristic": "majority",
                "models": '["voice-2.4", "spectrum-1.9"]',
                "api_version": "1.12.0",
            }
