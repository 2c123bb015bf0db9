"""Candidates that nobody looks at for a while, in as few bytes as possible. Pure.

100,000 may wait for days. Beside its path, a candidate takes 450 bytes as an object with its numbers, and 128 as
one bytes object [measured]. Whoever asks about one that rests gets the candidate that it was.
"""

from dataclasses import dataclass, replace
from math import ceil
from struct import Struct

from watcher.domain import MARKS, Fingerprint, Marks
from watcher.journey.arrive.candidate import Candidate

Rest = bytes
"""A candidate at rest, without its path: its fingerprint's marks, then the other numbers."""

SEEN = Struct(f">16xQ{MARKS.size}xd")
"""The inode of one at rest, and when it is to be looked at."""

# More than these 95 bytes would take a larger block.
_NUMBERS = Struct(">6dI3B")
_WORDS = Struct(f">{MARKS.size + 48}xI")
_QUIET = Struct(f">{MARKS.size + 8}xdd24xI")
_CLOSED, _SETTLED, _FRESH, _SURE, _BY_CTIME = 1, 2, 4, 8, 16
_MOST = 2**32


@dataclass(slots=True)
class _Words:
    """Why some wait."""

    code: str
    reason: str
    users: int = 0


class Resting:
    """Packs candidates and unpacks them. A reason is kept once, for as long as somebody at rest has it."""

    def __init__(self) -> None:
        self._words: dict[int, _Words] = {}
        self._numbers: dict[tuple[str, str], int] = {}  # of the words, by code and reason
        self._next = 0

    def pack(self, candidate: Candidate) -> Rest | None:
        """Return it at rest; None where its fingerprint has no marks."""
        marks = candidate.fingerprint.marks
        return None if marks is None else marks + self._without_marks(candidate, 1)

    def pack_newcomers(
        self, found: dict[bytes, Marks], like: Candidate, most_rested: float | None
    ) -> dict[bytes, Rest]:
        """Return candidates at rest with these marks, of which nothing was known, and that are alike in all else.

        `most_rested`: seconds for which a ctime is believed; None: it means nothing there.
        """
        if most_rested is not None:  # the sums are left to the few that are asked about
            like = replace(like, rests_since=most_rested)
        alike = self._without_marks(like, len(found), 0 if most_rested is None else _BY_CTIME)
        return {path: marks + alike for path, marks in found.items()}

    def unpack(self, path: bytes, rest: Rest) -> Candidate:
        """Return the candidate that it was."""
        *times, number, hurries, stumbles, flags = _NUMBERS.unpack_from(rest, MARKS.size)
        first_seen, changed_at, rests_since, look_at, reason_since, looked_at = times
        words = self._words.get(number) or _AWAKE  # who asks without the lock may be too late
        fingerprint = Fingerprint.of(rest[: MARKS.size])
        if flags & _BY_CTIME:  # one in the future counts as now
            rests_since = changed_at - min(max(0.0, first_seen - fingerprint.ctime_ns / 1e9), rests_since)
        return Candidate(
            path,
            fingerprint,
            first_seen,
            changed_at,
            rests_since,
            look_at,
            reason_since,
            is_closed=bool(flags & _CLOSED),
            is_settled=bool(flags & _SETTLED),
            code=words.code,
            reason=words.reason,
            stumbles=stumbles,
            is_fresh=bool(flags & _FRESH),
            is_sure=bool(flags & _SURE),
            looked_at=looked_at,
            hurries=hurries,
        )

    def let_go(self, rest: Rest) -> None:
        """Note that it rests no longer."""
        (number,) = _WORDS.unpack_from(rest)
        words = self._words[number]
        words.users -= 1
        if not words.users:
            del self._numbers[words.code, words.reason], self._words[number]

    def quiet_of(self, rest: Rest) -> tuple[str, float, float]:
        """Return its code, when it changed, and, unless it is a newcomer, since when it rests."""
        changed_at, rests_since, number = _QUIET.unpack_from(rest)
        return self._words[number].code, changed_at, rests_since

    def _without_marks(self, one: Candidate, users: int, flags: int = 0) -> bytes:
        times = one.first_seen, one.changed_at, one.rests_since, one.look_at, one.reason_since, one.looked_at
        flags |= _CLOSED * one.is_closed | _SETTLED * one.is_settled | _FRESH * one.is_fresh | _SURE * one.is_sure
        number = self._number_of(one.code, one.reason)
        self._words[number].users += users
        return _NUMBERS.pack(*times, number, ceil(one.hurries), one.stumbles, flags)

    def _number_of(self, code: str, reason: str) -> int:
        number = self._numbers.get((code, reason))
        if number is None:
            while self._next in self._words:
                self._next = (self._next + 1) % _MOST
            number = self._numbers[code, reason] = self._next
            self._words[number] = _Words(code, reason)
            self._next = (number + 1) % _MOST
        return number


_AWAKE = _Words("settling", "")
