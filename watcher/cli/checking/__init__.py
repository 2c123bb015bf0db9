"""`check`: look for everything that could go wrong on this machine, before it does. It spends no credit."""

import argparse
import os
import resource
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from math import inf
from pathlib import Path

from rich.text import Text

from watcher import logs
from watcher.accounts import describe_user, group_name, user_name
from watcher.cli.checking.account import check_limits, check_pauses, check_service, find_key
from watcher.cli.checking.child import find_as
from watcher.cli.checking.finding import Condition, Finding, exit_code, warning, well, wrong
from watcher.cli.checking.lookout import check_watch
from watcher.cli.checking.notices import check_notices
from watcher.cli.checking.premises import check_premises
from watcher.cli.checking.preparing import check_preparing
from watcher.cli.checking.remote_database import check_server
from watcher.cli.checking.served import check_page
from watcher.cli.checking.unit import quote_word
from watcher.cli.checking.user import (
    User,
    find_handed_key,
    find_user,
    join_groups,
    name_user,
)
from watcher.cli.console import wide_console
from watcher.cli.opening import print_json, read_config
from watcher.cli.printing import as_far_as_read
from watcher.clock import SystemClock
from watcher.config import Config, load
from watcher.errors import ConfigError, Exit, FolderError, StoreError
from watcher.folders.holder import Holder
from watcher.folders.rights import find_lack
from watcher.journey.arrive.watch import Choice
from watcher.journey.working import Activity
from watcher.key import Key
from watcher.text import JsonObject, local_time, quote_path, show_path, show_text
from watcher.views.context import CommandContext, open_site
from watcher.views.knowledge import Known, read_known

_BYTES_FOR_BOOKS = 100_000_000
_FILES_NEEDED = 128
_STUCK_NAMED = 3
_FILES_PER_UPLOAD = 8
_NO_CLOCK = 1_700_000_000.0  # the end of 2023: a clock before that was never set
_STYLES = {
    Condition.WELL: "green",
    Condition.WARNING: "yellow",
    Condition.WRONG: "bold red",
    Condition.UNAVAILABLE: "bold red",
}


def check(options: argparse.Namespace) -> int:
    config = read_config(options)
    with open_site(config, SystemClock()) as context:
        user, trouble = _find_user(context, options.as_user)
    handed = find_handed_key(user)
    if user is None or user.uid == os.geteuid():
        facts = _find(config, handed, user, trouble)
    else:
        facts = find_as(user, partial(_find_anew, config, handed, user))
    findings = [Finding.from_json(told) for told in facts.pop("findings")]
    code = exit_code(findings)
    with as_far_as_read():
        if options.json:
            print_json({"well": code == Exit.WELL, "checks": [finding.as_json() for finding in findings], **facts})
        else:
            _print(findings, code)
    return code


def _find_user(context: CommandContext, named: str | None) -> tuple[User | None, Finding | None]:
    """The user whose rights to check with, and what is wrong with that."""
    try:
        return find_user(context, named), None
    except ConfigError as error:
        return None, Finding.of("user", error)


def _find_anew(config: Config, handed: Key | ConfigError | None, user: User) -> JsonObject:
    """The same with this user's rights, who must be able to read the configuration, too."""
    trouble = None
    try:
        config = load(config.path)
    except ConfigError as error:
        trouble = replace(Finding.of("configuration", error), hint=f"Let {user} read it, as root does.")
    return _find(config, handed, user, trouble)


def _find(
    config: Config, handed: Key | ConfigError | None, user: User | None, trouble: Finding | None
) -> JsonObject:
    """All findings, in the order in which they are best corrected, and how each mount is watched."""
    logs.configure(config.log.format, "error", None, veil=config.veil)
    with open_site(config, SystemClock()) as context:
        choices, findings = _look(context, handed, user)
    if trouble is not None:
        findings = [trouble, *(finding for finding in findings if finding.name != trouble.name)]
    return {
        "findings": [asdict(finding) for finding in findings],
        "user": {"name": user_name(os.geteuid()), "uid": os.geteuid(), "source": user.source if user else ""},
        "watch": [{"path": show_path(c.path), "watch": c.watch, "why": c.why} for c in choices],
    }


