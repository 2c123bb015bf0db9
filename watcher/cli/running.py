"""The commands that run something: run, demo, sandbox, migrate."""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from threading import Event

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from watcher import daemon, logs, once, processor
from watcher.cli.demo import show_demo
from watcher.cli.opening import read_config
from watcher.cli.progress import show_progress
from watcher.clock import SystemClock
from watcher.composition import Journey, opened
from watcher.config import Config, with_store
from watcher.domain import FILED, UNDER_WAY, State
from watcher.errors import Exit, StoreLeaseLost, StoreUnavailable, ToldToEnd, UsageError
from watcher.journey.instance import lock_database
from watcher.journey.site import Site
from watcher.journey.transfer import transfer
from watcher.key import read_key
from watcher.outlet import say, standard_error
from watcher.sandbox import serve
from watcher.shutdown import bound_stop
from watcher.signals import Signals, heed_signals, hold_hang_ups
from watcher.text import name_once
from watcher.views.context import open_site

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
    stopping = Event()
    with opening(once=True, at_work=partial(_telling, pass_ended=stopping), stopping=stopping) as journey:
        heed_signals(stopping)
        bound_stop(journey)
        with _progress(verdicts=verdict_seconds is not None) as show:
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


@contextmanager
def _progress(*, verdicts: bool) -> Iterator[Callable[[once.Progress], None]]:
    """Show a progress bar on a terminal; elsewhere the log is enough. `verdicts`: they are waited for, too."""
    console = Console(file=standard_error(), stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("filed", total=None, note="")
        at_first: dict[State, int] = {}
        most_awaited = 0

        def show(progress: once.Progress) -> None:
            nonlocal most_awaited
            counts = progress.counts
            at_first.update({s: at_first.get(s, counts[s]) for s in FILED})
            filed = sum(counts[s] - at_first[s] for s in at_first)
            under_way = sum(counts[s] for s in UNDER_WAY)
            note = f"paused: {progress.paused}" if progress.paused else ""
            left = under_way + progress.settling
            most_awaited = max(most_awaited, progress.verdicts_awaited)
            if verdicts and most_awaited and not left:  # a full bar that stays would look stuck
                came = most_awaited - progress.verdicts_awaited
                description, completed, total = "waiting for verdicts", came, most_awaited
            else:
                description, completed, total = "filed", filed, filed + left
            bar.update(task, description=description, completed=completed, total=total, note=note)

        yield show


def demo(options: argparse.Namespace) -> int:
    return show_demo(Path(options.dir) if options.dir else None)


def sandbox(options: argparse.Namespace) -> int:
    if not 0 <= options.port <= 65_535:
        raise UsageError(f"sandbox: {options.port} is not a port", hint="Use 1 to 65535, or 0 for any free one.")
    return serve(port=options.port, key=options.key)


def migrate(options: argparse.Namespace) -> int:
    config = read_config(options)
    logs.configure(config.log.format, config.log.level, None, veil=config.veil)
    if options.source is not None:
        return _migrate_from(options.source, config)
    with open_site(config, SystemClock()) as context:
        database = context.store.database
        if database.is_of_this_version():
            print(f"{database.name} already has this version ({database.version()}).")
            return Exit.WELL
        if loss := context.loss():
            raise loss
        with lock_database(database), show_progress() as show:  # no daemon may run while the schema changes
            before, after = database.migrate(show)
    how = f"was upgraded from version {before} to {after}." if before else f"was created with version {after}."
    print(f"{database.name} {how}")
    return Exit.WELL


def _migrate_from(url: str, config: Config) -> int:
    try:
        before = with_store(config, url)
    except ValueError as error:
        hint = "Name the database that the site has had so far, as store.url did."
        raise UsageError(f"migrate: --from: expected {error}", hint=hint) from None
    with show_progress() as show:
        found = transfer(config, before, SystemClock(), show)
    for one in sorted(found.tables, key=lambda one: one.table):
        known = f", {one.known:,} that the account has already" if one.known else ""
        print(f"{one.table:<12} {one.rows:>11,} copied{known}")
    print(f"{found.target} has what {found.source} has: every row was read back and compared.")
    print("Start the daemon. Keep the old database as long as you like, but let no daemon work with it again.")
    return Exit.WELL
