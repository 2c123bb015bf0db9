"""The full look at 100,000 files, against a bare recursive os.scandir over the same folder.

A first look, where nothing is known, tells each file with its fingerprint: against a walk that stats each. A
repeated one, where all are known, finds what is new and what is missing: against a walk that stats nothing.
Both apply the built-in patterns of temporary names. Aim: at most twice the bare walk's time.
"""

import os
import tempfile
import time
from collections.abc import Callable
from functools import partial

from watcher.folders import Folder
from watcher.ignore import Ignore

FILES = 100_000
ROUNDS = 7


def main() -> None:
    ignore = Ignore().matching
    for subfolders in (1, 1_000):
        with tempfile.TemporaryDirectory(prefix="watcher-bench-") as root:
            _make(root, subfolders)
            folder = Folder(os.fsencode(root), "drop")
            known = {entry.path: entry.inode for entry in folder.walk(ignore)}
            assert len(known) == FILES
            first = _compare(partial(_bare, root, stat=True), partial(_ours, folder, {}))
            again = _compare(partial(_bare, root, stat=False), partial(_ours, folder, known))
        for words, (bare, ours) in (("first look, scandir with stat", first), ("repeated, scandir alone", again)):
            print(
                f"{FILES:,} files in {subfolders:,} subfolders, {words}: bare {bare * 1000:4.0f} ms,"
                f" watcher {ours * 1000:4.0f} ms, ratio {ours / bare:.2f} (aim: 2 at the most)",
                flush=True,
            )


def _make(root: str, subfolders: int) -> None:
    for number in range(subfolders):
        os.mkdir(f"{root}/{number}")
    for number in range(FILES):
        name = f"{root}/{number % subfolders}/call-{number:06}.wav"
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY))


def _compare(bare: Callable[[], int], ours: Callable[[], int]) -> tuple[float, float]:
    """The best of some rounds of each, taken in turns so that both meet the same machine."""
    times = [(_timed(bare), _timed(ours)) for _ in range(ROUNDS)]
    return min(time for time, _ in times), min(time for _, time in times)


def _timed(walk: Callable[[], int]) -> float:
    began = time.perf_counter()
    walk()
    return time.perf_counter() - began


def _bare(root: str, *, stat: bool) -> int:
    count = 0
    left = [root]
    while left:
        with os.scandir(left.pop()) as listing:
            for found in listing:
                if found.is_dir(follow_symlinks=False):
                    left.append(found.path)
                else:
                    count += 1
                    if stat:
                        found.stat(follow_symlinks=False)
    return count


def _ours(folder: Folder, known: dict[bytes, int]) -> int:
    scan = folder.walk(Ignore().matching, known=known)
    count = sum(1 for _ in scan)
    assert not scan.missing
    return count
