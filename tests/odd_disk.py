"""A file system with the oddities of others, on this machine's own kernel: a small server for FUSE.

What lies on it lies in a plain folder; what it refuses, and what it says of itself, its rules say. Run as a
program it is the server: `python odd_disk.py FOLDER POINT RULES`, where RULES is a JSON file that is read anew for
each request. It ends when it is unmounted. Fixture: `odd_disk`.
"""
# ruff: noqa: ARG002, ARG005 — each answer is given the node and the data, whether it wants them or not

import ctypes
import errno
import json
import os
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_LOOKUP, _FORGET, _GETATTR, _SETATTR, _MKDIR, _UNLINK, _RMDIR, _RENAME = 1, 2, 3, 4, 9, 10, 11, 12
_LINK = 13
_OPEN, _READ, _WRITE, _STATFS, _RELEASE, _FSYNC, _FLUSH, _INIT = 14, 15, 16, 17, 18, 20, 25, 26
_OPENDIR, _READDIR, _RELEASEDIR, _FSYNCDIR, _CREATE, _INTERRUPT, _DESTROY = 27, 28, 29, 30, 35, 36, 38
_BATCH_FORGET, _RENAME2 = 42, 45  # linux/fuse.h

_DEVICES = (b"con", b"prn", b"aux", b"nul", b"com1", b"lpt1")


class Rules:
    """What the file system refuses, and says of itself."""

    def __init__(self, path: str) -> None:
        with open(path, encoding="utf-8") as file:
            self.given: dict[str, Any] = json.load(file)

    def check_name(self, name: bytes) -> None:
        """Raises OSError where no file can have this name."""
        given = self.given
        counted = len(name.decode(errors="replace")) if given.get("counts_characters") else len(name)
        if counted > given.get("longest", 255):
            raise OSError(errno.ENAMETOOLONG, "")
        if given.get("text") and name.decode(errors="replace").encode() != name:
            raise OSError(errno.EILSEQ, "")
        if (
            set(name) & set(given.get("characters", "").encode())
            or name[-1:] in [end.encode() for end in given.get("ends", "")]
            or (given.get("devices") and name.lower().split(b".")[0] in _DEVICES)
            or (given.get("ascii") and not name.isascii())
            or name in [one.encode() for one in given.get("unknown", [])]
        ):
            raise OSError(given.get("refusal", errno.EINVAL), "")

    def check_faults(self, name: bytes) -> None:
        """Raises OSError where what has this name lies on a bad block, or on a share that is away."""
        failed = self.given.get("faulty", {}).get(name.decode(errors="replace"))
        if failed:
            raise OSError(failed, "")

    def check_write(self, size: int) -> None:
        """Raises OSError where no file can have so many bytes."""
        if size > self.given.get("writes_at_most", size):
            raise OSError(self.given.get("full", errno.ENOSPC), "")


