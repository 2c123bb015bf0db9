"""The system calls that the rest of the package builds on. They take descriptors of folders and raise OSError."""

import ctypes
import errno
import hashlib
import os
import secrets
import stat
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from watcher.domain import Fingerprint
from watcher.folders.names import draft_name

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a FIFO that gets the name meanwhile must not hang us.
RECORDING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_DRAFT = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

CHUNK = 1 << 20
_WHOLE = 1 << 63

_RENAME_NOREPLACE = 1  # linux/fs.h
_AT_EMPTY_PATH = 0x1000  # linux/fcntl.h
_AT_SYMLINK_NOFOLLOW = 0x100
_STATX_BTIME = 0x800  # linux/stat.h
_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_LINK_REFUSED = frozenset({errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP})

FUSE = 0x65735546  # linux/magic.h
LOCAL = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x58465342,  # XFS
        0x9123683E,  # Btrfs
        0x01021994,  # tmpfs
        0x794C7630,  # overlayfs
        0xF2F52010,  # F2FS
        0x2FC12FC1,  # ZFS
        0xCA451A4E,  # bcachefs
    }
)
"""Local file systems, which support files with holes: linux/magic.h, and OpenZFS."""

_libc = ctypes.CDLL(None, use_errno=True)


def close(opened: int) -> None:
    """Close the descriptor, ignoring the errors of an absent server.

    Nothing is lost by an error here: what matters was synced before. Closing again could hit another thread's
    descriptor, since the kernel has already freed this number.
    """
    with suppress(OSError):
        os.close(opened)


