"""The codec: a child process for each recording, bounded in time, memory and output. No library of it is here.

A broken recording can crash a decoder, hang it or swell it: what becomes of the child is about that recording.
"""

import errno
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO, Literal, TypeVar

from watcher import processor
from watcher.audio.raw import Raw
from watcher.clock import SystemClock
from watcher.domain import Mode
from watcher.errors import CodecDied, RecordingError, RecordingRefused, RecordingUnreachable
from watcher.journey.prepare.made import Facts, Order, Outcome
from watcher.journey.prepare.quiet import Levels
from watcher.journey.prepare.unsendable import INSTALL
from watcher.text import JsonObject

Deed = Literal["listen", "copy", "flac"]
_Answer = TypeVar("_Answer")


_POLL_SECONDS = 0.05
_ANSWER_BYTES = 32 * 1024 * 1024  # the loudness of a week
_COMPLAINT_BYTES = 64 * 1024
_SLACK_BYTES = 1 << 20
_COMMAND = (sys.executable, "-P", "-m", "watcher.journey.prepare.codec_child")
_ENVIRONMENT = {"LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", "MALLOC_ARENA_MAX": "2"}
_INHERITED = ("PATH", "PYTHONPATH", "PYTHONHOME")  # nothing else of ours: the key may stand in the environment


class CodecMissing(RecordingRefused):
    """This recording has to be converted, and what converts is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "codec_missing",
            "It has to be converted before the service takes it, and the extra `audio` is not installed.",
            hint=f"Install it ({INSTALL}), restart the service, and `watcher retry` this one.",
        )


class CodecRefused(RecordingRefused):
    """The recording was read, and cannot be made acceptable."""


class CodecStopped(RecordingError):
    """The child was ended because the daemon stops. Nothing is said about the recording."""

    code = "stopped"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one child may use."""

    memory_bytes: int = 768 * 1024 * 1024  # of address space; of memory, half
    seconds: float = 120.0
    bytes_a_second: int = 100_000  # of the recording: a longer one may take longer
    most_seconds: float = 1200.0  # twice that, and the daemon's watchdog still knows that work goes on

    def seconds_for(self, size: int) -> float:
        return min(self.seconds + size / self.bytes_a_second, self.most_seconds)

    def limits(self, seconds: float, file_bytes: int) -> dict[str, int]:
        """Return what the child asks of its kernel: setrlimit(2)."""
        return {
            "AS": self.memory_bytes,
            "CPU": int(seconds) + 1,
            "FSIZE": file_bytes,
            "CORE": 0,
            "NOFILE": 64,
        }


@cache
def has_codec() -> bool:
    """Return whether the extra was installed when this was asked first, without loading it."""
    return importlib.util.find_spec("av") is not None


