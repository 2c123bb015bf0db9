"""End a run within its time limit, and name what did not end in it."""

import os
import threading
from collections.abc import Iterable
from typing import NoReturn

from watcher import logs
from watcher.composition import Journey
from watcher.errors import Exit
from watcher.folders import Folder
from watcher.journey.site import Site
from watcher.loops import Chore, Runner
from watcher.silence import find_silent

_log = logs.get_logger(__name__)

_STOP_SECONDS = 20.0  # for what uses the disk: whatever takes longer waits for a share that does not answer


def await_end(site: Site, runners: dict[str, Runner], chores: Iterable[Chore]) -> list[str]:
    """Wait for everything to end. Return the names of what did not end in time.

    An upload has the time that it would have had anyway. Where a folder does not answer, it has only as long as
    the service may take to answer: the rest of the file cannot be read.
    """
    began, clock, service = site.clock.monotonic(), site.clock, site.config.identifai

    def await_each(each: Iterable[Runner | Chore], seconds: float) -> list[str]:
        left = []
        for one in each:
            rest = began + seconds - clock.monotonic()
            if not (clock.wait(rest, one.ended) if rest > 0 else one.ended.is_set()):
                left.append(one.name)
        return left

    senders = [runner for runner in runners.values() if runner.name.startswith(("submit-", "verdict"))]
    others = [runner for runner in runners.values() if runner not in senders]
    held = await_each([*others, *chores], _STOP_SECONDS)
    patience = service.read_timeout_seconds if held and find_silent_folders(site) else service.deadline_seconds
    return held + await_each(senders, max(patience, _STOP_SECONDS) + 10)


def bound_stop(journey: Journey) -> None:
    """End a pass that was told to stop in time, though a share that it uses may never answer."""
    site = journey.site

    def end() -> None:
        journey.stopping.wait()
        site.clock.wait(_STOP_SECONDS, threading.Event())
        service = site.config.identifai
        seconds = service.read_timeout_seconds if find_silent_folders(site) else service.deadline_seconds
        site.clock.wait(seconds + 10, threading.Event())
        cut_off(site, ["the pass"])

    threading.Thread(target=end, name="bound", daemon=True).start()


def cut_off(site: Site, held: list[str]) -> NoReturn:
    """End the process though some steps have not ended: the next start recovers what they left half done."""
    reason = "; ".join(folder.silence().message for folder in find_silent_folders(site))
    _log.critical(
        "daemon.cut_off",
        steps=held,
        reason=reason or "these steps did not end in time",
        hint="The next start recovers what they left. The kernel may keep the process until the share answers.",
    )
    logs.close()
    os._exit(Exit.INCOMPLETE)


def find_silent_folders(site: Site) -> list[Folder]:
    folders = [site.drop, site.done, site.failed]
    silent = find_silent([folder.root for folder in folders])
    return [folder for folder in folders if folder.root in silent]