def _look(
    context: CommandContext, handed: Key | ConfigError | None, user: User | None
) -> tuple[list[Choice], list[Finding]]:
    known, books = _check_database(context)
    holder, daemon = _check_daemon(context, known)
    key, key_found = find_key(context.config, handed, is_running=holder is not None)
    premises = list(check_premises(context, known))
    choices: list[Choice] = []
    watch: list[Finding] = []
    if premises[0].state is not Condition.WRONG:
        choices, watch = check_watch(context.config)
    service = check_service(context, known, key)
    findings = [
        well("configuration", show_path(os.fsencode(context.config.path))),
        _check_user(context, holder, user),
        *_check_unit(context, user),
        key_found,
        *premises,
        *check_preparing(context.config),
        *check_notices(context, known),
        *check_page(context.config, is_running=holder is not None),
        *watch,
        books,
        *check_server(context),
        daemon,
        *_check_steps(context),
        *_check_reading(context, known, holder),
        *check_pauses(context, known),
        check_limits(context, known),
        _check_clock(context, known),
        _check_open_files(context),
        service,
    ]
    return choices, findings


# The database


def _check_database(context: CommandContext) -> tuple[Known, Finding]:
    """Whether the database can be used, and what it says about the site. It is neither created nor upgraded."""
    name, database = "database", context.store.database
    path = database.name
    try:
        database.check_place()
        if loss := context.loss():
            return Known(is_started=True), replace(Finding.of(name, loss), stops=True)
        if not database.exists():
            return Known(), _check_room_for_database(context)
        if database.is_older():
            keeping = "" if database.is_shared else " and keeps a copy"
            hint = f"The next start of the daemon, or `watcher migrate`, upgrades it{keeping}."
            return Known(is_started=True), warning(
                name, f"{path} comes from an older version of this program", hint
            )
        database.check_version()
    except StoreError as error:
        return Known(is_started=True), Finding.of(name, error)
    known = Known(is_started=True)
    try:
        known = read_known(context)
        database.check_damage(inf)
        with context.store.writing():
            pass  # it can be locked and written
    except StoreError as error:
        return known, replace(Finding.of(name, error), stops=False)
    free = _free_bytes(database.path.parent)
    if free < _BYTES_FOR_BOOKS:
        hint = f"Free space on the disk of {database.path.parent} soon: without it nothing is submitted."
        whose = show_path(os.fsencode(database.path)) if database.is_shared else path
        found = f"{whose} has {free / 1e6:.0f} MB of room to grow"
        return replace(known, is_open=True), warning(name, found, hint)
    intact = "has" if database.is_shared else "is intact, has"
    return replace(known, is_open=True), well(name, f"{path} {intact} this version and can be written")


def _free_bytes(folder: Path) -> float:
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize if room.f_blocks else float("inf")


def _check_room_for_database(context: CommandContext) -> Finding:
    name, path = "database", context.store.database.path
    shown, folder = show_path(os.fsencode(path)), path.parent
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        error = StoreError(
            f"{shown} cannot be created: {describe_user(os.geteuid())} may not write in its folder",
            hint=f"Name another place in store.url, or {find_lack(os.fsencode(folder), moving=False).remedy}",
        )
        return Finding.of(name, error)
    if context.store.database.is_shared:
        return well(name, f"{context.store.database.name} answers; the first start makes its tables")
    return well(name, f"{shown} does not exist yet; the first start creates it")


# The daemon and its user


