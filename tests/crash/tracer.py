"""Follows a process, and kills it just before one of its system calls that change something, or has that fail.

What strace's inject=…:signal=SIGKILL:when=K and inject=…:error=…:when=K do, except in what matters here: strace
counts each thread's calls apart, so it could never reach those of the thread that uploads, which makes fewer than
the main one; and with --seccomp-bpf, without which each start takes three times as long, it injects no signal
(6.1, measured).

All calls of all threads are counted together: those that name or hold a file below one of the folders, and those
that send to a socket. Of a run of pwrite64s to one file, SQLite's pages, the first, the second and each sixteenth
counts: between two others a kill leaves nothing else. Linux only; the machine needs libseccomp and must permit
ptrace, and calls can fail on x86-64 alone.
"""

import ctypes
import errno
import os
import platform
import re
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tests.crash.powered import cut_power
from watcher.clock import SystemClock

_DIR = -100  # AT_FDCWD
_TRACEME, _CONT, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 7, 0x4200, 0x420E
_GETREGS, _SETREGS = 12, 13
_REGISTERS, _RAX, _ORIG_RAX = 27 * 8, 10 * 8, 15 * 8  # struct user_regs_struct of x86-64
_FORKS, _EXEC, _SECCOMP = (1, 2, 3), 4, 7  # PTRACE_EVENT_…; the first three are fork, vfork and clone
_OPTIONS = sum(1 << event for event in (*_FORKS, _EXEC, _SECCOMP)) | 1 << 20  # the last: EXITKILL
_WALL = 0x40000000
_ALLOW, _TRACE, _ERRNO = 0x7FFF0000, 0x7FF00000, 0x00050000  # SCMP_ACT_…
_MASKED_EQUAL = 7  # SCMP_CMP_MASKED_EQ

# call → the arguments that name files, in pairs: a folder's descriptor (None: none) and a path (None: the
# descriptor is the file's own)
_Names = tuple[tuple[int | None, int | None], ...]
_FD: _Names = ((0, None),)
CALLS: dict[str, _Names] = {
    "open": ((None, 0),),
    "openat": ((0, 1),),
    "mkdir": ((None, 0),),
    "mkdirat": ((0, 1),),
    "unlink": ((None, 0),),
    "unlinkat": ((0, 1),),
    "rmdir": ((None, 0),),
    "rename": ((None, 0), (None, 1)),
    "renameat": ((0, 1), (2, 3)),
    "renameat2": ((0, 1), (2, 3)),
    "link": ((None, 0), (None, 1)),
    "linkat": ((0, 1), (2, 3)),
    "truncate": ((None, 0),),
    "utimensat": ((0, 1),),
    **dict.fromkeys(
        ("ftruncate", "fallocate", "write", "pwrite64", "writev", "pwritev", "sendfile", "fsync", "fdatasync"), _FD
    ),
    **dict.fromkeys(("fchmod", "fchown", "sendto", "sendmsg"), _FD),
    "copy_file_range": ((2, None),),
}
_OPENS = {"open": 1, "openat": 2}  # call → the argument with its flags: only what may make a file counts
_WANT_ROOM = ("ENOSPC", "EDQUOT")  # a full disk lets files be removed
_FREES = re.compile("unlink|rmdir|fchmod|fchown|ftruncate|utimens|fsync|fdatasync")
_FOLDERS = ("drop", "done", "failed", "spool")
_CLOCK = SystemClock()


class _Compare(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, pid: int, address: int = 0, data: int | ctypes.Array[ctypes.c_char] = 0) -> int:
    given = data if isinstance(data, int) else ctypes.addressof(data)
    done = int(_libc.ptrace(request, pid, address, given))
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


def _seccomp() -> ctypes.CDLL:
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Compare),
    )
    library.seccomp_load.argtypes = (ctypes.c_void_p,)
    return library


def _find_numbers() -> dict[int, str]:
    """The calls by their numbers on this machine, which does not know all of them. OSError without libseccomp."""
    library = _seccomp()
    numbers = {library.seccomp_syscall_resolve_name(name.encode()): name for name in CALLS}
    return {number: name for number, name in numbers.items() if number >= 0}


