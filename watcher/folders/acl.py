"""Linux's access control lists of files and folders: acl(5)."""

import errno
import os
import struct
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

READ, WRITE, SEARCH = 4, 2, 1
ALL = READ | WRITE | SEARCH

_ACCESS, _DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
_HEADER, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")  # linux/posix_acl_xattr.h
_USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x02, 0x04, 0x08, 0x10, 0x20
_NO_LISTS = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


@dataclass(frozen=True, slots=True)
class Acl:
    """The entries: tag, id of the user or group, and permissions."""

    entries: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, raw: bytes) -> Self:
        """Parse an ACL. Raises struct.error where it is malformed."""
        return cls(
            tuple((tag, number, allowed) for tag, allowed, number in _ENTRY.iter_unpack(raw[_HEADER.size :]))
        )

    def allows(self, uid: int, groups: Collection[int], owner: int | None, group: int | None) -> int:
        """Return what that user may do, as a sum of READ, WRITE and SEARCH.

        `owner` and `group`: those of the file; None for unrelated ones.
        """
        mask = next((allowed for tag, _, allowed in self.entries if tag == _MASK), ALL)
        for tag, number, allowed in self.entries:
            if tag == _USER and number == uid and uid != owner:
                return allowed & mask
        found = [
            allowed & mask
            for tag, number, allowed in self.entries
            if (tag == _GROUP_OBJ and group in groups) or (tag == _GROUP and number in groups)
        ]
        if found:
            return max(found, key=int.bit_count)  # permissions of several entries do not add up
        return next((allowed for tag, _, allowed in self.entries if tag == _OTHER), 0)


def default_of(path: bytes) -> Acl | None:
    """Return the default ACL that new files in the folder inherit; None where only the umask applies.

    OSError with EOPNOTSUPP where the file system has no ACLs.
    """
    return _read(path, _DEFAULT)


def access_of(path: bytes) -> Acl | None:
    """Return the file's access ACL; None where its mode says everything."""
    with suppress(OSError):
        return _read(path, _ACCESS)
    return None


def keeps_lists(path: bytes) -> bool:
    """Return whether the file system supports ACLs."""
    try:
        _read(path, _ACCESS)
    except OSError as error:
        return error.errno not in _NO_LISTS
    return True


def _read(path: bytes, which: str) -> Acl | None:
    try:
        return Acl.of(os.getxattr(path, which, follow_symlinks=False))
    except struct.error:
        return None
    except OSError as error:
        if error.errno == errno.ENODATA:
            return None
        raise