def _check_daemon(context: CommandContext, known: Known) -> tuple[Holder | None, Finding]:
    """Which instance works on the drop folder and the database, if any; none is fine, too."""
    name = "daemon"
    try:
        holder, ours = context.holder(), context.database_holder()
    except FolderError as error:
        return None, warning(name, error.message, error.hint)
    if holder is None:
        return None, well(name, "not running")
    found = f"runs on {holder.host}, process {holder.pid}"
    if not holder.is_same(ours) and context.shares_with(holder):
        stands_by = "no daemon runs" if ours is None else f"process {ours.pid} stands by"
        return holder, well(name, f"{found}, as another node of this site; on this one {stands_by}")
    if not holder.is_same(ours):
        hint = "Stop that one, or give this one its own drop folder: two would send each recording twice."
        return holder, wrong(
            name, f"another instance works on this drop folder: {found}, with another database", hint
        )
    working = context.working()
    if working.activity is Activity.HUNG:
        return holder, wrong(name, f"{found}, and hangs: {working.reason}", f"{_capital(working.hint)}.")
    looks_every = max(10 * context.config.arrivals.rescan_seconds, 600.0)
    if known.last_scan_at is not None and context.clock.now() - known.last_scan_at > looks_every:
        found += f"; it has not scanned the drop folder since {local_time(known.last_scan_at)}"
        return holder, warning(name, found, "Its log says why; restarting it does no harm.")
    return holder, well(name, found)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _check_steps(context: CommandContext) -> Iterator[Finding]:
    """The steps that fail as a whole now, whatever the recording."""
    for failure in context.failing():
        condition = Condition.UNAVAILABLE if failure.is_elsewhere else Condition.WRONG
        at = failure.succeeded_at
        last = "not since its start" if at is None else local_time(at)
        times = "once" if failure.times == 1 else f"{failure.times:,} times in a row"
        found = f"{failure.step} fails, {times} since {local_time(failure.since)} (it last worked {last}): "
        yield Finding("step", condition, found + failure.fault.message, failure.fault.hint)


def _check_reading(context: CommandContext, known: Known, holder: Holder | None) -> list[Finding]:
    """What the running daemon has read that has changed on disk since."""
    if holder is None or not known.is_open:
        return []
    hint = "Until then the daemon uses what it has read before."
    return [warning("reading", line, hint) for line in context.outdated()]


def _check_user(context: CommandContext, holder: Holder | None, user: User | None) -> Finding:
    """Whose rights everything was checked with: the daemon's user's, if root asks, else one's own."""
    ours, name = os.geteuid(), "user"
    if user is not None:
        return _check_rights(user)
    theirs = None
    with suppress(OSError):
        theirs = os.stat(context.store.database.path).st_uid
    if holder is not None and holder.host == socket.gethostname():
        with suppress(OSError):
            theirs = os.stat(f"/proc/{holder.pid}").st_uid
    if theirs is not None and ours not in (theirs, 0):
        config = quote_path(os.fsencode(context.config.path))
        return warning(
            name,
            f"{name_user(ours)}, but the daemon is run by {name_user(theirs)}, whose rights may differ",
            f"Check with that user's rights: sudo watcher check --config {config}",
        )
    if ours == 0:
        return well(name, f"{name_user(ours)}, who may do everything; use --as USER to check as another user")
    return well(name, name_user(ours))


def _check_rights(user: User) -> Finding:
    """Whose rights everything was checked with, and whether the running daemon has all groups of its user."""
    groups = ", ".join(map(group_name, sorted({user.gid, *user.groups})))
    why = f" ({user.source})" if user.source else ""
    if user.uid == 0:
        return well("user", f"looked as {user}{why}, who may do everything")
    found = f"looked as {user}{why}, in the group{'s' if ', ' in groups else ''} {groups}"
    if user.process is not None and (new := join_groups(user.uid) - {user.gid, *user.groups}):
        names = ", ".join(map(group_name, sorted(new)))
        hint = "The daemon gets their rights when it is restarted: systemctl restart watcher."
        return warning("user", f"{found}; the daemon was started before its user joined {names}", hint)
    return well("user", found)


