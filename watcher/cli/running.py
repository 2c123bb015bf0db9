"""`run`: the daemon, or one pass."""

import argparse
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from threading import Event

from watcher import daemon, logs, once, processor
from watcher.cli.opening import read_config
from watcher.clock import SystemClock
from watcher.composition import Journey, opened
from watcher.config import Config
from watcher.errors import Exit, StoreLeaseLost, StoreUnavailable, ToldToEnd, UsageError
from watcher.journey.site import Site
from watcher.key import read_key
from watcher.outlet import say
from watcher.shutdown import bound_stop
from watcher.signals import Signals, heed_signals, hold_hang_ups
from watcher.text import name_once

_log = logs.get_logger(__name__)

_LOOK_SECONDS = 2.0  # until a server that is away is asked again


def run(options: argparse.Namespace) -> int:
    waits = options.verdicts or options.verdicts_for is not None
    if waits and not options.once:
        name = "--verdicts" if options.verdicts else "--verdicts-for"
        raise UsageError(f"run: {name} needs --once", hint="The daemon fetches the verdicts by itself.")
    given = options.verdicts_for
    verdict_seconds = (once.VERDICT_SECONDS if given is None else given) if waits else None
    config = read_config(options)
    key = read_key(config, os.environ)
    logs.configure(config.log.format, config.log.level, key, veil=config.veil)
    if key.warning:
        _log.warning("key.exposed", reason=key.warning)
    find = partial(read_key, environ=os.environ)
    opening = partial(opened, config, key, SystemClock(), find_key=find)
    with processor.kept_to_one():
        if not options.once:
            hold_hang_ups()
            return _run_daemon(config, partial(opening, beside=_page, at_work=_telling))
        outcome = _run_once(opening, verdict_seconds)
    for reason in outcome.paused:
        say(f"left: submitting is paused: {reason}")
    for line in outcome.left:
        say(f"left: {line}")
    for file in outcome.waiting:
        say(f"left: {name_once(file.path, file.reason or file.code)}")
    return outcome.exit_code


def _run_once(
    opening: Callable[..., AbstractContextManager[Journey]], verdict_seconds: float | None
) -> once.Outcome:
    from watcher.cli.progress import show_pass  # noqa: PLC0415 — a daemon, which keeps what it loads, shows none

    stopping = Event()
    with opening(once=True, at_work=partial(_telling, pass_ended=stopping), stopping=stopping) as journey:
        heed_signals(stopping)
        bound_stop(journey)
        with show_pass(verdicts=verdict_seconds is not None) as show:
            outcome = once.run_once(journey, verdict_seconds=verdict_seconds, show=show)
        if journey.tenure is not None:
            journey.tenure.check()  # else what another node does now would pass for what this one left
    return outcome


def _run_daemon(config: Config, opening: Callable[..., AbstractContextManager[Journey]]) -> int:
    """Run the daemon: where several nodes may work on the site it stands by, works, stands by again."""
    signals = Signals()
    if config.store.file is None:
        signals.heed()  # it may stand by for weeks
    has_worked = False
    while not (has_worked and signals.ended.is_set()):
        try:
            with opening(ended=signals.ended) as journey:
                has_worked = True
                code = daemon.run(journey, signals)
            if code is not None:
                return code
        except ToldToEnd:
            break
        except StoreLeaseLost:
            pass  # before the first step began
        except StoreUnavailable as error:  # the server is away again
            if not has_worked or config.store.file is not None:
                raise
            _log.debug("node.waiting", reason=error.message)
            SystemClock().wait(_LOOK_SECONDS, signals.ended)
        signals.go_on()
    _log.info("daemon.stopped")
    return Exit.WELL


def _telling(site: Site, *, pass_ended: Event | None = None) -> AbstractContextManager[None]:
    """Who tells, where notify.urls_file is set: only then what it needs is loaded."""
    if site.config.notify.urls_file is None:
        return nullcontext()
    from watcher.notify.telling import telling  # noqa: PLC0415 — an extra, which takes a while to load

    return telling(site, pass_ended=pass_ended)


def _page(site: Site) -> AbstractContextManager[None]:
    """The page, where web.listen is set: only then what it needs is loaded."""
    if not site.config.web.listen:
        return nullcontext()
    from watcher.web.routes import page_of  # noqa: PLC0415 — an extra, which takes a while to load

    return page_of(site)