class Codec:
    """Runs one child for each order.

    `alive` is called several times a second while one runs; once `stopping` is set the child is ended.
    """

    def __init__(
        self,
        *,
        bounds: Bounds | None = None,
        stopping: threading.Event | None = None,
        alive: Callable[[], None] = lambda: None,
        command: Sequence[str] = _COMMAND,
    ) -> None:
        self._bounds = bounds or Bounds()
        self._stopping = stopping or threading.Event()
        self._alive = alive
        self._command = command

    def make(self, file: BinaryIO, mode: Mode, order: Order, folder: int) -> Outcome:
        """Make the parts in this way: a Maker for all but cutting, which needs no codec. Raises as `copy` does."""
        return self._made("flac" if mode is Mode.FLAC else "copy", file, folder, order)

    def listen(self, file: BinaryIO, raw: Raw | None = None) -> tuple[Facts, Levels]:
        """Return what the samples tell, and how loud they are. Raises as `copy` does."""
        with tempfile.TemporaryFile() as nothing:  # it writes nothing, and needs no folder
            return self._run("listen", file, nothing.fileno(), Order("", 0, raw=raw), _heard)

    def copy(self, file: BinaryIO, folder: int, order: Order) -> Outcome:
        """Put the packets, unchanged, into a container that the service takes, in parts that fit.

        The parts lie in the open `folder`, whole and synced, or not at all; nothing of a child that died is left.
        Raises CodecMissing, CodecRefused, CodecDied, CodecStopped, RecordingUnreachable, and OSError where the
        folder's disk refuses.
        """
        return self._made("copy", file, folder, order)

    def flac(self, file: BinaryIO, folder: int, order: Order) -> Outcome:
        """Encode the samples as FLAC, in parts that fit; as WAV what FLAC cannot hold. Raises as `copy`."""
        return self._made("flac", file, folder, order)

    def _made(self, deed: Deed, file: BinaryIO, folder: int, order: Order) -> Outcome:
        with _clearing(folder):
            outcome = self._run(deed, file, folder, order, Outcome.of)
            kept = [(made.name, made.size) for made in outcome.made if made.name is not None]
            if kept != [(name, _size(folder, name)) for name, _ in kept]:
                raise _nonsense(ValueError("sizes"))
        return outcome

    def _run(
        self, deed: Deed, file: BinaryIO, folder: int, order: Order, understand: Callable[[JsonObject], _Answer]
    ) -> _Answer:
        if not has_codec():
            raise CodecMissing
        size = os.fstat(file.fileno()).st_size
        seconds, file_bytes = self._bounds.seconds_for(size), max(size, order.max_bytes) + _SLACK_BYTES
        told = {
            "deed": deed,
            "recording": file.fileno(),
            "folder": folder,
            "limits": self._bounds.limits(seconds, file_bytes),
            "order": order.as_json(),
        }
        answer = self._answer(told, seconds, file_bytes)
        _check(answer)
        try:
            return understand(answer)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _nonsense(error) from error

    def _answer(self, told: JsonObject, seconds: float, file_bytes: int) -> JsonObject:
        """Run the child, and return the one object that it prints."""
        recording, folder = told["recording"], told["folder"]
        with tempfile.TemporaryFile() as given:
            given.write(json.dumps(told).encode())
            given.seek(0)
            child = subprocess.Popen(  # noqa: S603 — our own interpreter, no shell
                self._command,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(recording, folder),
                env=_ENVIRONMENT | {name: os.environ[name] for name in _INHERITED if name in os.environ},
                cwd="/",
                start_new_session=True,  # a Ctrl-C is for us: we end it
            )
        processor.free(child.pid)
        with child:
            try:
                said, complaint = self._watch(child, seconds, folder, file_bytes)
            finally:
                if child.poll() is None:
                    child.kill()
        if child.returncode:
            raise CodecDied(_death(child.returncode, complaint), hint=_OTHERWISE)
        try:
            answer = json.loads(said)
        except ValueError as error:
            raise _nonsense(error) from error
        if not isinstance(answer, dict):
            raise _nonsense(TypeError("no object"))
        return answer

    def _watch(
        self, child: "subprocess.Popen[bytes]", seconds: float, folder: int, file_bytes: int
    ) -> tuple[bytes, bytes]:
        """Read what it says until it is done. CodecDied beyond a bound, CodecStopped.

        The kernel keeps the same bounds, but not where a service's filter lets nobody set them.
        """
        clock = SystemClock()
        until = clock.monotonic() + seconds
        assert child.stdout is not None  # noqa: S101 — both are pipes
        assert child.stderr is not None  # noqa: S101
        heard = {child.stdout.fileno(): bytearray(), child.stderr.fileno(): bytearray()}
        answer, complaint = heard.values()
        poll = select.poll()
        for pipe in heard:
            os.set_blocking(pipe, False)
            poll.register(pipe, select.POLLIN)
        listening = set(heard)
        while listening or child.poll() is None:
            for pipe, _ in poll.poll(_POLL_SECONDS * 1000):
                data = os.read(pipe, 1 << 16)
                heard[pipe] += data
                if not data:
                    poll.unregister(pipe)
                    listening.discard(pipe)
            self._alive()
            if self._stopping.is_set():
                raise CodecStopped(
                    "It was being converted when the service was stopped.", hint="It is done again."
                )
            if clock.monotonic() > until:
                raise CodecDied(f"The codec was not done after {seconds:,.0f} seconds.", hint=_OTHERWISE)
            if reason := self._excess(child.pid, folder, file_bytes):
                raise CodecDied(reason, hint=_OTHERWISE)
            if len(answer) > _ANSWER_BYTES or len(complaint) > _COMPLAINT_BYTES:
                raise CodecDied("The codec answers without end.", hint=_OTHERWISE)
            if not listening:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(_POLL_SECONDS)
        return bytes(answer), bytes(complaint)

    def _excess(self, pid: int, folder: int, file_bytes: int) -> str | None:
        """Return what the child takes too much of; None if nothing."""
        if _resident(pid) > self._bounds.memory_bytes // 2:
            return "The codec took more memory than any recording needs."
        return _OVERFLOWING if _largest(folder) > file_bytes else None


_OVERFLOWING = "The codec wrote far more than it was asked for."
_OTHERWISE = (
    "Play it to see whether it is damaged. Get it again from its source, or export it as WAV, and drop that."
)


def _check(answer: JsonObject) -> None:
    """Raise what the child found, if it did not do what it was asked for."""
    if isinstance(refused := answer.get("refused"), dict):
        hint = str(refused.get("hint") or _OTHERWISE)
        raise CodecRefused(str(refused.get("code")), str(refused.get("message")), hint=hint)
    if isinstance(number := answer.get("unread"), int):
        raise RecordingUnreachable(
            f"The recording cannot be read to its end ({os.strerror(number)})",
            hint="look at the disk or share that it lies on, and in dmesg; it is tried again",
        )
    if "disk" in answer:
        number = answer["disk"]
        if not isinstance(number, int):
            raise _nonsense(TypeError("no number"))
        if number == errno.EFBIG:
            raise CodecDied(_OVERFLOWING, hint=_OTHERWISE)
        raise OSError(number, str(answer.get("reason")))


def _nonsense(error: Exception) -> CodecDied:
    return CodecDied(f"The codec gave no answer that can be understood ({type(error).__name__}).", hint=_OTHERWISE)


def _death(code: int, complaint: bytes) -> str:
    if code < 0:
        with suppress(ValueError):
            return f"The codec crashed over it ({signal.Signals(-code).name})."
    last = complaint.decode("utf-8", "replace").strip().splitlines()[-1:]
    return f"The codec failed over it ({last[0][:200] if last else code})."


def _resident(pid: int) -> int:
    """Return the bytes of memory that a process has; 0 where it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as words:
            return int(words.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def _heard(told: JsonObject) -> tuple[Facts, Levels]:
    levels = Levels(array("f", told["levels"]["values"]), float(told["levels"]["grain_seconds"]))
    return Facts.of(told["facts"]), levels


@contextmanager
def _clearing(folder: int) -> Iterator[None]:
    """Remove what is new in the folder, should the block fail."""
    before = set(os.listdir(folder))
    try:
        yield
    except BaseException:
        for name in set(os.listdir(folder)) - before:
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)
        raise


def _largest(folder: int) -> int:
    """Return the size of the largest file there; 0 where there is none, or no folder."""
    try:
        return max((_size(folder, name) or 0 for name in os.listdir(folder)), default=0)
    except NotADirectoryError:
        return 0


def _size(folder: int, name: str) -> int | None:
    """Return the size of a file in the folder; None where there is none."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_size
    except FileNotFoundError:
        return None
