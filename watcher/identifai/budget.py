"""When the next request may end at the service, so that none is ever refused for coming too fast.

The service counts a request when it has received all of it, in fixed windows that open at their first hit. We
can see neither. What is safe under every phase of such windows is a sliding log: the next request ends no
sooner than S seconds after the N-th last one ended. Of a request we know two moments: when we let its last
part go (it can not have been counted before) and when it was answered (it was counted by then). So the log
holds answers, and what it allows is a letting-go.
"""

from collections.abc import Callable, Sequence

from watcher.config import Window

_SLEW = 1.001
"""The two machines' clocks may run apart, by 500 ppm each at the most while one is being adjusted."""


def room_at(
    windows: Sequence[Window],
    nth_last_end: Callable[[int], float | None],
    now: float,
    *,
    unended: int = 0,
    ahead: int = 0,
) -> float:
    """The earliest time at which one more request may be let go; `now` or before means at once.

    `nth_last_end(n)` tells when the n-th last of the answered requests was answered, null when there are fewer.
    `unended` requests were let go and are not answered yet: they may be counted at any time from now on, so
    where one of them stands in the way the answer is only a lower bound, and is to be asked again. `ahead`
    requests will be let go before this one.
    """
    return max((_room_in(w, nth_last_end, now, unended, ahead) for w in windows), default=now)


def _room_in(
    window: Window, nth_last_end: Callable[[int], float | None], now: float, unended: int, ahead: int
) -> float:
    seconds = window.seconds * _SLEW
    rounds, ahead = divmod(ahead, window.limit)
    n = window.limit - ahead
    if n <= unended:
        end: float | None = now
    else:
        end = nth_last_end(n - unended)
    if end is None:
        return now + rounds * seconds
    # A clock that was set back leaves ends in the future: they are over all the same.
    return min(end, now) + (rounds + 1) * seconds
