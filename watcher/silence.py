"""Find folders whose server does not answer: any call to such a folder may hang for ever.

A process of its own asks each, since a process that waits in the kernel for a server may not even be killable.
"""

import os
import select
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress

from watcher.mounts import mount_of, read_mounts, resolve

ANSWER_SECONDS = 5.0
"""A folder that has not answered after this long counts as silent."""

# statvfs, since a mount may answer stat from its cache, but asks its server how much room there is.
_ASKED = "import os, sys\ntry:\n    os.statvfs(sys.argv[1])\nexcept OSError:\n    pass\n"


def find_silent(folders: Iterable[bytes], seconds: float = ANSWER_SECONDS) -> frozenset[bytes]:
    """Return the folders that do not answer within `seconds`. One that is missing or refuses does answer."""
    mounts = read_mounts()
    asked: dict[int, tuple[bytes, int]] = {}
    silent = set()
    for folder in dict.fromkeys(folders):
        mount = mount_of(resolve(folder, mounts), mounts)
        if mount is None or mount.is_network or mount.is_stacked:  # local file systems never hang
            process, answer = _ask(folder)
            asked[answer] = folder, process
    poll = select.poll()
    for answer in asked:
        poll.register(answer, select.POLLHUP)
    left = set(asked)
    while left:
        heard = {answer for answer, _ in poll.poll(seconds * 1000)}
        if not heard:
            break
        for answer in heard & left:
            poll.unregister(answer)
            os.waitpid(asked[answer][1], 0)
        left -= heard
    for answer in left:
        folder, process = asked[answer]
        silent.add(folder)
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)  # takes effect once the kernel lets go of it
    for answer in asked:
        os.close(answer)
    return frozenset(silent)


def _ask(folder: bytes) -> tuple[int, int]:
    """Start a process that asks the folder. Return it, and a pipe that hangs up when it ends."""
    answer, held = os.pipe()
    try:
        process = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-c", _ASKED, os.fsdecode(folder)],
            {},
            file_actions=[(os.POSIX_SPAWN_DUP2, held, 1)],
        )
    finally:
        os.close(held)
    return process, answer
