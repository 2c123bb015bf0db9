"""Files of ours: made by root, they belong to the service's user; and none lies there before it does."""

import os
from collections.abc import Callable
from contextlib import suppress

_NAMED = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAMELESS = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
_DESCRIPTORS = b"/proc/self/fd"


def make_file(folder: int, name: bytes, mode: int, own: Callable[[int], None]) -> None:
    """An empty file lies under the name in the open folder. FileExistsError where anything lay there, OSError.

    `own` gives the file at a descriptor to its owner, before it has its name: a file of root's, which a kill in
    between would leave there, the service could never open. Only where the file system knows no nameless files
    does the name come first.
    """

    def own_and_name(made: int) -> None:
        own(made)
        _name(made, folder, name)

    try:
        _make(folder, b".", _NAMELESS, mode, own_and_name)
    except FileExistsError:
        raise
    except OSError:  # whatever else than that may be wrong is met again
        _make(folder, name, _NAMED, mode, own)


def _make(folder: int, name: bytes, flags: int, mode: int, finish: Callable[[int], None]) -> None:
    made = os.open(name, flags, mode, dir_fd=folder)
    try:
        finish(made)
    finally:
        with suppress(OSError):  # it is there, whatever a server that is away makes of the close
            os.close(made)


def _name(made: int, folder: int, name: bytes) -> None:
    descriptors = os.open(_DESCRIPTORS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # The entry of a descriptor is a link to its file, to which there is no other way.
        os.link(b"%d" % made, name, src_dir_fd=descriptors, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(descriptors)
