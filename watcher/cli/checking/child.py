"""Run the checks in a child process that has given up root's rights for good and has a user's instead."""

import ctypes
import encodings.ascii
import encodings.idna
import encodings.latin_1
import encodings.utf_8_sig  # noqa: F401  otherwise loaded at first use, from where the user may not read
import json
import os
import struct
import sys
import traceback
from collections.abc import Callable

from watcher.cli.checking.user import User
from watcher.errors import WatcherError
from watcher.text import JsonObject

_PR_SET_KEEPCAPS = 8  # linux/prctl.h
_CAPABILITIES_VERSION = 0x20080522  # linux/capability.h
_LOW = (1 << 32) - 1


def find_as(user: User, find: Callable[[], JsonObject]) -> JsonObject:
    """What `find` returns with this user's rights. Raises the WatcherError that it raises."""
    sys.stdout.flush()
    answer, question = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(answer)
        _answer(question, user, find)
    os.close(question)
    try:
        with open(answer, "rb") as file:
            said = file.read()
    finally:
        _, status = os.waitpid(child, 0)
    if not said:
        raise WatcherError(
            f"the process that checked as {user} ended with {os.waitstatus_to_exitcode(status)} and no result",
            hint="Its messages are above.",
        )
    found: JsonObject = json.loads(said)
    if "error" in found:
        error = WatcherError(found["error"], hint=found["hint"])
        error.exit_code = found["exit_code"]
        raise error
    return found


def _answer(question: int, user: User, find: Callable[[], JsonObject]) -> None:
    """Write the result to the parent and end this process."""
    try:
        become(user)
        os.chdir("/")  # the user may have no access to the working directory
        try:
            found = find()
        except WatcherError as error:
            found = {"error": error.message, "hint": error.hint, "exit_code": int(error.exit_code)}
        with open(question, "wb") as file:
            file.write(json.dumps(found).encode())
        os._exit(0)
    except KeyboardInterrupt:
        os._exit(130)
    except BaseException:  # noqa: BLE001  none of the parent's code may run here
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)


def become(user: User) -> None:
    """Give this process the user's rights for good, and of root's only those that the daemon is granted."""
    system = ctypes.CDLL(None, use_errno=True)
    if user.capabilities:
        system.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    if user.capabilities:
        low, high = user.capabilities & _LOW, user.capabilities >> 32
        header = struct.pack("=Ii", _CAPABILITIES_VERSION, 0)
        system.capset(header, struct.pack("=6I", low, low, 0, high, high, 0))  # if refused, it has none
    if user.umask is not None:
        os.umask(user.umask)
