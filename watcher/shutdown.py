"""The end of a run within its bound, and what hung where it is passed."""

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

_STOP_SECONDS = 20.0  # for what asks the disk: longer, and it waits for a share that does not answer


def await_end(site: Site, runners: dict[str, Runner], chores: Iterable[Chore]) -> list[str]:
    """All has come to its end; the names of what has not, within its bound.

    An upload has the time that it would have had anyway. Where a folder does not answer, no longer than the
    service may take to answer: what is still to be read is not to be had.
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
    """A pass that was told to stop ends, though what it asked the disk may never be answered."""
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
    """The process ends though some steps do not; what they left half done is recovered at the next start."""
    reason = "; ".join(folder.silence().message for folder in find_silent_folders(site))
    _log.critical(
        "daemon.cut_off",
        steps=held,
        reason=reason or "these steps did not come to their end",
        hint="The next start takes up what they left. The kernel may keep the process until the share answers.",
    )
    logs.close()
    os._exit(Exit.INCOMPLETE)


def find_silent_folders(site: Site) -> list[Folder]:
    folders = [site.drop, site.done, site.failed]
    silent = find_silent([folder.root for folder in folders])
    return [folder for folder in folders if folder.root in silent]
