"""A file that is not trusted yet, and all that is known about it. Pure."""

import math
from dataclasses import dataclass

from watcher.domain import Fingerprint

NEVER = 1e300
"""When to look at a file again that is left where it is (monotonic): if it changes, it is seen again."""

_HURRIES = 8.0  # looks in a row without a pause
_UNHURRIED_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class Candidate:
    """A file that is not trusted yet."""

    path: bytes
    fingerprint: Fingerprint
    first_seen: float  # wall clock: the time of arrival
    changed_at: float  # monotonic: when the last change was seen
    rests_since: float  # monotonic: when it last changed, as far as can be told
    look_at: float  # monotonic; infinity: it is being looked at
    reason_since: float  # wall clock
    is_closed: bool = False  # moved in, or closed by its last writer, after its last change
    is_settled: bool = False  # judged whole; a recording is waiting to be examined
    code: str = "settling"
    reason: str = ""
    stumbles: int = 0  # unexpected errors since its last change
    is_fresh: bool = True  # nobody has looked into it since its last change
    is_sure: bool = False  # it was read so long after its last change that another one would show
    looked_at: float = -math.inf  # monotonic
    hurries: float = 0.0  # looks at it, minus one per second

    def soonest_look(self, monotonic: float) -> float:
        """Return when to look: now, or later for a file that keeps changing, so that others get their turn."""
        if self.hurries < _HURRIES:
            return monotonic
        return max(monotonic, self.looked_at + _UNHURRIED_SECONDS)

    def note_look(self, monotonic: float) -> None:
        """Note that it is looked at now. It is off the agenda until it is put back."""
        hurries = self.hurries - (monotonic - self.looked_at) / _UNHURRIED_SECONDS
        self.hurries = 1.0 + hurries if hurries > 0.0 else 1.0  # one number for all that have rested
        self.looked_at = monotonic
        self.look_at = math.inf


def by_arrival(candidate: Candidate) -> tuple[float, int, bytes]:
    """Return a sort key for the order in which files arrived, as far as can be told."""
    return candidate.first_seen, candidate.fingerprint.ctime_ns, candidate.path
