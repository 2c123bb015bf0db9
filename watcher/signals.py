"""What SIGTERM, SIGINT and SIGHUP mean to a process of ours."""

import os
import signal
import threading


def hold_hang_ups() -> None:
    """SIGHUP waits for `heed_signals`, where it means no lost terminal: a start may wait long for its folder."""
    if not _terminals():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def _terminals() -> list[int]:
    return [descriptor for descriptor in range(3) if os.isatty(descriptor)]


def heed_signals(ended: threading.Event, hang_up: threading.Event | None = None) -> None:
    """SIGTERM or SIGINT sets the event; a second one ends the process at once. Call it before threads begin.

    SIGHUP sets `hang_up`, for what can be read again. It ends, like SIGTERM, who has nothing of the kind, and who
    lost the terminal that it was started at; not who was told to ignore it, as by nohup.

    A thread waits for them, since a handler runs between two steps of the main thread: setting an event which
    that thread waits on could wait for itself.
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
            elif number != signal.SIGHUP:  # of which a terminal that closes sends several
                os._exit(128 + number)  # whatever that cuts off is recovered at the next start

    threading.Thread(target=heed, name="signals", daemon=True).start()
