"""`status --all-sites`: each site of the account as its own node sees it, then all together."""

from watcher.cli.columns import is_coloured, wrap
from watcher.cli.spending import charge_in_words
from watcher.cli.state import duration_in_words
from watcher.text import local_time, moment
from watcher.views.sites import Sites, SiteState
from watcher.views.status import Counts

_INDENT = 15
_ALARMING = frozenset({"needs you", "paused", "no node"})


def print_sites(found: Sites, now: float) -> None:
    """Print what a person wants to know of all of them."""
    for site in found.sites:
        own = " (this site)" if site.name.is_own and len(found.sites) > 1 else ""
        print(f"{site.name}{own}")
        _print_site(site, now)
    if len(found.sites) > 1:
        print(f"all {len(found.sites):,} sites")
        _print_counts(found.counts)
    for pause, names in found.pauses:
        whom = "everywhere" if len(names) == len(found.sites) else f"at {', '.join(map(str, names))}"
        until = f", until {local_time(pause.until)}" if pause.until is not None else ""
        by = f"by {pause.by}, " if pause.by else ""
        where = f"{whom}: " if len(found.sites) > 1 else ""
        _line("paused", f"{where}{pause.reason} ({by}since {moment(pause.since, now)}{until})")
    for charge in found.charges:
        _line("today" if charge.span == "day" else "this month", charge_in_words(charge))
    _line("rate", found.rate)
    _line("backlog", duration_in_words(found.eta_seconds) if found.counts.backlog else "none")


def _print_site(site: SiteState, now: float) -> None:
    _line("node" if site.has_node else "no node", site.node)
    _print_counts(site.counts)
    if site.pauses:
        _line("paused", ", ".join(str(pause.kind) for pause in site.pauses) + "; see below")
    _line("last scan", "never" if site.last_scan_at is None else moment(site.last_scan_at, now))


def _print_counts(counts: Counts) -> None:
    needs = (f"{number:,} {state}" for state, number in counts.needs_person.items() if number)
    if said := ", ".join(needs):
        _line("needs you", f"{said}; who decides does so at the site")
    states = ", ".join(f"{number:,} {state}" for state, number in counts.states.items() if number)
    _line("recordings", states or "none yet")
    if counts.waiting:
        blocked = f", {counts.waiting_blocked:,} of them blocked" if counts.waiting_blocked else ""
        _line("waiting", f"{counts.waiting:,} not taken yet{blocked}")


def _line(label: str, said: str) -> None:
    line = wrap(f"  {label}", said, _INDENT)
    if label in _ALARMING and is_coloured():
        line = f"\x1b[31m{line[:_INDENT]}\x1b[0m{line[_INDENT:]}"
    print(line)
