"""Where a report goes: standard output, or a file that is there when it is whole."""

import os
import stat
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress

from watcher.config.values import lies_in
from watcher.errors import UsageError
from watcher.text import show_path


def print_bytes(pieces: Iterable[bytes]) -> None:
    """Write the pieces to standard output as they come, in UTF-8 whatever the locale is."""
    sys.stdout.flush()
    for piece in pieces:
        sys.stdout.buffer.write(piece)


def write_file(path: bytes, pieces: Iterable[bytes], drop: bytes) -> None:
    """Write the pieces to the file that a person named. It is replaced as a whole; a pipe or device is written to.

    Raises UsageError where it cannot be written, and where it would lie in the drop folder.
    """
    shown = show_path(path)
    folder = os.path.dirname(os.path.abspath(path))
    try:
        found = os.stat(path)
    except OSError:
        found = None
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise UsageError(f"--output {shown} is a folder", hint="name a file in it")
    try:
        if found is not None and not stat.S_ISREG(found.st_mode):
            with open(path, "wb") as pipe:
                pipe.writelines(pieces)
            return
        if lies_in(folder, drop):
            raise UsageError(
                f"--output {shown} lies in the drop folder, where all is submitted", hint="name another place"
            )
        _replace(os.path.realpath(path), pieces, found)
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"--output {shown} cannot be written: {reason}", hint="name another place") from error


def _replace(path: bytes, pieces: Iterable[bytes], found: os.stat_result | None) -> None:
    made, draft = tempfile.mkstemp(prefix=b".watcher-", suffix=b".tmp", dir=os.path.dirname(path))
    try:
        with open(made, "wb") as file:
            file.writelines(pieces)
            file.flush()
            umask = os.umask(0o077)
            os.umask(umask)
            os.fchmod(file.fileno(), stat.S_IMODE(found.st_mode) if found else 0o666 & ~umask)
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft)
        raise
