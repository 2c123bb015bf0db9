"""One upload and its body: read once, while it is sent; its last part is held back until the rest is verified.

What is sent is what was examined: the last part leaves only after the whole file was read and its length and hash
were found to be those that were examined. Until then the service has no complete request, so it can charge
nothing.
"""

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from watcher.errors import RecordingChanged, RecordingUnreachable

READ_BYTES = 256 * 1024
HELD_BACK_BYTES = 64 * 1024
"""The most of a recording that is held back until the end."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A recording as it was examined, and the name that the service gets for it.

    `fields` are the text fields to send, by their names in the service's contract; an empty one is left out.
    """

    file: BinaryIO  # open for reading; read from its start by each attempt
    size: int
    sha256: str
    filename: str
    media_type: str
    fields: Mapping[str, str]


class Cut(Exception):
    """The body ended itself before its end, because of `failure`. Not of a kind that a transport converts."""

    def __init__(self, failure: BaseException) -> None:
        super().__init__(str(failure))
        self.failure = failure


class Body:
    """The multipart body of one attempt, iterated once, never in memory as a whole.

    `release` is called once, when everything but the last part has been handed over and the recording is found
    unchanged; the last part follows when it returns. What it raises cuts the body off. `is_answered` is asked
    before each part: the service that has answered already gets no more.

    `is_released` is true from the moment the last part is let go: while it is false, no complete request exists.
    """

    def __init__(
        self, upload: Upload, release: Callable[[], None], is_answered: Callable[[], bool] = lambda: False
    ) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self.is_released = False
        self._upload = upload
        self._release = release
        self._is_answered = is_answered
        self._opening = _opening(upload, boundary)
        self._closing = f"\r\n--{boundary}--\r\n".encode()
        self._is_begun = False

    def __len__(self) -> int:
        return len(self._opening) + self._upload.size + len(self._closing)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body's parts. Raises Cut, and nothing else, when it must not be sent to its end."""
        if self._is_begun:
            raise RuntimeError("A body is good for one attempt.")
        self._is_begun = True
        try:
            yield from self._parts()
        except GeneratorExit:
            raise
        except BaseException as error:
            # An OSError of the disk or of `release` would be taken for one of the network, and even be
            # swallowed as "the service hung up": so nothing leaves here under its own name.
            raise Cut(error) from error

    def _parts(self) -> Iterator[bytes]:
        upload = self._upload
        digest = hashlib.sha256()
        held_back = min(upload.size, HELD_BACK_BYTES)
        opening = self._opening
        left = upload.size - held_back
        self._rewind()
        while left or opening:
            part = self._read(min(left, READ_BYTES))
            digest.update(part)
            left -= len(part)
            if self._is_answered():
                return
            yield opening + part if opening else part
            opening = b""
        last = self._read(held_back)
        digest.update(last)
        if digest.hexdigest() != upload.sha256 or not self._is_at_end():
            raise _changed(upload)
        if self._is_answered():
            return
        self._release()
        if self._is_answered():
            return
        self.is_released = True
        yield last + self._closing

    def _rewind(self) -> None:
        with _reading():
            self._upload.file.seek(0)

    def _read(self, size: int) -> bytes:
        """Return the file's next `size` bytes. Raises RecordingChanged where it ends before them."""
        with _reading():
            part = self._upload.file.read(size)
        if len(part) < size:
            raise _changed(self._upload)
        return part

    def _is_at_end(self) -> bool:
        with _reading():
            return not self._upload.file.read(1)


@contextmanager
def _reading() -> Iterator[None]:
    """Turn errors of the disk into errors about the recording."""
    try:
        yield
    except OSError as error:
        raise RecordingUnreachable(
            f"The recording cannot be read: {error.strerror or error}",
            hint="Check the disk or the share it lies on. Nothing was charged; it is tried again.",
        ) from error


def _changed(upload: Upload) -> RecordingChanged:
    return RecordingChanged(
        f"The recording is not the one that was examined ({upload.size} bytes): it changed since",
        hint="Nothing was charged. It is taken up again when it has settled.",
    )


def _opening(upload: Upload, boundary: str) -> bytes:
    """Return the text fields, and the head of the audio part, which comes last.

    A part without `filename=` is taken for a text field, and an empty text field for null.
    """
    lines = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in upload.fields.items()
        if value.strip()
    ]
    lines.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="audio"; '
        f'filename="{_safe_name(upload.filename)}"\r\nContent-Type: {upload.media_type}\r\n\r\n'
    )
    return "".join(lines).encode("utf-8", errors="backslashreplace")


def _safe_name(filename: str) -> str:
    """Return the name without what a multipart parser could read as its end, as an escape or as a path."""
    return "".join(c if c.isprintable() and c not in '"\\/' else "_" for c in filename) or "audio"
