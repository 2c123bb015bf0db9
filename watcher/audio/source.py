"""A file that is read in places, never as a whole."""

from typing import BinaryIO, Self

_HEAD_BYTES = 4096
_BLOCK_BYTES = 256 * 1024
_ZERO_TAIL_BYTES = 64
HOLE_BYTES = 2048  # silence in the largest MP3 frame has 1,436


class Source:
    """The first `size` bytes of a seekable file. `head` is its beginning, at most 4 KiB.

    `is_thorough`: all of it may be read where that helps; else only a bounded part.
    """

    __slots__ = ("_block", "_block_start", "_file", "_start", "_there", "head", "is_thorough", "size")

    def __init__(self, file: BinaryIO, size: int, *, start: int = 0, is_thorough: bool = False) -> None:
        self._file = file
        self._start = start
        self._block = b""
        self._block_start = 0
        self.size = self._there = size - start
        self.is_thorough = is_thorough
        self.head = self._read(0, min(self.size, _HEAD_BYTES))

    def behind(self, start: int) -> Self:
        """Return what begins at `start` as a file of its own."""
        return type(self)(
            self._file, self._start + self.size, start=self._start + start, is_thorough=self.is_thorough
        )

    def at(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`, fewer where the file ends first. OSError."""
        end = min(offset + length, self._there)
        if end <= len(self.head):
            return self.head[offset:end]
        if offset >= end:
            return b""
        if not self.is_thorough:
            return self._read(offset, end - offset)
        first = offset - self._block_start
        if first < 0 or end - self._block_start > len(self._block):  # one read serves many later calls
            self._block_start, first = offset, 0
            self._block = self._read(offset, max(end - offset, min(_BLOCK_BYTES, self._there - offset)))
        return self._block[first : first + end - offset]

    def ends_in_zeros(self) -> bool:
        """Return whether the last bytes are all zero: silence, or space allocated for bytes still to come.

        Programs that set the final size first write the header long before the end. Taking silence for such a hole
        costs a short wait; taking a hole for silence would pay for half a recording.
        """
        return not self.at(max(0, self.size - _ZERO_TAIL_BYTES), _ZERO_TAIL_BYTES).strip(b"\0")

    def hole(self, start: int, end: int) -> int | None:
        """Return where zeros replace compressed sound between `start` and `end`; None for nowhere.

        No compressing codec leaves so many in a row: those bytes were never written, or were lost. Only the end is
        examined unless thorough.
        """
        end = min(end, self.size)
        last = max(start, end - HOLE_BYTES)
        if end - last == HOLE_BYTES and not self.at(last, HOLE_BYTES).strip(b"\0"):
            return last
        at = start
        while self.is_thorough and at < last:
            length = min(_BLOCK_BYTES, end - at)
            found = self.at(at, length).find(bytes(HOLE_BYTES))
            if found >= 0:
                return at + found
            at += max(1, length - HOLE_BYTES + 1)
        return None

    def _read(self, offset: int, length: int) -> bytes:
        self._file.seek(self._start + offset)
        found = self._file.read(length)
        while len(found) < length and (more := self._file.read(length - len(found))):
            found += more
        if len(found) < length:  # it has shrunk: what is not there is not read again and again
            self._there = min(self._there, offset + len(found))
        return found
