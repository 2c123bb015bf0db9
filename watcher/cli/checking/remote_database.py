"""Check the database's server: its version and settings, our rights there, its clock, who works on the site."""

import os
from collections.abc import Iterator

from watcher.cli.checking.finding import Finding, warning, well, wrong
from watcher.errors import StoreError
from watcher.text import show_path
from watcher.views.context import CommandContext
from watcher.views.database_server import ServerState, read_server

_SKEW_SECONDS = 1.0
_LONGEST_SECONDS = 60.0  # where there are no windows
_FOR_COMMANDS = 4


def check_server(context: CommandContext) -> Iterator[Finding]:
    """Nothing where the database is a file, or cannot be reached: then its own finding says so."""
    try:
        found = read_server(context)
    except StoreError:
        return
    if found is None:
        return
    name = context.store.database.name
    yield _check_settings(found)
    yield _check_rights(name, found)
    yield _check_connections(found)
    yield _check_skew(context, found)
    yield _check_site(context, found)
    holder = found.lease or "no node works on it now; one that is started begins at once"
    yield well("lease", holder)


def _check_settings(found: ServerState) -> Finding:
    said = found.said
    told = (
        f"PostgreSQL {said.version}, reached with {said.driver}; synchronous_commit is {said.synchronous_commit}"
    )
    if not said.syncs:
        return warning(
            "server",
            f"{told}, and fsync is off: when the server's machine crashes, what was paid for may be forgotten",
            "Set fsync = on in postgresql.conf of that server, and restart it.",
        )
    if said.synchronous_commit in ("local", "remote_write"):
        return warning(
            "server",
            f"{told}: where a standby takes over, it may lack what was committed last, and that is paid for again",
            f"ALTER ROLE {said.user} SET synchronous_commit = on",
        )
    if said.synchronous_commit == "off":
        told += " by default, and on for what is written here"
    return well("server", told)


def _check_rights(name: str, found: ServerState) -> Finding:
    said = found.said
    if said.not_owned:
        return wrong(
            "rights",
            f"{name}: somebody else owns {said.not_owned}, so {said.user} could not upgrade them",
            f"As the database's administrator, for each: ALTER TABLE {said.not_owned.partition(',')[0]} "
            f"OWNER TO {said.user}",
        )
    if said.may_create:
        return well("rights", f"{said.user} is an ordinary user, owns the tables, and may upgrade them")
    found_, hint = (
        f"{name}: {said.user} may create no tables in the schema {said.schema}",
        f"As the database's administrator: GRANT CREATE ON SCHEMA {said.schema} TO {said.user}",
    )
    if found.is_due:
        return wrong("rights", f"{found_}, and some are to be made", hint)
    return warning("rights", f"{found_}: the next upgrade will fail", hint)


def _check_connections(found: ServerState) -> Finding:
    said = found.said
    sites = max(found.sites, 1)
    needed = sites * said.connections_a_node + _FOR_COMMANDS
    told = (
        f"{said.used_connections:,} of {said.most_connections:,} in use; a node keeps up to "
        f"{said.connections_a_node}, so all sites ({sites:,}) and some commands need {needed:,}"
    )
    if said.most_connections < needed or said.spare < _FOR_COMMANDS:
        hint = "Raise max_connections of the server, or put a pooler (pgbouncer, in transaction mode) before it."
        return warning("connections", told, hint)
    return well("connections", told)


def _check_skew(context: CommandContext, found: ServerState) -> Finding:
    """Compare the clocks. Leases and rates are on the server's; pauses and what is due are on this machine's."""
    skew = found.skew
    apart = max(abs(skew.seconds) - skew.unsure, 0.0)
    way = "behind" if skew.seconds > 0 else "ahead of"
    hint = "Have both machines' clocks kept right (timedatectl set-ntp true)."
    bearable = max((window.seconds for window in context.config.limits.writes), default=_LONGEST_SECONDS)
    told = f"this machine's clock is {apart:,.1f} s {way} the server's"
    if apart > bearable:
        return wrong(
            "server clock",
            f"{told}, longer than the longest of limits.writes ({bearable:g} s): what one node notes, such as how "
            "long the service wants to be left alone, another takes for over",
            hint,
        )
    if apart > _SKEW_SECONDS:
        return warning("server clock", told, hint)
    return well("server clock", f"as this machine's, to {max(apart, skew.unsure, 0.1):.1f} s")


def _check_site(context: CommandContext, found: ServerState) -> Finding:
    file = show_path(os.fsencode(context.store.database.path))
    mark = show_path(os.path.join(context.config.folders.drop, b".watcher"))
    if found.own and found.marked and found.own != found.marked:
        return wrong(
            "site",
            f"{file} says that this node works on site {found.own}, but {mark} is of site {found.marked}",
            "Correct folders.drop, or mount the right folder there. If this node is to work on the site of that "
            f"folder, stop it and delete {file}: the next start takes the site from the folder.",
        )
    if not (found.own or found.marked):
        return well("site", "it has no id yet; the first start gives it one")
    if not found.marked:
        return well("site", f"{found.own}, as {file} says; the drop folder has no mark to compare it with")
    return well("site", f"{found.own or found.marked}, as the drop folder's mark says, too")
