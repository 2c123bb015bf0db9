"""One target for some seconds, in a process of its own: what it cannot survive is a find as well."""

import contextlib
import hashlib
import io
import json
import os
import select
import signal
import struct
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NoReturn

from tests.fuzz.attempt import Find, attempt, bound_memory, smallest
from tests.fuzz.mutation import made
from tests.fuzz.target import Target

_AT = struct.Struct("<Q")
_MOST_FINDS = 5  # of one target; after that its time is over
_DEAD_SECONDS = 60.0  # without any progress


@dataclass
class Told:
    """What came of one target's time."""

    inputs: int = 0
    seconds: float = 0.0
    finds: list[tuple[Find, Path]] = field(default_factory=list)


def work(
    target: Target, seed: str, seconds: float, first: int, folder: Path, at: BinaryIO, theirs: int
) -> NoReturn:
    """In the child: try one input after the other, from the first on. `theirs`: the pipe for what is found."""
    told = os.fdopen(theirs, "w", encoding="utf-8")
    number, known = first, set[str]()
    easy = made(target, seed, 0)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), target.opened() as check:
        attempt(target, check, easy)  # what is loaded by the first input is nobody's
        bound_memory(target)
        until = time.monotonic() + seconds
        while time.monotonic() < until and len(known) < _MOST_FINDS:
            os.pwrite(at.fileno(), _AT.pack(number), 0)
            data = made(target, seed, number)
            found = attempt(target, check, data)
            number += 1
            if found is not None and found.kind not in known:
                known.add(found.kind)
                least = data if found.kind == "stuck" else _least(target, check, data, found)
                path = keep(folder, target, least)
                print(json.dumps([found.kind, found.words, str(path)]), file=told, flush=True)
        print(json.dumps({"inputs": number - first}), file=told, flush=True)
    os._exit(0)  # no thread of the target's holds it up


def _least(target: Target, check: object, data: bytes, found: Find) -> bytes:
    def fails(less: bytes) -> bool:
        again = attempt(target, check, less)  # type: ignore[arg-type]
        return again is not None and again.kind == found.kind

    return smallest(data, fails)


def keep(folder: Path, target: Target, data: bytes) -> Path:
    """Write the input where it can be played again."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{target.name}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


def run(target: Target, seed: str, seconds: float, folder: Path) -> Told:
    """Let a child work for so long, and another one for the rest of the time if it dies."""
    told, first = Told(), 0
    until = time.monotonic() + seconds
    started = time.monotonic()
    while (left := until - time.monotonic()) > 0 and len(told.finds) < _MOST_FINDS:
        with tempfile.TemporaryFile() as at:
            at.write(_AT.pack(first))
            at.flush()
            ending = _let_work(target, seed, left, first, folder, at, told)
            reached = _AT.unpack(os.pread(at.fileno(), _AT.size, 0))[0]
        if ending is None:
            break
        told.inputs += reached - first + 1
        first = reached + 1
        told.finds.append((Find(ending, ending), keep(folder, target, made(target, seed, reached))))
    told.seconds = time.monotonic() - started
    return told


def _let_work(
    target: Target, seed: str, seconds: float, first: int, folder: Path, at: BinaryIO, told: Told
) -> str | None:
    """Run one child to its end; how it died, or null if it came to its end by itself."""
    ours, theirs = os.pipe()
    child = os.fork()  # what is imported, and what was made for other targets, is there already
    if child == 0:
        try:
            work(target, seed, seconds, first, folder, at, theirs)
        except BaseException:  # noqa: BLE001 — the fuzzer's own fault: it is told, and no test runs on in a copy
            traceback.print_exc()
        os._exit(70)
    os.close(theirs)
    is_ended, ending = False, None
    for line in _lines(ours, at):
        if line is None:
            os.kill(child, signal.SIGKILL)
            ending = f"nothing came of it for {_DEAD_SECONDS:.0f} s"
            break
        said = json.loads(line)
        if isinstance(said, dict):
            told.inputs += said["inputs"]
            is_ended = True
        else:
            kind, words, path = said
            told.finds.append((Find(kind, words), Path(path)))
    os.close(ours)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return None if is_ended else ending or f"the process died of it ({code})"


def _lines(pipe: int, at: BinaryIO) -> Iterator[bytes | None]:
    """Each line that the child says; null if it makes no progress any more."""
    rest, reached, since = b"", b"", time.monotonic()
    while True:
        if select.select([pipe], [], [], 1.0)[0]:
            more = os.read(pipe, io.DEFAULT_BUFFER_SIZE)
            if not more:
                return
            *lines, rest = (rest + more).split(b"\n")
            yield from lines
        now = os.pread(at.fileno(), _AT.size, 0)
        if now != reached:
            reached, since = now, time.monotonic()
        if time.monotonic() - since > _DEAD_SECONDS:
            yield None
            return
