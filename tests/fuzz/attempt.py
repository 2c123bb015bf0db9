"""One input under its bounds: what did not hold, and the smallest input of which that is true."""

import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from tests.fuzz.target import MEGABYTE, Check, Target

_STUCK_SECONDS = 20  # of real time: nothing comes any more
_MEASURED_BYTES = 1 << 16  # inputs from this size on are weighed: to do so takes longer than a small one
_MINIMISING_SECONDS = 15.0
_RUNS = 2  # that must all be slow: the machine has others to serve


class Stuck(BaseException):
    """It takes far too long. No handler of the program's own catches it."""


@dataclass(frozen=True)
class Find:
    """Something that did not hold. `kind`: by which two finds are told to be the same."""

    kind: str
    words: str


def attempt(target: Target, check: Check, data: bytes) -> Find | None:
    """What does not hold for these bytes; null if all does."""
    found, seconds, taken = _once(check, data)
    if found is not None:
        return found
    for _ in range(_RUNS - 1):
        if seconds <= target.seconds:
            break
        found, again, _ = _once(check, data)
        seconds = min(seconds, again)
    if seconds > target.seconds:
        return Find(
            "slow", f"{len(data):,} bytes took {seconds:.1f} s of CPU, at most {target.seconds:g} are allowed"
        )
    if taken > target.memory_bytes:
        return Find("memory", f"{len(data):,} bytes took {taken // MEGABYTE:,} MB")
    return None


def _once(check: Check, data: bytes) -> tuple[Find | None, float, int]:
    """What does not hold, the seconds of CPU that it took, and the memory."""
    is_weighed = len(data) >= _MEASURED_BYTES
    before = _weigh() if is_weighed else 0
    started = time.process_time()
    try:
        with _watched():
            check(data)
    except Stuck:
        return Find("stuck", f"{len(data):,} bytes took more than {_STUCK_SECONDS} s"), 0.0, 0
    except BaseException as error:  # whatever it is, it is what is looked for
        if isinstance(error, KeyboardInterrupt):
            raise
        return Find(_kind_of(error), "".join(traceback.format_exception(error, limit=-12))), 0.0, 0
    seconds = time.process_time() - started
    return None, seconds, _peak() - before if is_weighed else 0


def _kind_of(error: BaseException) -> str:
    """The error's type, and the last place of ours that it went through."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if "/watcher/" in one.filename]
    frames = frames or traceback.extract_tb(error.__traceback__)
    told = [one for one in traceback.extract_tb(error.__traceback__) if "/tests/" in one.filename]
    last, asked = frames[-1], told[-1] if told else frames[-1]
    return f"{type(error).__name__} in {last.name}:{last.lineno}, {asked.name}:{asked.lineno}"


@contextmanager
def _watched() -> Iterator[None]:
    def interrupt(_: int, __: FrameType | None) -> None:
        raise Stuck

    before = signal.signal(signal.SIGALRM, interrupt)
    timer = signal.setitimer(signal.ITIMER_REAL, _STUCK_SECONDS, 1)  # again and again: a handler may swallow one
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)  # of whoever tests this


def bound_memory(target: Target) -> None:
    """Let the process have no more than so much beyond what it has, twice what one input may take."""
    with open("/proc/self/statm", encoding="ascii") as told:
        taken = int(told.read().split()[0]) * resource.getpagesize()
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + 2 * target.memory_bytes + 64 * MEGABYTE, most))


def _weigh() -> int:
    """Begin to watch how much memory is taken at most; the bytes that are taken now."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as told:
        told.write("5")
    return _peak()


def _peak() -> int:
    with open("/proc/self/status", encoding="ascii") as told:
        line = next(line for line in told if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def smallest(data: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """The least of the input for which it still fails, as far as can be found in some seconds."""
    until = time.monotonic() + _MINIMISING_SECONDS
    size = len(data) // 2
    while size:
        at = 0
        while at < len(data) and time.monotonic() < until:
            less = data[:at] + data[at + size :]
            if fails(less):
                data = less
            else:
                at += size
        size //= 2
    for at in range(len(data)):  # what is left, in letters where these do as well
        if time.monotonic() >= until:
            break
        plain = data[:at] + b"0" + data[at + 1 :]
        if data[at : at + 1] != b"0" and fails(plain):
            data = plain
    return data
