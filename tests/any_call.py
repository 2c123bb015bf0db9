"""A folder of whatever call centres record, most of it too large or foreign, and what must come of it."""

import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.audio_files import recording
from watcher.audio.synthesis import wav
from watcher.sandbox import LedgerEntry

RAW = [{"names": "*.ulaw", "codec": "mulaw", "rate": 8000, "channels": 1}]
_TURN_SECONDS = 30.0
_MP3_SECONDS = 8.0


def fill(folder: Path, scale: float = 1.0) -> None:
    """The recordings lie in the folder: those that are too large for 15 MB times `scale`, and the foreign ones."""
    talk(folder / "an hour.wav", 3600 * scale, channels=2)
    talk(folder / "12 minutes.wav", 720 * scale, channels=2)
    talk(folder / "40 minutes.wav", 2400 * scale, codec="mulaw")
    with (folder / "long.mp3").open("wb") as file:
        turn = recording("mp3.320", _MP3_SECONDS)
        while file.tell() < 40_000_000 * scale:
            file.write(turn)
    for kind in ("wma", "amr", "webm", "aiff", "caf", "mov"):
        (folder / f"call.{kind}").write_bytes(recording(kind, 4.0))
    (folder / "call.ulaw").write_bytes(recording("wav.mulaw", 4.0)[-32_000:])


@cache
def _turn(seed: int, **form: Any) -> bytes:
    return wav(_TURN_SECONDS, seed=seed, **form)


def talk(path: Path, seconds: float, *, seed: int = 0, **form: Any) -> None:
    """A WAV of so many seconds: some turns of talk, in an order that does not repeat."""
    turns = [_turn(one, **form) for one in (1, 2, 3)]
    head = turns[0].index(b"data") + 8
    chance = random.Random(f"{seconds} {seed}")
    with path.open("wb") as file:
        file.write(turns[0][:head])
        for _ in range(max(1, round(seconds / _TURN_SECONDS))):
            turn, at = chance.choice(turns)[head:], chance.randrange(1000) * 8
            file.write(turn[at:] + turn[:at])
        size = file.tell()
        for where, length in ((4, size - 8), (head - 4, size - head)):
            file.seek(where)
            file.write(length.to_bytes(4, "little"))
        if turns[0][20] != 1:  # the number of samples stands in the chunk before
            file.seek(turns[0].index(b"fact") + 8)
            file.write(((size - head) // int.from_bytes(turns[0][32:34], "little")).to_bytes(4, "little"))


def judge(root: Path, ledger: Sequence[LedgerEntry], max_bytes: int, dropped: dict[str, str]) -> Iterator[str]:
    """What is wrong with the folders and receipts, by the service's own books. `dropped`: names and digests."""
    yield from (f"in failed/: {path.name}" for path in (root / "failed").rglob("*") if path.name[0] != ".")
    posts = [entry for entry in ledger if entry.method == "POST"]
    yield from (f"too large: {entry.size}" for entry in posts if (entry.size or 0) > max_bytes)
    charged = Counter(entry.sha256 for entry in posts if entry.charged)
    yield from (f"charged {times} times: {digest}" for digest, times in charged.items() if times > 1)
    given = {(entry.sha256, entry.size, entry.identifier) for entry in posts if entry.status == 200}
    for name, digest in dropped.items():
        filed = root / "done" / name
        receipt = json.loads((root / "done" / f"{name}.json").read_bytes())
        if hashlib.sha256(filed.read_bytes()).hexdigest() != digest or receipt["sha256"] != digest:
            yield f"not the bytes that were dropped: {name}"
        if receipt["verdict"] is None or receipt["verdict"]["state"] != "known":
            yield f"no verdict: {name}"
        sent = receipt["parts"] or [receipt]
        yield from (
            f"not what was sent: {name}"
            for each in sent
            if (each["sha256"], each["size"], each["identifier"]) not in given
        )
        yield from _judge_parts(name, receipt)
    spool = root / "spool"
    yield from (f"left in the spool: {path}" for path in (os.listdir(spool) if spool.exists() else ()))


def _judge_parts(name: str, receipt: dict[str, Any]) -> Iterator[str]:
    """The parts together are the whole, each proven."""
    end = 0.0
    for part in receipt["parts"] or ():
        if part["proof"] is None or not part["proof"]["sha256"]:
            yield f"not proven: {name}, part {part['index']}"
        if part["start_seconds"] != end:
            yield f"a gap or an overlap: {name}, part {part['index']}"
        end = part["end_seconds"]
    if receipt["parts"] and abs(end - receipt["audio"]["seconds"]) > 0.1:
        yield f"not the whole: {name}, {end} of {receipt['audio']['seconds']} seconds"
