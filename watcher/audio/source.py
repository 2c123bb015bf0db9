"""A file that is read at places, never as a whole."""

from typing import BinaryIO, Self

_HEAD_BYTES = 4096
_BLOCK_BYTES = 256 * 1024
_ZERO_TAIL_BYTES = 64
HOLE_BYTES = 2048  # the silence of the largest MP3 frame has 1,436


class Source:
    """The first `size` bytes of a seekable file. `head` is its beginning, read once, at most 4 KiB.

    `is_thorough`: all of it may be read, where that tells more; else a bounded part of it.
    """

    __slots__ = ("_block", "_block_start", "_file", "_start", "head", "is_thorough", "size")

    def __init__(self, file: BinaryIO, size: int, *, start: int = 0, is_thorough: bool = False) -> None:
        self._file = file
        self._start = start
        self._block = b""
        self._block_start = 0
        self.size = size - start
        self.is_thorough = is_thorough
        self.head = self._read(0, min(self.size, _HEAD_BYTES))

    def behind(self, start: int) -> Self:
        """What begins at `start`, as a file of its own."""
        return type(self)(
            self._file, self._start + self.size, start=self._start + start, is_thorough=self.is_thorough
        )

    def at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`, up to `length` of them: fewer where the file ends first. May raise OSError."""
        end = min(offset + length, self.size)
        if end <= len(self.head):
            return self.head[offset:end]
        if offset >= end:
            return b""
        if not self.is_thorough:
            return self._read(offset, end - offset)
        first = offset - self._block_start
        if first < 0 or end - self._block_start > len(self._block):  # one read serves many that follow it
            self._block_start, first = offset, 0
            self._block = self._read(offset, max(end - offset, min(_BLOCK_BYTES, self.size - offset)))
        return self._block[first : first + end - offset]

    def ends_in_zeros(self) -> bool:
        """Whether the last bytes are all zero: silence, or a place reserved for bytes that are still to come.

        Copying programs that set the final size first write the header long before the end. Silence that is
        taken for such a hole costs a short wait; a hole that is taken for silence costs a paid half recording.
        """
        return not self.at(max(0, self.size - _ZERO_TAIL_BYTES), _ZERO_TAIL_BYTES).strip(b"\0")

    def hole(self, start: int, end: int) -> int | None:
        """Where zeros take the place of compressed sound between `start` and `end`; null where they do not.

        No codec that packs sound leaves so many of them in a row: they were never written, or lost. Only the end
        is looked at if the look is not thorough.
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
        return found
