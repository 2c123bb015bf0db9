"""Runs a program under the system call rules of a unit: `python confined.py RULES.json PROGRAM ARGUMENT…`

What systemd does, by the same library, for SystemCallFilter= with SystemCallErrorNumber=EPERM,
RestrictAddressFamilies=, RestrictNamespaces= (as far as threads notice it) and MemoryDenyWriteExecute=.
RULES.json: {"calls": [names], "families": [numbers]}, what is allowed.
"""

import ctypes
import errno
import json
import os
import sys
from pathlib import Path

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_MASKED_EQUAL = 7
_FAMILIES = 64  # more than there are
_PR_SET_NO_NEW_PRIVS = 38
_PROT_WRITE, _PROT_EXEC = 2, 4


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


class Rules:
    """A filter that refuses every call with EPERM, until more is added."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2")
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(ctypes.c_uint32(_ERRNO | errno.EPERM)))

    def add(self, action: int, name: str, *comparisons: _Comparison) -> None:
        """The call is treated so where all comparisons hold. One of another architecture is passed over."""
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            array = (_Comparison * len(comparisons))(*comparisons)
            count = ctypes.c_uint(len(comparisons))
            add = self._library.seccomp_rule_add_array
            _check(add(self._context, ctypes.c_uint32(action), ctypes.c_int(number), count, array), name)

    def load(self) -> None:
        """They hold for this process and whatever it becomes."""
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            _check(-ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
        _check(self._library.seccomp_load(self._context), "seccomp_load")


def _check(outcome: int, what: str) -> None:
    if outcome:
        raise OSError(-outcome, f"{what}: {os.strerror(-outcome)}")


def confine(calls: list[str], families: list[int]) -> None:
    """This process, and what it becomes, can make no other calls. OSError where the kernel has no filters."""
    rules = Rules()
    for name in {*calls} - {"socket", "mmap", "mprotect", "pkey_mprotect", "clone3"}:
        rules.add(_ALLOW, name)
    rules.add(_ERRNO | errno.ENOSYS, "clone3")  # its flags cannot be seen: the C library takes clone instead
    for family in range(_FAMILIES):
        action = _ALLOW if family in families else _ERRNO | errno.EAFNOSUPPORT
        rules.add(action, "socket", _Comparison(0, _MASKED_EQUAL, 0xFFFFFFFF, family))
    # Allowed where either bit is clear, which is the same as refused where both are set.
    for bit in (_PROT_WRITE, _PROT_EXEC):
        rules.add(_ALLOW, "mmap", _Comparison(2, _MASKED_EQUAL, bit, 0))
    for name in ("mprotect", "pkey_mprotect"):
        rules.add(_ALLOW, name, _Comparison(2, _MASKED_EQUAL, _PROT_EXEC, 0))
    rules.load()


if __name__ == "__main__":
    allowed = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    confine(allowed["calls"], allowed["families"])
    os.execv(sys.argv[2], sys.argv[2:])
