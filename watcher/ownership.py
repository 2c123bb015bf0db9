"""Create files so that those made by root belong to the service's user from the moment they have a name."""

import os
from collections.abc import Callable
from contextlib import suppress

_NAMED = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAMELESS = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
_DESCRIPTORS = b"/proc/self/fd"


def make_file(folder: int, name: bytes, mode: int, own: Callable[[int], None]) -> None:
    """Create an empty file of this name in the open folder. FileExistsError where the name is taken, OSError.

    `own` gives the file at a descriptor to its owner before it gets its name: otherwise a kill in between would
    leave a file of root's that the service could never open. The name comes first only where the file system
    has no nameless files (O_TMPFILE).
    """

    def own_and_name(made: int) -> None:
        own(made)
        _name(made, folder, name)

    try:
        _make(folder, b".", _NAMELESS, mode, own_and_name)
    except FileExistsError:
        raise
    except OSError:  # any other trouble shows again in _make
        _make(folder, name, _NAMED, mode, own)


def _make(folder: int, name: bytes, flags: int, mode: int, finish: Callable[[int], None]) -> None:
    made = os.open(name, flags, mode, dir_fd=folder)
    try:
        finish(made)
    finally:
        with suppress(OSError):  # the file exists, whatever a close on an absent server reports
            os.close(made)


def _name(made: int, folder: int, name: bytes) -> None:
    descriptors = os.open(_DESCRIPTORS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # /proc/self/fd/N is the only way to link a nameless file without CAP_DAC_READ_SEARCH.
        os.link(b"%d" % made, name, src_dir_fd=descriptors, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(descriptors)
