"""What SIGTERM, SIGINT and SIGHUP mean to a process of ours."""

import os
import signal
import threading
from dataclasses import dataclass, field


def hold_hang_ups() -> None:
    """Block SIGHUP until `heed_signals`, unless it means a lost terminal: a start may wait long for its folder."""
    if not _terminals():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def _terminals() -> list[int]:
    return [descriptor for descriptor in range(3) if os.isatty(descriptor)]


@dataclass
class Signals:
    """What this process was told by signals, once `heed` was called."""

    ended: threading.Event = field(default_factory=threading.Event)
    hang_up: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    """Set with `ended`, and by whatever else is a reason to end what is being done."""

    _is_heeding: bool = False

    def heed(self) -> None:
        """Heed signals from now on; see heed_signals."""
        if not self._is_heeding:
            self._is_heeding = True
            heed_signals(self.ended, self.hang_up, self.over)

    def go_on(self) -> None:
        """Forget a reason to end that was no signal."""
        self.over.clear()
        if self.ended.is_set():
            self.over.set()


def heed_signals(
    ended: threading.Event, hang_up: threading.Event | None = None, over: threading.Event | None = None
) -> None:
    """Set `ended` on SIGTERM or SIGINT, and `over` after it; a second one ends the process at once.

    Call this before starting threads.

    SIGHUP sets `hang_up`, to reload. It acts like SIGTERM where there is no `hang_up`, or where the process has
    lost the terminal that it was started from; unless it was to be ignored (nohup).

    A thread waits for the signals: a handler runs in the main thread, and setting an event that this thread is
    waiting on could deadlock.
    """
    numbers, terminals = {signal.SIGTERM, signal.SIGINT}, _terminals()
    is_immune = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    if hang_up is not None or not is_immune:
        numbers.add(signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)  # inherited by every thread that begins from here on

    def heed() -> None:
        while True:
            number = signal.sigwait(numbers)
            if number == signal.SIGHUP and hang_up is not None and (is_immune or _terminals() == terminals):
                hang_up.set()
            elif not ended.is_set():
                ended.set()
                if over is not None:
                    over.set()
            elif number != signal.SIGHUP:  # a closing terminal sends several of those
                os._exit(128 + number)  # the next start recovers whatever is cut off

    threading.Thread(target=heed, name="signals", daemon=True).start()
