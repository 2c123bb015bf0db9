"""Check how the drop folder is watched: by events or polling, why, and whether inotify's limits suffice."""

import os
from collections.abc import Iterator
from contextlib import suppress

from watcher.cli.checking.finding import Finding, warning, well
from watcher.config import Config
from watcher.journey.arrive.watch import Choice, choose_watch, list_choices, try_events, without_events
from watcher.text import show_path

_LIMIT = "/proc/sys/fs/inotify/max_user_watches"
_NEARLY = 0.8


def check_watch(config: Config) -> tuple[list[Choice], list[Finding]]:
    """What the daemon would choose for the folder and each mount below it, tried as the daemon does."""
    root, setting = config.folders.drop, config.arrivals.watch
    chosen, _ = choose_watch(root, setting)
    choices = list_choices(root, setting)
    rescan = f"a full scan every {config.arrivals.rescan_seconds:g} s finds what they miss"
    if chosen == "polling":
        return choices, [well("watch", _described(choices))]
    if failure := try_events(root):
        why = without_events(failure)
        choices = [Choice(choice.path, "polling", why) for choice in choices]
        return choices, [warning("watch", _described(choices), "Polling works, but finds new recordings later.")]
    findings = [well("watch", f"{_described(choices)}; {rescan}")]
    wiser, why = choose_watch(root)
    if wiser == "polling":
        hint = 'Set arrivals.watch = "auto", or "polling".'
        findings = [warning("watch", f'arrivals.watch is "events", but {why}; {rescan}', hint)]
    return choices, [*findings, *_check_limit(root)]


def _described(choices: list[Choice]) -> str:
    return "\n".join(f"{choice.watch} at {show_path(choice.path)}: {choice.why}" for choice in choices)


def _check_limit(root: bytes) -> Iterator[Finding]:
    """Each folder takes one of the watches that the kernel allows a user in all programs together."""
    try:
        with open(_LIMIT, encoding="ascii") as file:
            limit = int(file.read())
    except (OSError, ValueError):
        return
    folders = _count_folders(root, limit)
    some = f"{folders:,}" if folders <= limit else f"more than {limit:,}"
    found = f"{some} folder{'s' if folders != 1 else ''} to watch; the kernel allows {limit:,}"
    if folders > _NEARLY * limit:
        wanted = max(2 * folders, 2 * limit)
        hint = f"Raise the limit: sysctl fs.inotify.max_user_watches={wanted}. Otherwise the folder is polled."
        yield warning("inotify", found, hint)
    else:
        yield well("inotify", found)


def _count_folders(root: bytes, most: int) -> int:
    """The number of folders, this one included; `most` + 1 if there are more."""
    count, left = 1, [root]
    while left and count <= most:
        with suppress(OSError), os.scandir(left.pop()) as listing:
            below = [entry.path for entry in listing if entry.is_dir(follow_symlinks=False)]
            left += below
            count += len(below)
    return min(count, most + 1)
