"""The loops that repeat a step, and the chores beside them. A failure is recorded, and tried again."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from watcher import logs
from watcher.clock import Clock
from watcher.errors import InstanceRunning, StoreAway, StoreLeaseLost, WatcherError
from watcher.journey.failures import Failures

_log = logs.get_logger(__name__)

_TICK_SECONDS = 1.0  # until it is seen that a command has written to the database: it does not wake the daemon
_MOST_REST_SECONDS = 5.0  # without a look: a clock may have been set, or a disk come back, which no commit tells
_MOST_BACK_OFF_SECONDS = 60.0
_AWAY_SECONDS = 5.0  # a server that does not answer costs nothing to ask, and all wait for it


def _unknown() -> None:
    """Return that nobody can tell whether anything was committed."""


@dataclass
class Runner:
    """One step, repeated until the end: at once while there is work, else when it is due or woken.

    `changes`: of a step that follows the database alone, Database.changes: while nothing is committed, it rests.
    Any other looks again each second. `gather_seconds`: how long, about, it pauses before each time, so that what
    comes in quick succession is taken together.
    """

    name: str
    step: Callable[[], float]
    clock: Clock
    stopping: threading.Event
    done_at: float  # monotonic: when the step last ended
    wakes: list[Callable[[], object]] = field(default_factory=list)  # called when it has done something
    changes: Callable[[], int | None] = _unknown
    gather_seconds: float = 0.0
    failures: Failures = field(default_factory=Failures)
    succeeded_at: float | None = None
    begun_at: float | None = None  # monotonic: when the running step began; None: none is running
    ended: threading.Event = field(default_factory=threading.Event)
    _woken: threading.Event = field(default_factory=threading.Event)

    def wake(self) -> None:
        """Let the step run now, or once more if it is running."""
        self._woken.set()

    def run(self) -> None:
        """Run the loop, for the whole life of the daemon."""
        try:
            self._loop()
        finally:
            self.ended.set()

    def _loop(self) -> None:
        troubles = 0
        while not self.stopping.is_set():
            if self.gather_seconds:
                self.clock.wait(self.gather_seconds * random.uniform(0.5, 1.5), self.stopping)  # noqa: S311
            self._woken.clear()  # before the step looks: a wake-up meanwhile is not lost
            self.begun_at = self.clock.monotonic()
            seen = self.changes()  # likewise: what is committed while it looks
            try:
                wait = self.step()
            except StoreLeaseLost:
                return  # with all others: whoever took the site over goes on from here
            except Exception as error:  # noqa: BLE001 — the one catch-all: a failure is recorded, and tried again
                self.begun_at = None
                troubles += 1
                most = _AWAY_SECONDS if isinstance(error, StoreAway) else _MOST_BACK_OFF_SECONDS
                wait = min(2.0**troubles, most)
                self._tell(error, wait)
                self.failures.failed(self.name, error, self.succeeded_at)
                self.clock.wait(wait, self.stopping)
                continue
            if troubles:
                troubles = 0
                self.failures.succeeded(self.name)
            self.succeeded_at = self.clock.now()
            self.failures.note_success(self.name, self.succeeded_at)
            self.begun_at = None
            self.done_at = self.clock.monotonic()
            if wait > 0:
                self._rest(wait, seen)
                continue
            for wake in self.wakes:
                wake()

    def _rest(self, wait: float, seen: int | None) -> None:
        """Wait until the step is due or woken, or something may have been committed since it looked."""
        most = _TICK_SECONDS if seen is None else _MOST_REST_SECONDS
        until = self.clock.monotonic() + min(wait, most)
        while (left := until - self.clock.monotonic()) > 0:
            if self.clock.wait(min(left, _TICK_SECONDS), self._woken) or self.changes() != seen:
                return

    def _tell(self, error: Exception, wait: float) -> None:
        """Log a known error, such as a full disk, in words, and an unforeseen one with its traceback."""
        if isinstance(error, StoreAway):
            return  # the store has told it, for all steps
        told = {"step": self.name, "again_in_seconds": wait}
        if isinstance(error, WatcherError):
            _log.error("step.failed", reason=error.message, hint=error.hint, **told)
        else:
            _log.exception("step.failed", **told)


@dataclass(eq=False)
class Chore:
    """What is done again and again beside the steps. After a failure the next turn tries again.

    The same failure is logged once, until a turn succeeds.
    """

    name: str
    function: Callable[..., object]
    arguments: tuple[object, ...] = ()
    failures: Failures = field(default_factory=Failures)
    ended: threading.Event = field(default_factory=threading.Event)  # the last turn has ended, or none has begun
    _told: str = ""

    def __post_init__(self) -> None:
        self.ended.set()

    def repeat(self, first: float, seconds: float, clock: Clock, stopping: threading.Event) -> None:
        """Take a turn after `first` seconds, and another one so many seconds after each, until the end."""
        wait = first
        while not clock.wait(wait, stopping):
            self()
            wait = seconds

    def __call__(self) -> None:
        """Take one turn. Raises InstanceRunning alone: then another instance has the folder, and we must go."""
        self.ended.clear()
        try:
            self.function(*self.arguments)
            self._told = ""
            self.failures.succeeded(self.name)
        except InstanceRunning:
            raise
        except StoreLeaseLost:
            pass  # all ends
        except StoreAway as error:  # the store has told it, for all
            self.failures.failed(self.name, error)
        except WatcherError as error:
            self.failures.failed(self.name, error)
            if self._is_news(error):
                _log.warning("maintenance.failed", chore=self.name, reason=error.message, hint=error.hint)
        except Exception as error:  # noqa: BLE001 — as a step's
            self.failures.failed(self.name, error)
            if self._is_news(error):
                _log.exception("maintenance.failed", chore=self.name)
        finally:
            self.ended.set()

    def _is_news(self, error: Exception) -> bool:
        before, self._told = self._told, repr(error)
        return self._told != before