def _load_filter(numbers: dict[int, str], denied: dict[str, int], opened: Sequence[int]) -> None:
    """From here on the kernel stops this process at these calls, and lets it pass at every other.

    `denied`: the calls that are not made, with the error that they answer with; 0: none.
    `opened`: of the calls that open a file, those with one of these flags.
    """
    library = _seccomp()
    rules = library.seccomp_init(_ALLOW)
    for number, name in numbers.items():
        action = _ERRNO | denied[name] if name in denied else _TRACE
        flags = _OPENS.get(name)
        for bits in (0,) if flags is None else opened:
            compared = _Compare(flags or 0, _MASKED_EQUAL, bits, bits)
            if library.seccomp_rule_add_array(rules, action, number, flags is not None, ctypes.byref(compared)):
                raise OSError(errno.EINVAL, f"no rule for {name}")
    if failed := library.seccomp_load(rules):
        raise OSError(-failed, "no seccomp filter can be loaded here")


@dataclass(frozen=True)
class Orders:
    """What is counted, where it is written down, and what befalls the process before which call."""

    log: str  # a line for its number, then one for each call: the last was not made any more if it was killed
    below: dict[str, str]  # the folders, and what each is called in those lines
    at: int = 0  # before the call of this number, from 1; 0: none
    before: str = ""  # before a call in whose line this expression is found:
    nth: int = 1  # which of those
    error: str = ""  # how that call fails, as errno names it; empty: the process is killed before it
    seconds: float = (
        0.0  # for so long, every call fails in this way that is about the same folder, or the database
    )
    denied: Sequence[str] = ()  # call=ERRNO: how it fails, as on a file system that does not know it
    lying: Sequence[str] = ()  # calls that say that they were made, and were not: eatmydata, for any program
    cut: Sequence[str] = ()  # the mount points whose power goes as it dies


def follow(run: Callable[[], int], orders: Orders) -> int:
    """`run` was carried out in a process of its own. Its exit code, or 128 and the signal that ended it."""
    return _Tracer(orders).follow(run)


