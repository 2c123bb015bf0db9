"""Ask the kernel whether anybody has a file open for writing, by taking a lease and releasing it at once."""

import errno
import fcntl
import signal
from typing import BinaryIO

from watcher.folders import disk


def is_being_written(file: BinaryIO) -> bool | None:
    """Return whether any process has the file open (or mapped) for writing; None where that cannot be known.

    `file` is a recording that was opened for reading. A read lease (fcntl(2), F_SETLEASE) is granted only while
    nobody writes, so a grant is proof; it is released at once. None: the file is another user's and we have no
    CAP_LEASE, or its file system is not local or has no leases.

    The answer holds for this moment only. To prove that what was read is complete, compare the fingerprint again
    afterwards.

    A process that opens the file for writing in the microseconds in which we hold the lease waits that long (or
    gets EWOULDBLOCK with O_NONBLOCK). If we are stopped just then, it waits for at most
    /proc/sys/fs/lease-break-time (45 s); a process that dies releases its leases.
    """
    opened = file.fileno()
    # On a network or FUSE file system writers need not go through this kernel's inode: a granted lease says
    # nothing about writers elsewhere, and a refused one may only mean "no delegation".
    if disk.kind_of_file_system(opened) not in disk.LOCAL:
        return None
    try:
        # The kernel signals a lease break with SIGIO, which by default kills the holder. SIGURG is ignored
        # by default.
        fcntl.fcntl(opened, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(opened, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return True if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK) else None
    fcntl.fcntl(opened, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