def _check_unit(context: CommandContext, user: User | None) -> Iterator[Finding]:
    """Whether the unit that starts the daemon lets it write where it must: `check` itself is not confined."""
    if user is None or (unit := user.unit) is None:
        return
    name, config = show_text(unit.name), context.config
    folders = [config.folders.drop, config.folders.done, config.folders.failed]
    places = [os.path.realpath(os.fsdecode(one)) for one in (*folders, os.fsencode(config.books.parent))]
    barriers = {place: barrier for place in places if (barrier := unit.barrier_to(Path(place)))}
    if not barriers:
        yield well("unit", f"{name} lets the daemon write in the folders and beside the database")
        return
    above = os.path.commonpath(barriers)
    named = " ".join(show_text(quote_word(one)) for one in ([above] if above != "/" else barriers))
    in_home = any(barrier.startswith("ProtectHome") for barrier in barriers.values())
    lines = f"ProtectHome=tmpfs and BindPaths={named}" if in_home else f"ReadWritePaths={named}"
    yield wrong(
        "unit",
        f"{name} keeps the daemon from writing in "
        + ", ".join(f"{show_text(place)} ({barrier})" for place, barrier in barriers.items()),
        f"sudo systemctl edit {name}: below [Service] add {lines}; then sudo systemctl restart {name}.",
    )


def _check_clock(context: CommandContext, known: Known) -> Finding:
    now = context.clock.now()
    found = f"{local_time(now)}"
    hint = "Set this machine's clock and keep it right (timedatectl set-ntp true): TLS and receipts rely on it."
    if now < _NO_CLOCK:
        return warning("clock", f"{found} cannot be right", hint)
    if known.last_scan_at is not None and known.last_scan_at > now + 60:
        return warning("clock", f"{found}, yet the last scan was at {local_time(known.last_scan_at)}", hint)
    return well("clock", found)


def _check_open_files(context: CommandContext) -> Finding:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES_NEEDED + _FILES_PER_UPLOAD * context.config.limits.in_flight
    if limit != resource.RLIM_INFINITY and limit < needed:
        found = f"{limit:,} at the same time, but {needed:,} may be needed"
        return warning("open files", found, "Raise the limit: ulimit -n, or LimitNOFILE= in the unit.")
    return well("open files", "no limit" if limit == resource.RLIM_INFINITY else f"{limit:,} at the same time")


# What a person sees


def _print(findings: Sequence[Finding], code: Exit) -> None:
    console = wide_console()
    for finding in findings:
        mark = "ok" if finding.state is Condition.WELL else str(finding.state)
        first, *more = finding.found.split("\n")
        console.print(Text.assemble((f"{mark:<12}", _STYLES[finding.state]), f"{finding.name:<15}{first}"))
        for line in [*more, *(f"-> {line}" for line in finding.hint.splitlines())]:
            console.print(Text(f"{'':<27}{line}"))
    for line in _sum_up(findings, code):
        console.print(Text(line))


def _sum_up(findings: Sequence[Finding], code: Exit) -> Iterator[str]:
    """The result in a sentence, and the next step."""
    warnings = sum(finding.state is Condition.WARNING for finding in findings)
    also = f"; {warnings} warning{'s' if warnings > 1 else ''}" if warnings else ""
    yield ""
    if code == Exit.WELL:
        runs = any(f.name == "daemon" and f.found.startswith("runs") for f in findings)
        is_paused = any(f.name == "submitting" for f in findings)
        at_work = "The daemon runs, but submitting is paused." if is_paused else "The daemon is at work."
        next_step = at_work if runs else "Next: `watcher run`."
        yield f"{'Nothing is wrong' if warnings else 'All is well'}{also}. {next_step}"
        return
    bad = [f.name for f in findings if f.state is Condition.WRONG or f.state is Condition.UNAVAILABLE]
    if code == Exit.UNAVAILABLE:
        yield f"Nothing is wrong on this machine{also}. But recordings wait until this is over: {', '.join(bad)}."
        return
    starts = "`watcher run` does not start" if code == Exit.CONFIG else "recordings may wait"
    yield f"Correct: {', '.join(bad)}{also}. Until then {starts}. Then run `watcher check` again."
