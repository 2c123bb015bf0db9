"""Whether anybody has a file open for writing: the kernel's own answer, by a lease asked for and given back."""

import errno
import fcntl
import signal
from typing import BinaryIO

from watcher.folders import disk


def is_being_written(file: BinaryIO) -> bool | None:
    """Whether anybody, in any process, has the file open (or mapped) for writing; None: it can not be told.

    `file` is a recording that was opened for reading. A read lease (fcntl(2), F_SETLEASE) is granted only while
    nobody writes, so a grant is proof; it is given back at once. None: the file is another user's and we have no
    CAP_LEASE, or its file system is none of this machine's own or knows no leases.

    The answer is of this moment. Whoever wants proof that what was read is whole looks again afterwards whether
    the fingerprint is still the one from before.

    Who opens the file for writing in the microseconds in which the lease is held waits that long (or, opening
    without waiting, is told to try again: EWOULDBLOCK). Should this process be stopped just then, it waits until
    /proc/sys/fs/lease-break-time (45 s) at the longest; a process that dies holds no lease.
    """
    opened = file.fileno()
    # On a network or FUSE file system, where writers need not go through this kernel's own inode, a lease granted
    # tells nothing of those elsewhere, and one refused may only mean "no delegation".
    if disk.kind_of_file_system(opened) not in disk.LOCAL:
        return None
    try:
        # A lease that somebody breaks is told to its holder by SIGIO, which kills. SIGURG, unless a program
        # wants it, is ignored by every process, whatever it did with its signals.
        fcntl.fcntl(opened, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(opened, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return True if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK) else None
    fcntl.fcntl(opened, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