class Server:
    """Answers the kernel's requests, one after the other."""

    def __init__(self, folder: bytes, point: bytes, rules: str) -> None:
        self._orphans: dict[int, int] = {}
        self._folder = folder
        self._rules_path = rules
        self._rules = Rules(rules)
        self._paths: dict[int, bytes] = {1: b""}
        self._ids: dict[bytes, int] = {b"": 1}
        self._last = 1
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"odd", point, b"fuse.odd", 0, options.encode()):
            raise OSError(ctypes.get_errno(), "mount")
        self._answers: dict[int, Callable[[int, bytes], bytes]] = {
            _LOOKUP: lambda node, data: self._entry(self._below(node, data[:-1])),
            _GETATTR: lambda node, data: struct.pack("<QII", 0, 0, 0) + self._attributes_of(node),
            _SETATTR: self._set_attributes,
            _MKDIR: self._make_folder,
            _UNLINK: lambda node, data: self._remove(os.unlink, node, data[:-1]),
            _RMDIR: lambda node, data: self._remove(os.rmdir, node, data[:-1]),
            _RENAME: lambda node, data: self._rename(node, struct.unpack_from("<Q", data)[0], 0, data[8:]),
            _RENAME2: lambda node, data: self._rename(node, *_two(data), data[16:]),
            _LINK: lambda node, data: self._link(node, struct.unpack_from("<Q", data)[0], data[8:-1]),
            _OPEN: lambda node, data: self._opened(os.open(self._at(node), _flags(data))),
            _READ: self._read,
            _WRITE: self._write,
            _STATFS: self._describe,
            _RELEASE: self._close,
            _INIT: lambda node, data: struct.pack("<IIIIHHIIHHI28x", 7, 31, 65536, 0, 8, 8, 65536, 1, 0, 0, 0),
            _OPENDIR: lambda node, data: struct.pack("<QII", 0, 0, 0),
            _READDIR: self._list,
            _CREATE: self._create,
        }
        self._answers |= {_FLUSH: self._flush}
        self._answers |= dict.fromkeys((_FSYNC, _RELEASEDIR, _FSYNCDIR, _DESTROY), lambda node, data: b"")

    def serve(self) -> None:
        """Until it is unmounted."""
        while True:
            try:
                request = os.read(self._device, 1 << 20)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if error.errno in (errno.ENOENT, errno.EINTR):
                    continue
                raise
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            if opcode in (_FORGET, _BATCH_FORGET, _INTERRUPT):
                continue
            self._rules = Rules(self._rules_path)
            while self._rules.given.get("hangs"):
                time.sleep(0.05)
                self._rules = Rules(self._rules_path)
            failed, answer = 0, b""
            try:
                answer = self._answers.get(opcode, _refuse)(node, request[40:])
            except OSError as error:
                failed = -(error.errno or errno.EIO)
            try:
                os.write(self._device, struct.pack("<IiQ", 16 + len(answer), failed, unique) + answer)
            except FileNotFoundError:
                continue  # whoever asked was interrupted

    # Names

    def _at(self, node: int) -> bytes:
        return os.path.join(self._folder, self._paths[node])

    def _below(self, node: int, name: bytes, *, making: bool = False) -> bytes:
        """The path of this name, as it is spelt on the disk. A name that none can have is none that is there."""
        self._rules.check_faults(name)
        try:
            self._rules.check_name(name)
        except OSError:
            if making or self._rules.given.get("looks_refused"):
                raise
            raise OSError(errno.ENOENT, "") from None
        if self._rules.given.get("ignores_case"):
            spelt = [one for one in os.listdir(self._at(node)) if one.lower() == name.lower()]
            name = spelt[0] if spelt else name
        return os.path.join(self._paths[node], name)

    def _entry(self, path: bytes) -> bytes:
        time.sleep(self._rules.given.get("look_seconds", 0))
        if path not in self._ids:
            os.lstat(os.path.join(self._folder, path))
            self._last += 1
            self._ids[path], self._paths[self._last] = self._last, path
        attributes = self._attributes(path)
        return struct.pack("<QQQQII", self._ids[path], 0, 0, 0, 0, 0) + attributes

    def _attributes_of(self, node: int) -> bytes:
        if node in self._orphans:  # removed, and open still
            return self._told(os.fstat(self._orphans[node]), node)
        return self._attributes(self._paths[node])

    def _attributes(self, path: bytes) -> bytes:
        return self._told(os.lstat(os.path.join(self._folder, path)), self._ids[path])

    def _told(self, found: os.stat_result, node: int) -> bytes:
        number = node if self._rules.given.get("own_inodes") else found.st_ino
        times = [found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns]
        seconds, nanoseconds = [time // 10**9 for time in times], [time % 10**9 for time in times]
        sizes = (number, found.st_size, found.st_blocks, *seconds, *nanoseconds)
        owner = (found.st_mode, found.st_nlink, found.st_uid, found.st_gid)
        return struct.pack("<6Q10I", *sizes, *owner, 0, 4096, 0)

    # Folders

    def _make_folder(self, node: int, data: bytes) -> bytes:
        mode, umask = struct.unpack_from("<II", data)
        path = self._below(node, data[8:-1], making=True)
        os.mkdir(os.path.join(self._folder, path))
        os.chmod(os.path.join(self._folder, path), mode & ~umask & 0o7777)
        return self._entry(path)

    def _remove(self, remove: Callable[[bytes], None], node: int, name: bytes) -> bytes:
        path = self._below(node, name)
        whole = os.path.join(self._folder, path)
        if path in self._ids:
            self._orphans[self._ids[path]] = os.open(whole, os.O_PATH | os.O_NOFOLLOW)
        remove(whole)
        self._paths.pop(self._ids.pop(path, 0), None)
        return b""

    def _link(self, node: int, target: int, name: bytes) -> bytes:
        if not self._rules.given.get("own_inodes"):
            raise OSError(errno.ENOSYS, "")
        path = self._below(node, name, making=True)
        os.link(self._at(target), os.path.join(self._folder, path), follow_symlinks=False)
        return self._entry(path)

    def _rename(self, node: int, to_node: int, flags: int, names: bytes) -> bytes:
        time.sleep(self._rules.given.get("rename_seconds", 0))
        name, to_name, _ = names.split(b"\0", 2)
        if flags and self._rules.given.get("renames_plainly"):
            raise OSError(errno.EINVAL, "")
        path, to_path = self._below(node, name), self._below(to_node, to_name, making=True)
        if flags and os.path.lexists(os.path.join(self._folder, to_path)):
            raise OSError(errno.EEXIST, "")
        os.rename(os.path.join(self._folder, path), os.path.join(self._folder, to_path))
        self._paths.pop(self._ids.pop(to_path, 0), None)
        for known in [known for known in self._ids if known == path or known.startswith(path + b"/")]:
            moved = to_path + known[len(path) :]
            self._ids[moved] = self._ids.pop(known)
            self._paths[self._ids[moved]] = moved
        return b""

    def _list(self, node: int, data: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", data)
        listed = b""
        for number, name in enumerate([b".", b"..", *sorted(os.listdir(self._at(node)))], 1):
            found = os.lstat(os.path.join(self._at(node), name))
            entry = struct.pack("<QQII", found.st_ino, number, len(name), stat.S_IFMT(found.st_mode) >> 12) + name
            entry += bytes(-len(entry) % 8)
            if number > offset:
                if len(listed) + len(entry) > size:
                    break
                listed += entry
        return listed

    # Files

    def _create(self, node: int, data: bytes) -> bytes:
        flags, mode, umask = struct.unpack_from("<III", data)
        path = self._below(node, data[16:-1], making=True)
        opened = os.open(os.path.join(self._folder, path), flags | os.O_CREAT, mode & ~umask & 0o7777)
        return self._entry(path) + self._opened(opened)

    def _opened(self, opened: int) -> bytes:
        return struct.pack("<QII", opened, 0, 0)

    def _read(self, node: int, data: bytes) -> bytes:
        opened, offset, size = struct.unpack_from("<QQI", data)
        if offset + size > self._rules.given.get("reads_to", offset + size):
            raise OSError(errno.EIO, "")
        return os.pread(opened, size, offset)

    def _write(self, node: int, data: bytes) -> bytes:
        opened, offset, size = struct.unpack_from("<QQI", data)
        self._rules.check_write(offset + size)
        time.sleep(self._rules.given.get("write_seconds", 0))
        return struct.pack("<II", os.pwrite(opened, data[40 : 40 + size], offset), 0)

    def _close(self, node: int, data: bytes) -> bytes:
        os.close(struct.unpack_from("<Q", data)[0])
        return b""

    def _flush(self, node: int, data: bytes) -> bytes:
        if failure := self._rules.given.get("closes_badly"):
            raise OSError(failure, "")
        return b""

    def _set_attributes(self, node: int, data: bytes) -> bytes:
        valid, size, atime, mtime, atime_ns, mtime_ns, mode, uid, gid = struct.unpack_from(
            "<I4x8xQ8xQQ8xII4xI4xII", data
        )
        path = self._at(node)
        if valid & 0x001:
            os.chmod(path, mode & 0o7777)
        if valid & 0x006:
            os.chown(path, uid if valid & 0x002 else -1, gid if valid & 0x004 else -1)
        if valid & 0x008:
            self._rules.check_write(size)
            os.truncate(path, size)
        if valid & 0x180:
            os.utime(path)
        elif valid & 0x030:
            os.utime(path, ns=(atime * 10**9 + atime_ns, mtime * 10**9 + mtime_ns))
        return struct.pack("<QII", 0, 0, 0) + self._attributes(self._paths[node])

    def _describe(self, node: int, data: bytes) -> bytes:
        room, given = os.statvfs(self._folder), self._rules.given
        blocks, free, available = given.get("blocks", [room.f_blocks, room.f_bfree, room.f_bavail])
        counts = (blocks, free, available, room.f_files, room.f_ffree)
        return struct.pack("<5Q4I24x", *counts, room.f_bsize, given.get("namemax", 255), room.f_frsize, 0)


def _refuse(node: int, data: bytes) -> bytes:
    raise OSError(errno.ENOSYS, "")


def _two(data: bytes) -> tuple[int, int]:
    first, second = struct.unpack_from("<QI", data)
    return first, second


def _flags(data: bytes) -> int:
    return int(struct.unpack_from("<I", data)[0]) & ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)


if __name__ == "__main__":
    server = Server(os.fsencode(sys.argv[1]), os.fsencode(sys.argv[2]), sys.argv[3])
    print("ready", flush=True)  # noqa: T201
    server.serve()
    sys.exit(0)

import pytest  # noqa: E402 — the server has no need of what follows

from tests.people import missing, needs_root  # noqa: E402


class OddDisk:
    """One that can be mounted, at one or several folders."""

    def __init__(self, home: Path) -> None:
        needs_root()
        self.inside, self._rules = home / "inside", home / "rules.json"
        self._mounts: list[tuple[Path, subprocess.Popen[bytes]]] = []
        self.inside.mkdir(parents=True)
        self.inside.chmod(0o777)
        self.rule()

    def rule(self, **rules: Any) -> None:
        """From now on these are its rules, and no others."""
        fresh = self._rules.with_suffix(".new")
        fresh.write_text(json.dumps(rules))
        fresh.replace(self._rules)

    def mount(self, point: Path) -> None:
        program = subprocess.Popen(
            [sys.executable, __file__, self.inside, point, self._rules], stdout=subprocess.PIPE
        )
        assert program.stdout is not None
        self._mounts.append((point, program))
        if program.stdout.readline() != b"ready\n":
            missing("nothing can be mounted here with FUSE")

    def close(self) -> None:
        for point, program in self._mounts:
            subprocess.run(["umount", "--lazy", point], check=False)
            program.kill()  # which ends whoever waits for it
            program.wait()
            if program.stdout is not None:
                program.stdout.close()


@pytest.fixture
def odd_disk(tmp_path: Path) -> Iterator[OddDisk]:
    """A file system of FUSE, without a rule yet, to be mounted."""
    made = OddDisk(tmp_path / "odd")
    yield made
    made.close()
