"""The calls to the disk that the rest is made of. They take descriptors of folders, and raise OSError."""

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
# O_NONBLOCK: a FIFO that takes the name in the meantime must not hang us.
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
"""File systems of this machine's own kernel, for files with holes too: linux/magic.h, and OpenZFS."""

_libc = ctypes.CDLL(None, use_errno=True)


def close(opened: int) -> None:
    """The descriptor is free, whatever a server that is away makes of it.

    Nothing is lost by an error here: what matters was synced before. And whoever closed it once more could meet
    another thread's descriptor, since the kernel has let go of this one.
    """
    with suppress(OSError):
        os.close(opened)


def fingerprint_of(status: os.stat_result) -> Fingerprint:
    """The fingerprint in a stat's answer."""
    return Fingerprint(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def look(folder: int, name: bytes) -> Fingerprint | None:
    """What lies under the name, of any kind and no link followed; None where nothing does."""
    try:
        return fingerprint_of(os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return None


def descend(folder: int, names: list[bytes], *, making: bool = False) -> int:
    """A new descriptor of the folder that `names` lead to; `folder` stays open, no link is followed.

    `making`: folders that are missing exist afterwards, and outlast a power cut.
    """
    here = os.dup(folder)
    try:
        for name in names:
            try:
                below = os.open(name, FOLDER, dir_fd=here)
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
    """A descriptor of the subfolder of this name, which exists and outlasts a power cut."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o775, dir_fd=folder)
    made = os.open(name, FOLDER, dir_fd=folder)
    adopt(made, folder)
    sync(folder)
    return made


def adopt(made: int, folder: int) -> None:
    """What root made belongs to whom its folder belongs, so that the service can still write it."""
    if os.geteuid() == 0:
        owner = os.fstat(folder)
        with suppress(OSError):
            os.fchown(made, owner.st_uid, owner.st_gid)


def sync(opened: int) -> None:
    """The folder's entries, or the file's bytes, outlast a power cut, wherever the file system can promise it."""
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise


def try_to_write(folder: int, size: int) -> None:
    """So many bytes could be written to a new file in the folder, on to the disk; it is gone.

    What a crash leaves of one is gone with the next: each has the same name, unless somebody else has taken that.
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
    """A new hidden file (descriptor, name), to be renamed once it is whole; gone if the block fails."""
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
    """The f_type of statfs(2): a number of linux/magic.h; None where the system does not tell."""
    answer = (ctypes.c_long * 64)()  # more than the largest struct statfs; f_type is its first word
    if _libc.fstatfs(opened, answer):
        return None
    return int(answer[0]) & 0xFFFFFFFF


def mount_of(opened: int) -> bytes | None:
    """What tells apart the mount through which it was opened: fdinfo in proc(5). None where that is not told.

    Between two of them nothing is renamed, though they show the same file system.
    """
    try:
        with open(f"/proc/self/fdinfo/{opened}", "rb") as lines:
            return next((line for line in lines if line.startswith(b"mnt_id:")), None)
    except OSError:
        return None


def uid_given(folder: int) -> int:
    """Whose a file is that we make in this open folder: ours, unless a server or a mount makes all one user's."""
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


def birth_of(opened: int) -> int | None:
    """When it was made, in nanoseconds, which nobody can change. None where the file system does not tell."""
    answer = _statx(opened, b"", _STATX_BTIME)
    if answer is None:
        return None
    (found,) = struct.unpack_from("=I", answer)
    seconds, nanoseconds = struct.unpack_from("=qI", answer, 80)
    return seconds * 10**9 + nanoseconds if found & _STATX_BTIME else None


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of chattr(1) that keeps a file or folder as it is, whoever has which rights."""

    letter: str
    word: str
    mask: int


_KEEPING = (Attribute("i", "immutable", 0x10), Attribute("a", "append-only", 0x20))  # linux/stat.h


def attribute_that_keeps(folder: int, name: bytes = b"") -> Attribute | None:
    """What keeps this file where it is, or the folder itself as it is; None where nothing is known to."""
    return next(iter(attributes_that_keep(folder, name)), None)


def attributes_that_keep(folder: int, name: bytes = b"") -> list[Attribute]:
    """All that do."""
    answer = _statx(folder, name, 0)
    if answer is None:
        return []
    (attributes,) = struct.unpack_from("=Q", answer, 8)
    return [attribute for attribute in _KEEPING if attributes & attribute.mask]


def _statx(folder: int, name: bytes, wanted: int) -> bytes | None:
    """struct statx, of the file of that name or of what is open itself; None where there is none to be had."""
    call = getattr(_libc, "statx", None)
    answer = ctypes.create_string_buffer(256)
    how = _AT_SYMLINK_NOFOLLOW if name else _AT_EMPTY_PATH
    refused = call is None or call(folder, ctypes.c_char_p(name), how, ctypes.c_uint(wanted), answer)
    return None if refused else answer.raw


def write(made: int, data: bytes | memoryview) -> None:
    """All of `data` is written: os.write may stop half-way where a signal or a full disk meets it."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(made, rest) :]


def digest(opened: int, ranges: Iterable[tuple[int, int]] | None = None) -> str:
    """The sha256, in hex, of the whole file from its start, or of these ranges of it."""
    total = hashlib.sha256()
    for start, end in [(0, _WHOLE)] if ranges is None else ranges:
        offset = start
        while offset < end and (chunk := os.pread(opened, min(CHUNK, end - offset), offset)):
            total.update(chunk)
            offset += len(chunk)
    return total.hexdigest()


def hash_of(file: BinaryIO, size: int | None = None) -> str:
    """The sha256, in hex, of what the open file holds from here on, or of so many bytes of it."""
    if size is not None:
        total = hashlib.sha256()
        while size > 0 and (chunk := file.read(min(CHUNK, size))):
            total.update(chunk)
            size -= len(chunk)
        return total.hexdigest()
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed wants a concrete class


def data_in(opened: int, size: int) -> Iterator[tuple[int, int]]:
    """The ranges of the file's first `size` bytes that lie on the disk; what is left out is a hole, all zeros.

    Where the file is read up to does not change.
    """
    offset = 0
    while offset < size:
        before = os.lseek(opened, 0, os.SEEK_CUR)
        try:
            start = os.lseek(opened, offset, os.SEEK_DATA)
            end = os.lseek(opened, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # nothing but a hole is left
            start, end = offset, size  # a file system that knows no holes
        finally:
            os.lseek(opened, before, os.SEEK_SET)
        yield start, min(end, size)
        offset = end


def rename_noreplace(folder: int, name: bytes, to_folder: int, to_name: bytes) -> None:
    """The file bears the new name, and nothing was overwritten. FileExistsError where the name is taken."""
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
    """Whether the file in this open folder bears the other name now; false where the system knows no such call."""
    refused = _renameat2(folder, name, folder, other)
    if refused and refused not in _UNSUPPORTED:
        raise OSError(refused, os.strerror(refused), other)
    return not refused


def name_of_draft() -> bytes:
    """A name that nothing has, and which the next start tidies away."""
    return draft_name(secrets.token_hex(8))


def _renameat2(folder: int, name: bytes, to_folder: int, to_name: bytes) -> int:
    """0, or the errno."""
    call = getattr(_libc, "renameat2", None)
    if call is None:
        return errno.ENOSYS
    outcome = call(
        folder, ctypes.c_char_p(name), to_folder, ctypes.c_char_p(to_name), ctypes.c_uint(_RENAME_NOREPLACE)
    )
    return ctypes.get_errno() if outcome else 0


def links_share_inode(folder: int) -> bool:
    """Whether two names of one file in this open folder are known for that: tried on a file of our own.

    sshfs makes the link and gives each name a number of its own, so that nobody can tell it from another file.
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
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))  # as renameat2: before a taken name is looked at


def _rename_by_link(folder: int, name: bytes, to_folder: int, to_name: bytes) -> None:
    _check_one_device(folder, to_folder)
    try:
        os.link(name, to_name, src_dir_fd=folder, dst_dir_fd=to_folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _LINK_REFUSED and not _is_placeholder(to_folder, to_name):
            raise
        # Not our file (protected_hardlinks), or a file system without links.
        _rename_over_placeholder(folder, name, to_folder, to_name)
        return
    left, arrived = look(folder, name), look(to_folder, to_name)
    if left and arrived and left.same_file(arrived):  # else a newcomer took the name: not ours to remove
        os.unlink(name, dir_fd=folder)


def _rename_over_placeholder(folder: int, name: bytes, to_folder: int, to_name: bytes) -> None:
    """The name is reserved by an empty file of ours, then replaced. A crash between leaves it, known again."""
    try:
        close(os.open(to_name, _DRAFT, 0o600, dir_fd=to_folder))
    except FileExistsError:
        if not _is_placeholder(to_folder, to_name):
            raise
    reserved = look(to_folder, to_name)
    try:
        os.rename(name, to_name, src_dir_fd=folder, dst_dir_fd=to_folder)
    except OSError:
        # Over NFS the rename may have happened all the same: only the placeholder itself is removed.
        if reserved is not None and look(to_folder, to_name) == reserved:
            with suppress(OSError):
                os.unlink(to_name, dir_fd=to_folder)
        raise


def _is_placeholder(folder: int, name: bytes) -> bool:
    """Whether it is an empty file of our own: neither a recording nor a receipt is ever filed empty."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1
    return ours and status.st_size == 0