class _Tracer:
    """One process, with all its threads and children."""

    _broken: str | None = None  # the folder of which every call fails, "" for what lies beside the folders
    _broken_until = 0.0

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._below = {os.path.join(folder, ""): name for folder, name in orders.below.items()}
        self._before = re.compile(orders.before) if orders.before else None
        self._numbers = _find_numbers()
        self._counted = 0
        self._met = 0
        self._pages = ("", 0)  # a file, and how many pages were written to it one after the other
        self._log = open(orders.log, "w", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115

    def follow(self, run: Callable[[], int]) -> int:
        pid = os.fork()
        if pid == 0:
            _ptrace(_TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)  # until it is followed
            denied = (each.split("=") for each in self._orders.denied)
            errors = {name: getattr(errno, code) for name, code in denied}
            opened = (os.O_CREAT, os.O_WRONLY, os.O_RDWR) if self._orders.error else (os.O_CREAT,)
            _load_filter(self._numbers, errors | dict.fromkeys(self._orders.lying, 0), opened)
            sys.exit(run())
        self._log.write(f"{pid}\n")
        os.waitpid(pid, 0)
        _ptrace(_SETOPTIONS, pid, 0, _OPTIONS)
        _ptrace(_CONT, pid)
        known = {pid}
        while True:
            stopped, status = os.waitpid(-1, _WALL)
            if os.WIFSTOPPED(status):
                self._go_on(pid, stopped, status, known)
            elif stopped == pid:
                self._log.close()
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code

    def _go_on(self, pid: int, stopped: int, status: int, known: set[int]) -> None:
        event, number = status >> 16, os.WSTOPSIG(status)
        passed_on = 0
        if event == _SECCOMP:
            with suppress(ProcessLookupError, FileNotFoundError):  # it was killed meanwhile
                if self._is_hit(stopped):
                    if not self._orders.error:
                        os.kill(pid, signal.SIGKILL)
                        # No earlier: a sync that is under way while a file system shuts down may say that it was
                        # made, and a process that is alive would believe it, and pay.
                        cut_power(self._orders.cut)
                        return
                    _fail(stopped, getattr(errno, self._orders.error))
        elif not event:
            # A thread or child begins with a SIGSTOP of ptrace's own.
            if number == signal.SIGSTOP and stopped not in known:
                known.add(stopped)
            else:
                passed_on = number
        with suppress(ProcessLookupError):  # it was killed meanwhile
            _ptrace(_CONT, stopped, 0, passed_on)

    def _is_hit(self, thread: int) -> bool:
        """Whether the call that this thread is about to make is the one, or fails as that one did."""
        what, paths, told = self._look(thread)
        tops = [path.partition("/")[0] for path in paths if path not in ("", "socket")]
        folders = [top if top in _FOLDERS else "" for top in tops]
        if self._broken in folders and _CLOCK.monotonic() < self._broken_until:
            return self._orders.error not in _WANT_ROOM or _FREES.match(what) is None
        if told is None or (self._orders.error and not folders):
            return False
        self._counted += 1
        self._log.write(told + "\n")
        is_it = self._counted == self._orders.at
        if self._before is not None and self._before.search(told):
            self._met += 1
            is_it = self._met == self._orders.nth
        if is_it and self._orders.seconds:
            self._broken, self._broken_until = folders[0], _CLOCK.monotonic() + self._orders.seconds
        return is_it

    def _look(self, thread: int) -> tuple[str, list[str], str | None]:
        """The call that this thread is about to make, what it names, and all in words; null: it does not count."""
        answer = ctypes.create_string_buffer(88)
        _ptrace(_GET_SYSCALL_INFO, thread, len(answer), answer)
        number, *arguments = struct.unpack_from("=7Q", answer, 24)
        name = self._numbers[number]
        paths = [self._call_it(_path(thread, arguments, *names)) for names in CALLS[name]]
        if not any(paths):
            return name, [], None
        file, written = self._pages
        self._pages = (paths[0], written + 1 if file == paths[0] else 1) if name == "pwrite64" else ("", 0)
        if self._pages[1] > 2 and self._pages[1] % 16:
            return name, paths, None
        return name, paths, " ".join((name, *(path or "elsewhere" for path in paths)))

    def _call_it(self, path: str) -> str:
        """The path relative to the site, or "socket"; empty where it is neither."""
        if path.startswith("socket:"):
            return "socket"
        for folder, name in self._orders.below.items():
            if os.path.join(path, "").startswith(folder + "/"):
                return os.path.normpath(os.path.join(name, path[len(folder) + 1 :]))
        return ""


def _fail(thread: int, number: int) -> None:
    """The call that this thread is about to make is not made, and returns this error."""
    registers = ctypes.create_string_buffer(_REGISTERS)
    _ptrace(_GETREGS, thread, 0, registers)
    struct.pack_into("=q", registers, _ORIG_RAX, -1)
    struct.pack_into("=q", registers, _RAX, -number)
    _ptrace(_SETREGS, thread, 0, registers)


def can_fail() -> bool:
    """Whether calls can fail on this machine: where their number and their answer lie is each processor's own."""
    return platform.machine() == "x86_64"


def _path(thread: int, arguments: list[int], folder: int | None, name: int | None) -> str:
    """What these arguments of a call name, from the machine's root."""
    descriptor = _DIR if folder is None else ctypes.c_int(arguments[folder]).value
    held = "cwd" if descriptor == _DIR else f"fd/{descriptor}"
    try:
        base = os.readlink(f"/proc/{thread}/{held}")
    except FileNotFoundError:
        return "?"  # no open descriptor: the call will fail
    return base if name is None else os.path.join(base, _read_text(thread, arguments[name]))


def _read_text(thread: int, address: int) -> str:
    with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:
        text = b""
        while b"\0" not in text and address:
            page = 4096 - (address + len(text)) % 4096  # what lies beyond its end may not be there
            text += os.pread(memory.fileno(), page, address + len(text))
        return os.fsdecode(text.partition(b"\0")[0])