def fingerprint_of(status: os.stat_result) -> Fingerprint:
    """Return the fingerprint in a stat result."""
    return Fingerprint(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def look(folder: int, name: bytes) -> Fingerprint | None:
    """Return the fingerprint of whatever has the name, links not followed; None where nothing does."""
    try:
        return fingerprint_of(os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return None


def open_unheard(name: bytes, *, within: int | None = None, following: bool = False) -> int:
    """Open a folder whose names are to be looked up, and nothing more. Raises what opening it to read it would.

    On a local disk nobody hears of it: else each time would make two events for whoever listens to the folder,
    ourselves above all (measured: a third of all that woke a thread).
    """
    follow = 0 if following else os.O_NOFOLLOW
    here = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC | follow, dir_fd=within)
    try:
        if kind_of_file_system(here) not in LOCAL:  # a server is asked only where it is opened
            return os.open(name, FOLDER & ~os.O_NOFOLLOW | follow, dir_fd=within)
        if os.access(b".", os.R_OK, dir_fd=here, effective_ids=True):
            kept, here = here, -1
            return kept
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
    finally:
        if here >= 0:
            close(here)


def descend(folder: int, names: list[bytes], *, making: bool = False, unheard: bool = False) -> int:
    """Open the folder that `names` lead to, without following links; `folder` stays open.

    `making`: create missing folders, durably. `unheard`: only look names up in it, see open_unheard.
    """
    here = os.dup(folder)
    try:
        for name in names:
            try:
                below = open_unheard(name, within=here) if unheard else os.open(name, FOLDER, dir_fd=here)
            except FileNotFoundError:
                if not making:
                    raise
                below = make_folder(here, name)
            close(here)
            here = below
    except BaseException:
        close(here)
        raise
    return here


def make_folder(folder: int, name: bytes) -> int:
    """Create the subfolder if it is missing, durably, and open it."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o775, dir_fd=folder)
    made = os.open(name, FOLDER, dir_fd=folder)
    adopt(made, folder)
    sync(folder)
    return made


def adopt(made: int, folder: int) -> None:
    """Give what root has created to the folder's owner, so that the service can still write to it."""
    if os.geteuid() == 0:
        owner = os.fstat(folder)
        with suppress(OSError):
            os.fchown(made, owner.st_uid, owner.st_gid)


def sync(opened: int) -> bool:
    """Sync the folder's entries or the file's bytes. Return whether the file system supports that."""
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        return False
    return True


def try_to_write(folder: int, size: int) -> None:
    """Write `size` bytes to a new file in the folder, sync it and remove it.

    The next try removes a file that a crash has left: the name is the same, unless somebody else has taken it.
    """
    name = draft_name("trial")
    with suppress(OSError):
        os.unlink(name, dir_fd=folder)
    try:
        made = os.open(name, _DRAFT, 0o640, dir_fd=folder)
    except FileExistsError:
        name = draft_name(secrets.token_hex(8))
        made = os.open(name, _DRAFT, 0o640, dir_fd=folder)
    try:
        write(made, bytes(size))
        os.fsync(made)
    finally:
        close(made)
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


@contextmanager
def draft(folder: int) -> Iterator[tuple[int, bytes]]:
    """Create a hidden file (descriptor, name), to be renamed once it is complete; removed if the block fails."""
    name = draft_name(secrets.token_hex(8))
    made = os.open(name, _DRAFT, 0o640, dir_fd=folder)
    try:
        adopt(made, folder)
        yield made, name
    except BaseException:
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise
    finally:
        close(made)


def kind_of_file_system(opened: int) -> int | None:
    """Return the f_type of statfs(2), a number of linux/magic.h; None where the system does not say."""
    answer = (ctypes.c_long * 64)()  # larger than any struct statfs; f_type is its first word
    if _libc.fstatfs(opened, answer):
        return None
    return int(answer[0]) & 0xFFFFFFFF


def mount_of(opened: int) -> bytes | None:
    """Return the id of the mount through which it was opened (fdinfo in proc(5)); None where that is not known.

    Nothing can be renamed from one mount to another, even of the same file system.
    """
    try:
        with open(f"/proc/self/fdinfo/{opened}", "rb") as lines:
            return next((line for line in lines if line.startswith(b"mnt_id:")), None)
    except OSError:
        return None


def uid_given(folder: int) -> int:
    """Return who owns a file that we create in this folder: us, unless a server or mount maps all users to one."""
    try:
        made = os.open(b".", os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=folder)
    except OSError:
        name = draft_name(secrets.token_hex(8))
        made = os.open(name, _DRAFT, 0o600, dir_fd=folder)
        os.unlink(name, dir_fd=folder)
    try:
        return os.fstat(made).st_uid
    finally:
        close(made)


def birth_of(opened: int, name: bytes = b"") -> int | None:
    """Return the birth time of what is open, or of this name in it, which nobody can change.

    In nanoseconds; None where the file system has none.
    """
    answer = _statx(opened, name, _STATX_BTIME)
    if answer is None:
        return None
    (found,) = struct.unpack_from("=I", answer)
    seconds, nanoseconds = struct.unpack_from("=qI", answer, 80)
    return seconds * 10**9 + nanoseconds if found & _STATX_BTIME else None


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of chattr(1) that keeps a file or folder from being changed, whatever the permissions."""

    letter: str
    word: str
    mask: int


_KEEPING = (Attribute("i", "immutable", 0x10), Attribute("a", "append-only", 0x20))  # linux/stat.h


def attribute_that_keeps(folder: int, name: bytes = b"") -> Attribute | None:
    """Return an attribute that keeps this file, or the folder itself, from being changed; None for none."""
    return next(iter(attributes_that_keep(folder, name)), None)


def attributes_that_keep(folder: int, name: bytes = b"") -> list[Attribute]:
    """Return all attributes that keep this file, or the folder itself, from being changed."""
    answer = _statx(folder, name, 0)
    if answer is None:
        return []
    (attributes,) = struct.unpack_from("=Q", answer, 8)
    return [attribute for attribute in _KEEPING if attributes & attribute.mask]


def _statx(folder: int, name: bytes, wanted: int) -> bytes | None:
    """Return struct statx of the named file, or of what is open itself; None where it is not available."""
    call = getattr(_libc, "statx", None)
    answer = ctypes.create_string_buffer(256)
    how = _AT_SYMLINK_NOFOLLOW if name else _AT_EMPTY_PATH
    refused = call is None or call(folder, ctypes.c_char_p(name), how, ctypes.c_uint(wanted), answer)
    return None if refused else answer.raw


def write(made: int, data: bytes | memoryview) -> None:
    """Write all of `data`: os.write may stop half-way, on a signal or a full disk."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(made, rest) :]


def digest(opened: int, ranges: Iterable[tuple[int, int]] | None = None) -> str:
    """Return the sha256, in hex, of the whole file, or of these ranges of it."""
    total = hashlib.sha256()
    for start, end in [(0, _WHOLE)] if ranges is None else ranges:
        offset = start
        while offset < end and (chunk := os.pread(opened, min(CHUNK, end - offset), offset)):
            total.update(chunk)
            offset += len(chunk)
    return total.hexdigest()


def hash_of(file: BinaryIO, size: int | None = None) -> str:
    """Return the sha256, in hex, of the open file from its current position, or of the next `size` bytes."""
    if size is not None:
        total = hashlib.sha256()
        while size > 0 and (chunk := file.read(min(CHUNK, size))):
            total.update(chunk)
            size -= len(chunk)
        return total.hexdigest()
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed wants a concrete class


def data_in(opened: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of the file's first `size` bytes that hold data; the rest are holes, all zeros.

    The file's position does not change.
    """
    offset = 0
    while offset < size:
        before = os.lseek(opened, 0, os.SEEK_CUR)
        try:
            start = os.lseek(opened, offset, os.SEEK_DATA)
            end = os.lseek(opened, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # only a hole is left
            start, end = offset, size  # a file system that does not report holes
        finally:
            os.lseek(opened, before, os.SEEK_SET)
        yield start, min(end, size)
        offset = end


def rename_noreplace(folder: int, name: bytes, to_folder: int, to_name: bytes) -> None:
    """Rename without overwriting. FileExistsError where the name is taken."""
    refused = _renameat2(folder, name, to_folder, to_name)
    if refused in _UNSUPPORTED:  # NFS, many FUSE file systems, old kernels
        if links_share_inode(to_folder):
            _rename_by_link(folder, name, to_folder, to_name)
        else:
            _check_one_device(folder, to_folder)
            _rename_over_placeholder(folder, name, to_folder, to_name)
    elif refused:
        raise OSError(refused, os.strerror(refused), to_name)


def renames_whole(folder: int, name: bytes, other: bytes) -> bool:
    """Try renameat2 within this open folder. Return whether it worked; False where it is not supported."""
    refused = _renameat2(folder, name, folder, other)
    if refused and refused not in _UNSUPPORTED:
        raise OSError(refused, os.strerror(refused), other)
    return not refused


def name_of_draft() -> bytes:
    """Return an unused name of the kind that the next start cleans up."""
    return draft_name(secrets.token_hex(8))


def _renameat2(folder: int, name: bytes, to_folder: int, to_name: bytes) -> int:
    """Return 0, or the errno."""
    call = getattr(_libc, "renameat2", None)
    if call is None:
        return errno.ENOSYS
    outcome = call(
        folder, ctypes.c_char_p(name), to_folder, ctypes.c_char_p(to_name), ctypes.c_uint(_RENAME_NOREPLACE)
    )
    return ctypes.get_errno() if outcome else 0


def links_share_inode(folder: int) -> bool:
    """Return whether hard links show as one file in this open folder, tried on a file of our own.

    sshfs creates the link but shows each name with an inode number of its own, like two unrelated files.
    """
    file_system = os.fstat(folder).st_dev, os.fstatvfs(folder).f_fsid
    if file_system not in _links_tried:
        _links_tried[file_system] = _try_links(folder)
    return _links_tried[file_system]


_links_tried: dict[tuple[int, int], bool] = {}


def _try_links(folder: int) -> bool:
    with draft(folder) as (_, name):
        other = name_of_draft()
        try:
            os.link(name, other, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except OSError:
            os.unlink(name, dir_fd=folder)
            return False
        first, second = (os.stat(each, dir_fd=folder, follow_symlinks=False) for each in (name, other))
        for each in (name, other):
            os.unlink(each, dir_fd=folder)
        return first.st_ino == second.st_ino and second.st_nlink == 2


def _check_one_device(folder: int, to_folder: int) -> None:
    if os.fstat(folder).st_dev != os.fstat(to_folder).st_dev:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))  # like renameat2: checked before a taken name is


def _rename_by_link(folder: int, name: bytes, to_folder: int, to_name: bytes) -> None:
    _check_one_device(folder, to_folder)
    try:
        os.link(name, to_name, src_dir_fd=folder, dst_dir_fd=to_folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _LINK_REFUSED and not _is_placeholder(to_folder, to_name):
            raise
        # The file is not ours (protected_hardlinks), or the file system has no links.
        _rename_over_placeholder(folder, name, to_folder, to_name)
        return
    left, arrived = look(folder, name), look(to_folder, to_name)
    if left and arrived and left.same_file(arrived):  # else another file took the name: not ours to remove
        os.unlink(name, dir_fd=folder)


def _rename_over_placeholder(folder: int, name: bytes, to_folder: int, to_name: bytes) -> None:
    """Reserve the name with an empty file of ours, then replace that. One that a crash leaves is recognised."""
    try:
        close(os.open(to_name, _DRAFT, 0o600, dir_fd=to_folder))
    except FileExistsError:
        if not _is_placeholder(to_folder, to_name):
            raise
    reserved = look(to_folder, to_name)
    try:
        os.rename(name, to_name, src_dir_fd=folder, dst_dir_fd=to_folder)
    except OSError:
        # Over NFS the rename may have happened despite the error: remove only the placeholder itself.
        if reserved is not None and look(to_folder, to_name) == reserved:
            with suppress(OSError):
                os.unlink(to_name, dir_fd=to_folder)
        raise


def _is_placeholder(folder: int, name: bytes) -> bool:
    """Return whether it is an empty file of our own: recordings and receipts are never filed empty."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1
    return ours and status.st_size == 0
