"""Which steps are failing as a whole, for commands to see.

This is kept in the note of the process's lock on its database, not in the database: that may be what fails, say on
a full disk, while the note is written into space that it already has. It ends with the process, as the failure
does. What keeps one recording is an obstacle, and what all wait for is a pause: neither is here.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self

from watcher.domain import Fault
from watcher.errors import ServiceError, WatcherError
from watcher.text import JsonObject, rfc3339, show_text

_KEY = "failing"
_LONGEST = 300  # characters of each text: all must fit into the note
_MOST = 5


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that fails: since when, how often in a row, and how.

    `succeeded_at`: when it last succeeded; None: not since the start.
    `is_elsewhere`: the service or the account is to blame, not this machine.
    """

    step: str
    since: float
    times: int
    succeeded_at: float | None
    fault: Fault
    is_elsewhere: bool = False

    def as_json(self) -> JsonObject:
        return {
            "step": self.step,
            "since": rfc3339(self.since),
            "times": self.times,
            "succeeded_at": rfc3339(self.succeeded_at),
            **self.fault.as_json(),
        }

    def to_note(self) -> list[object]:
        """Return it as it is written in the note."""
        told = [text[:_LONGEST] for text in (self.fault.code, self.fault.message, self.fault.hint)]
        return [self.step, self.since, self.times, self.succeeded_at, *told, self.is_elsewhere]

    @classmethod
    def of(cls, noted: list[object]) -> Self | None:
        """Read what `to_note` wrote; None for anything else."""
        match noted:
            case [str(step), int() | float() as since, int(times), int() | float() | None as succeeded_at, *told]:
                match told:
                    case [str(code), str(message), str(hint), bool(is_elsewhere)]:
                        fault = Fault(show_text(code), show_text(message), show_text(hint))
                        return cls(show_text(step), since, times, succeeded_at, fault, is_elsewhere)
        return None


class Failures:
    """What fails in this process. Thread-safe. Nothing is recorded until `keep` is called."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failing: dict[str, Failure] = {}
        self._successes: dict[str, float] = {}
        self._now: Callable[[], float] | None = None
        self._write: Callable[[JsonObject], None] = lambda _: None

    def keep(self, now: Callable[[], float], write: Callable[[JsonObject], None]) -> None:
        """From now on call `write` with what is to be noted, at each change."""
        self._now, self._write = now, write

    def failed(self, step: str, error: Exception, succeeded_at: float | None = None) -> None:
        """Record that the step failed, once more or for the first time."""
        with self._lock:
            if self._now is None:
                return
            now = self._now()
            before = self._failing.get(step) or Failure(step, now, 0, succeeded_at, Fault("", ""))
            is_elsewhere = isinstance(error, ServiceError)
            self._failing[step] = replace(
                before, times=before.times + 1, fault=_as_fault(error), is_elsewhere=is_elsewhere
            )
            self._note()

    def succeeded(self, step: str) -> None:
        """Record that the step, if it had failed, works again."""
        with self._lock:
            if self._failing.pop(step, None) is not None:
                self._note()

    def note_success(self, step: str, at: float) -> None:
        """Keep when the step last succeeded. It is noted nowhere else: that would be a write each second."""
        self._successes[step] = at

    def successes(self) -> dict[str, float]:
        """Return when each step last succeeded, if it has since the start."""
        found: dict[str, float] = {}
        for step, at in self._successes.copy().items():
            name = _joined_name(step)
            found[name] = max(at, found.get(name, at))
        return found

    def _note(self) -> None:
        noted = [failure.to_note() for failure in _joined(self._failing.values())]
        with suppress(OSError):  # the log has it anyway
            self._write({_KEY: noted[:_MOST]} if noted else {})


def _joined(failures: Iterable[Failure]) -> list[Failure]:
    """Join the failures of submit-1, submit-2 and so on into one of the step that users know: submit."""
    found: dict[str, Failure] = {}
    for one in failures:
        step = _joined_name(one.step)
        before = found.get(step)
        since, times = (one.since, 0) if before is None else (min(before.since, one.since), before.times)
        found[step] = replace(one, step=step, since=since, times=times + one.times)
    return sorted(found.values(), key=lambda failure: failure.since)


def _joined_name(step: str) -> str:
    return step.partition("-")[0]


def _as_fault(error: Exception) -> Fault:
    if isinstance(error, WatcherError):
        return error.as_fault()
    # Not its text, which may contain the key: that is in the log, redacted.
    return Fault("unforeseen", f"unexpected error: {type(error).__name__}", "Please report it, with the log.")


def read_failures(note: JsonObject) -> tuple[Failure, ...]:
    """Return the failing steps in a process's note, the earliest failure first."""
    return tuple(_read(note.get(_KEY)))


def _read(noted: object) -> Iterator[Failure]:
    for one in noted if isinstance(noted, list) else ():
        if isinstance(one, list) and (failure := Failure.of(one)) is not None:
            yield failure
